"""Tokenizer files: a word-level tokenizer that gives our ids through `AutoTokenizer`, and vocabularies read from them.

A text is codes with white space between them, oldest first. No lower-casing and no splitting inside a code: BERT's own
tokenizer would make five tokens of `ICD9_250.4`. `[CLS]` is put in front where the vocabulary has one; truncation cuts
on the left, so that the latest codes stay.
"""

import shutil
from pathlib import Path

from medtop.cohort.vocabulary import CLS, MASK, MEDBERT_PAD, PAD, SEP, SPECIAL_TOKENS, UNK, Vocabulary
from medtop.convert.huggingface import read_json
from medtop.files.atomic import write_json
from medtop.files.errors import DataError

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "added_tokens.json",
)
"""Files that make a tokenizer of HuggingFace's; kept with an imported model."""


def write_tokenizer(folder, vocabulary, max_length):
    """Writes tokenizer.json, tokenizer_config.json, special_tokens_map.json and vocab.txt.

    Args:
        folder: existing folder.
        vocabulary: `Vocabulary`, ours or Med-BERT's. Med-BERT's has no [UNK]: an unknown code is an error there.
        max_length: longest row, for truncation.
    """
    folder = Path(folder)
    if vocabulary.is_medbert:
        special = {"pad_token": MEDBERT_PAD, "mask_token": MEDBERT_PAD}
    else:
        special = {"pad_token": PAD, "unk_token": UNK, "cls_token": CLS, "sep_token": SEP, "mask_token": MASK}
    added = [
        {
            "id": vocabulary.ids[token],
            "content": token,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for token in dict.fromkeys(special.values())
    ]
    model = {"type": "WordLevel", "vocab": vocabulary.ids, "unk_token": UNK}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None if vocabulary.is_medbert else _with_cls(vocabulary.ids[CLS]),
        "decoder": None,
        "model": model,
    }
    write_json(folder / "tokenizer.json", tokenizer)
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "padding_side": "right",
        "truncation_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    write_json(folder / "tokenizer_config.json", {**about, **special})
    write_json(folder / "special_tokens_map.json", special)
    vocabulary.write_text(folder / "vocab.txt")


def write_wordpiece(folder, vocabulary, max_length, lower_case):
    """The same files for a model of notes: BERT's tokenizer, as `medtop.text.wordpiece` cuts texts.

    Args:
        folder: existing folder.
        vocabulary: `Vocabulary` of word pieces.
        max_length: longest row, for truncation.
        lower_case: whether texts are lower-cased and accents taken off.
    """
    folder, ids = Path(folder), vocabulary.ids
    special = {"pad_token": PAD, "unk_token": UNK, "cls_token": CLS, "sep_token": SEP, "mask_token": MASK}
    added = [
        {
            "id": ids[token],
            "content": token,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for token in special.values()
    ]

    def one(kind, name, number):
        return {kind: {"id": name, "type_id": number}}

    first = [one("SpecialToken", CLS, 0), one("Sequence", "A", 0), one("SpecialToken", SEP, 0)]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": bool(lower_case),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": first,
            "pair": [*first, one("Sequence", "B", 1), one("SpecialToken", SEP, 1)],
            "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in (CLS, SEP)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": UNK,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }
    write_json(folder / "tokenizer.json", tokenizer)
    about = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": bool(lower_case),
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", {**about, **special})
    write_json(folder / "special_tokens_map.json", special)
    vocabulary.write_text(folder / "vocab.txt")


def _with_cls(cls_id):
    """[CLS] before the text, and nothing after it: ours is `[CLS] codes`."""
    first, text = {"SpecialToken": {"id": CLS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {CLS: {"id": CLS, "ids": [cls_id], "tokens": [CLS]}},
    }


def unreachable(vocabulary):
    """Codes that hold white space: no text gives them, only ids do."""
    return [token for token in vocabulary.tokens if token.split() != [token]]


def is_subword(tokens, folder=None):
    """Whether a vocabulary is of pieces of words, so that a word-level tokenizer would not do.

    Args:
        tokens: list of str.
        folder: where its tokenizer.json may lie, which says so itself.
    """
    path = None if folder is None else Path(folder) / "tokenizer.json"
    if path is not None and path.is_file():
        model = read_json(path, "a tokenizer").get("model")
        return isinstance(model, dict) and model.get("type") != "WordLevel"
    return any(token.startswith("##") for token in tokens)


def copy_tokenizer(source, target):
    """Copies the tokenizer files that are in one folder to another; their names."""
    present = [name for name in FILES if (Path(source) / name).is_file()]
    for name in present:
        shutil.copyfile(Path(source) / name, Path(target) / name)
    return present


def read_tokens(folder):
    """Tokens of a folder's tokenizer, by id.

    Returns:
        list of str, or None where neither tokenizer.json nor vocab.txt is there.

    Raises:
        DataError: for a file with another content.
    """
    path = Path(folder) / "tokenizer.json"
    if path.is_file():
        content = read_json(path, "a tokenizer")
        model, added = content.get("model"), content.get("added_tokens") or []
        try:
            ids = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
            ordered = sorted(ids, key=ids.get)
            good = [ids[token] for token in ordered] == list(range(len(ordered)))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise DataError(f"{path}: expected a word-level or WordPiece tokenizer, received another kind") from error
        if not good:
            raise DataError(f"{path}: expected ids 0 to {len(ordered) - 1}, each once, received other ids")
        return ordered
    path = Path(folder) / "vocab.txt"
    return read_lines(path) if path.is_file() else None


def read_lines(path):
    """A vocabulary file's tokens, one a line; special tokens may stand anywhere.

    Raises:
        DataError: for a missing file, or one that is not text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: expected a vocabulary, one token a line, found no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, one token a line; byte {error.start} is not") from error
    return text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")


def our_vocabulary(tokens, size, where):
    """A foreign vocabulary in one of our layouts, and which of its ids each of ours is.

    Ours begins with the five special tokens; in WordPiece vocabularies they stand elsewhere and are moved to the front.
    Where the model has more rows than the vocabulary has tokens (tables padded to a round number), the rest gets
    names that no text holds.

    Args:
        tokens: list of str, by their id.
        size: rows of the model's table.
        where: file or folder, for errors.

    Returns:
        (`Vocabulary`, list of their ids in our order).

    Raises:
        DataError: for more tokens than rows, doubled tokens, or missing special tokens.
    """
    if len(tokens) > size:
        raise DataError(f"{where}: expected a vocabulary of at most {size} tokens (vocab_size), received {len(tokens)}")
    tokens = [*tokens, *(f"[no token {number}]" for number in range(len(tokens), size))]
    order = list(range(size))
    if tokens[:1] != [MEDBERT_PAD]:
        missing = [token for token in SPECIAL_TOKENS if token not in tokens]
        if missing:
            raise DataError(
                f"{where}: expected a vocabulary with {' '.join(SPECIAL_TOKENS)} (or {MEDBERT_PAD} first), "
                f"received one without {missing[0]}"
            )
        front = [tokens.index(token) for token in SPECIAL_TOKENS]
        order = [*front, *(number for number in order if number not in set(front))]
    try:
        return Vocabulary([tokens[number] for number in order]), order
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
