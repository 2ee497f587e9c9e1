"""The name tables: where each weight stands in each foreign layout. Both directions are derived from them.

`{layer}` is a layer's number, `{task}` a task's name, `{type}` the embedding that is their token type. Every weight is
used once or listed as left out on purpose, with the reason; anything else is an error.
"""

import dataclasses
import re

import numpy as np

from medtop.convert.rules import DIRECT, SPLIT, SPLIT_TRANSPOSED, TRANSPOSED, TWO_WAY, TWO_WAY_FIRST
from medtop.files.errors import DataError
from medtop.model.config import EMBEDDINGS

_EMBEDDINGS = "bert.embeddings."
_LAYER = "bert.encoder.layer.{layer}."

_HUGGINGFACE = {
    # ours: (rule, *theirs); what `bert` and `megatron-bert` share
    "embeddings/code_embeddings": (DIRECT, _EMBEDDINGS + "word_embeddings.weight"),
    "embeddings/position_embeddings": (DIRECT, _EMBEDDINGS + "position_embeddings.weight"),
    "embeddings/{type}_embeddings": (DIRECT, _EMBEDDINGS + "token_type_embeddings.weight"),
    "layer_{layer}_attention/qkv_kernel": (
        SPLIT_TRANSPOSED,
        *(_LAYER + f"attention.self.{part}.weight" for part in ("query", "key", "value")),
    ),
    "layer_{layer}_attention/qkv_bias": (
        SPLIT,
        *(_LAYER + f"attention.self.{part}.bias" for part in ("query", "key", "value")),
    ),
    "layer_{layer}_attention/output_kernel": (TRANSPOSED, _LAYER + "attention.output.dense.weight"),
    "layer_{layer}_attention/output_bias": (DIRECT, _LAYER + "attention.output.dense.bias"),
    "layer_{layer}_intermediate/kernel": (TRANSPOSED, _LAYER + "intermediate.dense.weight"),
    "layer_{layer}_intermediate/bias": (DIRECT, _LAYER + "intermediate.dense.bias"),
    "layer_{layer}_output/kernel": (TRANSPOSED, _LAYER + "output.dense.weight"),
    "layer_{layer}_output/bias": (DIRECT, _LAYER + "output.dense.bias"),
    "pooler/kernel": (TRANSPOSED, "bert.pooler.dense.weight"),
    "pooler/bias": (DIRECT, "bert.pooler.dense.bias"),
}

BERT = {
    **_HUGGINGFACE,
    "embeddings_norm/gamma": (DIRECT, _EMBEDDINGS + "LayerNorm.weight"),
    "embeddings_norm/beta": (DIRECT, _EMBEDDINGS + "LayerNorm.bias"),
    "layer_{layer}_attention_norm/gamma": (DIRECT, _LAYER + "attention.output.LayerNorm.weight"),
    "layer_{layer}_attention_norm/beta": (DIRECT, _LAYER + "attention.output.LayerNorm.bias"),
    "layer_{layer}_output_norm/gamma": (DIRECT, _LAYER + "output.LayerNorm.weight"),
    "layer_{layer}_output_norm/beta": (DIRECT, _LAYER + "output.LayerNorm.bias"),
}

MEGATRON_BERT = {
    **_HUGGINGFACE,
    "layer_{layer}_attention_norm/gamma": (DIRECT, _LAYER + "attention.ln.weight"),
    "layer_{layer}_attention_norm/beta": (DIRECT, _LAYER + "attention.ln.bias"),
    "layer_{layer}_output_norm/gamma": (DIRECT, _LAYER + "ln.weight"),
    "layer_{layer}_output_norm/beta": (DIRECT, _LAYER + "ln.bias"),
    "final_norm/gamma": (DIRECT, "bert.encoder.ln.weight"),
    "final_norm/beta": (DIRECT, "bert.encoder.ln.bias"),
}


def _net(ours, theirs, end=""):
    """A recurrent net of ours as PyTorch's `nn.GRU` or `nn.LSTM`: the order of gates is the same."""
    return {
        f"{ours}/kernel": (TRANSPOSED, f"{theirs}.weight_ih_l0{end}"),
        f"{ours}/recurrent_kernel": (TRANSPOSED, f"{theirs}.weight_hh_l0{end}"),
        f"{ours}/bias": (DIRECT, f"{theirs}.bias_ih_l0{end}"),
        f"{ours}/recurrent_bias": (DIRECT, f"{theirs}.bias_hh_l0{end}"),
    }


_FORWARD = _net("recurrent_forward", "bert.recurrent")
_BOTH = {**_FORWARD, **_net("recurrent_backward", "bert.recurrent", "_reverse")}
_RETAIN = {
    **_net("retain_visits", "bert.retain.visits"),
    **_net("retain_codes", "bert.retain.codes"),
    "retain/visit_kernel": (TRANSPOSED, "bert.retain.visit.weight"),
    "retain/visit_bias": (DIRECT, "bert.retain.visit.bias"),
    "retain/code_kernel": (TRANSPOSED, "bert.retain.code.weight"),
    "retain/code_bias": (DIRECT, "bert.retain.code.bias"),
}
POOLINGS = {"gru": _FORWARD, "bigru": _BOTH, "lstm": _FORWARD, "bilstm": _BOTH, "retain": _RETAIN}
"""The config's `head` -> its weights in `medtop.convert.torch_bert`; no other layout has a place for them."""

_TF1_LAYER = "bert/encoder/layer_{layer}/"

TF1 = {
    "embeddings/code_embeddings": (DIRECT, "bert/embeddings/word_embeddings"),
    "embeddings/position_embeddings": (DIRECT, "bert/embeddings/position_embeddings"),
    "embeddings/{type}_embeddings": (DIRECT, "bert/embeddings/token_type_embeddings"),
    "embeddings_norm/gamma": (DIRECT, "bert/embeddings/LayerNorm/gamma"),
    "embeddings_norm/beta": (DIRECT, "bert/embeddings/LayerNorm/beta"),
    "layer_{layer}_attention/qkv_kernel": (
        SPLIT,
        *(_TF1_LAYER + f"attention/self/{part}/kernel" for part in ("query", "key", "value")),
    ),
    "layer_{layer}_attention/qkv_bias": (
        SPLIT,
        *(_TF1_LAYER + f"attention/self/{part}/bias" for part in ("query", "key", "value")),
    ),
    "layer_{layer}_attention/output_kernel": (DIRECT, _TF1_LAYER + "attention/output/dense/kernel"),
    "layer_{layer}_attention/output_bias": (DIRECT, _TF1_LAYER + "attention/output/dense/bias"),
    "layer_{layer}_attention_norm/gamma": (DIRECT, _TF1_LAYER + "attention/output/LayerNorm/gamma"),
    "layer_{layer}_attention_norm/beta": (DIRECT, _TF1_LAYER + "attention/output/LayerNorm/beta"),
    "layer_{layer}_intermediate/kernel": (DIRECT, _TF1_LAYER + "intermediate/dense/kernel"),
    "layer_{layer}_intermediate/bias": (DIRECT, _TF1_LAYER + "intermediate/dense/bias"),
    "layer_{layer}_output/kernel": (DIRECT, _TF1_LAYER + "output/dense/kernel"),
    "layer_{layer}_output/bias": (DIRECT, _TF1_LAYER + "output/dense/bias"),
    "layer_{layer}_output_norm/gamma": (DIRECT, _TF1_LAYER + "output/LayerNorm/gamma"),
    "layer_{layer}_output_norm/beta": (DIRECT, _TF1_LAYER + "output/LayerNorm/beta"),
    "pooler/kernel": (DIRECT, "bert/pooler/dense/kernel"),
    "pooler/bias": (DIRECT, "bert/pooler/dense/bias"),
}

HUGGINGFACE_HEADS = {
    # kind of head: {ours: (rule, *theirs)}
    "masked": {
        "{task}_transform/kernel": (TRANSPOSED, "cls.predictions.transform.dense.weight"),
        "{task}_transform/bias": (DIRECT, "cls.predictions.transform.dense.bias"),
        "{task}_transform_norm/gamma": (DIRECT, "cls.predictions.transform.LayerNorm.weight"),
        "{task}_transform_norm/beta": (DIRECT, "cls.predictions.transform.LayerNorm.bias"),
        "{task}_logits/bias": (DIRECT, "cls.predictions.bias"),
    },
    "two_way": {
        "{task}_logits/kernel": (TWO_WAY, "cls.seq_relationship.weight"),
        "{task}_logits/bias": (TWO_WAY, "cls.seq_relationship.bias"),
    },
    "next_sentence": {
        "{task}_logits/kernel": (TWO_WAY_FIRST, "cls.seq_relationship.weight"),
        "{task}_logits/bias": (TWO_WAY_FIRST, "cls.seq_relationship.bias"),
    },
    "classifier": {
        "{task}_logits/kernel": (TRANSPOSED, "classifier.weight"),
        "{task}_logits/bias": (DIRECT, "classifier.bias"),
    },
    "two_way_classifier": {
        "{task}_logits/kernel": (TWO_WAY, "classifier.weight"),
        "{task}_logits/bias": (TWO_WAY, "classifier.bias"),
    },
    "own": {
        "{task}_logits/kernel": (TRANSPOSED, "heads.{task}.weight"),
        "{task}_logits/bias": (DIRECT, "heads.{task}.bias"),
    },
}

TF1_HEADS = {
    "masked": {
        "{task}_transform/kernel": (DIRECT, "cls/predictions/transform/dense/kernel"),
        "{task}_transform/bias": (DIRECT, "cls/predictions/transform/dense/bias"),
        "{task}_transform_norm/gamma": (DIRECT, "cls/predictions/transform/LayerNorm/gamma"),
        "{task}_transform_norm/beta": (DIRECT, "cls/predictions/transform/LayerNorm/beta"),
        "{task}_logits/bias": (DIRECT, "cls/predictions/output_bias"),
    },
    "two_way": {
        "{task}_logits/kernel": (TWO_WAY, "cls/seq_relationship/output_weights"),
        "{task}_logits/bias": (TWO_WAY, "cls/seq_relationship/output_bias"),
    },
    "next_sentence": {
        "{task}_logits/kernel": (TWO_WAY_FIRST, "cls/seq_relationship/output_weights"),
        "{task}_logits/bias": (TWO_WAY_FIRST, "cls/seq_relationship/output_bias"),
    },
    "classifier": {
        "{task}_logits/kernel": (TRANSPOSED, "output_weights"),
        "{task}_logits/bias": (DIRECT, "output_bias"),
    },
}

HUGGINGFACE_COPIES = {
    # a second name of an array: (the name that is used)
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}

_MASKED_BIAS = {"cls.predictions.bias"}  # with the head of masked codes, its copies are checked, not left out

HUGGINGFACE_IGNORED = {
    # pattern: why these are left out
    r"bert\.embeddings\.(position|token_type)_ids": "a buffer that counts, not a weight",
    r"(qa_outputs|cls\.seq_relationship|classifier)\..*": "a head that is not taken",
    r"cls\.predictions\..*": "the head of masked codes, not taken",
}

TF1_IGNORED = {
    r".*/(adam_[mv]|lamb_[mv]|(BERT)?Adam(WeightDecay(Optimizer)?)?(_\d+)?)": "a slot of the optimizer",
    r"(.*/)?(global_step|beta[12]_power|learning_rate|(current_)?loss_scale|good_steps)": "the state of the optimizer",
    r"(cls/squad/)?output_(weights|bias)|cls/seq_relationship/.*": "a head that is not taken",
    r"cls/predictions/.*": "the head of masked codes, not taken",
}


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """A foreign layout.

    Attributes:
        norm: `BertConfig.norm` that it holds.
        encoder: ours -> (rule, *theirs).
        heads: kind of head -> ours -> (rule, *theirs).
        copies: their name -> their name whose array it repeats.
        ignored: pattern of their names -> why they are left out.
    """

    norm: str
    encoder: dict
    heads: dict
    copies: dict
    ignored: dict


LAYOUTS = {
    "bert": WeightLayout("post", BERT, HUGGINGFACE_HEADS, HUGGINGFACE_COPIES, HUGGINGFACE_IGNORED),
    "megatron-bert": WeightLayout("pre", MEGATRON_BERT, HUGGINGFACE_HEADS, HUGGINGFACE_COPIES, HUGGINGFACE_IGNORED),
    "tf1": WeightLayout("post", TF1, TF1_HEADS, {}, TF1_IGNORED),
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of a table: our path, their names, the rule between them, our shape."""

    ours: str
    theirs: tuple
    rule: object
    shape: tuple


@dataclasses.dataclass(frozen=True)
class NameTable:
    """A layout's table for one model.

    Attributes:
        layout: `WeightLayout`.
        entries: list of `Entry`.
        filled: their name -> shape of what ours lacks; zeros there change nothing.
    """

    layout: WeightLayout
    entries: list
    filled: dict


def token_type(config):
    """The embedding that is their token type: visit numbers where they are used, else the segment; None without."""
    return next((name for name in ("visit", "segment") if name in config.embeddings), None)


def extra_embeddings(config):
    """Embeddings that google-research/bert and HuggingFace have no place for."""
    return [name for name in config.embeddings if name not in ("code", "position", token_type(config))]


def shape_of(path, config, num_outputs=1):
    """Shape of one of our weights.

    Args:
        path: as in the tables, with `{task}` for a task's name.
        config: `BertConfig`.
        num_outputs: K of a patient-level task.
    """
    width, inner = config.hidden_size, config.intermediate_size
    owner, _, name = path.rpartition("/")
    if owner.startswith(("recurrent", "retain")):
        units, gates = config.head_units, 4 if config.head.endswith("lstm") else 3
        of_retain = {"visit_kernel": (units, 1), "visit_bias": (1,), "code_kernel": (units, width)}
        of_net = {"kernel": (width, gates * units), "recurrent_kernel": (units, gates * units)}
        of_net |= dict.fromkeys(("bias", "recurrent_bias"), (gates * units,))
        return ({**of_retain, "code_bias": (width,)} if owner == "retain" else of_net)[name]
    if owner == "embeddings":
        return (getattr(config, EMBEDDINGS[name.removesuffix("_embeddings")][1]), width)
    if name in ("gamma", "beta"):
        return (width,)
    if owner == "{task}_logits":
        return (config.pooled_size, num_outputs) if name == "kernel" else (num_outputs,)
    first, last = {"intermediate": (width, inner), "output": (inner, width)}.get(owner.split("_")[-1], (width, width))
    last = (3, last) if name.startswith("qkv") else (last,)
    return (first, *last) if name.endswith("kernel") else last


def build_table(layout, config, heads, extras=False, pooler=True):
    """The table of one model.

    Args:
        layout: a key of `LAYOUTS`.
        config: `BertConfig`.
        heads: dict `Task` -> kind of head.
        extras: whether embeddings that the layout has no place for get a name of ours (`medtop.convert.torch_bert`).
        pooler: False leaves the pooler out.

    Raises:
        DataError: for another norm, layers that no layout has, or extra embeddings or another head than a linear one
            without `extras`.
    """
    definition = LAYOUTS[layout]
    if config.norm != definition.norm:
        raise DataError(f"layout {layout}: expected norm={definition.norm!r}, received norm={config.norm!r}")
    if config.neighbour_layers:
        raise DataError(f"layout {layout}: expected neighbour_layers=0, received {config.neighbour_layers}")
    extra = extra_embeddings(config)
    if extra and not extras:
        raise DataError(f"layout {layout}: expected code, position, visit or segment, received {', '.join(extra)}")
    if config.head != "linear" and not extras:
        raise DataError(f"layout {layout}: expected head='linear', received head={config.head!r}")
    kind = token_type(config)
    entries, filled = [], {}
    for ours, (rule, *theirs) in (definition.encoder | POOLINGS.get(config.head, {})).items():
        if ours.startswith("pooler") and (config.pooling != "cls" or config.head != "linear" or not pooler):
            continue
        if ours.startswith(("embeddings_norm", "final_norm")) and not config.num_blocks:
            continue
        if ours == "embeddings/position_embeddings" and "position" not in config.embeddings:
            filled[theirs[0]] = (config.max_position_embeddings, config.hidden_size)
        elif "{type}" in ours and kind is None:
            filled[theirs[0]] = (config.type_vocab_size, config.hidden_size)
        else:
            numbers = range(config.num_blocks) if "{layer}" in ours else [None]
            path = ours.replace("{type}", str(kind))
            shape = shape_of(path, config)
            entries += [
                Entry(_numbered(path, n), tuple(_numbered(name, n) for name in theirs), rule, shape) for n in numbers
            ]
    for name in extra:
        path = f"embeddings/{name}_embeddings"
        entries.append(Entry(path, (f"{_EMBEDDINGS}{name}_embeddings.weight",), DIRECT, shape_of(path, config)))
    for task, head in heads.items():
        for ours, (rule, *theirs) in definition.heads[head].items():
            of_vocabulary = head == "masked" and ours == "{task}_logits/bias"
            shape = (config.vocab_size,) if of_vocabulary else shape_of(ours, config, task.num_outputs or 1)
            names = tuple(name.replace("{task}", task.name) for name in theirs)
            entries.append(Entry(ours.replace("{task}", task.name), names, rule, shape))
    return NameTable(definition, entries, {} if extras else filled)


def _numbered(name, number):
    return name.replace("{layer}", str(number))


def to_theirs(table, arrays, left_out=()):
    """Our weights as theirs.

    Args:
        table: `NameTable`.
        arrays: dict path -> array.
        left_out: paths that stay behind on purpose.

    Returns:
        dict their name -> array, in the table's order.

    Raises:
        DataError: when a weight is neither used nor left out, or is missing.
    """
    used = {entry.ours for entry in table.entries}
    _expect_none("weights", sorted(set(arrays) - used - set(left_out)), "each in the table or left out on purpose")
    _expect_none("weights", sorted(used - set(arrays)), "each weight of the table; missing")
    theirs = {}
    for entry in table.entries:
        theirs |= zip(entry.theirs, entry.rule.there(arrays[entry.ours]), strict=True)
    return theirs | {name: np.zeros(shape, np.float32) for name, shape in table.filled.items()}


def to_ours(table, arrays, where, about):
    """Their weights as ours.

    Args:
        table: `NameTable`.
        arrays: dict their name -> float32 array.
        where: file or folder, for errors.
        about: the file that the table's sizes come from, for errors.

    Returns:
        (dict our path -> array, dict their name -> why it was left out).

    Raises:
        DataError: for a weight that is missing, unknown, of another shape, or a copy that is none.
    """
    wanted = {name for entry in table.entries for name in entry.theirs}
    copies = {copy: name for copy, name in table.layout.copies.items() if wanted & _MASKED_BIAS}
    arrays, left_out = _without_copies(copies, arrays, where)
    for name in sorted(set(arrays) - wanted):
        reasons = [why for pattern, why in table.layout.ignored.items() if re.fullmatch(pattern, name)]
        if name in table.filled and not arrays[name].any():
            reasons = ["all zeros: it stands for an embedding that the model does not have"]
        if not reasons:
            raise DataError(f"{where}: expected the weights that {about} describes, received one more: {name}")
        left_out[name] = reasons[0]
    ours = {}
    for entry in table.entries:
        _expect_none(
            where, [name for name in entry.theirs if name not in arrays], f"the weights that {about} describes; missing"
        )
        _check_shapes(entry, [arrays[name] for name in entry.theirs], where, about)
        ours[entry.ours] = entry.rule.back([arrays[name] for name in entry.theirs])
    return ours, left_out


def _without_copies(copies, arrays, where):
    """(arrays under one name each, dict left out -> reason)."""
    arrays, left_out = dict(arrays), {}
    for copy, name in copies.items():
        if copy not in arrays:
            continue
        again = arrays.pop(copy)
        if name not in arrays:
            arrays[name] = again
        elif not np.array_equal(arrays[name], again):
            raise DataError(f"{where}: expected {copy} to repeat {name} (tied weights), received another array")
        else:
            left_out[copy] = f"repeats {name}"
    return arrays, left_out


def check_layers(arrays, config, where, about):
    """Refuses weights of more or fewer layers than the configuration says.

    Args:
        arrays: dict their name -> array.
        config: `BertConfig`.
        where, about: file of the weights, file of the configuration.
    """
    layers = {int(match[1]) for name in arrays if (match := re.search(r"[./]layer[._](\d{1,9})[./]", name))}
    if len(layers) != config.num_blocks:
        raise DataError(f"{where}: expected weights of {config.num_blocks} layers ({about}), received {len(layers)}")


def _check_shapes(entry, arrays, where, about):
    for name, array, shape in zip(entry.theirs, arrays, entry.rule.shapes(entry.shape), strict=True):
        if array.shape != shape:
            raise DataError(f"{where}: expected {name} of shape {shape} ({about}), received {array.shape}")


def _expect_none(where, names, expected):
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise DataError(f"{where}: expected {expected}: {names[0]}{more}")
