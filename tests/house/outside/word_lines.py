"""A kind of input from outside the package: lines `patient <tab> label <tab> words`, and a layout of their records."""

import dataclasses

import numpy as np

from medtop.cohort.vocabulary import CLS_ID, UNK_ID, Vocabulary
from medtop.data.layouts import EACH_RECORD, LAYOUTS, Layout, fields
from medtop.data.protobuf import Column
from medtop.data.record_maker import Examples, RecordMaker, Settings, description, require

TASK = "urgent"
LINES = Layout(
    "lines",
    "records of lines",
    fields=(
        *fields("word_ids"),
        *fields("prediction_time", size=EACH_RECORD),
        *fields("patient_id", "bytes", EACH_RECORD),
    ),
    inputs={"token_ids": "word_ids"},
    embeddings=("code", "position"),
)
LAYOUTS[LINES.name] = LINES


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineSettings(Settings):
    """What the maker is asked for: `split`, whose lines these are; `fewest`, words that a line must have."""

    split: str
    fewest: int = 1


class LineMaker(RecordMaker):
    """A record of each line: [CLS] words, and whether it is urgent."""

    expects = "lines of words (.txt)"
    reasons = ("too_few_words",)

    def check(self):
        """See `RecordMaker.check`."""
        require("--fewest", self.settings.fewest >= 1, "at least 1", self.settings.fewest)

    def open(self, inputs):
        """See `RecordMaker.open`."""
        vocabulary = Vocabulary.read(self.settings.vocab_file)
        defaults = self.defaults(max_seq_length=16, max_predictions_per_seq=4, masked_lm_prob=0.15)
        flags = {"vocabulary": vocabulary.hash, **defaults}
        return description(LINES.name, vocabulary, {TASK: [TASK]}, defaults, split=self.settings.split, flags=flags)

    def examples(self, inputs, about):
        """See `RecordMaker.examples`."""
        ids = about["vocabulary"].ids
        for path in inputs:
            rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
            kept = [row for row in rows if len(row[2].split()) >= self.settings.fewest]
            tokens = [[CLS_ID, *(ids.get(word, UNK_ID) for word in words.split())] for _, _, words in kept]
            lengths = np.array([len(line) for line in tokens], np.int64)
            labels = np.array([[float(label)] for _, label, _ in kept], np.float32)
            patients = [patient for patient, _, _ in kept]
            columns = [
                Column("word_ids", "int64", np.concatenate(tokens), lengths),
                Column("prediction_time", "int64", np.zeros(len(kept), np.int64)),
                Column("patient_id", "bytes", [patient.encode() for patient in patients]),
                Column.of_matrix(f"{TASK}_labels", "float", labels),
                Column.of_matrix(f"{TASK}_weights", "float", np.ones_like(labels)),
            ]
            dropped = {"too_few_words": len(rows) - len(kept)}
            yield Examples(columns, lengths, patients, {TASK: labels}, {TASK: np.ones_like(labels)}, len(rows), dropped)
