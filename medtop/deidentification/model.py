"""A trained tagger of entities as one of the finders, and the score from which each of its types counts."""

import json
from pathlib import Path

from medtop.files.atomic import sha256
from medtop.files.errors import DataError


def load_model(folder, thresholds_path=""):
    """A run of `run_entities.py` as a function of documents.

    Args:
        folder: the run's folder, "" for no model.
        thresholds_path: JSON of `thresholds.choose`; "": every span of the model counts.

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
        [name, sha256(Path(folder) / "entities.json")],
        {kind: (kind, 0.0) for kind in about["types"]},
    )
    if thresholds_path:
        chosen = read_thresholds(thresholds_path)
        if chosen["model"] != settings[1]:
            raise DataError(f"{thresholds_path}: expected the thresholds of {folder}, received another run's")
        thresholds = {kind: (kind, entry["threshold"]) for kind, entry in chosen["types"].items()}
        settings.append(sha256(thresholds_path))
    system = run.load(folder, name)
    return (lambda documents: [document.spans for document in system(documents)]), thresholds, settings


def read_thresholds(path):
    """The content of a thresholds file.

    Raises:
        DataError: for another content.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        content["model"], [float(entry["threshold"]) for entry in content["types"].values()]
    except FileNotFoundError:
        raise DataError(f"{path}: expected a thresholds file, found none") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: expected what --choose_thresholds writes, received another content") from None
    return content
