"""Med-BERT's fine-tuning lists -> records: un-padded, masks drawn in training, one task. No TensorFlow here."""

import contextlib
import itertools
import re

import numpy as np

from medtop.cohort.finetuning_lists import is_finetuning_list, read_finetuning_rows
from medtop.cohort.vocabulary import CLS, Vocabulary
from medtop.data.create import find_inputs
from medtop.data.layouts import FINETUNING
from medtop.data.protobuf import Column
from medtop.data.record_maker import Examples, RecordMaker, description
from medtop.data.sequences import DEFAULTS, PIECE, SequenceMaker
from medtop.files.errors import DataError


def maker_of(settings):
    """The `RecordMaker` for the files that `--input_file` names: fine-tuning lists have rows of four.

    Args:
        settings: `medtop.data.sequences.FeatureSettings`.

    Raises:
        DataError: for a missing file, or files of both kinds.
    """
    inputs = find_inputs(settings.input_file, SequenceMaker.expects)
    kinds = {_holds_rows_of_four(path) for path in inputs}
    if len(kinds) > 1:
        raise DataError(f"--input_file: expected files of one kind, received {inputs[0]} and others with other rows")
    return FinetuningMaker(settings) if kinds == {True} else SequenceMaker(settings)


def _holds_rows_of_four(path):
    """A damaged file does not: who reads it whole says what is wrong with it, its checksum first."""
    with contextlib.suppress(DataError):
        return is_finetuning_list(path)
    return False


class FinetuningMaker(RecordMaker):
    """Records with one label, `--task_name`; the lists hold no times, so neither do they (prediction time 0)."""

    expects = "Med-BERT's fine-tuning lists"
    reasons = ("no_codes",)

    def open(self, inputs):
        """See `RecordMaker.open`."""
        settings, vocabulary = self.settings, Vocabulary.read(self.settings.vocab_file)
        if settings.visit_separator or settings.time_gap != "before":
            raise DataError(
                f"{inputs[0]}: --visit_separator and --time_gap have no effect with fine-tuning lists: leave them out"
            )
        if not re.fullmatch(r"[A-Za-z]\w*", settings.task_name) or settings.task_name == "masked_lm":
            raise DataError(f"--task_name: expected a name of letters and digits, received {settings.task_name!r}")
        splits = {match[1] for path in inputs if (match := re.search(r"\.(train|valid|test)$", path.name))}
        defaults = self.defaults(**DEFAULTS["default"])
        return description(
            FINETUNING.name,
            vocabulary,
            {settings.task_name: [settings.task_name]},
            defaults,
            split=splits.pop() if len(splits) == 1 else None,
            flags={"vocabulary": vocabulary.hash, **defaults},
        )

    def examples(self, inputs, about):
        """See `RecordMaker.examples`."""
        for path in inputs:
            rows = read_finetuning_rows(path)
            while some := list(itertools.islice(rows, PIECE)):
                yield finetuning_examples(some, about, path)


def finetuning_examples(rows, about, path):
    """The `Examples` of rows `(patient, label, codes, visits)`; those without codes are left out and counted.

    Args:
        rows: list, of `read_finetuning_rows`.
        about: dict, see `medtop.data.record_maker.description`.
        path: the file, for errors.

    Raises:
        DataError: for codes that the vocabulary does not hold, or holds as a special token.
    """
    vocabulary, (task,) = about["vocabulary"], about["tasks"]
    kept = [row for row in rows if row[2]]
    first = vocabulary.first_code_id
    low, high = (pick([pick(row[2]) for row in kept], default=first) for pick in (min, max))
    if low < first or high >= len(vocabulary):
        raise DataError(
            f"{path}: expected codes from {first} to {len(vocabulary) - 1} (--vocab_file), received {low} to {high}: "
            "another run's vocabulary?"
        )
    begin = [] if vocabulary.is_medbert else [vocabulary.ids[CLS]]  # Med-BERT's rows begin with their first code
    counts = np.array([len(begin) + len(row[2]) for row in kept], np.int64)
    tokens, visits = (
        np.array([value for row in kept for value in (*opening, *row[place])], np.int64)
        for place, opening in ((2, begin), (3, [0] * len(begin)))
    )
    labels = np.array([[float(row[1] or 0)] for row in kept], np.float32).reshape(-1, 1)
    weights = np.array([[float(row[1] is not None)] for row in kept], np.float32).reshape(-1, 1)
    names = [row[0] for row in kept]
    columns = [
        Column("token_ids", "int64", tokens, counts),
        Column("visits", "int64", visits, counts),
        Column("prediction_time", "int64", np.zeros(len(kept), np.int64)),
        Column("patient_id", "bytes", [name.encode() for name in names]),
        Column.of_matrix(f"{task}_labels", "float", labels),
        Column.of_matrix(f"{task}_weights", "float", weights),
    ]
    dropped = {"no_codes": len(rows) - len(kept)}
    return Examples(columns, counts, names, {task: labels}, {task: weights}, len(rows), dropped)
