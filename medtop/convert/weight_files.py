"""Files of weights in PyTorch's world: safetensors and .bin, whole or in shards. Nothing in them can run code."""

import warnings
from pathlib import Path

import numpy as np

from medtop.convert.extras import require
from medtop.files.bounded import check_zip, read_json
from medtop.files.errors import DataError

SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"
FORMATS = {"safetensors": (SAFETENSORS,), "bin": (BIN,), "both": (SAFETENSORS, BIN)}
PACKAGES = {SAFETENSORS: ["safetensors"], BIN: ["torch"]}


def check_installed(file_format):
    """Refuses a format whose package is missing, before any work is done.

    Args:
        file_format: a key of `FORMATS`.
    """
    for name in FORMATS[file_format]:
        require(PACKAGES[name], "torch")


def write_weights(folder, arrays, file_format):
    """Writes `model.safetensors` and/or `pytorch_model.bin`.

    Args:
        folder: existing folder.
        arrays: dict name -> float32 array.
        file_format: a key of `FORMATS`.
    """
    for name in FORMATS[file_format]:
        if name == SAFETENSORS:
            from safetensors.numpy import save_file

            (folder / name).touch()
            mode = (folder / name).stat().st_mode  # as the user's umask has it; save_file allows the owner only
            # transformers refuses a file that does not say which framework its tensors belong to
            save_file(
                {key: np.ascontiguousarray(value) for key, value in arrays.items()}, folder / name, {"format": "pt"}
            )
            (folder / name).chmod(mode)
        else:
            import torch

            torch.save({key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}, folder / name)


def find_weights(folder):
    """The files that hold a folder's weights: safetensors where they are there, else .bin.

    Returns:
        list of `Path`; several for a sharded model.

    Raises:
        DataError: for a folder without any, or an index that names something else than files beside it.
    """
    folder = Path(folder)
    for name in (SAFETENSORS, BIN):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index, Path(name).suffix)
    raise DataError(f"{folder}: expected {SAFETENSORS} or {BIN}, found neither")


def _shards(index, suffix):
    try:
        names = sorted({*read_json(index)["weight_map"].values()})
        good = all(Path(name).name == name and name.endswith(suffix) for name in names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index}: expected an index of shards (JSON), received another content") from error
    if not names or not good:
        raise DataError(f"{index}: expected names of {suffix} files beside it, received others")
    for name in names:
        if not (index.parent / name).is_file():
            raise DataError(f"{index.parent / name}: expected a shard that {index.name} names, found no such file")
    return [index.parent / name for name in names]


def read_weights(folder):
    """All weights of a folder as float32.

    Returns:
        (dict name -> float32 array, list of `Path` that were read).

    Raises:
        DataError: for a missing, cut or damaged file, one that holds more than tensors, or a missing package.
    """
    files, arrays = find_weights(folder), {}
    for file in files:
        part = _read_safetensors(file) if file.suffix == ".safetensors" else _read_bin(file)
        doubled = sorted(arrays.keys() & part.keys())
        if doubled:
            raise DataError(f"{file}: expected weights that no other shard holds, received {doubled[0]} twice")
        arrays |= part
    return arrays, files


def _read_safetensors(path):
    require(PACKAGES[SAFETENSORS], "torch")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}
            if not set(kinds.values()) & {"BF16"}:
                return {name: np.asarray(file.get_tensor(name), np.float32) for name in kinds}
        require(["torch"], "torch")  # NumPy has no bfloat16
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).float().numpy() for name in kinds}
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise _damaged(path, "safetensors", error) from error


def _read_bin(path):
    require(PACKAGES[BIN], "torch")
    import torch

    check_zip(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch remarks on unusual pickles before it refuses them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged zip or pickle can raise almost anything
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise DataError(
                f"{path}: expected tensors only, received a pickle that holds something else; nothing of it was run"
            ) from error
        raise _damaged(path, "PyTorch", error) from error
    tensors = isinstance(content, dict) and content and all(torch.is_tensor(value) for value in content.values())
    if not tensors or not all(isinstance(name, str) for name in content):
        raise DataError(f"{path}: expected a dict of named tensors, received another content")
    return {name: tensor.detach().float().numpy() for name, tensor in content.items()}


def _damaged(path, kind, error):
    about = " ".join(f"{type(error).__name__}: {error}".split())
    return DataError(f"{path}: expected a whole {kind} file, received a damaged or cut one ({about:.160})")
