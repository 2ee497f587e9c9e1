"""The simplest rival: terms that were marked in training are marked again, the longest first."""

import collections

_LEAST_SHARE = 0.5


class Dictionary:
    """Sequences of lower-cased words that were marked at least as often as not.

    Attributes:
        terms: dict of tuple of words -> (type, share of its occurrences in training that were marked so).
    """

    name = "dictionary"

    def __init__(self, terms=()):
        self.terms = dict(terms)
        self._lengths = self._longest()

    def _longest(self):
        """dict first word -> lengths of the terms that begin with it, longest first."""
        lengths = collections.defaultdict(set)
        for term in self.terms:
            lengths[term[0]].add(len(term))
        return {word: sorted(sizes, reverse=True) for word, sizes in lengths.items()}

    @classmethod
    def learn(cls, sentences):
        """Learns from an iterable of (words, ranges (first, after, type)); it is read twice, so give a list."""
        marked = collections.defaultdict(collections.Counter)
        for words, ranges in sentences:
            for first, after, kind in ranges:
                marked[tuple(word.lower() for word in words[first:after])][kind] += 1
        every = cls({term: ("", 1.0) for term in marked})
        seen = collections.Counter()
        for words, _ in sentences:
            lower = [word.lower() for word in words]
            for place in range(len(lower)):
                seen.update(every._terms_at(lower, place))
        terms = {}
        for term, kinds in marked.items():
            kind, number = min(kinds.items(), key=lambda item: (-item[1], item[0]))
            if number / seen[term] >= _LEAST_SHARE:
                terms[term] = (kind, number / seen[term])
        return cls(terms)

    def tag(self, words):
        """Ranges of a sentence: list of (first, after, type, score); the score is the term's share in training."""
        lower, spans, place = [word.lower() for word in words], [], 0
        while place < len(lower):
            term = next(self._terms_at(lower, place), None)
            if term is None:
                place += 1
            else:
                spans.append((place, place + len(term), *self.terms[term]))
                place += len(term)
        return spans

    def _terms_at(self, lower, place):
        """Yields the terms that begin at a place, the longest first."""
        for length in self._lengths.get(lower[place], ()):
            term = tuple(lower[place : place + length])
            if len(term) == length and term in self.terms:
                yield term

    def to_json(self):
        """Plain values."""
        return [[" ".join(term), kind, share] for term, (kind, share) in sorted(self.terms.items())]

    @classmethod
    def from_json(cls, rows):
        """The inverse of `to_json`; words hold no blanks."""
        return cls({tuple(words.split(" ")): (kind, share) for words, kind, share in rows})
