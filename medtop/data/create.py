"""Pickled lists -> TFRecord and `dataset.json`: what `create_BERTpretrain_EHRfeatures.py` does, without its flags.

Checking (`plan`) needs no TensorFlow; writing (`write`) does.
"""

import dataclasses
import glob
import itertools
import json
import re
from pathlib import Path

import numpy as np

from medtop.cohort.pickled_lists import read_chunks, read_header, read_medbert_rows
from medtop.cohort.vocabulary import Vocabulary
from medtop.data.description import SUFFIX, read_dataset, read_dataset_json, shard_names
from medtop.data.tokens import TIME_GAPS
from medtop.files.atomic import sha256
from medtop.files.errors import DataError

DEFAULTS = {
    "default": {"max_seq_length": 512, "max_predictions_per_seq": 77, "masked_lm_prob": 0.15},
    "medbert": {"max_seq_length": 32, "max_predictions_per_seq": 2, "masked_lm_prob": 0.35},
}
"""Used where a flag is not given: BERT's 15% of 512, and the numbers of Med-BERT's feature script."""

MEDBERT_TASKS = {"long_stay": ["long_stay"]}
"""Med-BERT's one label: whether the longest stay is prolonged. Its records call it `next_sentence_labels`."""

ROWS_AT_A_TIME = 4096


@dataclasses.dataclass(frozen=True)
class FeatureSettings:
    """What the feature script is asked for; None means the layout's default.

    Attributes:
        input_file: `.bencs.*` file of one split, a glob, or a comma list.
        output_file: name of the dataset.
        vocab_file: `.types` or `.vocab.txt` of the same run.
        max_seq_length, max_predictions_per_seq, masked_lm_prob, random_seed: stored as defaults for the trainer; in
            Med-BERT's layout they shape the records.
        num_shards: number of TFRecord files.
        visit_separator: whether each visit ends with [SEP].
        time_gap: "before" or "after".
        overwrite: whether a dataset made with other flags may be replaced.
    """

    input_file: str
    output_file: str
    vocab_file: str
    max_seq_length: int = None
    max_predictions_per_seq: int = None
    masked_lm_prob: float = None
    random_seed: int = 12345
    num_shards: int = 1
    visit_separator: bool = False
    time_gap: str = "before"
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """Checked input, ready to be written.

    Attributes:
        settings: the `FeatureSettings`.
        inputs: paths of the `.bencs.*` files.
        description: what `medtop.data.tfrecord.DatasetWriter` takes.
        done: whether the very same dataset is there already, whole.
    """

    settings: FeatureSettings
    inputs: list
    description: dict
    done: bool


def check(settings):
    """Checks the settings alone, before any file is read.

    Raises:
        DataError: naming the flag, what was expected and what was received.
    """
    rules = [
        ("--max_seq_length", settings.max_seq_length, lambda value: value is None or value >= 2, "at least 2"),
        (
            "--max_predictions_per_seq",
            settings.max_predictions_per_seq,
            lambda value: value is None or value >= 1,
            "at least 1",
        ),
        (
            "--masked_lm_prob",
            settings.masked_lm_prob,
            lambda value: value is None or 0 < value < 1,
            "more than 0, less than 1",
        ),
        ("--num_shards", settings.num_shards, lambda value: 1 <= value <= 99999, "1 to 99999"),
        ("--random_seed", settings.random_seed, lambda value: value >= 0, "at least 0"),
        ("--time_gap", settings.time_gap, lambda value: value in TIME_GAPS, " or ".join(TIME_GAPS)),
        (
            "--output_file",
            settings.output_file,
            lambda value: value and "," not in value and not glob.has_magic(value),
            "one plain name (several files: --num_shards)",
        ),
    ]
    for flag, value, good, expected in rules:
        if not good(value):
            raise DataError(f"{flag}: expected {expected}, received {value!r}")


def plan(settings):
    """Checks the input and compares with what an earlier run wrote.

    Raises:
        DataError: for wrong settings, missing or mixed inputs, a vocabulary of another run, or an earlier dataset made
            with other flags (unless `settings.overwrite`).
    """
    check(settings)
    inputs = find_inputs(settings.input_file)
    vocabulary = Vocabulary.read(settings.vocab_file)
    headers = {path: read_header(path) for path in inputs}
    manifests = {path: _manifest(path) for path in inputs}
    layout = _layout(settings, headers, vocabulary)
    for path, header in headers.items():
        _check_vocabulary(settings.vocab_file, vocabulary, path, header, manifests[path])
    headers = {path: header or {"tasks": MEDBERT_TASKS} for path, header in headers.items()}
    tasks = _one({path: header["tasks"] for path, header in headers.items()}, "tasks")
    split = _one({path: header.get("split") or _split_of(path) for path, header in headers.items()}, "split")
    defaults = {
        name: value if getattr(settings, name) is None else getattr(settings, name)
        for name, value in DEFAULTS[layout].items()
    } | {"random_seed": settings.random_seed}
    flags = {
        "inputs": [{"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)} for path in inputs],
        "vocabulary": vocabulary.hash,
        "num_shards": settings.num_shards,
        "visit_separator": settings.visit_separator,
        "time_gap": settings.time_gap,
        **defaults,
    }
    same = all(manifest == manifests[inputs[0]] for manifest in manifests.values())  # of one run, or none has any
    description = {
        "layout": layout,
        "split": split,
        "vocabulary": vocabulary,
        "tasks": tasks,
        "time_gap": "after" if layout == "medbert" else settings.time_gap,
        "visit_separator": settings.visit_separator,
        "defaults": defaults,
        "flags": flags,
        "source_manifest": manifests[inputs[0]] if same else list(manifests.values()),
    }
    return Plan(settings, inputs, description, done=is_done(settings, flags))


def write(a_plan):
    """Writes the records and the description; returns the `DatasetInfo` of what stands on the disk.

    A plan that is done is not written again, and TensorFlow is not loaded for it.
    """
    if not a_plan.done:
        from medtop.data import tfrecord  # loads TensorFlow

        with tfrecord.DatasetWriter(
            a_plan.settings.output_file, a_plan.settings.num_shards, a_plan.description
        ) as writer:
            generator = np.random.default_rng(a_plan.settings.random_seed)
            for path in a_plan.inputs:
                if a_plan.description["layout"] == "medbert":
                    rows = read_medbert_rows(path)
                    while piece := list(itertools.islice(rows, ROWS_AT_A_TIME)):
                        tfrecord.write_medbert(writer, piece, generator)
                else:
                    for chunk in read_chunks(path):
                        tfrecord.write_chunk(writer, chunk)
    return read_dataset(a_plan.settings.output_file)


def find_inputs(pattern, what="pickled sequences (.bencs.*)"):
    """The files that `--input_file` names: a name, a glob or a comma list, each file once.

    Raises:
        DataError: for a missing or doubled file; `what` says what was expected.
    """
    names = []
    for item in filter(None, (item.strip() for item in pattern.split(","))):
        found = [item] if Path(item).is_file() else sorted(name for name in glob.glob(item) if Path(name).is_file())
        if not found:
            raise DataError(f"{item}: expected {what}, found no such file")
        names += found
    if not names:
        raise DataError(f"--input_file: expected {what}, received {pattern!r}")
    double = [name for name in names if names.count(name) > 1]
    if double:
        raise DataError(f"--input_file: expected each file once, received {double[0]} twice")
    return [Path(name) for name in names]


def _layout(settings, headers, vocabulary):
    """The layout that the inputs share, checked against the vocabulary's and the flags."""
    layout = _one({path: "medbert" if header is None else "default" for path, header in headers.items()}, "layout")
    path = next(iter(headers))
    if (layout == "medbert") != vocabulary.is_medbert:
        wanted = "empty_pad first (--layout=medbert)" if layout == "medbert" else "[PAD] [UNK] [CLS] [SEP] [MASK] first"
        raise DataError(f"{settings.vocab_file}: expected the vocabulary of {path}, {wanted}, received another layout")
    if layout == "medbert" and (settings.visit_separator or settings.time_gap != "before"):
        raise DataError(
            f"{path}: expected neither --visit_separator nor --time_gap with Med-BERT's layout, "
            "whose records hold no separators and no gaps"
        )
    return layout


def _one(values, what):
    """The value that all files share."""
    (first_path, first), *others = values.items()
    for path, value in others:
        if value != first:
            raise DataError(f"{path}: expected the same {what} as {first_path} ({first!r:.80}), received {value!r:.80}")
    return first


def _split_of(path):
    name = re.search(r"\.bencs\.([^.]+)", path.name)
    return name.group(1) if name else None


def _manifest(path):
    """`<prefix>.manifest.json` beside `<prefix>.bencs.*`, or None."""
    name = path.with_name(re.sub(r"\.bencs(\..*)?$", "", path.name) + ".manifest.json")
    if not name.is_file():
        return None
    try:
        return json.loads(name.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{name}: expected JSON, received another content ({error})") from error


def _check_vocabulary(name, vocabulary, path, header, manifest):
    for source in (header, manifest):
        expected = source.get("vocabulary_hash") if isinstance(source, dict) else None
        if expected and expected != vocabulary.hash:
            raise DataError(
                f"{name}: expected the vocabulary of {path} (hash {expected[:12]}), "
                f"received another run's (hash {vocabulary.hash[:12]})"
            )


def is_done(settings, flags):
    """Whether the same dataset stands there whole; files without a description are of a run that was stopped.

    Args:
        settings: has `output_file`, `num_shards`, `overwrite`.
        flags: what the earlier data set is compared by.

    Raises:
        DataError: for a data set made with other flags, or another kind of file, unless `settings.overwrite`.
    """
    output = settings.output_file
    if not Path(f"{output}{SUFFIX}").is_file():
        for name in shard_names(output, settings.num_shards):
            if name.exists() and not settings.overwrite and not _is_tfrecord(name):
                raise DataError(
                    f"{name}: expected no file of this name, or TFRecord; found another (--overwrite replaces it)"
                )
        return False
    try:
        earlier = read_dataset_json(output)["flags"]
    except DataError:
        if settings.overwrite:
            return False
        raise
    differences = [
        f"{name} was {_shown(earlier.get(name))}, is {_shown(flags.get(name))}"
        for name in dict.fromkeys([*earlier, *flags])
        if earlier.get(name) != flags.get(name)
    ]
    if differences and not settings.overwrite:
        raise DataError(
            f"{output}: expected the flags of the run that wrote it, received others: {'; '.join(differences)} "
            "(--overwrite replaces it)"
        )
    if differences:
        return False
    try:
        read_dataset(output)
    except DataError:  # a file is gone or was cut: the same flags write it again
        return False
    return True


def _shown(value):
    if isinstance(value, list):
        return ", ".join(f"{item['file']} ({item['bytes']} bytes, {item['sha256'][:8]})" for item in value)
    return value[:12] if isinstance(value, str) else repr(value)


def _is_tfrecord(path):
    """Whether a file is empty or begins with the length (8 bytes) of a record that fits into it."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
    return size == 0 or (len(head) == 12 and int.from_bytes(head[:8], "little") < size)
