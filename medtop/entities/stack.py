"""The encoder and the CRF together: log p(tag) = a log p_crf + c log p_encoder, made a distribution again.

From scratch each sees what the other does not: the CRF has learned weights of hand-made features by a convex fit, which
few examples suffice for, the encoder what they mean together. The two numbers are fitted on the validation split, whose
documents neither learned from, by the likelihood of the words' tags (a logarithmic opinion pool, Heskes 1998); a span's
score is then a probability that holds there. c is 0 where the encoder does not help.

Letters: W words, K tags, N words of all validation documents.
"""

import dataclasses
from pathlib import Path

import numpy as np
from scipy import optimize, special

from medtop.entities.crf_tagger import CrfTagger
from medtop.entities.records import word_labels
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError

FILE = "stack.json"
_LEAST = 1e-6
"""A CRF's probabilities below it are it: what a tag of no example gets would rule out what the encoder sees."""


def crf_scores(split, crf, tags):
    """The CRF's log-probabilities of a document's words.

    Args:
        split: `medtop.entities.words.DocumentWords`.
        crf: `CrfTagger`.
        tags: list of K tags, `O` first; tags of other types count as `O`.

    Returns:
        float64 [W, K].
    """
    parts = [np.zeros((0, len(tags)))]
    for part in split.sentences():
        words = split.words[part]
        scores, none = crf.tag_scores(words), [0.0] * len(words)
        of_tags = np.array([scores.get(tag, none) for tag in tags[1:]]).T
        parts.append(np.column_stack([1.0 - of_tags.sum(1), of_tags]))
    return np.log(np.clip(np.concatenate(parts), _LEAST, 1.0))


def pooled(of_crf, of_encoder, weights):
    """The two together: log-probabilities float64 [..., K].

    Args:
        of_crf, of_encoder: log-probabilities [..., K].
        weights: (a, c).
    """
    logits = weights[0] * of_crf + weights[1] * of_encoder
    return logits - special.logsumexp(logits, axis=-1, keepdims=True)


def fit_weights(of_crf, of_encoder, labels):
    """(a, c), both at least 0, under which the labels are likeliest; the problem is convex.

    Args:
        of_crf, of_encoder: float [N, K]; labels: int [N].
    """
    rows = np.arange(len(labels))

    def loss(weights):
        logs = pooled(of_crf, of_encoder, weights)
        chances = np.exp(logs)
        slopes = [((chances * part).sum(1) - part[rows, labels]).mean() for part in (of_crf, of_encoder)]
        return -logs[rows, labels].mean(), np.array(slopes)

    result = optimize.minimize(loss, [0.5, 0.5], jac=True, bounds=[(0.0, None)] * 2, method="L-BFGS-B")
    return tuple(float(weight) for weight in result.x)


@dataclasses.dataclass(frozen=True)
class Stack:
    """What an `EncoderTagger` calls to put the CRF beside it.

    Attributes:
        crf: `CrfTagger`.
        weights: dict task -> (a, c).
    """

    crf: CrfTagger
    weights: dict

    def __call__(self, split, task, tags, of_encoder):
        """Log-probabilities [W, K] of a document's words, out of the encoder's."""
        return pooled(crf_scores(split, self.crf, tags), of_encoder, self.weights[task])


def fit(folder, tagger, crf, documents):
    """Fits the weights on documents and writes `stack.json`.

    Args:
        folder: the run's.
        tagger: its `EncoderTagger`, alone.
        crf: its `CrfTagger`.
        documents: list of `Document` of the validation split, spans in one piece.

    Returns:
        the content of `stack.json`: dict task -> crf and encoder (the weights a and c), words, and log_loss of each
        and of both together.

    Raises:
        DataError: where no document has a word.
    """
    tagset = tagger.tagset
    collected = {task: [] for task in tagset.tasks}
    for document, (_, words, scores) in zip(documents, tagger.word_scores(documents), strict=True):
        for task, of_encoder in scores.items():
            labels = word_labels(document, words, tagset.tasks[task], tagset.scheme)
            collected[task].append((crf_scores(words, crf, tagset.labels[task]), of_encoder, labels))
    about = {}
    for task, parts in collected.items():
        if not parts:
            raise DataError("--model=stack: expected words in the validation split, found none")
        of_crf, of_encoder, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        weights, rows = fit_weights(of_crf, of_encoder, labels), np.arange(len(labels))
        both = pooled(of_crf, of_encoder, weights)
        losses = {"crf": of_crf, "encoder": of_encoder, "stack": both}
        about[task] = {
            "crf": weights[0],
            "encoder": weights[1],
            "words": len(labels),
            "log_loss": {name: float(-logs[rows, labels].mean()) for name, logs in losses.items()},
        }
    write_json(Path(folder) / FILE, about)
    return about


def load(folder, crf, tasks):
    """The `Stack` of a run's folder.

    Raises:
        DataError: where none was fitted, or another run's was.
    """
    path = Path(folder) / FILE
    try:
        content = read_json(path)
        return Stack(crf, {task: (float(content[task]["crf"]), float(content[task]["encoder"])) for task in tasks})
    except FileNotFoundError:
        raise DataError(f"{path}: expected fitted weights, found none (--do_train --model=stack)") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: expected what --do_train --model=stack writes, received another content") from None
