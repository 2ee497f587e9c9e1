"""`<output_file>.dataset.json`: what a set of TFRecord files holds, written last and checked before they are read.

No TensorFlow here, so that scripts can check their input before they load it.
"""

import dataclasses
import glob
import re
from pathlib import Path

from medtop.cohort.vocabulary import Vocabulary
from medtop.cohort.vocabulary_map import CodeMap
from medtop.data.description_check import check_content
from medtop.data.layouts import Layout, find_layout
from medtop.files.bounded import read_json
from medtop.files.errors import DataError, shown

FORMAT = "medtop dataset"
VERSION = 1
SUFFIX = ".dataset.json"
LENGTH_BINS = tuple(range(16, 1025, 16)) + tuple(1 << power for power in range(11, 21))
"""Upper ends (inclusive) of the bins of the lengths histogram: every 16 tokens to 1,024, then powers of two."""

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_KEYS = (
    "layout",
    "split",
    "tasks",
    "time_gap",
    "visit_separator",
    "defaults",
    "counts",
    "labels",
    "lengths",
    "shards",
    "flags",
    "vocabulary_hash",
    "vocabulary",
    "source_manifest",
)
_SHARED = ("layout", "vocabulary_hash", "code_map", "tasks", "time_gap", "visit_separator", "tokenizer")


def shard_names(output_file, num_shards):
    """The files of a dataset: `output_file` itself, or `<output_file>-00000-of-000NN`."""
    if num_shards == 1:
        return [Path(output_file)]
    return [Path(f"{output_file}-{number:05d}-of-{num_shards:05d}") for number in range(num_shards)]


@dataclasses.dataclass
class DatasetInfo:
    """One dataset, or several of the same kind taken together.

    Attributes:
        names: where the `dataset.json` files lie (paths).
        files: all TFRecord files, in order.
        file_records: number of records in each file.
        layout: `medtop.data.layouts.Layout`.
        vocabulary: `Vocabulary`.
        tasks: dict task -> list of K label names.
        levels: dict task -> level ("patient").
        split: "train", "valid", "test", or several joined by a comma; None where unknown.
        time_gap: "before" or "after" ("after" in Med-BERT's layout, whose records hold no gaps).
        visit_separator: whether each visit ends with [SEP].
        defaults: dict of `max_seq_length`, `max_predictions_per_seq`, `masked_lm_prob`, `random_seed`.
        counts: dict of `examples_in`, `examples`, `patients`, `tokens`, `dropped` (dict reason -> n).
        labels: dict task -> label -> dict of `known`, `positives`.
        lengths: dict of `upper` (bins' inclusive ends), `counts`, `max`, `mean`: tokens per example, [CLS] included.
        source_manifests: the sources' manifests (dicts).
        tokenizer: notes only: dict of what made the token ids out of text (`lower_case`); None for codes.
        record_columns: what `medtop.data.tfrecord.record_columns` has read; None: nothing yet.
    """

    names: list
    files: list
    file_records: list
    layout: Layout
    vocabulary: Vocabulary
    tasks: dict
    levels: dict
    split: str
    time_gap: str
    visit_separator: bool
    defaults: dict
    counts: dict
    labels: dict
    lengths: dict
    source_manifests: list
    tokenizer: dict | None = None
    record_columns: dict | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def num_examples(self):
        """Records in all files."""
        return self.counts["examples"]


def read_dataset(path):
    """Reads and checks the description of TFRecord files; the files themselves are not opened.

    Args:
        path: `<output_file>` as given to the feature script, a glob, a list of either, or a comma list. A glob must
            match all files of a dataset or none.

    Raises:
        DataError: when nothing is there, a file is missing or has another size than when it was written, the version
            is another, or the datasets differ in layout, vocabulary, tasks or gaps.
    """
    items = (
        [str(path)] if isinstance(path, Path) else path.split(",") if isinstance(path, str) else [str(p) for p in path]
    )
    bases = {}  # base path -> files named; None: the whole dataset was named
    for item in filter(None, (item.strip() for item in items)):
        for base, files in _expand(item).items():
            bases[base] = None if files is None or bases.get(base, []) is None else bases.get(base, []) + files
    if not bases:
        raise DataError(f"input: expected TFRecord files, received {path!r}")
    contents = []
    for base, files in bases.items():
        content = read_dataset_json(base)
        names = _check_files(base, content)
        missing = [] if files is None else sorted(set(map(str, names)) - set(files))
        if missing:
            raise DataError(
                f"{base}: expected all {len(names)} files of the dataset, received {len(names) - len(missing)} "
                f"of them (without {Path(missing[0]).name})"
            )
        contents.append((base, content, names))
    return _together(contents)


def _expand(item):
    """dict of base path -> files named, or None where the whole dataset was named."""
    if Path(item + SUFFIX).is_file():
        return {item: None}
    names = [item] if Path(item).is_file() else sorted(name for name in glob.glob(item) if Path(name).is_file())
    named = {name.removesuffix(SUFFIX): None for name in names if name.endswith(SUFFIX)}
    for name in names:
        base = _SHARD.sub("", name)
        if not name.endswith(SUFFIX) and named.get(base, []) is not None:
            named.setdefault(base, []).append(name)
    if not named:
        raise DataError(f"{item}: expected TFRecord files with {Path(item).name}{SUFFIX} beside them, found none")
    return named


def read_dataset_json(base):
    """The checked content of `<base>.dataset.json`."""
    path = Path(f"{base}{SUFFIX}")
    if not path.is_file():
        raise DataError(
            f"{path}: expected the description of the dataset, found no such file: was the feature script stopped?"
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: expected the description of a medtop dataset, received another content")
    if content.get("version") != VERSION:
        raise DataError(
            f"{path}: expected version {VERSION}, received version {shown(content.get('version'))}; "
            "run create_BERTpretrain_EHRfeatures.py of this version"
        )
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise DataError(f"{path}: expected the key {missing[0]!r}, found no such key")
    check_content(content, path, len(LENGTH_BINS))
    try:
        vocabulary = _vocabulary(content, path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if vocabulary.hash != content["vocabulary_hash"]:
        raise DataError(
            f"{path}: expected the vocabulary's hash {vocabulary.hash[:12]}, "
            f"received {content['vocabulary_hash'][:12]}: the file was changed"
        )
    return content


def _vocabulary(content, path):
    """The `Vocabulary` of a description, with its map of codes."""
    code_map = CodeMap.from_dict(content["code_map"], path) if "code_map" in content else None
    return Vocabulary(content["vocabulary"], code_map)


def _check_files(base, content):
    names = []
    for shard in content["shards"]:
        name = Path(base).parent / shard["file"]
        if not name.is_file():
            raise DataError(f"{name}: expected a TFRecord file of {shard['bytes']} bytes, found no such file")
        if name.stat().st_size != shard["bytes"]:
            raise DataError(
                f"{name}: expected {shard['bytes']} bytes, received {name.stat().st_size}: the file was cut or changed"
            )
        names.append(name)
    return names


def _together(contents):
    first_base, first, _ = contents[0]
    layout = find_layout(first["layout"], f"{first_base}{SUFFIX}")
    for base, content, _ in contents[1:]:
        for key in _SHARED + (("defaults",) if layout.static_masks else ()):
            if content.get(key) != first.get(key):
                shown = (f"{first.get(key)!r:.80}", f"{content.get(key)!r:.80}")
                raise DataError(f"{base}: expected the same {key} as {first_base} ({shown[0]}), received {shown[1]}")
    values = [content for _, content, _ in contents]
    splits = list(dict.fromkeys(content["split"] for content in values))
    return DatasetInfo(
        names=[Path(f"{base}{SUFFIX}") for base, _, _ in contents],
        files=[name for _, _, names in contents for name in names],
        file_records=[shard["records"] for content in values for shard in content["shards"]],
        layout=layout,
        vocabulary=_vocabulary(first, f"{first_base}{SUFFIX}"),
        tasks={task: value["labels"] for task, value in first["tasks"].items()},
        levels={task: value["level"] for task, value in first["tasks"].items()},
        split=splits[0] if len(splits) == 1 else ",".join(str(split) for split in splits),
        time_gap=first["time_gap"],
        visit_separator=first["visit_separator"],
        defaults=first["defaults"],
        counts=_sum([content["counts"] for content in values]),
        labels=_sum([content["labels"] for content in values]),
        lengths=_lengths_together([content["lengths"] for content in values]),
        source_manifests=[content["source_manifest"] for content in values if content["source_manifest"] is not None],
        tokenizer=first.get("tokenizer"),
    )


def _sum(values):
    """Sums dicts of (dicts of) numbers, key by key."""
    if not isinstance(values[0], dict):
        return sum(values)
    keys = dict.fromkeys(key for value in values for key in value)
    return {key: _sum([value[key] for value in values if key in value]) for key in keys}


def _lengths_together(values):
    counts = [0] * len(LENGTH_BINS)
    for value in values:
        for number, count in enumerate(value["counts"]):
            counts[number] += count
    total = sum(counts)
    tokens = sum(value["mean"] * sum(value["counts"]) for value in values)
    return {
        "upper": list(LENGTH_BINS),
        "counts": counts,
        "max": max(value["max"] for value in values),
        "mean": tokens / total if total else 0.0,
    }
