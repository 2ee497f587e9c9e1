"""A run's system marks entities in new texts, and writes them in any format."""

import dataclasses
from pathlib import Path

import numpy as np

from medtop.entities import run
from medtop.entities.documents import Document, Tally
from medtop.entities.formats import find_format
from medtop.entities.reading import input_files, read_text, stem
from medtop.files.atomic import write_json
from medtop.files.folders import has_json_key, whole_folder


def read_texts(path):
    """Yields a `Document` for each `.txt` file, named by its path."""
    files = input_files(path, (".txt",))
    for name in files.names:
        yield Document(stem(name, (".txt",)), read_text(files.path(name)), source=name)


def predict_texts(options):
    """Marks entities in texts and writes them in a format, whole or not at all.

    Returns:
        (number of documents, number of spans, `Tally` of what the format has no place for).
    """
    system, target, tally = (
        run.load(options.output_dir, options.model, options.decode),
        find_format(options.predict_format),
        Tally(),
    )
    counts = {"documents": 0, "spans": 0}

    def marked():
        for tagged in system(read_texts(options.predict_input)):
            counts["documents"] += 1
            counts["spans"] += len(tagged.spans)
            yield tagged

    earlier = has_json_key(run.PREDICTION, "system")
    with whole_folder(options.predict_output, earlier, options.overwrite) as work:
        documents = (
            (_whole_tokens(document, tally) for document in marked()) if target.name == "i2b2_2010" else marked()
        )
        target.write(work, documents, tally)
        about = {
            "system": options.model,
            "run": str(Path(options.output_dir).resolve()),
            "format": target.name,
            **counts,
        }
        write_json(work / run.PREDICTION, about | {"left_out": dict(tally.reasons), "counts": dict(tally.counts)})
    return counts["documents"], counts["spans"], tally


def _whole_tokens(document, tally):
    """Spans widened to the tokens of i2b2 2010, which white space parts; counted."""
    from medtop.entities.formats.i2b2_2010 import token_places

    tokens = [edges for line in token_places(document.text) for edges in line]
    starts, ends = np.array([a for a, _ in tokens]), np.array([b for _, b in tokens])
    spans = []
    for span in document.spans:
        start = int(starts[np.searchsorted(starts, span.start, side="right") - 1])
        end = int(ends[np.searchsorted(ends, span.end, side="left")])
        tally.count("spans_widened_to_tokens", (start, end) != (span.start, span.end))
        spans.append(dataclasses.replace(span, fragments=((start, end),)))
    return dataclasses.replace(document, spans=spans)
