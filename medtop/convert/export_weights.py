"""A run directory's weights in a foreign layout: HuggingFace's folder, ours for PyTorch, or a TensorFlow 1 checkpoint.

The folder appears whole or not at all, after the outputs have been compared where PyTorch is installed.
"""

import dataclasses
import shutil
from pathlib import Path

import numpy as np

import medtop
from medtop.cohort.vocabulary import Vocabulary
from medtop.convert import huggingface, names, parity, tokenizer, weight_files
from medtop.convert.notes_files import has_risk, risk_formula, write_notes_files
from medtop.convert.reduction import cost_on_data, cost_on_samples, misfits, reduce
from medtop.convert.run_folders import SOURCE_TOKENIZER
from medtop.convert.weights_card import write_weights_card
from medtop.data.description import read_dataset
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.folders import check_target, has_json_key, whole_folder
from medtop.training.run_directory import RunDirectory

CONFIG_FILE = {"huggingface": "config.json", "medtop": "config.json", "tf1": "bert_config.json"}


@dataclasses.dataclass(frozen=True)
class ExportPlan:
    """What is to be written, checked.

    Attributes:
        run: `RunDirectory`; config, vocabulary, tasks: its own.
        output_dir: folder to write.
        layout: "huggingface", "medtop" (for `torch_bert`) or "tf1".
        file_format: key of `weight_files.FORMATS`; "" for tf1.
        head: as in `huggingface.head_tasks`; heads: dict `Task` -> kind of head.
        misfits: what the layout cannot hold and is left out at a measured cost.
        valid_file: TFRecord files to measure it on, or "".
        overwrite: whether an earlier export is replaced.
        command: the command line, for the card.
    """

    run: RunDirectory
    config: object
    vocabulary: object
    tasks: list
    output_dir: Path
    layout: str
    file_format: str
    head: str
    heads: dict
    misfits: list
    valid_file: str
    overwrite: bool
    command: str

    @property
    def class_name(self):
        """What loads the folder."""
        if self.layout != "huggingface":
            return {"medtop": "TorchBert", "tf1": "google-research/bert"}[self.layout]
        return huggingface.class_name(self.config, self.head)


@dataclasses.dataclass
class Exported:
    """What was written.

    Attributes:
        plan: `ExportPlan`.
        config: `BertConfig` of what was written: without misfits.
        num_arrays, num_numbers: their sizes.
        left_out: dict our path -> why it stayed behind.
        cost: sentence on what the missing parts cost, or "".
        parity: sentence on how far the outputs are apart.
        parity_value: the largest difference, None where nothing could be compared.
        notes: more that a reader of the card must know.
    """

    plan: ExportPlan
    config: object
    num_arrays: int
    num_numbers: int
    left_out: dict
    cost: str = ""
    parity: str = ""
    parity_value: float | None = None
    notes: list = dataclasses.field(default_factory=list)


def plan_export(
    run_dir,
    output_dir,
    *,
    layout="huggingface",
    file_format="safetensors",
    head="",
    drop_extra=False,
    valid_file="",
    overwrite=False,
    command="",
):
    """Checks a request; loads no framework and reads no weights.

    Raises:
        DataError: for anything that does not fit, a model that the layout cannot hold unless `drop_extra`, a missing
            package, or a folder in the way.
    """
    run = RunDirectory(run_dir)
    config, vocabulary, tasks = run.read()
    if not run.has_weights():
        raise DataError(f"{run.best_weights}: expected the weights of a run, found no such file")
    if any(task.level == "token" for task in tasks):
        raise DataError(f"{run_dir}: expected a run of patients or masked codes, received one of tokens (entities)")
    head = head or ("all" if layout == "medtop" else huggingface.default_head(tasks))
    heads = huggingface.head_tasks(head, tasks)
    if head == "all" and layout != "medtop":
        raise DataError("--head=all: expected --layout=medtop, whose folders hold any number of heads")
    lost = misfits(config, layout, head)
    if lost and not drop_extra:
        whole = "" if layout == "tf1" else "--layout=medtop writes it whole, with a PyTorch module of ours; "
        raise DataError(
            f"{run_dir}: expected a model that --layout={layout} can hold, received {'; '.join(lost)}; {whole}"
            "--drop_extra_embeddings writes it without them and measures the cost"
        )
    if layout == "tf1":
        file_format = ""
    else:
        weight_files.check_installed(file_format)
    check_target(output_dir, _is_export(layout), overwrite)
    if valid_file:
        _check_data(read_dataset(valid_file), run, vocabulary, tasks)
    elif lost:
        valid_file = _own_valid_file(run, vocabulary, tasks)
    return ExportPlan(
        run,
        config,
        vocabulary,
        tasks,
        Path(output_dir),
        layout,
        file_format,
        head,
        heads,
        lost,
        valid_file,
        overwrite,
        command,
    )


def _is_export(layout):
    return has_json_key(CONFIG_FILE[layout], huggingface.BLOCK)


def _check_data(info, run, vocabulary, tasks):
    if info.vocabulary != vocabulary:
        raise DataError(f"{info.names[0]}: expected the vocabulary of {run.path}, received another one")
    run.check_records(info)
    for task in tasks:
        if task.level == "patient" and list(info.tasks.get(task.name, ())) != list(task.labels):
            raise DataError(f"{info.names[0]}: expected task {task.name} with the labels of {run.path}")


def _own_valid_file(run, vocabulary, tasks):
    """The run's own validation file, where it is still there and still fits; else ""."""
    path = run.settings().get("valid_file") or ""
    try:
        if path:
            _check_data(read_dataset(path), run, vocabulary, tasks)
    except (DataError, OSError):
        return ""
    return path


def export(plan):
    """Writes the folder.

    Args:
        plan: `ExportPlan`.

    Returns:
        `Exported`.

    Raises:
        DataError: when the outputs differ from the run's by more than rounding; nothing is written then.
    """
    from medtop.training.checkpoints import weights_of
    from medtop.training.trainer import load_best

    model = parity.build(plan.config, plan.tasks)
    load_best(model, plan.run)
    x = parity.sample_inputs(plan.config, plan.vocabulary)
    config, arrays, cost = plan.config, weights_of(model), ""
    if plan.misfits:
        config, arrays = reduce(config, arrays, plan.layout, plan.head)
        reduced = parity.build(config, plan.tasks)
        _set(reduced, arrays)
        cost = _cost(plan, (model, reduced), (plan.config, config), x)
        model = reduced
    order = _source_order(plan)
    table = names.build_table(
        "tf1" if plan.layout == "tf1" else huggingface.MODEL_TYPES[config.norm],
        config,
        plan.heads,
        extras=plan.layout == "medtop",
        pooler=plan.head != "masked_lm" or plan.layout == "tf1",
    )
    left_out = leave_out(arrays, plan.tasks, plan.heads, table)
    theirs = names.to_theirs(table, in_their_order(arrays, order, plan.tasks), left_out)
    if plan.head == "encoder" and plan.layout == "huggingface":
        theirs = {name.removeprefix("bert."): array for name, array in theirs.items()}  # as BertModel saves itself
    if getattr(model, "wide", None) is not None and plan.layout == "medtop" and any(t.labels for t in plan.heads):
        theirs |= _wide_arrays(model.wide, plan.heads)
    numbers = sum(array.size for array in theirs.values())
    done = Exported(plan, config, len(theirs), numbers, left_out, cost, notes=_notes(plan, config, table))
    with whole_folder(plan.output_dir, _is_export(plan.layout), plan.overwrite, shared=True) as folder:
        _write(folder, plan, config, theirs, order)
        done.parity, done.parity_value = _compare(folder, done, model, x, order, table, arrays)
        write_weights_card(folder, done)
    return done


def _wide_arrays(wide, heads):
    """The wide part's arrays under the twin's names, with the labels of the exported heads."""
    chosen = [task.name for task in heads if task.level == "patient"]
    columns = np.concatenate([np.arange(wide.layer.num_labels)[wide.columns[task]] for task in chosen])
    layer = {name: np.asarray(getattr(wide.layer, name)) for name in ("tables", "context", "intercepts")}
    scales = [
        np.concatenate([wide.stack[task][name] for task in chosen]) for name in ("wide_scale", "deep_scale", "offset")
    ]
    shared = {f"wide.{name}": array[..., columns] for name, array in layer.items()}
    return {**shared, "wide.scales": np.asarray(scales, np.float32)}


def leave_out(arrays, tasks, heads, table):
    """Which of our weights stay behind on purpose: dict path -> reason.

    Args:
        arrays: dict path -> array.
        tasks: list of `Task` of the run.
        heads: dict `Task` -> kind, those that go.
        table: `names.NameTable`.
    """
    used, left_out = {entry.ours for entry in table.entries}, {}
    for task in tasks:
        owners = {f"{task.name}_{part}" for part in ("logits", "transform", "transform_norm")}
        if task not in heads:
            left_out |= {path: f"head of {task.name}" for path in arrays if path.rpartition("/")[0] in owners}
    for path in ("pooler/kernel", "pooler/bias"):
        if path in arrays and path not in used:
            left_out[path] = "this layout's masked-code model has no pooler"
    return left_out


def in_their_order(arrays, order, tasks):
    """Our weights with the rows of the code table, and the masked head's biases, in the order of a foreign vocabulary.

    Args:
        arrays: dict path -> array.
        order: list of their id for each of ours; None = the same order.
        tasks: list of `Task`.
    """
    if order is None:
        return arrays
    of_codes = {"embeddings/code_embeddings", *(f"{task.name}_logits/bias" for task in tasks if task.level == "masked")}
    arrays = dict(arrays)
    for path in of_codes & arrays.keys():
        theirs = np.empty_like(arrays[path])
        theirs[order] = arrays[path]
        arrays[path] = theirs
    return arrays


def _source_order(plan):
    """Their id of each of our tokens, for an imported run with a tokenizer of its own; None without."""
    folder = plan.run.path / SOURCE_TOKENIZER
    tokens = tokenizer.read_tokens(folder) if folder.is_dir() else None
    if tokens is None or len(tokens) > len(plan.vocabulary):
        return None
    vocabulary, order = tokenizer.our_vocabulary(tokens, len(plan.vocabulary), folder)
    return order if vocabulary == plan.vocabulary else None


def _set(model, arrays):
    from medtop.training.checkpoints import set_weights

    set_weights(model, arrays, "reduced model")


def _cost(plan, models, configs, x):
    """One sentence on what the misfits cost."""
    lost = "; ".join(plan.misfits)
    tasks = list(plan.heads)
    if plan.valid_file and tasks:
        info = read_dataset(plan.valid_file)
        length = plan.run.settings().get("max_seq_length") or plan.config.max_position_embeddings
        cost = cost_on_data(models, configs, tasks, info, length)
        return f"without {lost}, measured on {info.num_examples} validation examples: {cost}"
    outputs = [parity.keras_outputs(model, x) for model in models]
    wanted = {"hidden states", *(["pooled output"] if plan.head != "masked_lm" else [])}
    wanted |= {f"{task.name} logits" for task in tasks}
    before, after = ({name: values for name, values in output.items() if name in wanted} for output in outputs)
    cost = cost_on_samples(before, after, x["patient_slots"])
    return f"without {lost}, measured on made-up patients, the outputs change (root mean square): {cost}"


def token_type_meaning(config):
    """What their token types are, in words; None where the model has no embedding for them."""
    kind = names.token_type(config)
    if kind is None:
        return None
    size = config.visit_vocab_size if kind == "visit" else config.type_vocab_size
    if kind == "visit" or config.segment == "visit":
        what = "the number of each code's visit, from 1; [CLS] and padding 0"
    else:
        what = {
            "zero": "0 everywhere",
            "alternating": "the visit's number modulo 2; [CLS] and padding 0",
            "sentence": "0 in the first text, 1 in the second",
        }[config.segment]
    return f"token types (`token_type_ids`; beyond {size - 1} to be cut to it): {what}"


def _notes(plan, config, table):
    notes = []
    if plan.layout != "medtop" and names.token_type(config):
        notes.append(token_type_meaning(config))
    notes += [f"`{name}` is all zeros: the model has no such embedding" for name in table.filled]
    if hidden := tokenizer.unreachable(plan.vocabulary):
        notes.append(f"{len(hidden)} of {len(plan.vocabulary)} tokens hold white space: they can be given by id only")
    if not any(task.level == "patient" for task in plan.heads):
        return notes
    if has_risk(plan.run, _calibration(plan), plan.heads):
        return [*notes, *risk_formula(plan.run, plan.layout == "huggingface")]
    if _calibration(plan):
        how = "probability = sigmoid(slope (z - log class_weight) + intercept), the numbers are in `calibration.json`"
        return [*notes, f"logits are not calibrated; {how}"]
    return [*notes, "logits are not calibrated, and no calibration belongs to them"]


def _calibration(plan):
    """The exported tasks' part of calibration.json; empty without one, or where the model was reduced."""
    if plan.misfits or not plan.run.calibration_file.is_file():
        return {}
    content = read_json(plan.run.calibration_file)
    return {task.name: content[task.name] for task in plan.heads if task.name in content}


def _block(plan, config):
    settings = plan.run.settings()
    return {
        "version": 1,
        "medtop": medtop.__version__,
        "head": plan.head,
        "heads": {task.name: kind for task, kind in plan.heads.items()},
        "tasks": [task.to_dict() for task in plan.heads],
        "config": config.to_dict(),
        "max_seq_length": settings.get("max_seq_length"),
        "data": (settings.get("data") or {}).get("train"),
    }


def _write(folder, plan, config, theirs, order):
    block = _block(plan, config)
    if plan.layout == "tf1":
        from medtop.convert import tf1

        tf1.write_checkpoint(folder, config, theirs, block)
    else:
        own = plan.layout == "medtop"
        pad_id = None if plan.vocabulary.mask_id == 0 else 0 if order is None else order[0]
        huggingface.write_config(folder / "config.json", config, plan.head, plan.heads, block, own, pad_id)
        weight_files.write_weights(folder, theirs, plan.file_format)
        if own:
            shutil.copyfile(Path(__file__).with_name("torch_bert.py"), folder / "torch_bert.py")
    length = plan.run.settings().get("max_seq_length") or config.max_position_embeddings
    vocabulary, source = plan.vocabulary, plan.run.path / SOURCE_TOKENIZER
    if order is not None:
        vocabulary = Vocabulary((vocabulary.tokens[place] for place in np.argsort(order)), vocabulary.code_map)
    if order is not None and tokenizer.is_subword(vocabulary.tokens, source):
        tokenizer.copy_tokenizer(source, folder)
    elif plan.layout == "tf1":
        vocabulary.write_text(folder / "vocab.txt")
    elif about := ((plan.run.settings().get("data") or {}).get("train") or {}).get("tokenizer"):  # trained on notes
        length = min(length, config.max_position_embeddings)
        tokenizer.write_wordpiece(folder, vocabulary, length, about["lower_case"])
    else:
        tokenizer.write_tokenizer(folder, vocabulary, min(length, config.max_position_embeddings))
    if calibration := _calibration(plan):
        write_json(folder / "calibration.json", calibration)
    if has_risk(plan.run, calibration, plan.heads):
        write_notes_files(folder, plan.run, plan.layout == "huggingface")


def _compare(folder, done, model, x, order, table, arrays):
    """(sentence, largest difference or None) on how the written folder agrees with the model."""
    plan = done.plan
    if plan.layout == "tf1":
        return _compare_checkpoint(folder, table, in_their_order(arrays, order, plan.tasks)), 0.0
    ours = parity.keras_outputs(model, x)
    if plan.layout == "huggingface" and parity.has_transformers():
        theirs = parity.huggingface_outputs(folder, plan.class_name, plan.heads, done.config, x, order)
        difference = parity.compare(f"transformers {plan.class_name}", ours, theirs, x["patient_slots"])
    elif parity.has_torch():
        theirs = parity.twin_outputs(folder, x, order)
        difference = parity.compare("medtop.convert.torch_bert", ours, theirs, x["patient_slots"])
    else:
        return f"parity not measured: PyTorch is not installed; {parity.INSTALL}, then the same command again", None
    return str(difference), difference.worst


def _compare_checkpoint(folder, table, arrays):
    from medtop.convert import tf1

    back, _ = names.to_ours(table, tf1.read_checkpoint(folder / tf1.PREFIX), folder, tf1.CONFIG)
    for path, array in back.items():
        if not np.array_equal(array, arrays[path]):
            raise DataError(f"{folder}: expected {path} to be read back as written, received other numbers")
    return f"parity: all {len(back)} weights read back from the checkpoint are the run's, bit for bit"
