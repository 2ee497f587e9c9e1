"""A trained tagger of entities as one of the finders, and the score from which each of its types counts."""

import dataclasses
from pathlib import Path

from medtop.entities.documents import Span
from medtop.entities.words import document_words
from medtop.files.atomic import sha256
from medtop.files.bounded import read_json
from medtop.files.errors import DataError

_FLOOR = 0.01
"""Words that are less probable than this are not looked at."""
_USUAL = 0.5


def load_model(folder, thresholds_path=""):
    """A run of `run_entities.py` as a function of documents.

    It gives each word a probability for each type, whatever its best sequence says, so that a threshold can be lower
    than what that sequence would find.

    Args:
        folder: the run's folder, "" for no model.
        thresholds_path: JSON of `thresholds.choose`; "": from 0.5 on.

    Returns:
        (function list of `Document` -> list of lists of `Span`, dict type -> (type, lowest score), plain settings).

    Raises:
        DataError: for a folder without a run, or thresholds of another run.
    """
    if not folder:
        return (lambda documents: [()] * len(documents)), {}, None
    from medtop.entities import run

    about = run.read_settings(folder)
    name = run.trained_model(folder)
    settings, thresholds = (
        [name, sha256(Path(folder) / run.SETTINGS)],
        {kind: (kind, _USUAL) for kind in about["types"]},
    )
    if thresholds_path:
        chosen = read_thresholds(thresholds_path)
        if chosen["model"] != settings[1]:
            raise DataError(f"{thresholds_path}: expected the thresholds of {folder}, received another run's")
        thresholds = {kind: (kind, entry["threshold"]) for kind, entry in chosen["types"].items()}
        settings.append(sha256(thresholds_path))
    if name in run.NEURAL:
        neural = run.load_neural(folder, name)
        return (lambda documents: [word_spans(*of) for _, *of in neural.type_scores(documents)]), thresholds, settings
    from medtop.entities import crf_tagger

    tagger = crf_tagger.CrfTagger(Path(folder) / crf_tagger.FILE, about["tag_scheme"])
    return (lambda documents: [probable_words(document, tagger) for document in documents]), thresholds, settings


def probable_words(document, tagger):
    """`word_spans` of a document, as a `CrfTagger` says."""
    split, spans = document_words(dataclasses.replace(document, spans=[])), []
    for part in split.sentences():
        spans += word_spans(split, tagger.type_scores(split.words[part]), part.start)
    return spans


def word_spans(words, scores, first=0):
    """Each word with each type that it may be of: list of `Span` with scores, a word each.

    Args:
        words: `DocumentWords`.
        scores: dict type -> floats, how probable it is of the words from the `first` on.
    """
    return [
        Span("", kind, ((words.starts[place], words.ends[place]),), {}, float(score))
        for kind, of_words in scores.items()
        for place, score in enumerate(of_words, first)
        if score >= _FLOOR
    ]


def read_thresholds(path):
    """The content of a thresholds file.

    Raises:
        DataError: for another content.
    """
    try:
        content = read_json(path)
        content["model"], [float(entry["threshold"]) for entry in content["types"].values()]
    except FileNotFoundError:
        raise DataError(f"{path}: expected a thresholds file, found none") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: expected what --choose_thresholds writes, received another content") from None
    return content
