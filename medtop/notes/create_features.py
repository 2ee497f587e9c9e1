"""Texts of admissions -> TFRecord and `dataset.json`: what `create_notes_features.py` does, without its flags.

Checking (`plan`) needs no TensorFlow; writing (`write`) does.
"""

import collections
import dataclasses

import numpy as np

from medtop.data.create import check as check_flags
from medtop.data.create import find_inputs, is_done
from medtop.data.description import read_dataset
from medtop.files.atomic import sha256
from medtop.files.errors import DataError
from medtop.notes.records import describe, records_of, write_records
from medtop.notes.texts import check_texts, manifest_of, read_texts, split_of
from medtop.text.windows import check_window, first_windows, make_windows
from medtop.text.wordpiece import WordPiece, choose_case, read_vocabulary

DEFAULT_LENGTH = 512


@dataclasses.dataclass(frozen=True)
class NoteSettings:
    """What the feature script for notes is asked for.

    Attributes:
        input_file: `<prefix>.notes.<split>.parquet`, or the CSV of a ClinicalBERT data folder; a glob, a comma list.
        output_file: name of the dataset.
        vocab_file: word pieces, one a line.
        lower_case: True, False, or None: as the vocabulary was made (`choose_case`).
        max_seq_length: most tokens of a window, [CLS] and [SEP] included.
        window_overlap: pieces that neighbouring windows share.
        legacy: ClinicalBERT's way: the first `max_seq_length - 2` pieces of each text, the rest is dropped.
        max_predictions_per_seq, masked_lm_prob, random_seed: stored as defaults for the trainer.
        num_shards: number of TFRecord files.
        overwrite: whether a dataset made with other flags may be replaced.
    """

    input_file: str
    output_file: str
    vocab_file: str
    lower_case: bool | None = None
    max_seq_length: int = DEFAULT_LENGTH
    window_overlap: int = 0
    legacy: bool = False
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
class NotePlan:
    """Checked input, ready to be written.

    Attributes:
        settings: the `NoteSettings`.
        inputs: paths.
        tokenizer: `WordPiece`.
        description: what `medtop.data.tfrecord.DatasetWriter` takes.
        done: whether the very same dataset is there already, whole.
    """

    settings: NoteSettings
    inputs: list
    tokenizer: WordPiece
    description: dict
    done: bool


def plan(settings):
    """Checks the input and compares with what an earlier run wrote.

    Raises:
        DataError: for wrong settings, missing inputs, another kind of vocabulary, or an earlier dataset made with other
            flags (unless `settings.overwrite`).
    """
    check_flags(settings)
    check_window(settings.max_seq_length, settings.window_overlap)
    if settings.legacy and settings.window_overlap:
        raise DataError(f"--window_overlap: expected 0 with --legacy (one window), received {settings.window_overlap}")
    inputs = find_inputs(settings.input_file, "texts of admissions (.parquet or .csv)")
    for path in inputs:
        check_texts(path)
    tokenizer = open_tokenizer(settings.vocab_file, settings.lower_case)
    splits = {split_of(path) for path in inputs}
    if len(splits) > 1:
        raise DataError(
            f"--input_file: expected files of one split, received {', '.join(sorted(map(str, splits)))}; "
            "make one dataset of each"
        )
    defaults = {
        name: getattr(settings, name)
        for name in ("max_seq_length", "max_predictions_per_seq", "masked_lm_prob", "random_seed")
    }
    flags = {
        "inputs": [{"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)} for path in inputs],
        "vocabulary": tokenizer.vocabulary.hash,
        "num_shards": settings.num_shards,
        "window_overlap": settings.window_overlap,
        "legacy": settings.legacy,
        **tokenizer.settings,
        **defaults,
    }
    manifests = [found for found in map(manifest_of, inputs) if found is not None]
    description = describe(
        tokenizer,
        defaults,
        split=splits.pop(),
        flags=flags,
        source_manifest=manifests[0] if len(manifests) == 1 else manifests or None,
    )
    return NotePlan(settings, inputs, tokenizer, description, is_done(settings, flags))


def open_tokenizer(vocab_file, lower_case=None):
    """The `WordPiece` of a vocabulary file; see `choose_case` for `lower_case`."""
    vocabulary = read_vocabulary(vocab_file)
    return WordPiece(vocabulary, choose_case(vocab_file, vocabulary, lower_case))


def write(a_plan):
    """Writes the records and the description; returns the `DatasetInfo` of what stands on the disk.

    Its counts hold, beside the usual: `pieces`, `unknown_pieces` ([UNK]), `pieces_cut` (dropped by `legacy`); and
    `examples_in` are texts, of which those without a word are dropped as `no_words`.
    """
    if not a_plan.done:
        from medtop.data import tfrecord as records  # loads TensorFlow

        settings = a_plan.settings
        with records.DatasetWriter(settings.output_file, settings.num_shards, a_plan.description) as writer:
            counts = collections.Counter({"pieces": 0, "unknown_pieces": 0, "pieces_cut": 0})
            empty = 0
            for path in a_plan.inputs:
                numbers = collections.Counter()  # windows of each admission so far: a CSV has several texts of one
                for batch in read_texts(path):
                    empty += _write_batch(writer, a_plan, batch, numbers, counts)
                    writer.examples_in += len(batch.texts)
            writer.dropped["no_words"] = empty
            writer.more_counts = dict(counts)
    return read_dataset(a_plan.settings.output_file)


def _write_batch(writer, a_plan, batch, numbers, counts):
    """Writes the windows of some texts; the number of texts without a word."""
    settings, tokenizer = a_plan.settings, a_plan.tokenizer
    pieces = tokenizer.tokenize(batch.texts)
    make = first_windows if settings.legacy else make_windows
    windows = make(pieces, settings.max_seq_length, tokenizer.cls_id, tokenizer.sep_id, settings.window_overlap)
    counts["pieces"] += len(pieces.ids)
    counts["unknown_pieces"] += int((pieces.ids == tokenizer.unk_id).sum())
    if settings.legacy:
        counts["pieces_cut"] += len(pieces.ids) - int((windows.counts - 2).sum())
    records = records_of(windows, batch.patient_ids, batch.admission_ids, batch.prediction_times, batch.labels)
    write_records(writer, dataclasses.replace(records, windows=_numbered(records.admission_ids, windows, numbers)))
    return int((pieces.counts == 0).sum())


def _numbered(admission_ids, windows, numbers):
    """Window numbers that go on from one text of an admission to its next: int64 [S]."""
    found = np.empty(len(windows), np.int64)
    for place, admission in enumerate(admission_ids):
        found[place] = numbers[admission]
        numbers[admission] += 1
    return found
