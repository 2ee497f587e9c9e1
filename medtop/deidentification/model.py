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

    A CRF gives each word a probability for each type, whatever its best sequence says, so that a threshold can be lower
    than what that sequence would find; the encoder gives its spans with their scores.

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
    name = "encoder" if (Path(folder) / "encoder").is_dir() else "crf"
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
    if name == "encoder":
        system = run.load(folder, name)
        return (lambda documents: [document.spans for document in system(documents)]), thresholds, settings
    from medtop.entities import crf_tagger

    tagger = crf_tagger.CrfTagger(Path(folder) / crf_tagger.FILE, about["tag_scheme"])
    return (lambda documents: [probable_words(document, tagger) for document in documents]), thresholds, settings


def probable_words(document, tagger):
    """Each word of a document with each type that a `CrfTagger` says it may be of: list of `Span` with scores."""
    split, spans = document_words(dataclasses.replace(document, spans=[])), []
    for part in split.sentences():
        for kind, scores in tagger.type_scores(split.words[part]).items():
            for place, score in enumerate(scores, part.start):
                if score >= _FLOOR:
                    spans.append(Span("", kind, ((split.starts[place], split.ends[place]),), {}, score))
    return spans


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
