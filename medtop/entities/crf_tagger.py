"""The strong rival: a conditional random field on hand-made features (python-crfsuite, the extra `entities`)."""

import dataclasses
from pathlib import Path

from medtop.entities.features import sentence_features
from medtop.entities.viterbi import allowed_transitions, viterbi
from medtop.files.errors import DataError
from medtop.text.tags import decode, encode

FILE = "crf.bin"
"""Its name in a run's folder."""


@dataclasses.dataclass(frozen=True)
class CrfSettings:
    """L1 and L2 penalties and most rounds of L-BFGS."""

    c1: float = 0.05
    c2: float = 0.02
    max_iterations: int = 80


def load_library():
    """The module `pycrfsuite`.

    Raises:
        DataError: where the extra is not installed.
    """
    try:
        import pycrfsuite
    except ImportError:
        raise DataError(
            "python-crfsuite: expected it to be installed, found none; pip install 'medtop[entities]'"
        ) from None
    return pycrfsuite


class CrfTagger:
    """A trained CRF.

    Args:
        path: its model file.
        scheme: "bio" or "bioes".
        constrained: whether tags that the scheme forbids are never given (Viterbi on the marginals), or the CRF's own
            best sequence is read strictly.
    """

    name = "crf"

    def __init__(self, path, scheme="bio", constrained=False):
        self.scheme, self.constrained = scheme, constrained
        self._tagger = load_library().Tagger()
        if not Path(path).is_file():
            raise DataError(f"{path}: expected a CRF's model file, found none")
        self._tagger.open(str(path))
        self._labels = self._tagger.labels()
        self._rules = allowed_transitions(self._labels, scheme)

    @classmethod
    def learn(cls, sentences, path, scheme="bio", settings=CrfSettings()):
        """Trains on an iterable of (words, ranges) and writes the model to `path`.

        Raises:
            DataError: where no sentence holds a span.
        """
        trainer, some = load_library().Trainer(verbose=False), False
        trainer.set_params(dataclasses.asdict(settings))
        for words, ranges in sentences:
            if words:
                trainer.append(sentence_features(words), encode(len(words), ranges, scheme))
                some = some or bool(ranges)
        if not some:
            raise DataError("training: expected spans to learn from, received none")
        trainer.train(str(path))
        return cls(path, scheme)

    def tag_scores(self, words):
        """For each tag but `O` how probable it is at a word: dict tag -> list of floats, one a word."""
        if not words:
            return {}
        self._tagger.set(sentence_features(words))
        places = range(len(words))
        return {tag: [self._tagger.marginal(tag, place) for place in places] for tag in self._labels if tag != "O"}

    def type_scores(self, words):
        """For each type how probable it is that a word belongs to one: dict type -> list of floats, one a word."""
        scores = {}
        for tag, marginals in self.tag_scores(words).items():
            before = scores.get(tag.partition("-")[2], [0.0] * len(words))
            scores[tag.partition("-")[2]] = [a + b for a, b in zip(before, marginals, strict=True)]
        return scores

    def tag(self, words):
        """Ranges of a sentence: list of (first, after, type, score); the score is the lowest marginal of its tags."""
        if not words:
            return []
        features = sentence_features(words)
        tags = self._tagger.tag(features)
        if self.constrained:
            import numpy as np

            marginals = [[self._tagger.marginal(label, place) for label in self._labels] for place in range(len(words))]
            tags = [self._labels[k] for k in viterbi(np.log(np.maximum(marginals, 1e-12)), *self._rules)]
        ranges, _ = decode(tags, self.scheme)
        return [
            (first, after, kind, min(self._tagger.marginal(tags[place], place) for place in range(first, after)))
            for first, after, kind in ranges
        ]
