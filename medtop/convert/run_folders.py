"""An imported model as a run directory, ready for `--init_checkpoint`."""

import shutil

from medtop.convert import tokenizer
from medtop.data.layouts import DEFAULT, MEDBERT
from medtop.files.atomic import write_json, write_text
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.folders import has_json_key, whole_folder
from medtop.reporting.card import RESTRICTIONS, Card, read_card, write_card
from medtop.reporting.markdown import code
from medtop.training.checkpoints import write_arrays
from medtop.training.run_directory import RunDirectory

SOURCE_TOKENIZER = "source_tokenizer"
"""Folder that holds the tokenizer of a foreign model: an export gives back its order of tokens, and its files where
they are not word-level."""
SOURCE_CARD = "source_card.md"
DEFAULT_LENGTH, DEFAULT_PREDICTIONS, DEFAULT_SHARE = 512, 77, 0.15


def is_imported(folder):
    """Whether a folder is a run directory that was imported: `--overwrite` replaces no trained run."""
    try:
        return has_json_key("run.json", "settings")(folder) and "imported_from" in RunDirectory(folder).settings()
    except DataError:
        return False


def write_run(
    path, model, *, origin, notes, source=None, tokens=None, tokenizer_dir=None, block=None, overwrite=False, command=""
):
    """Writes the run directory.

    Args:
        path: folder; it appears whole or not at all.
        model: `medtop.convert.import_weights.Imported`.
        origin: where the weights came from, a sentence's end.
        notes: sentences for the card.
        source: folder with the card that came with the model, or None.
        tokens: list of str, the source's vocabulary in its own order; None where ours says all of it.
        tokenizer_dir: folder with the files of a tokenizer of pieces of words, or None.
        block: what a folder of ours said about its run, or {}.
        overwrite: whether an earlier import is replaced.
        command: the command line.
    """
    block = block or {}
    with whole_folder(path, is_imported, overwrite) as folder:
        run = RunDirectory(folder)
        write_arrays(run.best_weights, model.arrays, {"step": 0, "value": None})
        run.write_splits({})
        run.checkpoints.mkdir()
        if source is not None:
            _keep(source, folder, run, model.tasks)
        if tokens is not None:
            kept = folder / SOURCE_TOKENIZER
            kept.mkdir()
            if not (tokenizer_dir and tokenizer.is_subword(tokens, tokenizer_dir)):
                write_text(kept / "vocab.txt", "\n".join(tokens) + "\n")
            else:
                tokenizer.copy_tokenizer(tokenizer_dir, kept)
        write_card(folder, _card(model, origin, notes, source, command))
        run.start(_settings(model, origin, block), model.config, model.vocabulary, model.tasks)


def _settings(model, origin, block):
    """What later steps ask a run about its training: the exporting run's answers, else what our pipeline makes."""
    medbert = model.vocabulary.is_medbert
    records = {
        "layout": (MEDBERT if medbert else DEFAULT).name,
        "time_gap": "after" if medbert else "before",
        "visit_separator": False,
    }
    return {
        "imported_from": origin,
        "max_seq_length": block.get("max_seq_length") or min(DEFAULT_LENGTH, model.config.max_position_embeddings),
        "max_predictions_per_seq": DEFAULT_PREDICTIONS,
        "masked_lm_prob": DEFAULT_SHARE,
        "data": {"train": {**records, **(block.get("data") or {}), "vocabulary": model.vocabulary.hash}, "valid": None},
    }


def _keep(source, folder, run, tasks):
    """Takes over the source's card, and its calibration where the heads are still the ones that it was fitted to."""
    if (source / "README.md").is_file():
        shutil.copyfile(source / "README.md", folder / SOURCE_CARD)
    calibration = source / "calibration.json"
    if not calibration.is_file():
        return
    try:
        content = read_json(calibration)
        fits = all(list(content[task.name]["labels"]) == list(task.labels) for task in tasks if task.level == "patient")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{calibration}: expected calibrations as medtop writes them, received others") from error
    if fits:
        write_json(run.calibration_file, content)


def _card(model, origin, notes, source, command):
    config = model.config
    theirs = read_card(source) if source is not None else None
    has_text = source is not None and (source / "README.md").is_file()
    own = f"weights: {origin}; what they were trained on stands in its own card"
    own += f", {code(SOURCE_CARD)}" if has_text else ", which did not come with them"
    return Card(
        summary=[
            f"A BERT encoder ({config.num_hidden_layers} layers, width {config.hidden_size}, "
            f"{len(model.vocabulary)} tokens, embeddings {', '.join(config.embeddings)}), imported by medtop from "
            f"{origin}; not trained here."
        ],
        restrictions=theirs.restrictions if theirs else RESTRICTIONS,
        tasks={task.name: list(task.labels) for task in model.tasks},
        data=theirs.data if theirs and theirs.data else [own],
        notes=list(notes),
        notes_title="Import",
        commands={"imported": command} if command else {},
    )
