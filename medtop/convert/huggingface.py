"""HuggingFace's config.json: ours written as theirs, theirs read as ours. No framework here."""

import dataclasses
import re
from pathlib import Path

from medtop.convert.names import token_type
from medtop.files import bounded
from medtop.files.atomic import write_json
from medtop.files.errors import DataError
from medtop.model.config import BertConfig
from medtop.model.tasks import MASKED_LM, NEXT_SENTENCE, SENTENCE_ORDER, Task

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new"}
"""Ours -> theirs. HuggingFace's `gelu` is the erf form, `gelu_new` google-research/bert's tanh form."""
_READ_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
}
MODEL_TYPES = {"post": "bert", "pre": "megatron-bert"}
OWN_TYPES = {"post": "medtop-bert", "pre": "medtop-megatron-bert"}
"""`model_type` of folders for `medtop.convert.torch_bert`: transformers refuses them, as it must."""
CLASSES = {
    "encoder": "Model",
    "masked_lm": "ForMaskedLM",
    "pretraining": "ForPreTraining",
    "next_sentence": "ForNextSentencePrediction",
}
"""Head -> what follows `Bert` or `MegatronBert` in the class that loads it; a patient-level task is
`ForSequenceClassification`."""
SEQUENCE_CLASSIFICATION = "ForSequenceClassification"
TWO_WAY_TASKS = {
    "long_stay": ("long_stay", "two_way"),
    SENTENCE_ORDER: ("swapped", "two_way"),
    NEXT_SENTENCE: ("is_next", "next_sentence"),
}
"""Task -> (its label, kind of head), of those that stand where BERT has its next-sentence head: Med-BERT's long stay;
whether two runs of sentences are swapped (GatorTron; the second of its two classes); BERT's own (the first)."""

BLOCK = "medtop"
"""Key of config.json under which a folder of ours says what HuggingFace's fields cannot."""
_SAME = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "initializer_range",
    "layer_norm_eps",
)

_DEFAULTS = {
    # what HuggingFace takes for a field that config.json leaves out
    "post": {"type_vocab_size": 2, "num_attention_heads": 12, "intermediate_size": 3072},
    "pre": {"type_vocab_size": 2, "num_attention_heads": 16, "intermediate_size": 4096},
}


def class_name(config, head):
    """The transformers class that loads an exported folder."""
    family = {"post": "Bert", "pre": "MegatronBert"}[config.norm]
    return family + CLASSES.get(head, SEQUENCE_CLASSIFICATION)


def head_tasks(head, tasks):
    """The tasks that a head carries, with the kind of head each has there.

    Args:
        head: "encoder", "masked_lm", "pretraining", "all" (folders for `torch_bert` only) or a patient-level task.
        tasks: list of `Task` of the run.

    Returns:
        dict `Task` -> kind (`medtop.convert.names.HUGGINGFACE_HEADS`).

    Raises:
        DataError: naming the heads that the run has.
    """
    masked = {task: "masked" for task in tasks if task.level == "masked"}
    patient = {task.name: task for task in tasks if task.level == "patient"}
    fitting = {
        patient[name]: kind
        for name, (_, kind) in TWO_WAY_TASKS.items()
        if name in patient and patient[name].num_outputs == 1
    }
    two_way = dict(list(fitting.items())[:1])
    if head == "encoder":
        return {}
    if head == MASKED_LM and masked:
        return masked
    if head == "pretraining" and masked and two_way:
        return {**masked, **two_way}
    if head == "all":
        return {**masked, **{task: "own" for task in patient.values()}}
    if head == NEXT_SENTENCE and patient.get(head) in fitting:
        return {patient[head]: fitting[patient[head]]}
    if head in patient:
        return {patient[head]: "classifier"}
    offered = [*(["pretraining"] if masked and two_way else []), *(task.name for task in masked), *patient, "encoder"]
    raise DataError(f"--head: expected one of {', '.join(offered)} (what the run has), received {head!r}")


def default_head(tasks):
    """The fullest head of HuggingFace's that a run can fill."""
    names = [task.name for task in tasks] or ["encoder"]
    if MASKED_LM in names and TWO_WAY_TASKS.keys() & {*names}:
        return "pretraining"
    return MASKED_LM if MASKED_LM in names else names[0]


def write_config(path, config, head, heads, block, own=False, pad_id=0):
    """Writes config.json.

    Args:
        path: the file.
        config: `BertConfig`.
        head: as in `head_tasks`.
        heads: `head_tasks`'s dict.
        block: dict of JSON values under the key `medtop`.
        own: whether the folder is for `medtop.convert.torch_bert`.
        pad_id: the token whose row HuggingFace keeps from training; None where padding is the mask too.
    """
    values = {
        "architectures": ["TorchBert" if own else class_name(config, head)],
        "model_type": (OWN_TYPES if own else MODEL_TYPES)[config.norm],
        **{name: getattr(config, name) for name in _SAME},
        "hidden_act": ACTIVATIONS[config.activation],
        "type_vocab_size": config.visit_vocab_size if token_type(config) == "visit" else config.type_vocab_size,
        "position_embedding_type": "absolute",
        "pad_token_id": pad_id,
        "tie_word_embeddings": True,
        "classifier_dropout": None,
        "dtype": "float32",
    }
    classified = [task for task, kind in heads.items() if kind == "classifier"]
    for task in classified:
        values["problem_type"] = "multi_label_classification"
        values["id2label"] = {str(number): label for number, label in enumerate(task.labels)}
        values["label2id"] = {label: number for number, label in enumerate(task.labels)}
    write_json(path, {**values, BLOCK: block})


def read_json(path, what):
    """The JSON object in a file.

    Raises:
        DataError: for a missing file or another content.
    """
    try:
        values = bounded.read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected {what} (JSON), found no such file") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: expected {what} (JSON), received another content") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected {what} (a JSON object), received a {type(values).__name__}")
    return values


def config_file(folder):
    """A folder's configuration: config.json, or bert_config.json as releases of 2019 have it (ClinicalBERT's).

    Raises:
        DataError: for a folder without either.
    """
    for name in ("config.json", "bert_config.json"):
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise DataError(f"{folder}: expected config.json or bert_config.json, found neither")


def read_config(path, segment=None):
    """Their config.json as ours.

    Args:
        path: the file.
        segment: what their token types are (`BertConfig.segment`); None = as the folder says, else "visit" where there
            are more than two of them, else "zero".

    Returns:
        (`BertConfig`, their values, the values under `medtop`).

    Raises:
        DataError: for an architecture that is not BERT's, or a value that our encoder cannot have.
    """
    values = read_json(path, "HuggingFace's configuration")
    if "model_type" not in values and "hidden_size" in values:  # releases of 2019: BERT was the only one
        values["model_type"] = MODEL_TYPES["post"]
    kind = values.get("model_type")
    norms = {name: norm for types in (MODEL_TYPES, OWN_TYPES) for norm, name in types.items()}
    if kind not in norms:
        raise DataError(f"{path}: expected model_type {' or '.join(MODEL_TYPES.values())}, received {kind!r}")
    for name, wanted in (
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
        ("add_cross_attention", False),
        ("tie_word_embeddings", True),
    ):
        if values.get(name, wanted) != wanted:
            raise DataError(f"{path}: expected {name}={wanted!r}, received {values[name]!r}")
    if values.get("hidden_act", "gelu") not in _READ_ACTIVATIONS:
        raise DataError(
            f"{path}: expected hidden_act among {', '.join(_READ_ACTIVATIONS)}, received {values['hidden_act']!r}"
        )
    missing = [name for name in ("vocab_size", "hidden_size", "num_hidden_layers") if name not in values]
    if missing:
        raise DataError(f"{path}: expected {missing[0]}, found none")
    block = values.get(BLOCK) if isinstance(values.get(BLOCK), dict) else {}
    ours = {name: values[name] for name in _SAME if name in values}
    ours["activation"] = _READ_ACTIVATIONS[values.get("hidden_act", "gelu")]
    ours["norm"] = norms[kind]
    for name, default in _DEFAULTS[ours["norm"]].items():
        ours[name] = values.get(name, default)
    stored = block.get("config")
    if isinstance(stored, dict):
        types = ours.pop("type_vocab_size")
        config = BertConfig.from_dict({**stored, **ours}, str(path))
        if kind_of_type := token_type(config):
            size = "visit_vocab_size" if kind_of_type == "visit" else "type_vocab_size"
            config = dataclasses.replace(config, **{size: types})
        return (dataclasses.replace(config, segment=segment) if segment else config), values, block
    segment = segment or ("visit" if ours["type_vocab_size"] > 2 else "zero")
    return BertConfig.from_dict({**ours, "segment": segment}, str(path)), values, block


def stored_tasks(block, where):
    """The tasks that a folder of ours carries: dict name -> `Task`; empty for a foreign folder."""
    try:
        return {values["name"]: Task.from_dict(values) for values in block.get("tasks", [])}
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{where}: expected tasks under {BLOCK!r} as medtop writes them, received others") from error


def architecture_head(values):
    """What follows `Bert` in the first of `architectures`, such as `ForSequenceClassification`; "" without one."""
    names = values.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    match = re.fullmatch(r"(?:Megatron)?Bert(\w+)", name)
    return match[1] if match else ""
