"""Models, runs and foreign folders for the tests of weights in and out; no weight has the value it starts from."""

import json

import numpy as np
from small_data import VOCABULARY, all_tasks, small_config

from medtop.training.checkpoints import weights_of, write_arrays
from medtop.training.run_directory import RunDirectory

KINDS = [("post", "gelu"), ("post", "gelu_tanh"), ("pre", "gelu"), ("pre", "gelu_tanh")]
"""(norm, activation)."""
STOCK = ("code", "position", "visit")
"""Embeddings that HuggingFace has a place for."""
TOLERANCE = 1e-5
WIDTH, LAYERS, LENGTH = 32, 2, 24


def convert_config(**changes):
    """Two layers of width 32; four heads."""
    values = dict(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=LENGTH,
        visit_vocab_size=8,
        visit_position_vocab_size=6,
        age_vocab_size=95,
        day_vocab_size=50,
        embeddings=STOCK,
        type_vocab_size=3,
    )
    return small_config(**values | changes)


def random_arrays(shapes, seed=0):
    """dict name -> float32 array; LayerNorm's gains around 1, all else around 0."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes.items():
        gain = name.endswith(("gamma", "LayerNorm.weight", "ln.weight"))
        found[name] = (rng.normal(scale=0.3, size=shape) + (1.0 if gain else 0.0)).astype(np.float32)
    return found


def random_model(config, tasks=None, seed=0):
    """A Keras model whose every weight, biases and LayerNorm too, is random."""
    from medtop.convert.parity import build

    model = build(config, all_tasks() if tasks is None else tasks)
    arrays = random_arrays({weight.path: tuple(weight.shape) for weight in model.weights}, seed)
    for weight in model.weights:
        weight.assign(arrays[weight.path])
    return model


def write_run(folder, model, config, tasks=None, settings=None):
    """A run directory that holds a model, as training leaves one; its `Path`."""
    run = RunDirectory(folder)
    records = {"layout": "default", "time_gap": "before", "visit_separator": False}
    run.start(
        {"max_seq_length": 20, "data": {"train": records}} | (settings or {}),
        config,
        VOCABULARY,
        all_tasks() if tasks is None else tasks,
    )
    write_arrays(run.best_weights, weights_of(model), {"step": 7, "value": None})
    run.write_splits({"train": ["secret patient"]})
    return run.path


def padded_batch(config, seed=4):
    """Patients of lengths 2 to 24, one a row; visit numbers within the table. Dict of int32 [B, T]."""
    rng = np.random.default_rng(seed)
    lengths = np.array([24, 2, 13, 7])
    shape = (4, LENGTH)
    slots = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
    x = {
        "token_ids": rng.integers(5, len(VOCABULARY), shape),
        "positions": np.tile(np.arange(LENGTH), (4, 1)),
        "visits": np.sort(rng.integers(1, config.visit_vocab_size, shape), axis=1),
        "visit_positions": rng.integers(0, 6, shape),
        "segments": rng.integers(0, config.type_vocab_size, shape),
        "ages": rng.integers(0, 33_000, shape),
        "gaps": rng.integers(0, 3000, shape),
        "stays": rng.integers(0, 90, shape),
        "recencies": rng.integers(0, 4000, shape),
        "sexes": rng.integers(0, 3, (4, 1)) + np.zeros(shape, int),
    }
    x["token_ids"][:, 0], x["visits"][:, 0] = 2, 0
    x = {key: (values * slots).astype(np.int32) for key, values in x.items()}
    return x | {
        "patient_slots": slots,
        "cls_positions": np.zeros((4, 1), np.int32),
        "mask_positions": np.array([[3, 23], [1, 1], [5, 12], [6, 2]], np.int32),
    }


def ours_of(model, x):
    """hidden, pooled and logits of the Keras model, numpy; patient-level logits [B, K]."""
    encoder = getattr(model, "encoder", model)
    encoded = encoder({key: x[key] for key in encoder.input}, training=False)
    found = {"hidden": np.asarray(encoded["sequence_output"]), "pooled": np.asarray(encoded["pooled_output"])[:, 0]}
    if encoder is not model:
        for name, logits in model({key: x[key] for key in model.input}, training=False).items():
            found[name] = np.asarray(logits) if name == "masked_lm" else np.asarray(logits)[:, 0]
    return found


def huggingface_inputs(x, types="visits"):
    """The batch as transformers wants it."""
    import torch

    inputs = {"input_ids": x["token_ids"], "attention_mask": x["patient_slots"]}
    inputs |= {"token_type_ids": x[types]} if types else {}
    return {key: torch.from_numpy(values.astype(np.int64)) for key, values in inputs.items()}


def huggingface_of(model, inputs):
    """Output of a transformers model, and its hidden states and pooled output, all numpy."""
    import torch

    with torch.no_grad():
        base = getattr(model.eval(), "bert", model)
        encoded = base(**inputs, output_hidden_states=True)
        output = model(**inputs)
    found = {"hidden": encoded.last_hidden_state.numpy(), "layers": [h.numpy() for h in encoded.hidden_states]}
    if encoded.pooler_output is not None:
        found["pooled"] = encoded.pooler_output.numpy()
    for name in ("logits", "prediction_logits", "seq_relationship_logits"):
        if getattr(output, name, None) is not None:
            found[name] = getattr(output, name).numpy()
    return found


def assert_close(ours, theirs, what, share=TOLERANCE):
    """Within a share of the largest absolute value."""
    assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert difference <= share, f"{what}: {difference:.1e} of the largest absolute value"


def at_masks(logits, x):
    """[B, T, V] -> [B, M, V]."""
    return np.take_along_axis(logits, x["mask_positions"][..., None], axis=1)


def huggingface_model(norm, activation, head="ForPreTraining", seed=5, **changes):
    """A transformers model with random weights everywhere, tied ones tied."""
    import torch
    import transformers

    family = {"post": "Bert", "pre": "MegatronBert"}[norm]
    values = dict(
        vocab_size=len(VOCABULARY),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=LENGTH,
        type_vocab_size=8,
        hidden_act={"gelu": "gelu", "gelu_tanh": "gelu_new"}[activation],
    )
    model = getattr(transformers, f"{family}{head}")(getattr(transformers, f"{family}Config")(**values | changes))
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    arrays = random_arrays(shapes, seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.from_numpy(arrays[name]))
    return model


def save_huggingface(model, folder, tokens=VOCABULARY.tokens, safe=True):
    """`save_pretrained`, and a vocab.txt; its folder."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    if tokens is not None:
        (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return folder


def edited_json(path, **changes):
    """Changes keys of a JSON file; None removes one."""
    values = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}), encoding="utf-8")
