"""The model card of a run, `README.md`: what it is, what it was made from, how well it does, and who may have it."""

from medtop.files.atomic import write_text
from medtop.training.wide_files import stack_lines


def write_card(run, plan, results, step, command=""):
    """Writes the run's `README.md`.

    Args:
        run: `RunDirectory`.
        plan: `medtop.training.options.Plan`.
        results: `medtop.runs.results.Results`.
        step: training step of the weights.
        command: command line that made the run.
    """
    write_text(run.card_file, "\n".join(_lines(plan, results, step, command, stack_lines(run))) + "\n")


def _lines(plan, results, step, command, stack):
    config = plan.config
    yield "# Model card"
    yield ""
    yield (
        f"A BERT encoder ({config.num_hidden_layers} layers, width {config.hidden_size}, {len(plan.vocabulary)} tokens,"
        f" embeddings {', '.join(config.embeddings)}), trained with medtop; weights of step {step}."
    )
    yield ""
    if stack:
        days = ", ".join(map(str, config.wide_days))
        yield (
            f"Beside it stands a wide part: coefficients of codes seen within {days} days or ever, and of age, sex, "
            "visits and stays, fitted convexly to all labels at once (`wide_coefficients.csv`)."
        )
        yield ""
        for name, about in stack.items():
            yield f"- {name}: {about}"
        yield ""
    yield "**Restrictions.** The weights were trained on the data named below and carry information from them. Pass "
    yield "them on only to people who may have those data."
    yield ""
    yield "## Tasks"
    yield ""
    for task in plan.tasks:
        yield f"- `{task.name}`: {', '.join(task.labels) or 'masked codes'}"
    yield ""
    yield "## Data"
    yield ""
    for split, info in (("train", plan.train), ("valid", plan.valid), ("test", plan.test)):
        if info is not None:
            yield f"- {split}: {info.counts['examples']} examples of {info.counts['patients']} patients"
    for manifest in (plan.train or plan.valid or plan.test).source_manifests[:1]:
        yield from _provenance(manifest)
    yield ""
    yield f"## Results ({results.split} split, 95% intervals by bootstrap over patients)"
    yield ""
    yield "| task | label | ROC AUC | average precision | Brier | known | positives |"
    yield "|---|---|---|---|---|---|---|"
    for task, labels in results.metrics[results.split].items():
        for label, entry in labels.items():
            if "roc_auc" in entry:
                shown = " | ".join(_shown(entry[name]) for name in ("roc_auc", "average_precision", "brier"))
                yield f"| {task} | {label} | {shown} | {entry['n']} | {entry['positives']} |"
    yield ""
    yield "Not evaluated: other hospitals, other periods, subgroups. Not a medical device."
    if command:
        yield ""
        yield "## Command"
        yield ""
        yield f"```\n{command}\n```"


def _provenance(manifest):
    """What the preprocessing manifest says of the data's origin."""
    yield f"- source: {(manifest.get('source') or {}).get('name')}"
    yield f"- prediction times: {(manifest.get('prediction_times') or {}).get('index')}"
    for statement in manifest.get("statements") or ():
        yield f"- {statement}"


def _shown(value):
    if value["value"] is None:
        return "undefined"
    interval = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
    return f"{value['value']:.3f}{interval}"
