"""A learning curve as a grid: models x numbers of training patients x repeats, all on one validation and one test set.

    python run_scripts/run_learning_curve.py --train_sizes=100,500,0 --repeats=10 --models=wide,bert,bert+bigru,...

A repeat draws its own patients and its own start; within a repeat the sets of patients are nested (`--train_patients`).
The rivals of `medtop.evaluation.baselines` need no cell of their own: one model's run fits them to the same patients.
"""

import dataclasses
from pathlib import Path

from medtop.evaluation.baselines import BASELINES, XGBOOST
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, at_least, check, option
from medtop.grid.cells import Cell, Grid
from medtop.grid.runner import status_of
from medtop.model.config import CODE_STARTS, PATIENT_HEADS, BertConfig

AXES = ("model", "train_patients", "repeat")
NETS = tuple(head for head in PATIENT_HEADS if head != "linear")
PRETRAINED = "medbert"
RIVALS = (*BASELINES, XGBOOST)
SET_HERE = frozenset(
    "input_file valid_file test_file output_dir bert_config_file tasks init_checkpoint seed train_patients head body "
    "code_start wide baselines xgboost do_train do_eval overwrite resume".split()
)
"""Flags of the trainer that a learning curve sets itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveOptions:
    """What `run_learning_curve.py` is asked for."""

    input_file: str = option(REQUIRED, "TFRecord files to train on: a name, glob or comma list.")
    valid_file: str = option(REQUIRED, "TFRecord files for validation, the same for every run.")
    test_file: str = option(REQUIRED, "TFRecord files that every run is tested on, once.")
    output_dir: str = option(REQUIRED, "Folder for the runs, learning_curve.csv and learning_curve.html.")
    bert_config_file: str = option(REQUIRED, "Model configuration (JSON) of every model.")
    models: tuple = option(
        ("wide", "bert", "bigru", "windowed_logistic_regression"),
        "wide, bert, stack, embeddings, gru, bigru, lstm, bilstm, retain; bert+<head>; medbert, medbert+<head> (from "
        "--init_checkpoint); <model>-ppmi, <model>-hierarchy (--code_start); the baselines by name.",
    )
    train_sizes: tuple[int, ...] = option((100, 500, 1000, 5000, 0), "Numbers of training patients; 0 = all.")
    repeats: int = option(10, "Runs of each model and size, with patients and a start of their own.", rule=at_least(1))
    tasks: tuple = option((), "Tasks of every model; default: all patient-level tasks in the data.")
    init_checkpoint: str = option("", "Run directory that medbert and medbert+<head> start from.")
    trainer_flag: tuple = option(
        (), "A further flag of the trainer, for all models, such as --num_train_epochs=20.", repeated=True
    )


def model_flags(model):
    """The trainer's flags of a model, and its changes of the configuration; None for a name that is no model.

    >>> model_flags("medbert+bigru")
    ({'wide': 'off', 'head': 'bigru', 'body': 'bert'}, {})
    >>> model_flags("gru-ppmi")[0]["code_start"]
    'ppmi'
    >>> model_flags("retain")
    ({'wide': 'off', 'head': 'retain', 'body': 'embeddings'}, {'embeddings': ['code']})
    """
    model, dash, start = model.rpartition("-")
    if dash:  # another start of the codes' vectors
        of_model = model_flags(model) if start in CODE_STARTS[1:] and "-" not in model else None
        if of_model is None or "head" not in of_model[0] or model.startswith(PRETRAINED):
            return None
        return of_model[0] | {"code_start": start}, of_model[1]
    model = start
    if model in ("wide", "stack"):
        return {"wide": "only" if model == "wide" else "stack"}, {}
    body, plus, head = model.partition("+")
    if body in ("bert", PRETRAINED) and (not plus or head in NETS and head != "retain"):
        return {"wide": "off", "head": head or "linear", "body": "bert"}, {}
    if model == "embeddings":  # a bag of vectors
        return {"wide": "off", "head": "linear", "body": "embeddings"}, {"pooling": "mean"}
    if model in NETS:  # RETAIN as published reads codes alone
        changes = {"embeddings": ["code"]} if model == "retain" else {}
        return {"wide": "off", "head": model, "body": "embeddings"}, changes
    return None


def check_curve(options, patients, patient_tasks):
    """Refuses what cannot be, before anything starts.

    Args:
        options: `CurveOptions`.
        patients: number of training patients in the data.
        patient_tasks: names of the patient-level tasks in the data.

    Raises:
        DataError: naming the flag.
    """
    check(options)
    offered = (
        "wide, bert, stack, embeddings, " + ", ".join(NETS) + f", bert+<head>, {PRETRAINED}, {PRETRAINED}+<head>, "
    )
    offered += "any of these but wide, stack and medbert with -ppmi or -hierarchy"
    for name in options.models:
        if model_flags(name) is None and name not in RIVALS:
            raise DataError(f"--models: expected names among {offered}, {', '.join(RIVALS)}, received {name!r}")
    for flag, values in (("models", options.models), ("train_sizes", options.train_sizes)):
        if not values or len(set(values)) != len(values):
            raise DataError(
                f"--{flag}: expected at least one value, each once, received {','.join(map(str, values))!r}"
            )
    for size in options.train_sizes:
        if not 0 <= size <= patients:
            raise DataError(f"--train_sizes: expected numbers from 0 (all) to {patients} ({options.input_file}), "
                            f"received {size}")  # fmt: skip
    if patients in options.train_sizes and 0 in options.train_sizes:
        raise DataError(f"--train_sizes: expected {patients} or 0, which is the same, received both")
    for task in options.tasks:
        if task not in patient_tasks:
            raise DataError(f"--tasks: expected patient-level tasks, {', '.join(patient_tasks)}, received {task!r}")
    pretrained = [name for name in options.models if name.startswith(PRETRAINED)]
    if bool(pretrained) != bool(options.init_checkpoint):
        what = f"{pretrained[0]} needs --init_checkpoint" if pretrained else "--init_checkpoint needs a model medbert"
        raise DataError(f"--models: {what}: a run directory of pretraining, such as run_EHRpretraining.py makes")
    for text in options.trainer_flag:
        name = text.removeprefix("--").partition("=")[0]
        if not text.startswith("--") or name.removeprefix("no") in SET_HERE or name in SET_HERE:
            raise DataError(f"--trainer_flag: expected a flag of the trainer that is not set here, received {text!r}")


def curve_grid(options, patients, patient_tasks, script):
    """The `Grid` of a learning curve: repeat by repeat, small sizes first, so that what is there can be compared.

    Args:
        options: `CurveOptions`, checked.
        patients: number of training patients in the data.
        patient_tasks: names of the tasks in the data.
        script: `Path` of the trainer.
    """
    config = BertConfig.from_file(options.bert_config_file)
    models = [name for name in options.models if name not in RIVALS]
    rivals = [name for name in options.models if name in RIVALS]
    if any(name in ("wide", "stack") for name in models) and not config.wide_days:
        raise DataError(
            f"{options.bert_config_file}: expected wide_days, such as [31, 92, 183, 366], for wide and stack"
        )
    if rivals and "wide" not in models and (config.wide_days or not models):
        if not config.wide_days:
            raise DataError(f"--models: expected a model beside {rivals[0]}, or a configuration with wide_days")
        models.append("wide")  # the cheapest run that fits them; it is not shown
    carrier = "wide" if "wide" in models else models[0]
    shared = {
        **{name: getattr(options, name) for name in ("input_file", "valid_file", "test_file")},
        "tasks": ",".join(options.tasks or patient_tasks),
        "do_train": True,
        "do_eval": True,
    } | dict(_flag(text) for text in options.trainer_flag)
    cells, folder = [], Path(options.output_dir)
    for repeat in range(1, options.repeats + 1):
        for size in sorted(options.train_sizes, key=lambda size: size or patients):
            for model in models:
                flags, changes = model_flags(model)
                changed = read_json(Path(options.bert_config_file)) | changes if changes else None
                flags = shared | flags | {"seed": str(repeat), "baselines": bool(rivals) and model == carrier}
                flags |= {"train_patients": str(size)} if size else {}
                flags |= {"xgboost": True} if XGBOOST in rivals and model == carrier else {}
                flags |= {"init_checkpoint": options.init_checkpoint} if model.startswith(PRETRAINED) else {}
                flags |= {} if changed else {"bert_config_file": options.bert_config_file}
                name = f"{model}__{size or 'all'}__{repeat}"
                labels = {"model": model, "train_patients": str(size or patients), "repeat": str(repeat)}
                cells.append(Cell(len(cells), name, labels, flags, changed, folder / "runs" / name))
    return Grid(folder, Path(script), folder, AXES, cells)


def _flag(text):
    """`--name=value`, `--name` or `--noname` as (name, value)."""
    name, given, value = text.removeprefix("--").partition("=")
    return (name, value) if given else (name.removeprefix("no"), not name.startswith("no"))


@dataclasses.dataclass(frozen=True)
class Point:
    """One model at one size on one label.

    Attributes:
        model, task, label: names.
        train_patients: number of training patients.
        values: dict repeat -> value of the measure; repeats that are not finished, or in which it is undefined, are not
            there.
    """

    model: str
    train_patients: int
    task: str
    label: str
    values: dict


def collect(grid, models, metric="roc_auc"):
    """What the finished cells have measured on the test set.

    Args:
        grid: `curve_grid`'s.
        models: names to show, in their order.
        metric: name in metrics.json.

    Returns:
        (list of `Point`, list of (cell, state as text) of cells without results).
    """
    values, missing = {}, []
    for cell in grid.cells:
        status = status_of(cell)
        results = cell.run_folder / "comparison.json"
        if status.state != "finished" or not results.is_file():
            missing.append((cell, status.state + (f": {status.reason}" if status.reason else "")))
            continue
        of_cell = {cell.labels["model"]: read_json(cell.run_folder / "metrics.json").get("test", {})}
        of_cell |= read_json(results).get("test", {}).get("baselines", {})
        size, repeat = int(cell.labels["train_patients"]), int(cell.labels["repeat"])
        for model, tasks in of_cell.items():
            for task, labels in tasks.items() if model in models else ():
                for label, entry in labels.items():
                    value = (entry.get(metric) or {}).get("value")
                    if value is not None and not (len(labels) == 3 and label in ("micro", "macro")):
                        values.setdefault((task, label, models.index(model), size), {})[repeat] = value
    ordered = sorted(values, key=lambda key: key[2:])
    ordered.sort(key=lambda key: list(dict.fromkeys((k[0], k[1]) for k in values)).index(key[:2]))
    return [Point(models[place], size, task, label, values[task, label, place, size])
            for task, label, place, size in ordered], missing  # fmt: skip
