"""Notes -> records for pretraining (masked pieces, pairs): `create_notes_pretraining_data.py`'s record maker.

A record is `[CLS] first [SEP] second [SEP]`, two runs of sentences. With pairs "next" the second is the true
continuation (`is_next` 1) or a run of another text (0), as in Devlin et al. 2018; with "order" both are neighbours in
one text, in their order or `swapped` (1), as in ALBERT and GatorTron, and what is one sentence alone is a record of one
run with an unknown label. Masks are drawn while training. Every piece of every text stands in exactly one record as its
own (beside the copies that serve as wrong continuations); nothing is truncated.
"""

import collections
import dataclasses

import numpy as np

from medtop.cohort.splits import SPLITS, read_split_file
from medtop.data.record_maker import Examples
from medtop.files.atomic import sha256
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, Rule, at_least, option
from medtop.model.tasks import NEXT_SENTENCE, SENTENCE_ORDER
from medtop.notes.create_features import DEFAULT_LENGTH, TextMaker, TextSettings
from medtop.notes.pairs import make_ordered_pairs, make_pairs, sentence_pieces
from medtop.notes.records import NoteRecords, examples_of, records_of
from medtop.notes.texts import check_texts, read_texts, split_of
from medtop.text.cleaning import CLEANINGS, has_word
from medtop.text.sentences import SHORT, UNITS
from medtop.text.windows import make_windows

TASKS = {"next": (NEXT_SENTENCE, "is_next"), "order": (SENTENCE_ORDER, "swapped"), "none": None}
"""`--pairs` -> task and its label."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingSettings(TextSettings):
    """What the script is asked for."""

    input_file: str = option(
        REQUIRED,
        "Texts (.parquet, or .csv with TEXT, ID, Label), or tables of single notes such as NOTEEVENTS.csv.gz: a file, "
        "a glob, a comma list.",
        compared=False,
    )
    cleaning: str = option(
        "careful",
        "Of tables of single notes, as in preprocess_notes.py; none: as they are. (Texts are cleaned already.)",
        choices=(*CLEANINGS, "none"),
    )
    max_seq_length: int = option(DEFAULT_LENGTH, "Longest record, special tokens included.", rule=at_least(8))
    random_seed: int = option(12345, "Seed of the pairs.", rule=at_least(0))
    splits: str = option(REQUIRED, "patient_id,split: the split file of the readmission task.")
    split: str = option(
        "train",
        "Whose notes these are: in texts of admissions a note of another split's patient stops the script, of "
        "tables of single notes those of this split are taken.",
        choices=SPLITS[:2],
    )
    unlisted_patients: str = option("refuse", "Patients who are not in the split file.", choices=("refuse", "use"))
    pairs: str = option(
        "next",
        "Pairs of runs of sentences: next (the second follows, or is of another text), order (neighbours, in order or "
        "swapped), or none: windows of one text, for masked pieces alone.",
        choices=tuple(TASKS),
    )
    short_segment_unit: str = option(
        "characters",
        "What short sentences are measured in: ClinicalBERT's code counts characters, its article says words.",
        choices=UNITS,
    )
    short_segment: int = option(
        SHORT, "Sentences shorter than this are joined to the one before; 0: none.", rule=at_least(0)
    )
    dupe_factor: int = option(1, "How often pairs are drawn from each text.", rule=at_least(1))
    short_seq_prob: float = option(
        0.1,
        "Share of records that are meant to be shorter than the maximum.",
        rule=Rule("a share from 0 to 1", lambda value: 0 <= value <= 1),
    )


class PretrainingMaker(TextMaker):
    """Pairs of runs of sentences, or windows of one text, of the patients of one split.

    Args:
        settings: `PretrainingSettings`.
        tables: what reads tables of single notes (`medtop.corpus.table_texts.NoteTableTexts`, handed in from the room
            above); None: such tables are refused.

    Counted beside the usual: `pieces`. `examples_in` are texts, of which those without a word are left out as
    `no_words`.

    Attributes:
        splits: dict patient -> split, after `open`.
    """

    counts = ("pieces",)
    splits = None

    def __init__(self, settings, tables=None):
        super().__init__(settings)
        self.tables = tables
        of_tables = ("of_another_split", "not_in_splits_file", *tables.reasons) if tables else ()
        self.reasons = ("no_words", *of_tables)

    def check(self):
        """See `RecordMaker.check`."""
        settings = self.settings
        if settings.pairs == "none" and settings.dupe_factor > 1:
            raise DataError("--dupe_factor has no effect with --pairs=none, which draws no pairs: leave it out")

    def open(self, inputs):
        """See `RecordMaker.open`; reads the inputs' patients once.

        Raises:
            DataError: also for a note of a patient of another split.
        """
        settings = self.settings
        for path in inputs:
            if self._is_table(path):
                self.tables.check(path)
                continue
            check_texts(path)
            if split_of(path) not in (None, settings.split):
                raise DataError(f"{path}: expected notes of the {settings.split} split, received {split_of(path)}")
        self.splits = read_split_file(settings.splits)
        about = self.describe(
            inputs,
            split=settings.split,
            tasks={task[0]: [task[1]]} if (task := TASKS[settings.pairs]) else {},
            flags={"splits": sha256(settings.splits)},
        )
        check_patients([path for path in inputs if not self._is_table(path)], self.splits, settings)
        return about

    def _is_table(self, path):
        return self.tables is not None and self.tables.reads(path)

    def _of_table(self, path):
        """Yields (`TextBatch` of the split's notes, Counter of what was left out until then) of a table."""
        dropped, wanted, taken = collections.Counter(), self.settings.split, 0
        for batch in self.tables.batches(path, dropped):
            splits = [self.splits.get(patient) for patient in batch.patient_ids]
            if self.settings.unlisted_patients == "use":
                splits = [split or wanted for split in splits]
            kept = [place for place, split in enumerate(splits) if split == wanted]
            dropped["not_in_splits_file"] += splits.count(None)
            dropped["of_another_split"] += len(splits) - splits.count(None) - len(kept)
            taken += len(kept)
            if kept:
                yield batch.take(kept), dropped.copy()
                dropped.clear()
        if not taken:
            commonest = f": most were {max(dropped, key=dropped.get)}" if dropped else ""
            raise DataError(f"{path}: expected notes of patients of the {wanted} split, received none{commonest}")
        yield None, dropped

    def examples(self, inputs, about):
        """See `RecordMaker.examples`.

        Raises:
            DataError: with pairs "next", when there is one text only: nothing could stand in for a wrong continuation.
        """
        make = _Windows(self) if self.settings.pairs == "none" else _Pairs(self)
        batches = self._batches(inputs)
        for batch, dropped in _two_at_first(batches) if self.settings.pairs == "next" else batches:
            if batch is None:
                none = {task: np.zeros((0, 1), np.float32) for task in about["tasks"]}
                counted = {"examples_in": dropped.total(), "dropped": dropped}
                yield Examples([], np.zeros(0, np.int64), [], none, none, **counted)
                continue
            records, pieces = make(batch)
            yield examples_of(
                records,
                about["tasks"],
                examples_in=len(batch.texts) + dropped.total(),
                dropped={**dropped, "no_words": int((pieces == 0).sum())},
                counts={"pieces": int(pieces.sum())},
            )

    def _batches(self, inputs):
        """Yields (`TextBatch` or None, Counter of what was left out until then) of all inputs."""
        for path in inputs:
            yield from self._of_table(path) if self._is_table(path) else self._of_texts(path)

    def _of_texts(self, path):
        """Yields (`TextBatch`, nothing left out) of texts of admissions."""
        for batch in read_texts(path):
            for row, patient in enumerate(batch.patient_ids, batch.first):  # the file may have changed since
                check_patient(path, row, patient, self.splits, self.settings)
            yield batch, collections.Counter()


def _two_at_first(batches):
    """The batches, the first ones joined until two texts with words are at hand: each needs another one beside it."""
    held, lost, enough = None, collections.Counter(), False
    for batch, dropped in batches:
        if enough:
            yield batch, dropped
            continue
        lost.update(dropped)
        if batch is not None:
            held = batch if held is None else held.joined(batch)
            enough = sum(map(has_word, held.texts)) > 1
            if enough:
                yield held, lost
    if not enough:
        yield held, lost


def check_patients(inputs, splits, settings):
    """Refuses notes of patients who are not of the split: what is pretrained on must not be tested on.

    Raises:
        DataError: naming file and row.
    """
    for path in inputs:
        for batch in read_texts(path):
            for row, patient in enumerate(batch.patient_ids, batch.first):
                check_patient(path, row, patient, splits, settings)


def check_patient(path, row, patient, splits, settings):
    """The check of `check_patients` for one note."""
    split = splits.get(patient)
    if split == settings.split or (split is None and settings.unlisted_patients == "use"):
        return
    where = f"{path}: row {row}: expected notes of patients of the {settings.split} split ({settings.splits})"
    if split is None:
        raise DataError(
            f"{where}, received one of a patient who is not in that file (--unlisted_patients=use takes those)"
        )
    raise DataError(f"{where}, received one of a patient of the {split} split")


class _Windows:
    """Records of one run each, for masked pieces alone."""

    def __init__(self, maker):
        self.maker = maker

    def __call__(self, batch):
        """(`NoteRecords`, int64 [N] pieces of each text)."""
        tokenizer = self.maker.tokenizer
        pieces = tokenizer.tokenize(batch.texts)
        windows = make_windows(pieces, self.maker.settings.max_seq_length, tokenizer.cls_id, tokenizer.sep_id)
        names = (batch.patient_ids, batch.admission_ids, batch.prediction_times, batch.labels)
        return dataclasses.replace(records_of(windows, *names), labels={}, weights={}), pieces.counts


class _Pairs:
    """Records of two runs; wrong continuations come from the texts at hand and those read just before."""

    def __init__(self, maker):
        self.maker, self.rng, self.earlier = maker, np.random.default_rng(maker.settings.random_seed), []

    def __call__(self, batch):
        """(`NoteRecords`, int64 [N] pieces of each text)."""
        settings = self.maker.settings
        most = settings.max_seq_length - 3
        texts = sentence_pieces(
            batch.texts, self.maker.tokenizer, settings.short_segment_unit, settings.short_segment, most // 2
        )
        others = texts
        if settings.pairs == "next":
            others = [text for text in (*texts, *self.earlier) if len(text.ids)]
            self.earlier = [text for text in texts if len(text.ids)] or self.earlier
        if len(others) == 1 and settings.pairs == "next":
            raise DataError(
                "--input_file: expected at least two texts with words (a wrong continuation comes from another one), "
                "received one; --pairs=order and --pairs=none need no other text"
            )
        pairs = []
        for _ in range(settings.dupe_factor):
            if settings.pairs == "next":
                pairs += make_pairs(texts, others, most, settings.short_seq_prob, self.rng)
            else:
                pairs += make_ordered_pairs(texts, most, settings.short_seq_prob, self.rng)
        counts = np.array([len(text.ids) for text in texts], np.int64)
        return _pair_records(batch, texts, others, pairs, self.maker.tokenizer, TASKS[settings.pairs]), counts


def _pair_records(batch, texts, others, pairs, tokenizer, task):
    """The `NoteRecords` of pairs; `window` numbers a text's records; `task`: (name, attribute of `Pair`)."""
    ids, starts, segments, counts = [], [], [], []
    for pair in pairs:
        own = pair.is_next or pair.swapped
        runs = [(texts[pair.text], pair.first), ((texts if own else others)[pair.other], pair.second)]
        runs = runs if pair.second else runs[:1]
        sizes = [end - begin for _, (begin, end) in runs]
        ids.append([tokenizer.cls_id])
        starts.append([1])
        for text, (begin, end) in runs:
            ids += [text.ids[begin:end], [tokenizer.sep_id]]
            starts += [[1], text.word_starts[begin + 1 : end], [1]]  # where a sentence was cut, a word begins
        segments.append(np.repeat([0, 1][: len(runs)], [sizes[0] + 2, *(size + 1 for size in sizes[1:])]))
        counts.append(sum(sizes) + 1 + len(runs))
    owners = np.array([pair.text for pair in pairs], np.int64)
    own = [(pair.first, pair.second) if pair.is_next or pair.swapped else (pair.first,) for pair in pairs]
    order = np.argsort(owners, kind="stable")
    numbers = np.empty(len(pairs), np.int64)
    numbers[order] = np.arange(len(pairs)) - np.searchsorted(owners[order], owners[order])
    nothing = [np.zeros(0, np.int64)]
    flat = [np.concatenate(part or nothing).astype(np.int64) for part in (ids, segments, starts)]
    labels = np.array([[getattr(pair, task[1])] for pair in pairs], np.float32).reshape(-1, 1)
    known = np.array([[pair.second is not None] for pair in pairs], np.float32).reshape(-1, 1)
    return NoteRecords(
        np.array(counts, np.int64),
        *flat,
        [batch.patient_ids[text] for text in owners],
        [batch.admission_ids[text] for text in owners],
        numbers,
        np.array([texts[text].starts[min(runs)[0]] for text, runs in zip(owners, own, strict=True)], np.int64),
        np.array([texts[text].ends[max(runs)[1] - 1] for text, runs in zip(owners, own, strict=True)], np.int64),
        batch.prediction_times[owners],
        {task[0]: labels},
        {task[0]: known},
    )
