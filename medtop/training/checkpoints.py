"""What a run needs to go on after a kill: weights, optimizer slots and counters, in one file. Random numbers need
no state: they are functions of seed and step.

A checkpoint is an `.npz` (zip of plain arrays, a CRC-32 for each, no pickles), written whole or not at all.
"""

import concurrent.futures
import json
import logging
from pathlib import Path

import numpy as np

from medtop.files.atomic import atomic_path
from medtop.files.bounded import parse_json, read_npz
from medtop.files.errors import DataError

logger = logging.getLogger(__name__)

STATE = "state.json"


def write_arrays(path, arrays, state):
    """Writes named arrays and a JSON-able state to one file.

    Args:
        arrays: dict name -> array; a name must not be `state.json`.
        state: JSON-able dict.
    """
    # The names again: a damaged directory of a zip can hide members without any error.
    coded = np.frombuffer(json.dumps({"state": state, "arrays": list(arrays)}).encode(), np.uint8)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{STATE: coded}, **arrays)


def read_arrays(path):
    """The inverse of `write_arrays`: (dict name -> array, state).

    Raises:
        DataError: for a missing, cut or damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: expected saved weights, found no such file")
    try:
        arrays = read_npz(path)
        content = parse_json(arrays.pop(STATE).tobytes().decode(), STATE)
        if sorted(content["arrays"]) != sorted(arrays):
            raise ValueError(f"{len(content['arrays'])} arrays were written, {len(arrays)} are there")
        return {name: _parted(name, array) for name, array in arrays.items()}, content["state"]
    except Exception as error:  # a damaged zip can raise almost anything
        about = " ".join(f"{type(error).__name__}: {error}".split()).replace(f"{path}: ", "")
        raise DataError(
            f"{path}: expected whole saved weights, received a damaged or cut file ({about:.200})"
        ) from error


def _parted(name, array):
    """Query, key and value of files from before December 2026, [H, 3H] and [3H], as [H, 3, H] and [3, H]: the same
    numbers in the same order; means of the optimizer too."""
    if "_attention/qkv_kernel" in name and array.ndim == 2:
        return array.reshape(len(array), 3, -1)
    if "_attention/qkv_bias" in name and array.ndim == 1:
        return array.reshape(3, -1)
    return array


def weights_of(model):
    """dict path -> array of a model's weights (no optimizer)."""
    named = {weight.path: np.asarray(weight) for weight in model.weights}
    if len(named) != len(model.weights):
        raise AssertionError("two weights of the model have the same path")
    return named


def set_weights(model, arrays, where):
    """Sets all weights of a model from `weights_of`'s dict.

    Raises:
        DataError: when names or shapes differ.
    """
    paths = {weight.path: weight for weight in model.weights}
    if set(paths) != set(arrays):
        some = sorted(set(paths) ^ set(arrays))
        raise DataError(f"{where}: expected weights {len(paths)} by name, received others; first difference: {some[0]}")
    for path, weight in paths.items():
        if tuple(weight.shape) != arrays[path].shape:
            raise DataError(f"{where}: expected {path} of shape {tuple(weight.shape)}, received {arrays[path].shape}")
        weight.assign(arrays[path])


def training_variables(model):
    """What a checkpoint of a model in training holds: dict name -> variable, in a fixed order.

    The names are numbered, because a weight's path may be the balancer's too. The optimizer's count of steps is not
    among them: it is the state's `step`.

    Args:
        model: `medtop.training.step.TensorFlowModel`, compiled with `medtop.training.optimizer.AdamW`.
    """
    named = [(weight.path, weight) for weight in model.weights]
    named += model.optimizer.slots.items()
    named += [(variable.path, variable) for variable in model.balancer.variables]
    return {f"{number:05d}|{name}": variable for number, (name, variable) in enumerate(named)}


class CheckpointFolder:
    """The newest few checkpoints of a run, `step-000001234.npz`.

    Args:
        folder: where they lie.
        keep: how many are kept.
    """

    def __init__(self, folder, keep=3):
        self.folder, self.keep = Path(folder), keep
        self._writer = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing = None

    def paths(self):
        """Checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.npz"))

    def save(self, variables, state):
        """Writes a checkpoint for `state["step"]` in the background and removes those beyond `keep`.

        The values are copied before this returns; the file is on the disk when the next call, or `wait`, returns.

        Args:
            variables: dict name -> variable, `training_variables`'.
            state: JSON-able dict.

        Raises:
            OSError: when this or the one before could not be written; earlier checkpoints are whole.
        """
        arrays = {name: np.array(variable.numpy()) for name, variable in variables.items()}
        self.wait()
        self._writing = self._writer.submit(self._write, arrays, state)

    def wait(self):
        """Returns when everything is on the disk; raises what the writing raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, arrays, state):
        write_arrays(self.folder / f"step-{state['step']:09d}.npz", arrays, state)
        for path in self.paths()[: -self.keep]:
            path.unlink()

    def restore(self, variables):
        """Sets the variables from the newest whole checkpoint; returns its state, or None without any.

        A damaged checkpoint is passed over with a warning.

        Raises:
            DataError: when checkpoints exist and none can be read, or when they belong to another model.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                arrays, state = read_arrays(path)
            except DataError as error:
                logger.warning("%s; going back to the checkpoint before it", error)
                continue
            if {name: tuple(v.shape) for name, v in variables.items()} != {n: a.shape for n, a in arrays.items()}:
                raise DataError(f"{path}: expected a checkpoint of this model, received another model's")
            for name, variable in variables.items():
                variable.assign(arrays[name])
            return state
        if paths:
            raise DataError(
                f"{self.folder}: expected at least one whole checkpoint, received {len(paths)} damaged ones"
            )
        return None
