"""Models on their pretraining tasks, as one table: a page and the cells that Markdown shows too."""

from medtop.reporting.elements import Markup, escape, html_table, write_page

HEADER = [
    "model",
    "hidden words: loss, nats [95%]",
    "right [95%]",
    "loss, minus the first [95%]",
    "pieces: loss",
    "right",
    "pieces a word",
    "next sentence: right [95%]",
    "sentence order: right [95%]",
]
NOTES = (
    "Hidden words: the same words of the same windows are hidden from all models, each with all its pieces; the loss "
    "of a word is that of its pieces together, so that models of different vocabularies can be compared. A model sees "
    "how many pieces a hidden word has. Words that some model cannot read ([UNK]) are never hidden.",
    "Pieces: the same losses for each piece. Pieces of different vocabularies are different things; compare them only "
    "between models of one vocabulary.",
    "Runs of sentences: half of the pairs follow each other. 0.5 is guessing. Empty: the model has no such head.",
    "Word frequencies: how frequent each word is in the other patients' texts, whatever stands around it.",
    "Intervals: 95%, bootstrap over patients (over texts where no patients are named).",
)


def columns(entries):
    """(header, rows) of some models, as text; a column that is empty for all of them is left out."""
    rows = [_cells(entry) for entry in entries]
    kept = [place for place, name in enumerate(HEADER) if not place or any(row[place] for row in rows)]
    return [HEADER[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _cells(entry):
    measures = entry["measures"]
    return [
        entry["name"],
        _span(measures.get("word_loss")),
        _span(measures.get("word_accuracy")),
        _span((measures.get("word_loss") or {}).get("difference"), "+"),
        _value(measures.get("piece_loss")),
        _value(measures.get("piece_accuracy")),
        _value(measures.get("pieces_per_word")) if "piece_loss" in measures else "",
        _span(measures.get("next_sentence_accuracy")),
        _span(measures.get("sentence_order_accuracy")),
    ]


def write_language_page(path, content):
    """Writes the page.

    Args:
        path: the file.
        content: what language.json holds: `about`, `notes`, `models`.
    """
    header, rows = columns(content["models"])
    for row in rows:  # a path breaks at its slashes, an interval nowhere
        row[0] = Markup(escape(row[0]).replace("/", "/<wbr>"))
        row[1:] = [text.replace(", ", ",\N{NO-BREAK SPACE}") for text in row[1:]]
    body = html_table(header, rows, wrap=True)
    write_page(
        path, "Models on held-out notes", [("table", "Table", body)], content["about"], [*NOTES, *content["notes"]]
    )


def _value(numbers):
    return "" if not numbers else f"{numbers['value']:.3f}"


def _span(numbers, sign=""):
    if not numbers:
        return ""
    ends = "" if numbers["low"] is None else f" [{numbers['low']:{sign}.3f}, {numbers['high']:{sign}.3f}]"
    return f"{numbers['value']:{sign}.3f}{ends}"
