"""Input files -> TFRecord and `dataset.json`, whatever the input: what every feature script does, without its flags.

What differs from input to input is a `medtop.data.record_maker.RecordMaker`. Checking (`plan`) needs no TensorFlow;
writing (`write`) does.
"""

import contextlib
import dataclasses
import glob
import os
from pathlib import Path

from medtop.data.description import SUFFIX, read_dataset, read_dataset_json, shard_names
from medtop.data.record_maker import RecordMaker
from medtop.files.atomic import sha256
from medtop.files.errors import DataError
from medtop.files.locks import hold, is_at, open_own
from medtop.files.options import check, compared
from medtop.files.staging import check_whole


@dataclasses.dataclass(frozen=True)
class DatasetPlan:
    """Checked input, ready to be written.

    Attributes:
        maker: the `RecordMaker`, open.
        inputs: paths.
        description: what `medtop.data.tfrecord.DatasetWriter` takes.
        done: whether the very same dataset is there already, whole.
    """

    maker: RecordMaker
    inputs: list
    description: dict
    done: bool

    @property
    def settings(self):
        """The maker's `Settings`."""
        return self.maker.settings


def plan(maker):
    """Checks the flags and the input, and compares with what an earlier run wrote.

    Raises:
        DataError: for wrong settings, missing or mixed inputs, a vocabulary of another run, or an earlier dataset made
            with other flags (unless `settings.overwrite`).
    """
    settings = maker.settings
    check(settings)
    maker.check()
    inputs = find_inputs(settings.input_file, maker.expects)
    digests = {path: sha256(path) for path in inputs}
    for path, digest in digests.items():
        check_whole(path, digest)
    about = maker.open(inputs)
    about["flags"] = {
        "inputs": [{"file": path.name, "bytes": path.stat().st_size, "sha256": digests[path]} for path in inputs],
        **compared(settings),
        **about["flags"],
    }
    return DatasetPlan(maker, inputs, about, is_done(settings, about["flags"]))


def write(dataset_plan):
    """Writes the records and the description; returns the `DatasetInfo` of what stands on the disk.

    A plan that is done is not written again, and TensorFlow is not loaded for it.
    """
    maker, about = dataset_plan.maker, dataset_plan.description
    if not dataset_plan.done:
        from medtop.data.tfrecord import DatasetWriter  # loads TensorFlow

        output = maker.settings.output_file
        with _alone(output), DatasetWriter(output, maker.settings.num_shards, about) as writer:
            writer.dropped = dict.fromkeys(maker.reasons, 0)
            writer.more_counts = dict.fromkeys(maker.counts, 0)
            for examples in maker.examples(dataset_plan.inputs, about):
                writer.write(examples)
    return read_dataset(maker.settings.output_file)


@contextlib.contextmanager
def _alone(output_file):
    """Holds `.<output_file>.lock` while a data set is written: two runs at once would mix their files.

    Raises:
        DataError: where another process is at work on the same output.
    """
    path = Path(output_file)
    path = path.with_name(f".{path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_own(path) as lock:
        if not hold(lock) or not is_at(lock.fileno(), path):  # or another process has just ended and removed it
            raise DataError(f"{output_file}: expected no other run on this output, found one that is still writing")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)


def find_inputs(pattern, what):
    """The files that `--input_file` names: a name, a glob or a comma list, each file once.

    Raises:
        DataError: for a missing or doubled file; `what` says what was expected.
    """
    names = []
    for item in filter(None, (item.strip() for item in pattern.split(","))):
        matches = [item] if Path(item).is_file() else sorted(name for name in glob.glob(item) if Path(name).is_file())
        if not matches:
            raise DataError(f"{item}: expected {what}, found no such file")
        names += matches
    if not names:
        raise DataError(f"--input_file: expected {what}, received {pattern!r}")
    double = [name for name in names if names.count(name) > 1]
    if double:
        raise DataError(f"--input_file: expected each file once, received {double[0]} twice")
    return [Path(name) for name in names]


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
