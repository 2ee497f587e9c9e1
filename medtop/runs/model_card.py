"""The model card of a run: what it is, what it was made from, how well it does, and who may have it."""

from medtop.evaluation.small_cells import is_small
from medtop.reporting.card import Card, provenance, write_card
from medtop.reporting.methods import HEADS
from medtop.reporting.small_counts import shown_manifest
from medtop.training.wide_files import stack_lines


def write_run_card(run, plan, results, step, command=""):
    """Writes the run's `card.json` and `README.md`.

    Args:
        run: `RunDirectory`.
        plan: `medtop.training.options.TrainingPlan`.
        results: `medtop.runs.results.Results`, as it is shown.
        step: training step of the weights.
        command: command line that made the run.
    """
    config = plan.config
    of = f"width {config.hidden_size}, {len(plan.vocabulary)} tokens, embeddings {', '.join(config.embeddings)}"
    body = f"A BERT encoder ({config.num_blocks} layers, {of})" if config.num_blocks else f"Vectors of tokens ({of})"
    summary = f"{body}{HEADS[config.head]}, trained with medtop; weights of step {step}."
    card = Card(
        summary=[summary, *_wide(config, stack_lines(run))],
        tasks={task.name: list(task.labels) for task in plan.tasks},
        data=list(_data(plan)),
        split=results.split,
        metrics=results.metrics[results.split],
        commands={"trained": command} if command else {},
    )
    write_card(run.path, card)


def _wide(config, stack):
    """Paragraphs on the wide part; none without one."""
    if stack:
        days = ", ".join(map(str, config.wide_days))
        yield (
            f"Beside it stands a wide part: coefficients of codes seen within {days} days or ever, and of age, sex, "
            "visits and stays, fitted convexly to all labels at once (`wide_coefficients.csv`)."
        )
        for name, about in stack.items():
            yield f"{name}: {about}"


def _data(plan):
    """What the records and the preprocessing manifest say of the data's size and origin."""
    for split, info in (("train", plan.train), ("valid", plan.valid), ("test", plan.test)):
        if info is not None:
            counts = {name: info.counts[name] for name in ("examples", "patients")}
            if any(is_small(count, plan.options.min_cell) for count in counts.values()):
                counts = dict.fromkeys(counts, "fewer than the smallest shown number of")
            yield f"{split}: {counts['examples']} examples of {counts['patients']} patients"
    outcomes = any(task.is_outcome for task in plan.tasks)
    for manifest in (plan.train or plan.valid or plan.test).source_manifests[:1]:
        yield from provenance(shown_manifest(manifest, plan.options.min_cell), outcomes)
