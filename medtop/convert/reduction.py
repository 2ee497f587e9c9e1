"""What a foreign layout has no place for, a model without it, and what that costs, measured."""

import dataclasses

import numpy as np

from medtop.convert.names import extra_embeddings
from medtop.files.errors import DataError

LAYOUTS = ("huggingface", "medtop", "tf1")


def misfits(config, layout, head):
    """What of a model the layout cannot hold.

    Args:
        config: `BertConfig`.
        layout: one of `LAYOUTS`.
        head: as in `medtop.convert.huggingface.head_tasks`.

    Returns:
        list of str, such as "embeddings age, gap"; empty where the model fits exactly.

    Raises:
        DataError: for pre-norm in TensorFlow 1's layout, and for a head or a body that only ours holds, which no
            reduction makes fit.
    """
    if layout == "medtop":
        return []
    if config.head != "linear" or config.body != "bert":
        raise DataError(
            f"--layout={layout}: expected a transformer with linear heads, received head={config.head}, "
            f"body={config.body}; --layout=medtop writes it whole, with a PyTorch module of ours"
        )
    if layout == "tf1" and config.norm == "pre":
        raise DataError("--layout=tf1: expected norm=post (google-research/bert), received norm=pre")
    misfits = []
    if extra := extra_embeddings(config):
        misfits.append(f"embeddings {', '.join(extra)}")
    if config.pooling != "cls" and head != "masked_lm":
        misfits.append(f"pooling={config.pooling}")
    if config.wide_days and head not in ("masked_lm", "encoder"):
        misfits.append("the wide part")
    if layout == "tf1" and config.activation != "gelu_tanh":
        misfits.append(f"activation={config.activation} (google-research/bert computes the tanh form)")
    return misfits


def reduce(config, arrays, layout, head):
    """The model without its misfits.

    Extra embeddings and the wide part are left out. Mean or sum pooling becomes [CLS]'s hidden state through tanh (a
    pooler whose kernel is the identity): a start for fine-tuning, not the same model.

    Args:
        config, layout, head: as for `misfits`.
        arrays: dict path -> array.

    Returns:
        (`BertConfig`, dict path -> array).
    """
    extra = extra_embeddings(config)
    kept = tuple(name for name in config.embeddings if name not in extra)
    arrays = {
        path: array for path, array in arrays.items() if path not in {f"embeddings/{x}_embeddings" for x in extra}
    }
    config = dataclasses.replace(config, embeddings=kept, wide_days=())
    if config.pooling != "cls" and head != "masked_lm":
        config = dataclasses.replace(config, pooling="cls")
        arrays |= {
            "pooler/kernel": np.eye(config.hidden_size, dtype=np.float32),
            "pooler/bias": np.zeros(config.hidden_size, np.float32),
        }
    if layout == "tf1":
        config = dataclasses.replace(config, activation="gelu_tanh")
    return config, arrays


def cost_on_data(models, configs, tasks, info, max_seq_length):
    """What a reduction costs on a validation split.

    Args:
        models: (model, reduced model).
        configs: their `BertConfig`.
        tasks: list of `Task` that the models share.
        info: `DatasetInfo`.
        max_seq_length: longest row.

    Returns:
        str, such as "complications ROC AUC 0.721 -> 0.655 (-0.066)" for each task.
    """
    from medtop.data.batches import BatchOptions
    from medtop.evaluation.scoring import Scorer
    from medtop.training.validation import validation_measures

    options = BatchOptions(batch_size=64, max_seq_length=max_seq_length)
    measured = []
    for model, config in zip(models, configs, strict=True):
        options = dataclasses.replace(options, max_seq_length=_longest(config, max_seq_length))
        measured.append(validation_measures(Scorer(model, info, config, tasks, options, seed=0), tasks))
    parts = []
    for task in tasks:
        key, shown = (
            (f"{task.name}.accuracy", "accuracy")
            if task.level == "masked"
            else (f"{task.name}.macro.roc_auc", "macro ROC AUC")
        )
        before, after = (values.get(key) for values in measured)
        if before is None or after is None:
            parts.append(f"{task.name} {shown} undefined (one class only)")
        else:
            parts.append(f"{task.name} {shown} {before:.4f} -> {after:.4f} ({after - before:+.4f})")
    return "; ".join(parts)


def _longest(config, length):
    return min(length, config.max_position_embeddings) if "position" in config.embeddings else length


def cost_on_samples(outputs, reduced_outputs, slots):
    """What a reduction changes on made-up patients.

    Args:
        outputs, reduced_outputs: dict output -> array (`medtop.convert.parity.keras_outputs`).
        slots: int [B, T], 0 = padding.

    Returns:
        str: for each output the root mean square of the change, as a share of the output's own.
    """
    parts = []
    for name in outputs:
        before, after = outputs[name], reduced_outputs[name]
        if name == "hidden states":
            before, after = before[slots > 0], after[slots > 0]
        share = float(np.sqrt(np.mean((before - after) ** 2) / max(np.mean(before**2), 1e-30)))
        parts.append(f"{name} by {share:.0%}")
    return ", ".join(parts)
