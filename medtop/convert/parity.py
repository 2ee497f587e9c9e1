"""The same patients through both frameworks: how far apart are the outputs?

Letters: B rows, T tokens, M masked positions, K labels, V vocabulary, H width.
"""

import contextlib
import dataclasses
import importlib.util

import numpy as np

from medtop.cohort.vocabulary import CLS, CLS_ID
from medtop.convert.names import token_type
from medtop.files.errors import DataError
from medtop.model.config import EMBEDDINGS

LIMIT = 1e-5
"""Largest difference, as a share of the largest absolute value, that counts as parity (float32 on a CPU)."""
INSTALL = 'pip install "medtop[torch]" transformers'
"""What a comparison needs."""
REFUSED = 1e-3
"""Beyond this two gelus, eps or weights differ: no rounding does that."""
_SEGMENTS = {
    "zero": np.zeros_like,
    "alternating": lambda visits: visits % 2,
    "visit": lambda visits: visits,
    "sentence": lambda visits: (visits > visits.mean()).astype(visits.dtype),
}


@dataclasses.dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Attributes:
        peer: what was compared with, such as "transformers BertForMaskedLM".
        differences: output -> largest difference as a share of its largest absolute value.
    """

    peer: str
    differences: dict

    @property
    def worst(self):
        """The largest of the differences."""
        return max(self.differences.values())

    def __str__(self):
        each = ", ".join(f"{name} {value:.1e}" for name, value in self.differences.items())
        verdict = "" if self.worst <= LIMIT else f"; above {LIMIT:.0e}"
        return (
            f"parity with {self.peer}: largest difference {self.worst:.1e} of the largest absolute value ({each})"
            + verdict
        )


def sample_inputs(config, vocabulary, rows=6, tokens=24, seed=0):
    """Made-up patients of mixed lengths, as a batch of the pipeline's (P = 1).

    Args:
        config: `BertConfig`.
        vocabulary: `Vocabulary`.
        rows: B.
        tokens: T.
        seed: of the codes, visits and days.

    Returns:
        dict of int32 [B, T], `cls_positions` [B, 1] and `mask_positions` [B, M].
    """
    rng = np.random.default_rng(seed)
    tokens = min(tokens, config.max_position_embeddings)
    lengths = np.linspace(2, tokens, rows).astype(int)
    shape = (rows, tokens)
    slots = (np.arange(tokens) < lengths[:, None]).astype(np.int32)
    ids = vocabulary.ordinary_ids[rng.integers(0, len(vocabulary.ordinary_ids), shape)]
    visits = 1 + np.cumsum(rng.random(shape) < 0.3, axis=1)
    if not vocabulary.is_medbert:
        ids[:, 0], visits[:, 0] = vocabulary.ids.get(CLS, CLS_ID), 0
    first_age = rng.integers(0, 90 * 365, (rows, 1))
    x = {
        "token_ids": ids,
        "positions": np.broadcast_to(np.arange(tokens), shape),
        "visits": visits,
        "visit_positions": rng.integers(0, 5, shape),
        "segments": _SEGMENTS[config.segment](visits),
        "ages": first_age + 200 * visits,
        "gaps": rng.integers(0, 2000, shape),
        "stays": rng.integers(0, 60, shape),
        "recencies": rng.integers(0, 4000, shape),
        "sexes": np.broadcast_to(rng.integers(0, 3, (rows, 1)), shape),
    }
    x = {key: (values * slots).astype(np.int32) for key, values in x.items()}
    x["patient_slots"] = slots
    x["cls_positions"] = np.zeros((rows, 1), np.int32)
    x["mask_positions"] = np.stack([rng.integers(0, n, 3) for n in lengths]).astype(np.int32)
    return x


def build(config, tasks):
    """The Keras model; without tasks the encoder alone."""
    from medtop.model.encoder import build_encoder
    from medtop.model.multitask import build_model

    return build_model(config, tasks) if tasks else build_encoder(config)


def keras_outputs(model, x):
    """`hidden states` [B, T, H], `pooled output` [B, H], and each task's logits as `<task> logits`.

    Args:
        model: `build`'s.
        x: as `sample_inputs` makes it.
    """
    encoder = getattr(model, "encoder", model)
    encoded = encoder({key: x[key] for key in encoder.input}, training=False)
    arrays = {
        "hidden states": np.asarray(encoded["sequence_output"]),
        "pooled output": np.asarray(encoded["pooled_output"])[:, 0],
    }
    if encoder is model:
        return arrays
    outputs = dict(model({key: x[key] for key in model.input}, training=False))
    if getattr(model, "wide", None) is not None:
        names = list(model.wide.columns)
        outputs |= model.wide.outputs({key: x[key] for key in model.wide.inputs}, outputs, names)
    for name, logits in outputs.items():
        logits = np.asarray(logits)
        arrays[f"{name} logits"] = logits if name in _masked(model) else logits[:, 0]
    return arrays


def _masked(model):
    return {name for name, output in model.output.items() if f"{name}_transform" in {x.name for x in model.layers}}


@contextlib.contextmanager
def quiet_transformers():
    """transformers without progress bars and load reports, which would stand between a script's own lines."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def huggingface_outputs(folder, name, heads, config, x, their_ids=None, strict=True):
    """The same outputs from transformers.

    Args:
        folder: a HuggingFace folder.
        name: the class that loads it.
        heads: dict `Task` -> kind of head.
        config: `BertConfig`.
        x: as `sample_inputs` makes it.
        their_ids: int [V], their id of each of our tokens; None = the same.
        strict: whether keys may be neither missing nor unexpected.

    Raises:
        DataError: when `strict` and the class reports missing or unexpected keys.
    """
    import torch
    import transformers

    with quiet_transformers():
        model, report = getattr(transformers, name).from_pretrained(
            str(folder), output_loading_info=True, local_files_only=True, dtype=torch.float32
        )
    wrong = [f"{kind} {sorted(report[kind])[0]}" for kind in ("missing_keys", "unexpected_keys") if report[kind]]
    if strict and wrong:
        raise DataError(f"{folder}: expected every key of {name}, received {'; '.join(wrong)}")
    ids = x["token_ids"] if their_ids is None else np.asarray(their_ids)[x["token_ids"]]
    inputs = {"input_ids": ids, "attention_mask": x["patient_slots"]}
    if token_type(config):
        key, size, _ = EMBEDDINGS[token_type(config)]
        inputs["token_type_ids"] = np.minimum(x[key], getattr(config, size) - 1)
    with torch.no_grad():
        inputs = {key: torch.from_numpy(np.ascontiguousarray(value, np.int64)) for key, value in inputs.items()}
        base = getattr(model, "bert", model)
        encoded = base.eval()(**inputs)
        output = model.eval()(**inputs)
    outputs = {"hidden states": encoded.last_hidden_state.numpy()}
    if getattr(base, "pooler", None) is not None:
        outputs["pooled output"] = encoded.pooler_output.numpy()
    for task, kind in heads.items():
        if kind == "masked":
            every = output.prediction_logits if hasattr(output, "prediction_logits") else output.logits
            logits = np.take_along_axis(every.numpy(), x["mask_positions"][..., None], axis=1)
            logits = logits if their_ids is None else logits[..., np.asarray(their_ids)]
        else:
            logits = getattr(output, "seq_relationship_logits", None) if kind in ("two_way", "next_sentence") else None
            logits = (output.logits if logits is None else logits).numpy()
            if kind.startswith("two_way"):
                logits = logits[:, 1:] - logits[:, :1]
            elif kind == "next_sentence":  # class 0: it follows
                logits = logits[:, :1] - logits[:, 1:]
        outputs[f"{task.name} logits"] = logits
    return outputs


def twin_outputs(folder, x, their_ids=None, wide=True):
    """The same outputs from `medtop.convert.torch_bert`; arguments as for `huggingface_outputs`.

    Args:
        wide: False leaves the wide part out.
    """
    import torch

    from medtop.convert.torch_bert import TorchBert

    model = TorchBert.from_folder(folder).eval()
    model.wide = model.wide if wide else None
    with torch.no_grad():
        ids = x["token_ids"] if their_ids is None else np.asarray(their_ids)[x["token_ids"]]
        output = model({key: torch.from_numpy(value) for key, value in {**x, "token_ids": ids}.items()})
    outputs = {"hidden states": output.pop("sequence_output").numpy()}
    pooled = output.pop("pooled_output", None)
    if pooled is not None:
        outputs["pooled output"] = pooled[:, 0].numpy()
    for name, logits in output.items():
        logits = logits.numpy()
        if name not in model.masked:
            logits = logits[:, 0]
        elif their_ids is not None:
            logits = logits[..., np.asarray(their_ids)]
        outputs[f"{name} logits"] = logits
    return outputs


def compare(peer, ours, theirs, slots):
    """How far two sets of outputs are apart.

    Args:
        peer: name of theirs.
        ours, theirs: dict output -> array; only what both have is compared.
        slots: int [B, T], 0 = padding: hidden states there are nobody's.

    Returns:
        `Parity`.

    Raises:
        DataError: when they differ by more than rounding can explain.
    """
    differences = {}
    for name in ours.keys() & theirs.keys():
        mine, twin = ours[name], theirs[name]
        if name == "hidden states":
            mine, twin = mine[slots > 0], twin[slots > 0]
        differences[name] = float(np.abs(mine - twin).max() / max(np.abs(twin).max(), 1e-30))
    parity = Parity(peer, {name: differences[name] for name in ours if name in differences})
    if not parity.worst <= REFUSED:  # NaN too
        raise DataError(f"{parity}; expected at most {REFUSED:.0e}: nothing was written")
    return parity


def has_transformers():
    """Whether torch and transformers are installed; loads neither."""
    return has_torch() and importlib.util.find_spec("transformers") is not None


def has_torch():
    """Whether torch is installed; does not load it."""
    return importlib.util.find_spec("torch") is not None
