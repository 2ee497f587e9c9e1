"""What a run on notes writes: labels, texts by split, and ClinicalBERT's data folder."""

import collections
import csv

import numpy as np
import pyarrow
import pyarrow.parquet as parquet

from medtop.cohort.splits import SPLITS
from medtop.files.arrow import numbers_column, strings_column
from medtop.files.sql import numbers
from medtop.files.staging import made_path
from medtop.sources.dates import as_written_sql
from medtop.text.cleaning import clean, has_word
from medtop.text.copies import find_copies
from medtop.text.word_windows import all_word_windows

SCHEMA = pyarrow.schema(
    [
        pyarrow.field("patient_id", pyarrow.string(), nullable=False),
        pyarrow.field("admission_id", pyarrow.string(), nullable=False),
        pyarrow.field("prediction_time", pyarrow.timestamp("s"), nullable=False),
        pyarrow.field("readmission", pyarrow.int8()),  # 1, 0, null: unknown
        pyarrow.field("text", pyarrow.large_string(), nullable=False),
        # where each of the joined notes begins (in characters), and when it is known; of one length, at least 1
        pyarrow.field("note_starts", pyarrow.list_(pyarrow.int32()), nullable=False),
        pyarrow.field("note_times", pyarrow.list_(pyarrow.timestamp("s")), nullable=False),
    ]
)
"""Columns of `<prefix>.notes.<split>.parquet`: one row per example that has a text, by patient and prediction time."""

ROW_GROUP_BYTES = 1 << 24
FOLDER_NAMES = {"train": "train.csv", "valid": "val.csv", "test": "test.csv"}
LABELS_HEADER = ("patient_id", "prediction_time", "readmission", "admission_id", "reason")


def write_labels(path, connection):
    """Writes `patient_id,prediction_time,readmission,admission_id,reason`: one line per example, in order."""
    reader = connection.execute(
        f"SELECT patient_id, CASE WHEN {as_written_sql('prediction_time')} = prediction_time "
        "THEN strftime(prediction_time, '%Y-%m-%d %H:%M:%S') ELSE strftime(prediction_time, '%Y-%m-%d') END, "
        "label, admission_id, unknown "
        "FROM examples ORDER BY patient_index, prediction_time, admission_id"
    )
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(LABELS_HEADER)
        while rows := reader.fetchmany(10_000):
            writer.writerows(rows)


def join_notes(examples, times, texts, options):
    """Cleans the notes of some examples and joins those of one example by a blank.

    Args:
        examples: int32 [N], rising.
        times: int64 [N], seconds.
        texts: list of N str.
        options: `NotesOptions`. With `legacy` notes are joined first and cleaned as one text, so that their boundaries
            are lost: each text then counts as one note, of the time of its last.

    Returns:
        (example places int32 [E], list of E texts, list of E lists of starts in characters, list of E lists of times,
        Counter of the notes dropped as copies, "exact" and "near");
        notes without a word after cleaning are left out, and examples without any, or at the discharge without a
        summary.
    """
    firsts = np.flatnonzero(np.diff(examples, prepend=examples[0] - 1)).tolist() if len(examples) else []
    ends = [*firsts[1:], len(examples)]
    if options.legacy:
        texts = [" ".join(texts[first:end]) for first, end in zip(firsts, ends, strict=True)]
        times = times[np.array(ends, np.int64) - 1]
        firsts, ends, examples = range(len(texts)), range(1, len(texts) + 1), examples[firsts]
    texts = clean(texts, options.cleaning, options.lower_case)
    times = times.tolist()
    places, joined, starts, known, copied = [], [], [], [], collections.Counter()
    worded = (lambda text: text and not text.isspace()) if options.legacy else has_word
    needs_first = options.mode == "discharge"  # the summary; an addendum alone is none
    for first, end in zip(firsts, ends, strict=True):
        if needs_first and not worded(texts[first]):
            continue
        notes = [note for note in range(first, end) if worded(texts[note])]
        if options.drop_copied != "none":
            kinds = find_copies([texts[note] for note in notes], options.drop_copied == "near")
            copied.update(kind for kind in kinds if kind)
            notes = [note for note, kind in zip(notes, kinds, strict=True) if not kind]
        if not notes:
            continue
        places.append(int(examples[first]))
        joined.append(" ".join([texts[note] for note in notes]))
        sizes = [len(texts[note]) + 1 for note in notes]
        starts.append([0, *np.cumsum(sizes[:-1]).tolist()])
        known.append([times[note] for note in notes])
    return np.array(places, np.int32), joined, starts, known, copied


def _lists(lists, kind):
    """list of lists of int -> Arrow list array of the type `kind`."""
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in lists], dtype=np.int32)]).astype(np.int32)
    values = np.array([value for each in lists for value in each], f"int{kind.value_type.bit_width}")
    return pyarrow.ListArray.from_arrays(
        numbers_column(offsets), numbers_column(values).view(kind.value_type), type=kind
    )


class TextFiles:
    """Writes texts in the order of their examples: a Parquet file for each split and, on request, the data folder.

    Args:
        folder: existing folder; files stand at their `staging.made_path`.
        examples: pyarrow.Table with patient_id, admission_id, prediction_time, label, split, ended, in order.
        options: `NotesOptions`.
    """

    def __init__(self, folder, examples, options):
        self.options, self.examples = options, examples
        self.splits = numbers(examples["split"], np.int8)
        self.labels = examples["label"].to_pylist()
        self.ended = numbers(examples["ended"], np.int8).astype(bool)
        self.examples_out = np.zeros(len(SPLITS), np.int64)
        self.windows_out = np.zeros(len(SPLITS), np.int64)
        self.copied = collections.Counter()
        self.with_text = np.zeros(examples.num_rows, bool)
        self._parquet = [
            parquet.ParquetWriter(
                made_path(folder, f"notes.{split}.parquet"), SCHEMA, compression="snappy", use_dictionary=["patient_id"]
            )
            for split in SPLITS
        ]
        self._words = []
        if options.windows == "words":
            self._words = [open(made_path(folder, f"/{name}"), "wb") for name in FOLDER_NAMES.values()]
            for file in self._words:
                file.write(b"TEXT,ID,Label\n")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for writer in (*self._parquet, *self._words):
            writer.close()

    def write(self, places, texts, starts, times, copied=()):
        """Writes some examples, as `join_notes` gives them."""
        self.copied.update(copied)
        begin = length = 0
        for end, text in enumerate(texts, 1):
            length += len(text)
            last = end == len(texts)
            if last or length >= ROW_GROUP_BYTES or self.splits[places[end]] != self.splits[places[begin]]:
                part = slice(begin, end)
                self._write_group(places[part], texts[part], starts[part], times[part])
                begin, length = end, 0

    def _write_group(self, places, texts, starts, times):
        split = int(self.splits[places[0]])
        rows = self.examples.take(numbers_column(places))
        self._parquet[split].write_batch(
            pyarrow.record_batch(
                [
                    *(
                        rows[name].combine_chunks()
                        for name in ("patient_id", "admission_id", "prediction_time", "label")
                    ),
                    strings_column(texts),
                    _lists(starts, SCHEMA.field("note_starts").type),
                    _lists(times, SCHEMA.field("note_times").type),
                ],
                schema=SCHEMA,
            )
        )
        self.examples_out[split] += len(texts)
        self.with_text[places] = True
        if self._words:
            self._write_words(split, places.tolist(), rows["admission_id"].to_pylist(), texts)

    def _write_words(self, split, places, admissions, texts):
        """Appends to the data folder; unknown labels have no place there, nor, for legacy's test, ended stays."""
        lines = []
        for place, admission, windows in zip(places, admissions, all_word_windows(texts), strict=True):
            label = self.labels[place]
            if label is None or (SPLITS[split] == "test" and self.ended[place]):
                continue
            self.windows_out[split] += len(windows)
            name = admission if not set(admission) & set(',"\n\r') else '"' + admission.replace('"', '""') + '"'
            lines += ['"' + window.replace('"', '""') + f'",{name},{label}\n' for window in windows]
        self._words[split].write("".join(lines).encode())
