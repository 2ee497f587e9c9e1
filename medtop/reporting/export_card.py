"""The model card of an export, out of what the run directory says.

Tasks and labels, where the data came from, who may have the weights, metrics with intervals, configuration, commands.
"""

import logging

from medtop.cohort.vocabulary import FEW_CODES, FEW_PATIENTS
from medtop.data.description import read_dataset
from medtop.evaluation.small_cells import hide_in_sentence, leave_out_small
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.reporting.card import RESTRICTIONS, Card, provenance, read_card, write_card

logger = logging.getLogger(__name__)

MIN_CELL = 11
"""Smallest number of people that a card shows which leaves the house; what Medicare's data use agreements ask for."""


def write_export_card(folder, run, *, title, summary, usage, tasks, config=None, notes=(), tags=(), command=""):
    """Writes `card.json` and `README.md`.

    Args:
        folder: of the export.
        run: `RunDirectory` that is exported.
        title: heading.
        summary: list of paragraphs: what this folder is.
        usage: blocks that show how it is used, see `Card`.
        tasks: list of `Task` that the export holds.
        config: `BertConfig` of the export; None = the run's.
        notes: sentences on what was left out or changed, and how well the export agrees with the run.
        tags: words for model hubs; without any the card has no front matter.
        command: the command line that made the export.
    """
    known, notes = read_card(run.path), list(notes)
    commands = dict(known.commands) if known else {}
    if not commands:
        notes.append("the command that trained the run is not recorded in the run directory")
    notes.append(_vocabulary_note(run))
    split, metrics = _results(run, tasks)
    metrics, gone = leave_out_small(metrics, MIN_CELL)
    if gone:
        notes.append(f"results of {', '.join(gone)} are left out: fewer than {MIN_CELL} people with or without it")
    card = Card(
        title=title,
        summary=list(summary),
        restrictions=known.restrictions if known else RESTRICTIONS,
        usage=list(usage),
        tasks={task.name: list(task.labels) for task in tasks},
        data=[hide_in_sentence(sentence, MIN_CELL) for sentence in (known.data if known else _data(run))],
        split=split,
        metrics=metrics,
        notes=notes,
        notes_title="This export",
        configuration=(read_json(run.config_file) if config is None else config.to_dict()),
        commands=commands | ({"exported": command} if command else {}),
        tags=list(tags),
    )
    write_card(folder, card)


def _vocabulary_note(run):
    """What the exported vocabulary may give away, also as a warning on the screen."""
    about = run.vocabulary_origin()
    few = about.get(FEW_CODES)
    if few == 0:
        least = max(FEW_PATIENTS, about["min_code_patients"])
        return f"each code of the vocabulary was seen in at least {least} patients of the training split"
    sentence = "how many patients share each entry of the vocabulary is not recorded: read it before it is given away"
    if few:
        sentence = (
            f"{few} codes of the vocabulary were seen in fewer than {FEW_PATIENTS} patients of the training split and "
            "may say who one of them is: read it before it is given away (--min_code_patients)"
        )
    logger.warning("%s", sentence)
    return sentence


def _data(run):
    """Where the data of a run without card.json came from: the description of its records, else its splits."""
    settings = run.settings()
    splits = run.read_splits() if run.has_splits() else {}
    sentences = [f"{split}: {len(ids)} patients" for split, ids in splits.items()]
    try:
        manifest = next(iter(read_dataset(settings["input_file"]).source_manifests), {})
    except (DataError, KeyError, OSError):
        return [*sentences, "where the data came from is not recorded in the run directory"]
    return [*sentences, *provenance(manifest)]


def _results(run, tasks):
    """(split, metrics of the export's tasks), of the test split where there is one; ("", {}) for no evaluation."""
    if not run.metrics_file.is_file():
        return "", {}
    metrics = read_json(run.metrics_file)
    split = "test" if "test" in metrics else next(iter(metrics))
    named = [task.name for task in tasks] or list(metrics[split])
    return split, {task: labels for task, labels in metrics[split].items() if task in named}
