"""Notes -> TFRecord for pretraining (masked pieces, next sentence): `create_notes_pretraining_data.py` without flags.

A record is `[CLS] first [SEP] second [SEP]`: two runs of sentences, the second the true continuation (`is_next` 1) or a
run of another text (0), as in Devlin et al. 2018. Masks are drawn while training. Every piece of every text stands in
exactly one record as its own (beside the copies that serve as wrong continuations); nothing is truncated.
"""

import dataclasses

import numpy as np

from medtop.cohort.splits import SPLITS, read_split_file
from medtop.data.create import check as check_flags
from medtop.data.create import find_inputs, is_done
from medtop.data.description import read_dataset
from medtop.files.atomic import sha256
from medtop.files.errors import DataError
from medtop.notes.create_features import DEFAULT_LENGTH, open_tokenizer
from medtop.notes.pairs import make_pairs, sentence_pieces
from medtop.notes.records import NoteRecords, describe, records_of, write_records
from medtop.notes.texts import check_texts, manifest_of, read_texts, split_of
from medtop.text.sentences import SHORT, UNITS
from medtop.text.windows import make_windows
from medtop.text.wordpiece import WordPiece

TASK, LABEL = "next_sentence", "is_next"


@dataclasses.dataclass(frozen=True)
class PretrainingSettings:
    """What the script is asked for.

    Attributes:
        input_file: texts, see `medtop.notes.texts`; a glob, a comma list.
        output_file: name of the dataset.
        vocab_file, lower_case: as for `medtop.notes.create_features.NoteSettings`.
        splits: `patient_id,split`: the split file of the readmission task.
        split: whose patients these notes are of; notes of others are refused.
        unlisted_patients: "refuse", or "use": patients who are not in the split file at all.
        next_sentence: make pairs of texts; else records are windows of one text, for masked pieces alone.
        short_segment_unit, short_segment: sentences shorter than this join the one before.
        dupe_factor: how often pairs are drawn from each text.
        short_seq_prob: share of records that are meant to be shorter than the maximum.
        max_seq_length, max_predictions_per_seq, masked_lm_prob, random_seed, num_shards, overwrite: as there.
    """

    input_file: str
    output_file: str
    vocab_file: str
    splits: str
    split: str = "train"
    unlisted_patients: str = "refuse"
    lower_case: bool | None = None
    next_sentence: bool = True
    short_segment_unit: str = "characters"
    short_segment: int = SHORT
    dupe_factor: int = 1
    short_seq_prob: float = 0.1
    max_seq_length: int = DEFAULT_LENGTH
    max_predictions_per_seq: int = 77
    masked_lm_prob: float = 0.15
    random_seed: int = 12345
    num_shards: int = 1
    overwrite: bool = False

    @property
    def time_gap(self):
        """Notes have no visits: what every data set must say."""
        return "before"


@dataclasses.dataclass(frozen=True)
class PretrainingPlan:
    """Checked input, ready to be written.

    Attributes:
        settings: the `PretrainingSettings`.
        inputs: paths.
        tokenizer: `WordPiece`.
        splits: dict patient -> split.
        description: what `medtop.data.tfrecord.DatasetWriter` takes.
        done: whether the very same dataset is there already, whole.
    """

    settings: PretrainingSettings
    inputs: list
    tokenizer: WordPiece
    splits: dict
    description: dict
    done: bool


def _check(settings):
    check_flags(settings)
    rules = [
        ("--max_seq_length", settings.max_seq_length, settings.max_seq_length >= 8, "at least 8"),
        ("--split", settings.split, settings.split in SPLITS[:2], " or ".join(SPLITS[:2])),
        (
            "--unlisted_patients",
            settings.unlisted_patients,
            settings.unlisted_patients in ("refuse", "use"),
            "refuse or use",
        ),
        ("--short_segment_unit", settings.short_segment_unit, settings.short_segment_unit in UNITS, " or ".join(UNITS)),
        ("--short_segment", settings.short_segment, settings.short_segment >= 0, "at least 0"),
        ("--dupe_factor", settings.dupe_factor, settings.dupe_factor >= 1, "at least 1"),
        ("--short_seq_prob", settings.short_seq_prob, 0 <= settings.short_seq_prob <= 1, "0 to 1"),
    ]
    if not settings.next_sentence and settings.dupe_factor > 1:
        raise DataError(f"--dupe_factor: expected 1 with --nonext_sentence, received {settings.dupe_factor}")
    for flag, value, good, expected in rules:
        if not good:
            raise DataError(f"{flag}: expected {expected}, received {value!r}")


def plan(settings):
    """Checks flags, files and whose notes they are; reads the inputs' patients once.

    Raises:
        DataError: as for `medtop.notes.create_features.plan`; for a note of a patient of another split.
    """
    _check(settings)
    inputs = find_inputs(settings.input_file, "texts (.parquet or .csv)")
    for path in inputs:
        check_texts(path)
        if split_of(path) not in (None, settings.split):
            raise DataError(f"{path}: expected notes of the {settings.split} split, received {split_of(path)}")
    tokenizer = open_tokenizer(settings.vocab_file, settings.lower_case)
    splits = read_split_file(settings.splits)
    check_patients(inputs, splits, settings)
    not_compared = ("input_file", "output_file", "vocab_file", "splits", "lower_case", "overwrite")
    flags = {
        "inputs": [{"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)} for path in inputs],
        "splits": sha256(settings.splits),
        "vocabulary": tokenizer.vocabulary.hash,
        **tokenizer.settings,
        **{name: value for name, value in dataclasses.asdict(settings).items() if name not in not_compared},
    }
    defaults = {
        name: getattr(settings, name)
        for name in ("max_seq_length", "max_predictions_per_seq", "masked_lm_prob", "random_seed")
    }
    manifests = [found for found in map(manifest_of, inputs) if found is not None]
    tasks = {TASK: [LABEL]} if settings.next_sentence else {}
    description = describe(
        tokenizer,
        defaults,
        split=settings.split,
        tasks=tasks,
        flags=flags,
        source_manifest=manifests[0] if len(manifests) == 1 else manifests or None,
    )
    return PretrainingPlan(settings, inputs, tokenizer, splits, description, is_done(settings, flags))


def check_patients(inputs, splits, settings):
    """Refuses notes of patients who are not of the split: what is pretrained on must not be tested on.

    Raises:
        DataError: naming file, row and patient.
    """
    for path in inputs:
        for batch in read_texts(path):
            for row, patient in enumerate(batch.patient_ids, batch.first):
                check_patient(path, row, patient, splits, settings)


def check_patient(path, row, patient, splits, settings):
    """The check of `check_patients` for one note."""
    found = splits.get(patient)
    if found == settings.split or (found is None and settings.unlisted_patients == "use"):
        return
    where = f"{path}: row {row}: expected notes of patients of the {settings.split} split ({settings.splits})"
    if found is None:
        raise DataError(
            f"{where}, received one of patient {patient}, who is not in that file (--unlisted_patients=use takes those)"
        )
    raise DataError(f"{where}, received one of patient {patient} of the {found} split")


def write(a_plan):
    """Writes the records and the description; returns the `DatasetInfo` of what stands on the disk.

    Its counts hold, beside the usual: `pieces`; `examples_in` are texts, of which those without a word are dropped as
    `no_words`.

    Raises:
        DataError: with `next_sentence`, when there is one text only: nothing could stand in for a wrong continuation.
    """
    if not a_plan.done:
        from medtop.data import tfrecord  # loads TensorFlow

        settings = a_plan.settings
        with tfrecord.DatasetWriter(settings.output_file, settings.num_shards, a_plan.description) as writer:
            make = _Pairs(a_plan) if settings.next_sentence else _Windows(a_plan)
            pieces = empty = 0
            for path in a_plan.inputs:
                for batch in read_texts(path):
                    for row, patient in enumerate(batch.patient_ids, batch.first):  # the file may have changed since
                        check_patient(path, row, patient, a_plan.splits, settings)
                    found, counts = make(batch)
                    if len(found.counts):
                        write_records(writer, found)
                    writer.examples_in += len(batch.texts)
                    pieces += int(counts.sum())
                    empty += int((counts == 0).sum())
            writer.dropped["no_words"] = empty
            writer.more_counts["pieces"] = pieces
    return read_dataset(a_plan.settings.output_file)


class _Windows:
    """Records of one run each, for masked pieces alone."""

    def __init__(self, a_plan):
        self.plan = a_plan

    def __call__(self, batch):
        """(`NoteRecords`, int64 [N] pieces of each text)."""
        tokenizer = self.plan.tokenizer
        pieces = tokenizer.tokenize(batch.texts)
        windows = make_windows(pieces, self.plan.settings.max_seq_length, tokenizer.cls_id, tokenizer.sep_id)
        names = (batch.patient_ids, batch.admission_ids, batch.prediction_times, batch.labels)
        return dataclasses.replace(records_of(windows, *names), labels={}, weights={}), pieces.counts


class _Pairs:
    """Records of two runs; wrong continuations come from the texts at hand and those read just before."""

    def __init__(self, a_plan):
        self.plan, self.rng, self.earlier = a_plan, np.random.default_rng(a_plan.settings.random_seed), []

    def __call__(self, batch):
        """(`NoteRecords`, int64 [N] pieces of each text)."""
        settings = self.plan.settings
        most = settings.max_seq_length - 3
        texts = sentence_pieces(
            batch.texts, self.plan.tokenizer, settings.short_segment_unit, settings.short_segment, most // 2
        )
        others = [text for text in (*texts, *self.earlier) if len(text.ids)]
        self.earlier = [text for text in texts if len(text.ids)] or self.earlier
        if len(others) == 1:
            raise DataError(
                "--input_file: expected at least two texts with words (a wrong continuation comes from another one), "
                "received one; --nonext_sentence makes records for masked pieces alone"
            )
        pairs = []
        for _ in range(settings.dupe_factor):
            pairs += make_pairs(texts, others, most, settings.short_seq_prob, self.rng)
        counts = np.array([len(text.ids) for text in texts], np.int64)
        return _pair_records(batch, texts, others, pairs, self.plan.tokenizer), counts


def _pair_records(batch, texts, others, pairs, tokenizer):
    """The `NoteRecords` of pairs; `window` is a record's number within its text."""
    ids, starts, segments, counts = [], [], [], []
    for pair in pairs:
        runs = (texts[pair.text], pair.first), ((texts if pair.is_next else others)[pair.other], pair.second)
        sizes = [end - begin for _, (begin, end) in runs]
        ids.append([tokenizer.cls_id])
        starts.append([1])
        for text, (begin, end) in runs:
            ids += [text.ids[begin:end], [tokenizer.sep_id]]
            starts += [[1], text.word_starts[begin + 1 : end], [1]]  # where a sentence was cut, a word begins
        segments.append(np.repeat([0, 1], [sizes[0] + 2, sizes[1] + 1]))
        counts.append(sum(sizes) + 3)
    owners = np.array([pair.text for pair in pairs], np.int64)
    last = [pair.second[1] if pair.is_next else pair.first[1] for pair in pairs]
    order = np.argsort(owners, kind="stable")
    numbers = np.empty(len(pairs), np.int64)
    numbers[order] = np.arange(len(pairs)) - np.searchsorted(owners[order], owners[order])
    nothing = [np.zeros(0, np.int64)]
    flat = [np.concatenate(part or nothing).astype(np.int64) for part in (ids, segments, starts)]
    labels = np.array([[pair.is_next] for pair in pairs], np.float32).reshape(-1, 1)
    return NoteRecords(
        np.array(counts, np.int64),
        *flat,
        [batch.patient_ids[text] for text in owners],
        [batch.admission_ids[text] for text in owners],
        numbers,
        np.array([texts[pair.text].starts[pair.first[0]] for pair in pairs], np.int64),
        np.array([texts[pair.text].ends[end - 1] for pair, end in zip(pairs, last, strict=True)], np.int64),
        batch.prediction_times[owners],
        {TASK: labels},
        {TASK: np.ones_like(labels)},
    )
