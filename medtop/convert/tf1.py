"""TensorFlow 1 checkpoints with google-research/bert's names, read and written."""

import json
import os
from pathlib import Path

import numpy as np

from medtop.convert.huggingface import BLOCK, read_json
from medtop.convert.names import token_type
from medtop.files.atomic import write_json, write_text
from medtop.files.errors import DataError
from medtop.model.config import BertConfig

PREFIX = "bert_model.ckpt"
CONFIG = "bert_config.json"
_SAME = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
)


def read_config(path, segment=None):
    """google-research/bert's bert_config.json as ours: its `gelu` is the tanh form.

    Args:
        path: the file.
        segment: what the token types are; None = as the file says, else "visit" where there are more than two, else
            "zero".

    Returns:
        (`BertConfig`, the values under `medtop`).

    Raises:
        DataError: for a missing field or another activation.
    """
    values = read_json(path, "google-research/bert's configuration")
    if values.get("hidden_act", "gelu") not in ("gelu", "gelu_tanh", "gelu_new"):
        raise DataError(f"{path}: expected hidden_act=gelu, received {values['hidden_act']!r}")
    missing = [name for name in ("vocab_size", "hidden_size", "num_hidden_layers") if name not in values]
    if missing:
        raise DataError(f"{path}: expected {missing[0]}, found none")
    block = values.get(BLOCK) if isinstance(values.get(BLOCK), dict) else {}
    ours = {"num_attention_heads": 12, "intermediate_size": 3072, "type_vocab_size": 16}  # google's defaults
    ours |= {name: values[name] for name in _SAME if name in values}
    if isinstance(block.get("config"), dict):
        ours = {**block["config"], **{name: value for name, value in ours.items() if name != "type_vocab_size"}}
    ours = {**ours, "activation": "gelu_tanh", "norm": "post"}
    ours["segment"] = segment or ours.get("segment") or ("visit" if ours["type_vocab_size"] > 2 else "zero")
    return BertConfig.from_dict(ours, str(path)), block


def read_checkpoint(prefix):
    """Every variable of a checkpoint.

    Args:
        prefix: path without `.index` and `.data-...`; a folder stands for the newest checkpoint in it.

    Returns:
        dict name -> float32 array.

    Raises:
        DataError: for a missing, cut or damaged checkpoint.
    """
    import tensorflow as tf

    prefix = str(prefix)
    if os.path.isdir(prefix):
        latest = tf.train.latest_checkpoint(prefix)
        if latest is None:
            raise DataError(f"{prefix}: expected a TensorFlow checkpoint, found none in the folder")
        prefix = latest
    prefix = prefix.removesuffix(".index")
    if not (os.path.isfile(f"{prefix}.index") or os.path.isfile(prefix)):
        raise DataError(f"{prefix}: expected a TensorFlow checkpoint ({Path(prefix).name}.index), found none")
    try:
        reader = tf.train.load_checkpoint(prefix)
        arrays = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        return {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    except Exception as error:  # a damaged checkpoint can raise almost anything, IndexError too
        about = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"{prefix}: expected a whole TensorFlow checkpoint, received a damaged or cut one ({about:.160})"
        ) from error


def write_checkpoint(folder, config, arrays, block):
    """Writes `bert_model.ckpt.*`, `checkpoint` and bert_config.json.

    Args:
        folder: existing folder.
        config: `BertConfig`, post-norm and gelu_tanh.
        arrays: dict google's name -> float32 array.
        block: dict of JSON values under the key `medtop`, which google's code passes over.
    """
    import tensorflow as tf

    names = list(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(Path(folder) / PREFIX),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(arrays[name]) for name in names],
    )
    write_text(Path(folder) / "checkpoint", f"model_checkpoint_path: {json.dumps(PREFIX)}\n")
    types = config.visit_vocab_size if token_type(config) == "visit" else config.type_vocab_size
    values = {name: getattr(config, name) for name in _SAME}
    write_json(Path(folder) / CONFIG, {**values, "type_vocab_size": types, "hidden_act": "gelu", BLOCK: block})
