"""Measures of tags that a model gives to words: loss, share of right tags, and F1 of the spans that they mark.

Letters: N rows, n words of a row that carry labels, K tags.
"""

import math

import numpy as np

from medtop.text.tags import decode, scheme_of

TOP = 10


class TaggedWords:
    """Sums over rows, and the measures that they give.

    A span is right where one with the same words and the same type is marked; what counts as one is
    `medtop.text.tags.decode`'s strict rule. Tags are each word's likeliest, and a span that two windows of a document
    share counts as two: this is for choosing weights, and what is published comes from `medtop.entities.evaluate`.

    Args:
        labels: tuple of K tags; where they are of no scheme, there is no F1.
    """

    def __init__(self, labels):
        self.labels, self.scheme = labels, scheme_of(labels)
        self.words = self.loss = self.right = self.among_best = 0
        self.gold = self.found = self.hits = 0

    def add(self, logits, tags, weights):
        """Adds a row.

        Args:
            logits: float [T, K]; tags: int [T]; weights: float [T], above 0 for words with labels.
        """
        known = np.asarray(weights) > 0
        scores, tags = np.asarray(logits, np.float64)[known], np.asarray(tags)[known]
        if not len(tags):
            return
        mine = scores[np.arange(len(tags)), tags]
        highest = scores.max(-1)
        self.words += len(tags)
        self.loss += float((highest + np.log(np.exp(scores - highest[:, None]).sum(-1)) - mine).sum())
        above = (scores > mine[:, None]).sum(-1)
        self.right += int((above < 1).sum())
        self.among_best += int((above < TOP).sum())
        if self.scheme is not None:
            gold, found = self._spans(tags), self._spans(scores.argmax(-1))
            self.gold, self.found, self.hits = (
                self.gold + len(gold),
                self.found + len(found),
                self.hits + len(gold & found),
            )

    def _spans(self, tags):
        """Set of (first, after, type); most rows hold none."""
        return set(decode([self.labels[tag] for tag in tags], self.scheme)[0]) if tags.any() else set()

    def measures(self):
        """dict of loss, accuracy, top10_accuracy, perplexity, n; with tags of a scheme `f1`, None without any span."""
        mean = [total / self.words if self.words else math.nan for total in (self.loss, self.right, self.among_best)]
        names = ("loss", "accuracy", "top10_accuracy")
        measures = {**dict(zip(names, mean, strict=True)), "perplexity": float(np.exp(mean[0])), "n": self.words}
        if self.scheme is not None:
            spans = self.gold + self.found
            measures["f1"] = 2 * self.hits / spans if spans else None
        return measures
