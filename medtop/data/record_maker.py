"""How one kind of input becomes records: what `medtop.data.create` asks of a record maker. No TensorFlow here.

Whatever is the same for every kind of input stands in `medtop.data.create` once: the checks of the shared flags,
finding the input files, comparing with what an earlier run wrote, and writing whole or not at all. What differs is a
record maker: a class of one file, used as `create.write(create.plan(Maker(settings)))`. There are three:
`medtop.data.sequences` (pickled lists of codes), `medtop.notes.create_features` (windows of notes) and
`medtop.notes.pretraining` (pairs).

A new one takes a `Settings` with its own flags and fills in what `RecordMaker` lists. This one reads lines of words, a
patient each:

>>> from medtop.cohort.vocabulary import UNK_ID, Vocabulary
>>> from medtop.data.protobuf import Column
>>> @dataclasses.dataclass(frozen=True, kw_only=True)
... class LineSettings(Settings):
...     longest_word: int = option(20, "Longest word that is taken.", rule=at_least(1))
>>> class LineMaker(RecordMaker):
...     expects = "lines of words (.txt)"
...     reasons = ("no_words",)
...     def open(self, inputs):
...         vocabulary = Vocabulary.read(self.settings.vocab_file)
...         defaults = self.defaults(max_seq_length=32, max_predictions_per_seq=4, masked_lm_prob=0.15)
...         return description("default", vocabulary, {}, defaults, split="train")
...     def examples(self, inputs, about):
...         for path in inputs:
...             lines = [line.split() for line in path.read_text().splitlines()]
...             ids = [[about["vocabulary"].ids.get(word, UNK_ID) for word in line] for line in lines if line]
...             lengths = np.array([len(line) for line in ids])
...             columns = [Column("token_ids", "int64", np.concatenate(ids), lengths)]
...             patients = [f"{path.name}:{number}" for number, line in enumerate(lines, 1) if line]
...             dropped = {"no_words": len(lines) - len(ids)}
...             yield Examples(columns, lengths, patients, examples_in=len(lines), dropped=dropped)

(A whole one, used end to end, stands in tests/house/test_extending.py.)
"""

import dataclasses
import glob

import numpy as np

from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, Rule, at_least, option, share


def _is_plain_name(name):
    return bool(name) and "," not in name and not glob.has_magic(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What every feature script is asked for; a maker's own options are further fields of a subclass.

    A subclass may also give a field of these another help text or default. Files are not compared by their names but
    by their content (`RecordMaker.open`), hence `compared=False`.
    """

    input_file: str = option(REQUIRED, "Files of one split: a name, a glob or a comma list.", compared=False)
    output_file: str = option(
        REQUIRED,
        "Name of the TFRecord file; <output_file>.dataset.json describes it.",
        rule=Rule("one plain name (several files: --num_shards)", _is_plain_name),
        compared=False,
    )
    vocab_file: str = option(REQUIRED, "The vocabulary of the token ids.", compared=False)
    # These are stored as defaults for the trainer; None: the maker's.
    max_seq_length: int | None = option(None, "Longest record.", rule=at_least(2))
    max_predictions_per_seq: int | None = option(None, "Most tokens masked in a record.", rule=at_least(1))
    masked_lm_prob: float | None = option(None, "Share of tokens masked.", rule=share())
    random_seed: int = option(12345, "Seed that is stored with the data.", rule=at_least(0))
    num_shards: int = option(
        1,
        "Number of files; more than one are named <output_file>-00000-of-000NN.",
        rule=Rule("1 to 99999", lambda value: 1 <= value <= 99999),
    )
    overwrite: bool = option(False, "Replace a dataset that was made with other flags.", compared=False)


@dataclasses.dataclass(frozen=True)
class Examples:
    """N records, ready to be written.

    Attributes:
        columns: list of `medtop.data.protobuf.Column`, the features.
        lengths: int [N], tokens of each record.
        patient_ids: N str; counted only (a column of that name writes them).
        labels, weights: dict task -> float [n, K], weight 0 = unknown; counted only. n is N, or the number of labelled
            tokens of all N for tasks of level "token".
        examples_in: how much of the input (rows, texts) these were made of, left out or not; None: N.
        dropped: dict reason -> how much of the input was left out.
        counts: dict name -> n, further numbers that `dataset.json` gives the sums of.
    """

    columns: list
    lengths: np.ndarray
    patient_ids: list
    labels: dict = dataclasses.field(default_factory=dict)
    weights: dict = dataclasses.field(default_factory=dict)
    examples_in: int | None = None
    dropped: dict = dataclasses.field(default_factory=dict)
    counts: dict = dataclasses.field(default_factory=dict)


class RecordMaker:
    """Makes the records of one kind of input; `medtop.data.create` calls `check`, `open` and `examples` in this order.

    Attributes:
        settings: a `Settings`.
        expects: what `--input_file` should name, for messages.
        reasons, counts: the keys of `Examples.dropped` and `.counts`; `dataset.json` says 0 where nothing was counted.
    """

    expects = "input files"
    reasons = ()
    counts = ()

    def __init__(self, settings):
        self.settings = settings

    def check(self):
        """Refuses settings that do not go together, before any file is read (each by itself is checked already).

        Raises:
            DataError: naming the flag.
        """

    def open(self, inputs):
        """Checks the input files by their headers and reads what else is needed, such as the vocabulary.

        Args:
            inputs: list of paths, each there and named once.

        Returns:
            dict, see `description`. Its `flags` hold what an earlier data set is compared by *beside* the settings and
            the inputs' hashes, which `create` adds: what stands in other files (by its hash), and what became of
            settings that may be None. Settings with `compared=False`, such as files' names, are not compared.

        Raises:
            DataError: for input that does not fit.
        """
        raise NotImplementedError

    def examples(self, inputs, about):
        """Yields `Examples`, some thousand at a time; `about` is what `open` returned."""
        raise NotImplementedError

    def defaults(self, **of_layout):
        """dict of the trainer's defaults: the settings, or where they are None the given values, and the seed."""
        given = {name: getattr(self.settings, name) for name in of_layout}
        chosen = {name: of_layout[name] if value is None else value for name, value in given.items()}
        return chosen | {"random_seed": self.settings.random_seed}


def description(layout, vocabulary, tasks, defaults, *, split=None, flags=None, source_manifest=None, **others):
    """What a data set's `dataset.json` says of its records, as `DatasetWriter` takes it.

    Args:
        layout: name of the records' layout.
        vocabulary: `Vocabulary`.
        tasks: dict task -> label names.
        defaults: dict of `max_seq_length`, `max_predictions_per_seq`, `masked_lm_prob`, `random_seed`.
        split: "train", "valid", "test" or None.
        flags: what an earlier data set is compared by.
        source_manifest: manifest of the input, a list of several, or None.
        **others: `levels` (dict task -> level, where it is not "patient"), `time_gap`, `visit_separator`, and for text
            `tokenizer` (dict of what made the token ids).
    """
    return {
        "layout": layout,
        "split": split,
        "vocabulary": vocabulary,
        "tasks": tasks,
        "time_gap": "before",
        "visit_separator": False,
        "defaults": defaults,
        "flags": flags or {},
        "source_manifest": source_manifest,
        **others,
    }


def require(flag, good, expected, received):
    """Refuses a flag's value.

    Raises:
        DataError: unless `good`.
    """
    if not good:
        raise DataError(f"{flag}: expected {expected}, received {received!r}")


def only_or_all(manifests):
    """The one manifest of several inputs that have any, a list where they are several, None where none has."""
    known = [manifest for manifest in manifests if manifest is not None]
    return known[0] if len(known) == 1 else known or None
