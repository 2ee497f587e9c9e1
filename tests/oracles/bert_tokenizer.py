"""BERT's tokenizer as google-research/bert publishes it, one character and one word at a time: the oracle of ours.

Two lines follow HuggingFace's fast tokenizer, which the project promises to equal: unassigned characters stay, and the
vertical tab and form feed are dropped.
"""

import unicodedata


def _is_control(letter):
    return letter not in "\t\n\r" and unicodedata.category(letter) in ("Cc", "Cf", "Co", "Cs")


def _is_space(letter):
    return letter in " \t\n\r" or unicodedata.category(letter) in ("Zs", "Zl", "Zp")


def _is_punctuation(letter):
    code = ord(letter)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(letter).startswith("P")


def _is_chinese(letter):
    ranges = [
        (0x4E00, 0x9FFF),
        (0x3400, 0x4DBF),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F),
        (0x2B920, 0x2CEAF),
        (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F),
    ]
    return any(low <= ord(letter) <= high for low, high in ranges)


def basic_tokens(text, lower_case):
    """Cleaned words and punctuation."""
    cleaned = ""
    for letter in text:
        if ord(letter) in (0, 0xFFFD) or _is_control(letter):
            continue
        cleaned += " " if _is_space(letter) else f" {letter} " if _is_chinese(letter) else letter
    if lower_case:
        cleaned = "".join(x for x in unicodedata.normalize("NFD", cleaned) if unicodedata.category(x) != "Mn")
        cleaned = "".join(letter.lower() for letter in cleaned)
    return "".join(f" {letter} " if _is_punctuation(letter) else letter for letter in cleaned).split(" ")


def wordpieces(word, ids):
    """Greedy longest match first; [UNK] for a word that does not come out, or of more than 100 characters."""
    if len(word) > 100:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in ids:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def tokens(text, ids, lower_case):
    """All pieces of a text, as str."""
    return [piece for word in basic_tokens(text, lower_case) if word for piece in wordpieces(word, ids)]
