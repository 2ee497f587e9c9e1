"""Foreign weights as ours: a HuggingFace folder (`bert`, `megatron-bert`, or ours) or a TensorFlow 1 checkpoint."""

import dataclasses
import re
from pathlib import Path

import numpy as np

from medtop.cohort.vocabulary import Vocabulary
from medtop.convert import huggingface, names, parity, tokenizer, weight_files
from medtop.convert.run_folders import is_imported, write_run
from medtop.files.errors import DataError
from medtop.files.folders import check_target
from medtop.files.temporary import temporary_folder
from medtop.model.tasks import MASKED_LM, Task, available_tasks

POOLER = {"pooler/kernel", "pooler/bias"}
CLASSIFICATION = "classification"
"""Name of the task of a classifier that comes without one of ours."""


@dataclasses.dataclass(frozen=True)
class ImportPlan:
    """What is to be read, checked as far as the small files allow.

    Attributes:
        source: the folder, or the checkpoint's prefix.
        layout: key of `names.LAYOUTS`.
        about: the configuration file, for errors.
        config: `BertConfig`; values: HuggingFace's config.json; block: what a folder of ours says about its run.
        vocabulary: `Vocabulary`; order: their id of each of our tokens; tokens: theirs in their order.
        tokenizer_dir: folder of their tokenizer's files; None where --vocab_file names the vocabulary.
        output_dir: run directory to write.
        seq_relationship: task of `huggingface.TWO_WAY_TASKS`, or "drop": what the two-way head is.
        task_name: name for a classifier that comes without one.
        overwrite: whether an earlier import is replaced.
        command: the command line, for the card.
    """

    source: Path
    layout: str
    about: Path
    config: object
    values: dict
    block: dict
    vocabulary: Vocabulary
    order: list
    tokens: list
    tokenizer_dir: Path | None
    output_dir: Path
    seq_relationship: str
    task_name: str
    overwrite: bool
    command: str

    @property
    def reordered(self):
        """Whether their order of tokens is not ours."""
        return self.order != list(range(len(self.order)))


@dataclasses.dataclass
class Imported:
    """What was read.

    Attributes:
        config: `BertConfig`.
        vocabulary: `Vocabulary`.
        tasks: list of `Task` whose heads were taken.
        arrays: dict our path -> float32 array.
        heads: dict `Task` -> kind of head.
        left_out: dict their name -> why it was left out.
        started: our paths that came with no weights and start at random.
        parity: sentence on how far the outputs are apart; parity_value: the largest difference, None if not measured.
    """

    config: object
    vocabulary: Vocabulary
    tasks: list
    arrays: dict
    heads: dict
    left_out: dict
    started: list
    parity: str = ""
    parity_value: float | None = None


def plan_import(
    input_dir="",
    output_dir="",
    *,
    tf_checkpoint_path="",
    bert_config_file="",
    vocab_file="",
    segment="",
    seq_relationship="auto",
    task_name="",
    overwrite=False,
    command="",
):
    """Checks a request; loads no framework and reads no weights.

    Raises:
        DataError: for a missing file, an unknown architecture, or a vocabulary that does not fit.
    """
    if bool(input_dir) == bool(tf_checkpoint_path):
        raise DataError("flags: expected one of --input_dir and --tf_checkpoint_path")
    check_target(output_dir, is_imported, overwrite)
    if tf_checkpoint_path:
        from medtop.convert import tf1

        beside = Path(tf_checkpoint_path) if Path(tf_checkpoint_path).is_dir() else Path(tf_checkpoint_path).parent
        source, layout = Path(tf_checkpoint_path), "tf1"
        about = Path(bert_config_file) if bert_config_file else beside / tf1.CONFIG
        config, block = tf1.read_config(about, segment or None)
        values = {}
    else:
        if not Path(input_dir).is_dir():
            raise DataError(f"{input_dir}: expected a folder with config.json and weights, found none")
        source = beside = Path(input_dir)
        about = huggingface.config_file(source)
        config, values, block = huggingface.read_config(about, segment or None)
        layout = huggingface.MODEL_TYPES[config.norm]
        weight_files.find_weights(source)
    tokens = _tokens(vocab_file, beside)
    vocabulary, order = tokenizer.our_vocabulary(tokens, config.vocab_size, vocab_file or beside)
    if seq_relationship == "auto":
        ours = [name for name in block.get("heads") or {} if name in huggingface.TWO_WAY_TASKS]
        ours = [name for name in ours if block["heads"][name] == huggingface.TWO_WAY_TASKS[name][1]]
        seq_relationship = ours[0] if ours else "long_stay" if vocabulary.is_medbert else "drop"
    return ImportPlan(
        source,
        layout,
        about,
        config,
        values,
        block,
        vocabulary,
        order,
        tokens,
        None if vocab_file else beside,
        Path(output_dir),
        seq_relationship,
        task_name or CLASSIFICATION,
        overwrite,
        command,
    )


def _tokens(vocab_file, beside):
    """The vocabulary as a list in their order."""
    if vocab_file and Path(vocab_file).suffix == ".types":
        return list(Vocabulary.read(vocab_file).tokens)
    tokens = tokenizer.read_lines(Path(vocab_file)) if vocab_file else tokenizer.read_tokens(beside)
    if tokens is None:
        raise DataError(f"{beside}: expected tokenizer.json or vocab.txt, found neither; --vocab_file names one")
    return tokens


def read(plan):
    """Reads the weights and makes them ours.

    Args:
        plan: `ImportPlan`.

    Returns:
        `Imported`, compared with transformers where it is installed.

    Raises:
        DataError: for weights that are damaged or do not fit the configuration.
    """
    if plan.layout == "tf1":
        from medtop.convert import tf1

        theirs, where, wide = tf1.read_checkpoint(plan.source), plan.source, []
    else:
        theirs, files = weight_files.read_weights(plan.source)
        wide = [name for name in theirs if name.startswith("wide.")]
        kept = {name: array for name, array in theirs.items() if name not in wide}
        theirs, where = _usual_names(kept), files[0] if len(files) == 1 else plan.source
    names.check_layers(theirs, plan.config, where, plan.about.name)
    heads = _heads(plan, theirs)
    config = dataclasses.replace(_as_trained(plan.config, theirs), wide_days=())
    pools_cls = config.pooling == "cls" and config.head == "linear"
    pooler = pools_cls and any("pooler" in name for name in theirs)
    own = plan.values.get("model_type") in huggingface.OWN_TYPES.values()
    table = names.build_table(plan.layout, config, heads, extras=own, pooler=pooler)
    ours, left_out = names.to_ours(table, theirs, where, plan.about.name)
    left_out |= dict.fromkeys(wide, "the wide part is fitted to a cohort: training here fits it anew")
    if plan.reordered:
        ours = _in_our_order(ours, plan.order, heads)
    started = []
    if pools_cls and not pooler:
        ours, started = ours | _new_pooler(config), sorted(POOLER)
    return _checked(plan, Imported(config, plan.vocabulary, list(heads), ours, heads, left_out, started))


def import_weights(plan):
    """Reads the weights and writes the run directory.

    Args:
        plan: `ImportPlan`.

    Returns:
        `Imported`.
    """
    model = read(plan)
    notes = [model.parity, *describe(plan, model)]
    origin = f"`{plan.source}` ({plan.layout})"
    folder = plan.source if plan.source.is_dir() else plan.source.parent
    write_run(
        plan.output_dir,
        model,
        origin=origin,
        notes=notes,
        source=folder,
        tokens=plan.tokens if plan.reordered or tokenizer.is_subword(plan.tokens, plan.tokenizer_dir) else None,
        tokenizer_dir=plan.tokenizer_dir,
        block=plan.block,
        overwrite=plan.overwrite,
        command=plan.command,
    )
    return model


def describe(plan, model):
    """Sentences on what was taken, left out and assumed."""
    config, lines = model.config, []
    taken = ", ".join(task.name for task in model.tasks) or "none"
    lines.append(f"heads taken: {taken}")
    reasons = {}
    for name, reason in model.left_out.items():
        reasons.setdefault(reason, []).append(name)
    for reason, named in reasons.items():
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        lines.append(f"left out ({reason}): {', '.join(named[:3])}{more}")
    if model.started:
        lines.append(f"not in the source, starts at random: {', '.join(model.started)}")
    if not plan.block and "segment" in config.embeddings:
        lines.append(f"token types are taken as segment={config.segment} (--segment)")
    if plan.reordered:
        lines.append("the special tokens are moved to ids 0 to 4 and the rows of the code table with them")
    if added := len(model.vocabulary) - len(plan.tokens):
        lines.append(f"{added} rows of the code table have no token: they are named [no token ...]")
    return lines


def _usual_names(theirs):
    """Names as HuggingFace writes them today: `bert.` in front, LayerNorm's weights not called gamma and beta."""
    if not any(name.startswith("bert.") for name in theirs):
        theirs = {f"bert.{name}": array for name, array in theirs.items()}
    old = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    return {re.sub(r"LayerNorm\.(gamma|beta)$", lambda match: old[match[0]], name): a for name, a in theirs.items()}


def _heads(plan, theirs):
    """dict `Task` -> kind, for the heads that are there and have a meaning here."""
    stored = huggingface.stored_tasks(plan.block, plan.about)
    heads = {}
    if {"cls.predictions.transform.dense.weight", "cls/predictions/transform/dense/kernel"} & theirs.keys():
        heads[stored.get(MASKED_LM, Task(MASKED_LM, "masked"))] = "masked"
    two_way = {"cls.seq_relationship.weight", "cls/seq_relationship/output_weights"} & theirs.keys()
    if two_way and plan.seq_relationship != "drop":
        name = plan.seq_relationship
        label, kind = huggingface.TWO_WAY_TASKS[name]
        heads[stored.get(name) or available_tasks({name: (label,)})[name]] = kind
    for name in theirs:
        match = re.fullmatch(r"heads\.(.+)\.weight", name)
        if match and match[1] in stored:
            heads[stored[match[1]]] = "own"
    kinds = plan.block.get("heads") or {}
    mine = next((task for name, task in stored.items() if kinds.get(name) == "classifier"), None)
    for name in {"classifier.weight", "output_weights"} & theirs.keys():
        heads |= _classifier(plan, theirs[name], mine)
    order = list(stored.values())
    return dict(sorted(heads.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def _classifier(plan, weight, mine):
    """The head of a sequence classifier, as {`Task`: kind}; {} where it is another's or has no meaning here."""
    values, count = plan.values, len(weight)
    if plan.layout == "tf1":  # google's classifier does not name its labels
        return {mine: "classifier"} if mine and len(mine.labels) == count else {}
    if huggingface.architecture_head(values) not in ("", huggingface.SEQUENCE_CLASSIFICATION):
        return {}
    named = values.get("id2label") if isinstance(values.get("id2label"), dict) else {}
    labels = [str(named.get(str(number), f"LABEL_{number}")) for number in range(count)]
    if mine and list(mine.labels) == labels:
        return {mine: "classifier"}
    if count == 1 and not mine and plan.task_name != CLASSIFICATION:
        # One logit and a sigmoid, as ClinicalBERT's 2019 readmission head: a meaning that only the user can give it.
        own = labels[0] if labels[0] != "LABEL_0" else plan.task_name
        return {Task(plan.task_name, "patient", (own,)): "classifier"}
    problem = values.get("problem_type")
    if problem == "multi_label_classification":
        return {Task(plan.task_name, "patient", labels): "classifier"}
    if count == 2 and problem in (None, "single_label_classification"):
        return {Task(plan.task_name, "patient", labels[1:]): "two_way_classifier"}
    return {}


def _as_trained(config, theirs):
    """The config of a folder of ours after it was trained elsewhere.

    HuggingFace's models always have positions, token types and a pooler; where ours has none, the exported tables are
    zeros. Once training has filled them they belong to the model.
    """
    absent = {} if "position" in config.embeddings else {"position": ("position_embeddings", "max_position_embeddings")}
    if names.token_type(config) is None:
        absent["segment"] = ("token_type_embeddings", "type_vocab_size")
    for name, (table, size) in absent.items():
        pattern = rf"bert[./]embeddings[./]{table}(\.weight)?"
        rows = next((array for key, array in theirs.items() if re.fullmatch(pattern, key)), None)
        if rows is not None and rows.any():
            changes = {"embeddings": (*config.embeddings, name), size: len(rows)}
            config = dataclasses.replace(config, **changes)
    if config.pooling != "cls" and any("pooler" in name for name in theirs):
        config = dataclasses.replace(config, pooling="cls")
    return config


def _in_our_order(arrays, order, heads):
    of_codes = {"embeddings/code_embeddings", *(f"{task.name}_logits/bias" for task in heads if task.level == "masked")}
    return {path: array[order] if path in of_codes else array for path, array in arrays.items()}


def _new_pooler(config):
    """A pooler as BERT starts one, for a source without any."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(scale=config.initializer_range, size=(config.hidden_size, config.hidden_size))
    limit = 2 * config.initializer_range
    return {
        "pooler/kernel": np.clip(kernel, -limit, limit).astype(np.float32),
        "pooler/bias": np.zeros(config.hidden_size, np.float32),
    }


def _checked(plan, model):
    """Sets the weights in a Keras model, which proves that they are complete, and compares outputs where possible."""
    from medtop.training.checkpoints import set_weights

    built = parity.build(model.config, model.tasks)
    set_weights(built, model.arrays, plan.source)
    if not parity.has_transformers():
        model.parity = f"parity not measured: transformers is not installed; {parity.INSTALL}"
        return model
    x = parity.sample_inputs(model.config, model.vocabulary)
    ours = parity.keras_outputs(built, x)
    difference = _compare(plan, model, ours, x)
    model.parity, model.parity_value = str(difference), difference.worst
    return model


def _their_head(model):
    """The head of the HuggingFace class that holds what was taken."""
    kinds = set(model.heads.values())
    if "masked" in kinds:
        return "masked_lm" if model.started else "pretraining"
    two_way = {"two_way": "next_sentence", "next_sentence": "next_sentence"}
    return two_way.get(next(iter(kinds), ""), "classifier" if kinds else "encoder")


def _compare(plan, model, ours, x):
    if model.started:
        ours = {name: values for name, values in ours.items() if name == "hidden states" or name.startswith(MASKED_LM)}
    if plan.values.get("model_type") in huggingface.OWN_TYPES.values():
        outputs = parity.twin_outputs(plan.source, x, wide=False)
        return parity.compare("medtop.convert.torch_bert", ours, outputs, x["patient_slots"])
    head = _their_head(model)
    name = huggingface.class_name(model.config, head)
    if _transformers_reads(plan, model):
        theirs = parity.huggingface_outputs(
            plan.source, name, model.heads, model.config, x, plan.order if plan.reordered else None, strict=False
        )  # not strict: old names, and heads that were left out
        return parity.compare(f"transformers {name}", ours, theirs, x["patient_slots"])
    with temporary_folder() as folder:  # the same weights by HuggingFace's names
        layout = "bert" if plan.layout == "tf1" else plan.layout
        table = names.build_table(layout, model.config, model.heads, pooler=True)
        arrays = names.to_theirs(table, model.arrays)
        huggingface.write_config(Path(folder) / "config.json", model.config, head, model.heads, {})
        weight_files.write_weights(Path(folder), arrays, "bin")
        theirs = parity.huggingface_outputs(folder, name, model.heads, model.config, x, strict=False)
        form = " (gelu_new)" if plan.layout == "tf1" else " (the weights by today's names)"
        return parity.compare(f"transformers {name}{form}", ours, theirs, x["patient_slots"])


def _transformers_reads(plan, model):
    """Whether transformers reads the source as it is: no checkpoint, no bert_config.json, and no head of one logit that
    the configuration does not tell."""
    lone = any(kind == "classifier" for kind in model.heads.values()) and "id2label" not in plan.values
    return plan.layout != "tf1" and plan.about.name == "config.json" and not lone
