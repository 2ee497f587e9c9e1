"""Windows of notes as TFRecord (`medtop.data.layouts.NOTES`).

Letters: S windows, n tokens of a window, K labels of a task.
"""

import dataclasses

import numpy as np

from medtop.data.layouts import NOTES
from medtop.data.protobuf import Column
from medtop.data.record_maker import Examples, description

TASK = "readmission"
"""The patient-level task of docs/contract.md, "Batch, outputs, losses"; its one label has the same name."""


@dataclasses.dataclass(frozen=True)
class NoteRecords:
    """S records, columnar.

    Attributes:
        counts: int64 [S], tokens of each.
        token_ids, segment_ids, word_starts: int64 [sum of counts].
        patient_ids, admission_ids: lists of S str.
        windows: int64 [S], number within the text, from 0.
        window_starts, window_ends: int64 [S], characters of the text.
        prediction_times: int64 [S], seconds since 1970-01-01.
        labels, weights: dict task -> float32 [S, K]; weight 0 = unknown.
    """

    counts: np.ndarray
    token_ids: np.ndarray
    segment_ids: np.ndarray
    word_starts: np.ndarray
    patient_ids: list
    admission_ids: list
    windows: np.ndarray
    window_starts: np.ndarray
    window_ends: np.ndarray
    prediction_times: np.ndarray
    labels: dict
    weights: dict


def describe(tokenizer, defaults, *, tasks=None, **others):
    """What `medtop.data.tfrecord.DatasetWriter` wants to know of a data set of notes.

    Args:
        tokenizer: `medtop.text.wordpiece.WordPiece`.
        defaults: dict of `max_seq_length`, `max_predictions_per_seq`, `masked_lm_prob`, `random_seed`.
        tasks: dict task -> label names; default `{"readmission": ["readmission"]}`.
        **others: `split`, `flags`, `source_manifest`: see `medtop.data.record_maker.description`.
    """
    tasks = {TASK: [TASK]} if tasks is None else tasks
    return description(NOTES.name, tokenizer.vocabulary, tasks, defaults, tokenizer=tokenizer.settings, **others)


def records_of(windows, patient_ids, admission_ids, prediction_times, labels):
    """The `NoteRecords` of windows: each has the label of its text.

    Args:
        windows: `medtop.text.windows.Windows` of N texts.
        patient_ids, admission_ids: N str.
        prediction_times: int64 [N], seconds.
        labels: float [N], 1, 0 or NaN (unknown).
    """
    texts = windows.texts
    target = np.asarray(labels, np.float32)[texts][:, None]
    known = ~np.isnan(target)
    return NoteRecords(
        windows.counts,
        windows.token_ids,
        np.zeros(len(windows.token_ids), np.int64),
        windows.word_starts,
        [patient_ids[text] for text in texts],
        [admission_ids[text] for text in texts],
        windows.numbers,
        windows.starts,
        windows.ends,
        np.asarray(prediction_times, np.int64)[texts],
        {TASK: np.where(known, target, 0).astype(np.float32)},
        {TASK: known.astype(np.float32)},
    )


def examples_of(records, tasks, **counted):
    """`NoteRecords` as `medtop.data.record_maker.Examples`, ready to be written.

    Args:
        records: `NoteRecords`.
        tasks: names of the tasks whose labels are written.
        **counted: `examples_in`, `dropped`, `counts`.
    """
    columns = [
        Column(name, "int64", getattr(records, name), records.counts)
        for name in ("token_ids", "segment_ids", "word_starts")
    ]
    columns += [
        Column("window", "int64", records.windows),
        Column("window_start", "int64", records.window_starts),
        Column("window_end", "int64", records.window_ends),
        Column("prediction_time", "int64", records.prediction_times),
        Column("patient_id", "bytes", [name.encode() for name in records.patient_ids]),
        Column("admission_id", "bytes", [name.encode() for name in records.admission_ids]),
    ]
    for task in tasks:
        columns += [
            Column.of_matrix(f"{task}_labels", "float", records.labels[task]),
            Column.of_matrix(f"{task}_weights", "float", records.weights[task]),
        ]
    return Examples(columns, records.counts, records.patient_ids, records.labels, records.weights, **counted)
