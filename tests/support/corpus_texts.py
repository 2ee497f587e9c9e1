"""Made-up texts with planted near-copies, and what all-pairs exact Jaccard says of them: tests of the corpus."""

import itertools

import numpy as np

KINDS = ("none", "words_2", "words_5", "words_10", "words_20", "moved", "addendum", "template")
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]


def vocabulary(size=4000, seed=1):
    """`size` made-up words."""
    rng = np.random.default_rng(seed)
    return sorted({"".join(rng.choice(_SYLLABLES, int(rng.integers(2, 5)))) for _ in range(size)})


def planted_texts(number, seed=0, share=0.4, least=60, most=300):
    """(texts, kinds): lists of `number` str in random order; a `share` are made from an earlier text."""
    rng, words = np.random.default_rng(seed), vocabulary()
    template = rng.choice(words, 60).tolist()
    texts, kinds = [], []
    for _ in range(number):
        kind = str(rng.choice(KINDS[1:])) if texts and rng.random() < share else "none"
        if kind == "template":
            text = template + rng.choice(words, int(rng.integers(40, 90))).tolist()
        elif kind == "none":
            text = rng.choice(words, int(rng.integers(least, most))).tolist()
        else:
            text = changed(texts[int(rng.integers(len(texts)))], kind, rng, words)
        texts.append(text)
        kinds.append(kind)
    order = rng.permutation(number)
    return [written(texts[place], rng) for place in order], [kinds[place] for place in order]


def changed(words, kind, rng, known):
    """A near-copy of a list of words."""
    words = list(words)
    if kind.startswith("words_"):
        for place in rng.choice(len(words), max(1, len(words) * int(kind[6:]) // 100), replace=False).tolist():
            words[place] = str(rng.choice(known))
    elif kind == "moved":
        cut = sorted(rng.choice(np.arange(1, len(words)), 2, replace=False).tolist())
        words = words[cut[0] : cut[1]] + words[: cut[0]] + words[cut[1] :]
    else:
        words += rng.choice(known, max(2, len(words) // 12)).tolist()
    return words


def written(words, rng):
    """Words as a text: sentences, lines, some capitals, which the normal form does not see."""
    text = [word.capitalize() if rng.random() < 0.1 else word for word in words]
    ends = rng.choice([" ", " ", " ", ". ", ",\n"], len(text))
    return "".join(itertools.chain.from_iterable(zip(text, ends.tolist(), strict=True)))


def sets_of(texts, size):
    """Shingles of texts as sets of tuples of words: the slow, plain way."""
    result = []
    for text in texts:
        words = "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
        result.append({tuple(words[n : n + size]) for n in range(max(len(words) - size + 1, 1))} if words else set())
    return result


def similar_pairs(sets, near):
    """dict (i, j), i < j -> exact Jaccard similarity, of all pairs of sets that reach `near` (an inverted index over
    everything they share, so that no pair is missed)."""
    holders = {}
    for number, values in enumerate(sets):
        for value in values:
            holders.setdefault(value, []).append(number)
    common = {}
    for numbers in holders.values():
        for pair in itertools.combinations(numbers, 2):
            common[pair] = common.get(pair, 0) + 1
    found = {}
    for (one, other), count in common.items():
        similarity = count / (len(sets[one]) + len(sets[other]) - count)
        if similarity >= near:
            found[(one, other)] = similarity
    return found
