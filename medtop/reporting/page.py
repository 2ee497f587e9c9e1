"""report.html: one page that holds everything, so that it can be mailed, archived and opened without a network.

Plain dicts and arrays go in; nothing is fetched, no script runs, and every text is escaped. Plots are inline SVG
(`medtop.reporting.svg`), so no plotting library is needed.
"""

from medtop.evaluation.marks import mark_lines, marked_name
from medtop.evaluation.metrics import masked_lines, reading_order, result_rows
from medtop.evaluation.predictions import POOLED
from medtop.reporting.curves import calibration, precision_recall, roc
from medtop.reporting.elements import bullets, definitions, escape, html_table, write_page
from medtop.reporting.svg import chart, is_number
from medtop.reporting.training_curves import training_panels

_MOST_CURVES = 32


def write_report(
    path,
    *,
    title,
    metrics,
    split,
    results=None,
    baselines=None,
    uncalibrated=None,
    comparison=None,
    train_log=(),
    manifest=None,
    facts=None,
    notes=(),
):
    """Writes one self-contained page, whole or not at all.

    Args:
        path: the file.
        title: its heading.
        metrics: `{split: {task: {label: entry}}}` as in metrics.json.
        split: the split that is reported on; others are shown below, folded.
        results: dict task -> (Predictions, calibrated probabilities) of that split, for the plots; None: no plots.
        baselines: dict name -> dict task -> (Predictions, probabilities), drawn beside; None: none.
        uncalibrated: dict task -> probabilities before calibration, drawn in the calibration plots; None: none.
        comparison: as `medtop.evaluation.metrics.compare` gives for that split, or None.
        train_log: rows (dicts) of train_log.jsonl, and of validation measures; losses, AUROC, weights of the losses
            and what is known of the tasks' gradients are drawn over `step`, `valid_<name>` beside `<name>`.
        manifest: the preprocessing manifest (dict), or None. What it lacks is left out.
        facts: dict of names and values shown at the top (run directory, data, seed, step, ...).
        notes: sentences that a reader needs; the manifest's `statements` are added.
    """
    sections = [
        ("results", "Results", _results(metrics, split, comparison)),
        ("plots", "Plots by label", _plots(results or {}, baselines or {}, uncalibrated or {})),
        ("training", "Training", _training(list(train_log))),
        ("cohort", "Cohort", _cohort(manifest or {})),
        ("dropped", "What was dropped", _dropped(manifest or {})),
        ("labels", "Labels by split", _labels(manifest or {})),
    ]
    write_page(path, title, sections, facts or {}, [*notes, *(manifest or {}).get("statements", ())])


def write_training_page(path, title, train_log, x_label="step"):
    """Writes a page with the training's curves only: losses, weights, gradients over steps, while it still runs.

    Args:
        path, title, train_log: as for `write_report`.
        x_label: what the rows' `step` counts.
    """
    charts = _training(list(train_log), x_label) or "<p>No step is in the log yet.</p>"
    write_page(path, title, [("training", "Training", charts)], {}, [])


def _results(metrics, split, comparison):
    """The table of the reported split, decisions at the threshold, reasons; then the other splits, folded."""
    if split not in metrics:
        return ""
    best = (comparison or {}).get("best_reachable")
    words = [
        f"Split: {split}. Intervals are 95% bootstrap intervals over patients; probabilities are calibrated on "
        "validation."
    ]
    if (comparison or {}).get("baselines"):
        words.append(
            "Strongest rival: the baseline of the highest AUROC on this very split, label by label. Difference: AUROC "
            "of the model minus the rival's, paired over the same resampled patients; p is two-sided."
        )
    if any("roc_auc_constants" in entry for labels in metrics[split].values() for entry in labels.values()):
        words.append(
            "Macro: mean over the labels. Micro pools patients and labels, so that a model that knows only which label "
            "is commoner ranks well: beside it stands what constants reach, each label's prevalence as everybody's "
            "risk."
        )
    if mark_lines(metrics[split]):
        words.append("Labels with an asterisk are uncertain, for the reasons below.")
    if best:
        words.append(
            "Best: AUROC of the true risk, known because the data are generated; share: how far the model got "
            "from 0.5 to it."
        )
    parts = [
        f"<p>{escape(' '.join(words))}</p>",
        _metrics_table(metrics[split], comparison),
        _decisions(metrics[split]),
        _reasons(metrics[split]),
    ]
    for other, tasks in metrics.items():
        if other != split:
            parts.append(
                f"<details><summary>Split {escape(other)}</summary>{_metrics_table(tasks, None)}"
                f"{_decisions(tasks)}{_reasons(tasks)}</details>"
            )
    return "".join(parts)


def _metrics_table(tasks, comparison):
    header, rows = result_rows(tasks, comparison)
    sure = [place for place, row in enumerate(rows) if row[1] == "macro" and not tasks[row[0]]["macro"].get("marks")]
    table = html_table(header, rows, 2, sure) if rows else ""
    return table + bullets(mark_lines(tasks)) + "".join(f"<p>{escape(line)}</p>" for line in masked_lines(tasks))


def _decisions(tasks):
    """Precision, recall and F1 at the threshold, and errors before calibration."""
    names = ("threshold", "precision", "recall", "f1", "brier_uncalibrated", "calibration_error_uncalibrated")
    rows = []
    for task, labels in tasks.items():
        for label in reading_order(labels):
            entry = labels[label]
            if "precision" in entry:
                values = [(entry.get(name) or {}).get("value") for name in names]
                rows.append(
                    [task, marked_name(label, entry), *("-" if value is None else f"{value:.3f}" for value in values)]
                )
    if not rows:
        return ""
    header = ["task", "label", "threshold", "precision", "recall", "F1", "Brier uncalibrated", "ECE uncalibrated"]
    return f"<h3>At the threshold of highest F1 on validation</h3>{html_table(header, rows, 2)}"


def _reasons(tasks):
    return bullets(
        f"{task} {label}: {entry['reason']}"
        for task, labels in tasks.items()
        for label, entry in labels.items()
        if entry.get("reason") and label not in POOLED
    )


def _plots(results, baselines, uncalibrated):
    parts = []
    for task, (predictions, probabilities) in results.items():
        for place, label in enumerate(predictions.labels):
            heading, rows = f"{escape(task)}: {escape(label)}", predictions.known[:, place]
            targets = predictions.targets[rows, place] > 0
            if not targets.any() or targets.all():
                kind = "no known label" if not len(targets) else "one class only"
                parts.append(f'<section class="label"><h3>{heading}</h3><p>No curves: {kind}.</p></section>')
                continue
            curves = [("model", targets, probabilities[rows, place])]
            for name, tasks in baselines.items():
                if task in tasks and label in tasks[task][0].labels:
                    other, column = tasks[task][0], tasks[task][0].labels.index(label)
                    known = other.known[:, column]
                    curves.append((name, other.targets[known, column] > 0, tasks[task][1][known, column]))
            before = uncalibrated[task][rows, place] if task in uncalibrated else None
            panels = [roc(curves), precision_recall(curves), calibration(targets, probabilities[rows, place], before)]
            svgs = [chart(panel.title, panel.series, **panel.axes) for panel in panels]
            parts.append(
                f'<section class="label"><h3>{heading} '
                f'<span class="soft">({int(targets.sum())} of {len(targets)} positive)</span></h3>'
                f'<div class="plots">{"".join(svgs)}</div></section>'
            )
    return "".join(parts)


def _training(rows, x_label="step"):
    """Charts of losses, weights and gradients."""
    panels = training_panels(rows, x_label)
    charts = [chart(panel.title, panel.series, **panel.axes) for panel in panels[:_MOST_CURVES]]
    more = f"<p>{len(panels) - len(charts)} more charts would show what else is in the logs.</p>"
    return f'<div class="plots">{"".join(charts)}</div>{more if len(panels) > len(charts) else ""}' if charts else ""


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "-" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _percent(value):
    return f"{100 * value:.1f}%" if is_number(value) else "-"


def _cohort(manifest):
    """Source, dates, sizes, splits and vocabulary, as far as the manifest tells."""
    source, dates = manifest.get("source") or {}, manifest.get("dates") or {}
    times, vocabulary = manifest.get("prediction_times") or {}, manifest.get("vocabulary") or {}
    facts = {
        "source": source.get("name"),
        "patients in": manifest.get("patients_in"),
        "patients out": manifest.get("patients_out"),
        "rows in": manifest.get("rows_in"),
        "first admission": dates.get("first_admission"),
        "last discharge": dates.get("last_discharge"),
        "prediction times": times.get("index"),
        "first and last of them": " to ".join(str(time) for time in dates.get("prediction_times") or ()) or None,
        "vocabulary": vocabulary.get("size"),
        "overlapping visits": manifest.get("overlapping_visits"),
    }
    facts = {name: _number(value) for name, value in facts.items() if value is not None}
    rows = [
        [split] + [_number(entry.get(name)) for name in ("patients", "examples", "codes", "longest")]
        for split, entry in (manifest.get("splits") or {}).items()
    ]
    table = html_table(["split", "patients", "examples", "codes", "longest history (codes)"], rows) if rows else ""
    return (definitions(facts) + table + bullets(source.get("notes") or ())) if facts or rows else ""


def _dropped(manifest):
    """Rows and patients: in = out + merged + dropped, reason by reason."""
    parts = []
    for what in ("rows", "patients"):
        dropped = manifest.get(f"{what}_dropped")
        if dropped is None:
            continue
        entries = [("in", manifest.get(f"{what}_in")), ("out", manifest.get(f"{what}_out"))]
        if what == "rows":
            entries.append(("merged", manifest.get("rows_merged")))
        entries += [
            (f"dropped: {reason}", dropped[reason]) for reason in sorted(dropped, key=dropped.get, reverse=True)
        ]
        whole = manifest.get(f"{what}_in")
        rows = [
            [name, _number(number), _percent(number / whole) if whole else "-"]
            for name, number in entries
            if number is not None
        ]
        parts.append(html_table([what, "number", "share"], rows))
    return f'<div class="plots">{"".join(parts)}</div>' if parts else ""


def _labels(manifest):
    """Known, positive and unknown examples per label and split, with the reasons for unknown."""
    rows = []
    for split, tasks in (manifest.get("labels") or {}).items():
        for task, labels in tasks.items():
            for label, entry in labels.items():
                unknown = ", ".join(f"{reason} {number:,}" for reason, number in (entry.get("unknown") or {}).items())
                rows.append(
                    [
                        task,
                        label,
                        split,
                        _number(entry.get("examples")),
                        _number(entry.get("known")),
                        _number(entry.get("positives")),
                        _percent(entry.get("prevalence")),
                        _percent(entry.get("risk_ipcw")),
                        _percent(entry.get("share_known")),
                        unknown or "-",
                    ]
                )
    order = list(dict.fromkeys((row[0], row[1]) for row in rows))
    rows.sort(key=lambda row: order.index((row[0], row[1])))  # splits of a label together
    header = ["task", "label", "split", "examples", "known", "positive", "prevalence", "risk (IPCW)", "share known"]
    note = (
        "<p>Prevalence: share of positives among the known labels. Risk (IPCW): risk within the horizon in all who "
        "were at risk, corrected for those whose observation ends before it (inverse-probability-of-censoring "
        "weights).</p>"
    )
    return (note + html_table([*header, "unknown because"], rows, 3)) if rows else ""
