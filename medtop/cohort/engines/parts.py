"""The first pass in parts: contiguous ranges of patients, each with files and sums of its own, merged in their order.

A part runs the very code of the whole (`FirstPass`); patients and codes keep the places they have in the whole cohort,
so that merging appends files and adds sums, and every output is the same, byte for byte, however many parts there are.
What a part saves is memory: the rows of one part are sorted at a time.
"""

import contextlib

import numpy as np

from medtop.cohort.spill import open_columns


def spans(patients, parts):
    """Ranges (first, after) of as many patients each as possible; none is empty.

    >>> spans(10, 4), spans(2, 4), spans(0, 3)
    ([(0, 2), (2, 5), (5, 7), (7, 10)], [(0, 1), (1, 2)], [(0, 0)])
    """
    edges = np.unique(np.linspace(0, patients, parts + 1).astype(np.int64)).tolist()
    return list(zip(edges[:-1], edges[1:], strict=True)) or [(0, 0)]


def run_parts(parts, first, rows_of, spilled, tally, folder, progress):
    """Runs the first pass over all patients.

    Args:
        parts: how many ranges; 1 runs without any merging.
        first: `medtop.cohort.first_pass.FirstPass`.
        rows_of: function of a span (first, after), or None for all, -> batches of sorted `Rows`.
        spilled: list of `ColumnFiles`, one a split, or None for a dry run.
        tally: `Tally` that gets the sums of all parts.
        folder: existing folder for the parts' files.
        progress: function called with ("rows", rows so far).
    """
    if parts == 1:
        first.run(rows_of(None), spilled, tally, progress)
        return
    for number, span in enumerate(spans(len(first.patients), parts)):
        before, own = tally.rows, first.new_tally()

        def show(what, count, before=before):
            progress(what, before + count)

        with contextlib.ExitStack() as stack:
            files = None
            if spilled is not None:
                place = folder / f"part-{number:05d}"
                place.mkdir()
                stack.callback(place.rmdir)
                files = open_columns(stack, place, spilled[0].dtypes)
            first.run(rows_of(span), files, own, show)
            for whole, part in zip(spilled or (), files or (), strict=True):
                whole.append_file(part)
        tally.add(own)
