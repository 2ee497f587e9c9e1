"""The model card: facts in `card.json`, and `README.md` rendered from them. Nothing reads the text back.

A run, an export and an import each write a `Card`; who needs another's facts (an export those of its run, an import
those of the folder that it came from) reads its card.json.
"""

import dataclasses
import json

from medtop.evaluation.marks import MARK, mark_lines, marked_name
from medtop.evaluation.tables import reading_order
from medtop.files.atomic import write_json, write_text
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.reporting.markdown import code, code_block, inline, table, text

CARD_FILE, TEXT_FILE = "card.json", "README.md"
VERSION = 1
RESTRICTIONS = (
    "The weights were trained on the data named below and carry information from them. Pass them on only to people "
    "who may have those data."
)
LIMITS = "Not evaluated: other hospitals, other periods, subgroups. Not a medical device."
COLUMNS = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "brier": "Brier",
    "calibration_error": "calibration error",
}
MASKED = ("accuracy", "top10_accuracy", "perplexity")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What a model card says. Sentences are plain text; code spans in backticks are kept.

    Attributes:
        title: heading.
        summary: list of paragraphs: what this is.
        restrictions: who may have the weights.
        usage: list of blocks: a str is a paragraph, {"language", "code"} code, {"header", "rows"} a table.
        tasks: dict task -> list of labels; none for masked codes.
        data: sentences on where the data came from.
        split: the split of `metrics`, or "".
        metrics: {task: {label: entry}} as in metrics.json.
        notes: sentences under `notes_title`: what was left out or changed.
        notes_title: heading of the notes.
        configuration: dict, or {}.
        commands: dict what -> command line.
        tags: words for model hubs; without any the text has no front matter.
    """

    title: str = "Model card"
    summary: list = dataclasses.field(default_factory=list)
    restrictions: str = RESTRICTIONS
    usage: list = dataclasses.field(default_factory=list)
    tasks: dict = dataclasses.field(default_factory=dict)
    data: list = dataclasses.field(default_factory=list)
    split: str = ""
    metrics: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)
    notes_title: str = "Notes"
    configuration: dict = dataclasses.field(default_factory=dict)
    commands: dict = dataclasses.field(default_factory=dict)
    tags: list = dataclasses.field(default_factory=list)


def provenance(manifest, outcomes=True):
    """Sentences on where data came from, by their preprocessing manifest (dict).

    Args:
        manifest: the manifest.
        outcomes: whether the model has any: what is said of labels and prediction times is left out of a pretrained
            encoder's card.
    """
    yield f"source: {(manifest.get('source') or {}).get('name')}"
    about_labels = manifest.get("label_statements") or ()
    if outcomes:
        yield f"prediction times: {(manifest.get('prediction_times') or {}).get('index')}"
    yield from (line for line in manifest.get("statements") or () if outcomes or line not in about_labels)


def write_card(folder, card):
    """Writes `card.json` and the `README.md` that is rendered from it."""
    write_json(folder / CARD_FILE, {"version": VERSION, **dataclasses.asdict(card)}, shared=True)
    write_text(folder / TEXT_FILE, "\n".join(render(card)) + "\n", shared=True)


def read_card(folder):
    """The `Card` of a folder, or None where it has none (a run of an older version, a model from elsewhere).

    Raises:
        DataError: for a file that is no card.
    """
    path = folder / CARD_FILE
    try:
        content = read_json(path)
    except FileNotFoundError:
        return None
    except ValueError:
        raise DataError(f"{path}: expected a model card (JSON), received another content") from None
    fields = {field.name: type(getattr(Card(), field.name)) for field in dataclasses.fields(Card)}
    good = isinstance(content, dict) and content.get("version") == VERSION
    if not good or any(not isinstance(content.get(name), kind) for name, kind in fields.items()):
        raise DataError(f"{path}: expected a model card of version {VERSION}, received another content")
    return Card(**{name: content[name] for name in fields})


def render(card):
    """Lines of Markdown."""
    if card.tags:
        yield from ("---", "library_name: transformers", "tags:", *(f"- {tag}" for tag in card.tags), "---", "")
    yield f"# {text(card.title)}"
    for paragraph in card.summary:
        yield from ("", text(paragraph))
    yield from ("", f"**Restrictions.** {text(card.restrictions)}")
    sections = {
        "Use": _blocks(card.usage),
        "Tasks": _bullets(f"{code(name)}: {', '.join(labels) or 'masked codes'}" for name, labels in card.tasks.items())
        or ["- none: the encoder"],
        "Data": _bullets(card.data),
        _results_heading(card): _results(card),
        card.notes_title: _bullets(card.notes),
        "Configuration": code_block(json.dumps(card.configuration, indent=1), "json") if card.configuration else [],
        "Commands": _commands(card.commands),
    }
    for heading, lines in sections.items():
        if lines:
            yield from ("", f"## {inline(heading)}", "", *lines)


def _bullets(sentences):
    return [f"- {text(sentence)}" for sentence in sentences]


def _blocks(blocks):
    lines = []
    for block in blocks:
        if isinstance(block, str):
            lines += [text(block), ""]
        elif "code" in block:
            lines += [*code_block(block["code"], block["language"]), ""]
        else:
            lines += [*table(block["header"], block["rows"]), ""]
    return lines[:-1]


def _results_heading(card):
    return f"Results ({card.split} split, 95% intervals by bootstrap over patients)" if card.split else "Results"


def _results(card):
    if not card.split:
        return ["Not evaluated."]
    rows, sure, masked = [], [], []
    for task, labels in card.metrics.items():
        for label in reading_order(labels):
            entry = labels[label]
            if label == "macro" and not entry.get("marks"):
                sure.append(len(rows))
            shown = [_shown(entry.get(name)) + _of_constants(entry, name) for name in COLUMNS]
            counts = ("" if entry[name] is None else entry[name] for name in ("n", "positives"))
            rows.append([task, marked_name(label, entry), *shown, *counts])
        for entry in labels.values():
            if "roc_auc" not in entry and "accuracy" in entry:
                parts = [f"{name} {_shown(entry[name])}" for name in MASKED]
                masked += ["", text(f"{code(task)}: {', '.join(parts)} on {entry['n']} masked positions.")]
    lines = table(["task", "label", *COLUMNS.values(), "known", "positives"], rows, sure) if rows else []
    marks = [line.removeprefix(MARK).strip() for line in mark_lines(card.metrics)]
    if marks:
        lines += ["", f"Uncertain labels ({text(MARK)}):", "", *_bullets(marks)]
    return [*lines, *masked, "", f"Probabilities behind these numbers are calibrated. {LIMITS}"]


def _of_constants(entry, name):
    """What constants reach beside micro's numbers, "" where that does not apply."""
    value = entry.get(f"{name}_constants")
    return f" (constants {_shown(value)})" if value else ""


def _shown(value):
    if not value or value["value"] is None:
        return "undefined"
    interval = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
    return f"{value['value']:.3f}{interval}"


def _commands(commands):
    lines = []
    for what, command in commands.items():
        lines += [f"{text(what)}:", "", *code_block(command), ""]
    return lines[:-1]
