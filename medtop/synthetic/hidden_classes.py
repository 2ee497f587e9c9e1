"""A generated language with hidden word classes: what can be known of a word from raw text, and what only from labels.

Every word is invented, and nothing in its spelling says what it is. Nouns belong to hidden classes: three types of
entities and ordinary nouns. A clause holds one noun beside one context word; each class prefers context words of its
own. Raw text is telling: most context words are the class's own, so that who reads enough of it knows each noun's
class. Labelled documents hardly are, and hold a part of the nouns only: the type of any other noun must come from raw
text. Some nouns have two classes (`SENSES`), so that nobody can be right always. Since all is known, so is the best
that a tagger can reach: with raw text (all nouns known), and without (the labelled nouns alone).

    sentence = clause ["and" clause] "."
    clause = neutral{1,3} context [modifier] noun | [modifier] noun context neutral{1,3}

An entity is a noun in the sense of a type, with its modifier.

Letters: N nouns, K classes (the types, then ordinary nouns), C context words.
"""

import dataclasses

import numpy as np

TYPES = ("Problem", "Test", "Treatment")
NOUNS = 100
"""Of each class."""
OWN_CONTEXTS, NEUTRALS, MODIFIERS = 12, 30, 12
"""Context words that each class prefers, neutral words, modifiers."""
SENSES = (0.65, 0.35)
"""How often a noun of two classes has the one and the other."""
TWO_CLASSES = 0.15
"""Share of nouns of two classes."""
LABELLED, VALID_ONLY = 0.20, 0.05
"""Share of the nouns in labelled documents; share of all nouns in those of validation alone."""
RAW, NOTES = 0.8, 0.2
"""How often a context word is the class's own in raw text and in labelled documents; else it is any."""
SENTENCES = 6
_MODIFIED, _SECOND_CLAUSE = 0.3, 0.5
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


@dataclasses.dataclass(frozen=True)
class Language:
    """Words and what is true of them.

    Attributes:
        nouns: list of N str; frequencies: float [N], their shares of the nouns in a text, sum 1.
        senses: float [N, K], how often each noun has each class; rows sum to 1.
        labelled, trained: bool [N], nouns of labelled documents, and of those the ones of training documents.
        contexts: list of C str; preferences: float [K, C], the classes' own context words; rows sum to 1.
        neutrals, modifiers: lists of str.
    """

    nouns: list
    frequencies: np.ndarray
    senses: np.ndarray
    labelled: np.ndarray
    trained: np.ndarray
    contexts: list
    preferences: np.ndarray
    neutrals: list
    modifiers: list

    def joint(self, telling):
        """How often a clause has each noun, class and context word: float [N, K, C], sum 1."""
        contexts = telling * self.preferences + (1 - telling) / len(self.contexts)
        return self.frequencies[:, None, None] * self.senses[:, :, None] * contexts


def make_language(seed):
    """The `Language` of a seed."""
    rng = np.random.default_rng(seed)
    classes = len(TYPES) + 1
    number, own = classes * NOUNS, classes * OWN_CONTEXTS
    words = set()
    while len(words) < number + own + NEUTRALS + MODIFIERS:
        words.add("".join(rng.choice(_SYLLABLES, rng.integers(2, 4))))
    words = rng.permutation(sorted(words)).tolist()
    nouns, contexts, neutrals, modifiers = (
        words[:number],
        words[number : number + own],
        words[number + own : number + own + NEUTRALS],
        words[number + own + NEUTRALS :],
    )
    frequencies = 1 / (100 + rng.permutation(number))
    main = np.repeat(np.arange(classes), NOUNS)
    senses = np.eye(classes)[main]
    labelled, trained = np.zeros(number, bool), np.zeros(number, bool)
    for kind in range(classes):
        order = kind * NOUNS + rng.permutation(NOUNS)
        labelled[order[: round(LABELLED * NOUNS)]] = True
        trained[order[: round((LABELLED - VALID_ONLY) * NOUNS)]] = True
        for noun in kind * NOUNS + rng.permutation(NOUNS)[: round(TWO_CLASSES * NOUNS)]:
            other = rng.choice([each for each in range(classes) if each != kind])
            senses[noun, [kind, other]] = SENSES
    preferences = np.repeat(np.eye(classes), OWN_CONTEXTS, axis=1) / OWN_CONTEXTS
    return Language(
        nouns, frequencies / frequencies.sum(), senses, labelled, trained, contexts, preferences, neutrals, modifiers
    )


class Writer:
    """Texts of a language with their entities.

    Args:
        language: `Language`.
        telling: how often a context word is the class's own.
        chosen: bool [N], which nouns occur; None: all.
    """

    def __init__(self, language, telling, chosen=None):
        self._language, self._telling = language, telling
        shares = language.frequencies * (1 if chosen is None else chosen)
        self._nouns = _edges(shares / shares.sum())
        self._senses, self._preferences = _edges(language.senses), _edges(language.preferences)

    def document(self, rng):
        """One text and its entities: (text, list of (start, end, type)), places in code points."""
        text, spans = "", []
        for _ in range(SENTENCES):
            for clause in range(1 + (rng.random() < _SECOND_CLAUSE)):
                text += " and " if clause else " " * bool(text)
                text, span = self._clause(rng, text)
                spans += span
            text += "."
        return text, spans

    def _clause(self, rng, text):
        """(the text with one more clause, list of its span or none)."""
        language = self._language

        def any_of(words):
            return words[rng.integers(len(words))]

        noun = _draw(rng, self._nouns)
        kind = _draw(rng, self._senses[noun])
        own = rng.random() < self._telling
        context = language.contexts[_draw(rng, self._preferences[kind])] if own else any_of(language.contexts)
        neutral = " ".join(any_of(language.neutrals) for _ in range(rng.integers(1, 4)))
        named = language.nouns[noun]
        if rng.random() < _MODIFIED:
            named = f"{any_of(language.modifiers)} {named}"
        before, after = (f"{neutral} {context} ", "") if rng.random() < 0.5 else ("", f" {context} {neutral}")
        start = len(text) + len(before)
        spans = [(start, start + len(named), TYPES[kind])] if kind < len(TYPES) else []
        return text + before + named + after, spans


def _edges(shares):
    """Shares [..., n] as the upper edges of n parts of 0 to 1; parts without a share are never drawn."""
    edges = np.cumsum(shares, -1)
    return edges / edges[..., -1:]


def _draw(rng, edges):
    return int(np.searchsorted(edges, rng.random(), side="right"))


class Oracle:
    """The best tagger that knows the language and some of its nouns: Bayes' rule, decided for the highest F1.

    Of the nouns that it does not know it knows what they are on average. Strict micro F1 is the highest where a type is
    named if its probability is above half of that F1 (Lipton, Elkan and Naryanaswamy 2014): found by iteration.

    Args:
        language: `Language`.
        telling: how often a context word is the class's own in the texts that are tagged.
        known: bool [N]; None: all nouns.

    Attributes:
        f1: the F1 that it is expected to reach, expected hits over expected marks and entities.
    """

    def __init__(self, language, telling, known=None):
        self._modifiers = set(language.modifiers)
        self._nouns = {word: place for place, word in enumerate(language.nouns)}
        self._contexts = {word: place for place, word in enumerate(language.contexts)}
        joint = language.joint(telling)
        if known is not None:
            joint[~known] = joint[~known].mean(0)  # the same for each of them, and their sum as it was
        per_clause = joint.sum(1)
        best = joint[:, : len(TYPES)].max(1)
        self._chances, self._types = best / per_clause, joint[:, : len(TYPES)].argmax(1)
        entities = joint[:, : len(TYPES)].sum()
        self.f1, before = 1.0, 0.0
        while abs(self.f1 - before) > 1e-12:
            named = self._chances > self.f1 / 2
            before, self.f1 = self.f1, 2 * best[named].sum() / (per_clause[named].sum() + entities)

    def tag(self, text):
        """The entities that it finds: list of (start, end, type), by the grammar and the words alone."""
        spans, start = [], 0
        for sentence in text.split("."):
            for clause in sentence.split(" and "):
                spans += self._clause_spans(clause, start)
                start += len(clause) + len(" and ")
            start += len(".") - len(" and ")
        return spans

    def _clause_spans(self, clause, start):
        words = clause.split()
        if not words:
            return []
        (noun,) = (word for word in words if word in self._nouns)
        (context,) = (word for word in words if word in self._contexts)
        row, column = self._nouns[noun], self._contexts[context]
        if self._chances[row, column] <= self.f1 / 2:
            return []
        place = words.index(noun)
        if place and words[place - 1] in self._modifiers:
            noun = f"{words[place - 1]} {noun}"
        begin = start + f" {clause} ".index(f" {noun} ")
        return [(begin, begin + len(noun), TYPES[self._types[row, column]])]
