"""report.html: one page that holds everything, so that it can be mailed, archived and opened without a network.

Plain dicts and arrays go in; nothing is fetched, no script runs, and every text is escaped. Plots are inline SVG
(`medtop.reporting.svg`), so no plotting library is needed. What must not be missed comes first, what few need is folded
away; nothing is wider than a page.
"""

from medtop.evaluation.marks import mark_lines
from medtop.evaluation.predictions import POOLED
from medtop.evaluation.tables import masked_lines, reading_order, result_rows
from medtop.reporting import cohort_parts
from medtop.reporting.curves import calibration as calibration_panel
from medtop.reporting.curves import precision_recall, roc
from medtop.reporting.elements import Markup, bullets, count_text, escape, folded, html_table, write_page
from medtop.reporting.methods import methods_text
from medtop.reporting.result_table import CAUTION, behind, interval_text, label_name, result_table
from medtop.reporting.svg import chart, is_number
from medtop.reporting.training_curves import training_panels

_MOST_CURVES = 32
_SHOWN_ABOVE = ("strongest rival", "its AUROC", "difference [95%]", "p")
_RIGHT = {"calibration_slope": 1.0, "calibration_intercept": 0.0, "observed_expected": 1.0}
_NAMES = {"calibration_slope": "slope", "calibration_intercept": "intercept", "observed_expected": "O : E"}


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
    calibration=None,
    train_log=(),
    manifest=None,
    model=None,
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
        calibration: dict task -> what `medtop.evaluation.clinical.calibration_in_brief` gives for that split, or None.
        train_log: rows (dicts) of train_log.jsonl, and of validation measures; losses, AUROC, weights of the losses
            and what is known of the tasks' gradients are drawn over `step`, `valid_<name>` beside `<name>`.
        manifest: the preprocessing manifest (dict), or None. What it lacks is left out.
        model: what `medtop.reporting.methods.methods_text` says of the model, or None.
        facts: dict of names and values shown at the top (run directory, data, seed, step, ...).
        notes: sentences that a reader needs; the manifest's `statements` are added.
    """
    manifest, results = manifest or {}, results or {}
    tasks = metrics.get(split, {})
    methods = methods_text(manifest, {**(model or {}), "split": split} if model else {})
    sections = [
        ("attention", "Before you rely on it", _attention(tasks, calibration or {}, comparison)),
        ("results", "Results", _results(metrics, split, comparison)),
        ("calibration", "Calibration", _calibration(tasks, results, uncalibrated or {}, calibration or {})),
        ("plots", "Curves by label", _curves(results, baselines or {}, tasks)),
        ("training", "Training", _training(list(train_log))),
        ("cohort", "Cohort", cohort_parts.cohort(manifest)),
        ("dropped", "Flow of patients and rows", cohort_parts.flow(manifest)),
        ("labels", "Labels by split", cohort_parts.labels_by_split(manifest) + _endpoints(manifest)),
        ("methods", "Methods, ready to paste", f'<p class="paste">{escape(methods)}</p>' if methods else ""),
    ]
    write_page(path, title, sections, facts or {}, [*notes, *manifest.get("statements", ())])


def write_training_page(path, title, train_log, x_label="step"):
    """Writes a page with the training's curves only: losses, weights, gradients over steps, while it still runs.

    Args:
        path, title, train_log: as for `write_report`.
        x_label: what the rows' `step` counts.
    """
    charts = _charts(list(train_log), x_label)[0] or "<p>No step is in the log yet.</p>"
    write_page(path, title, [("training", "Training", charts)], {}, [])


def _endpoints(manifest):
    """Codes that define each endpoint, folded away; "" without endpoints."""
    return folded("Endpoints: codes that define them", bullets(cohort_parts.matched_codes(manifest.get("endpoints"))))


def _attention(tasks, calibration, comparison):
    """What a reader must not miss: a better rival, small counts, fits that failed, calibration whose interval excludes
    the truth."""
    lines = [line for line in (behind(tasks, comparison),) if line]
    lines += [line.removeprefix("* ") for line in mark_lines(tasks)]
    for task, labels in calibration.items():
        for label, measures in labels.items():
            name = label_name(task, label, {}, calibration)
            off = [
                f"{_NAMES[measure]} {interval_text(measures[measure])} instead of {right:g}"
                for measure, right in _RIGHT.items()
                if _is_off(measures[measure], right)
            ]
            lines += [f"{name}: calibration is off: {', '.join(off)}"] if off else []
    return f'<div class="attention">{bullets(lines)}</div>' if lines else ""


def _is_off(entry, right):
    return is_number(entry["low"]) and not entry["low"] <= right <= entry["high"]


def _results(metrics, split, comparison):
    """The forest table of the reported split; then all numbers, decisions at thresholds, other splits, folded."""
    if split not in metrics:
        return ""
    tasks, comparison = metrics[split], comparison or {}
    words = [
        f"Split: {split}. Intervals are 95% bootstrap intervals over patients; probabilities are calibrated on "
        "validation."
    ]
    if comparison.get("baselines"):
        words.append(
            "Strongest rival: the baseline of the highest AUROC on this very split, label by label. Difference: AUROC "
            "of the model minus the rival's, paired over the same resampled patients; p is two-sided."
        )
    if any("roc_auc_constants" in entry for labels in tasks.values() for entry in labels.values()):
        words.append(
            "Macro: mean over the labels. Micro pools patients and labels, so that a model that knows only which label "
            "is commoner ranks well: beside it stands what constants reach, each label's prevalence as everybody's "
            "risk (all numbers)."
        )
    if comparison.get("best_reachable"):
        words.append(
            "Best: AUROC of the true risk, known because the data are generated; share: how far the model got "
            "from 0.5 to it."
        )
    parts = [
        f"<p>{escape(' '.join(words))}</p>",
        result_table(tasks, comparison),
        *(f"<p>{escape(line)}</p>" for line in masked_lines(tasks)),
        _reasons(tasks),
        folded("All numbers", _numbers_table(tasks, comparison)),
        folded("At the threshold of highest F1 on validation", _decisions(tasks)),
    ]
    for other, entries in metrics.items():
        if other != split:
            content = result_table(entries, None) + _numbers_table(entries, None) + _decisions(entries)
            parts.append(folded(f"Split {other}", content + _reasons(entries)))
    return "".join(parts)


def _numbers_table(tasks, comparison):
    header, rows = result_rows(tasks, comparison)
    kept = [place for place, name in enumerate(header) if name not in _SHOWN_ABOVE]
    header = [header[place].replace("_", " ") for place in kept]  # breaks into lines
    rows = [[row[place] for place in kept] for row in rows]
    sure = [place for place, row in enumerate(rows) if row[1] == "macro" and not tasks[row[0]]["macro"].get("marks")]
    table = html_table(header, rows, 2, sure, wrap=True) if rows else ""
    return table + bullets(mark_lines(tasks))


def _decisions(tasks):
    """Precision, recall and F1 at the threshold, and errors before calibration."""
    names = ("threshold", "precision", "recall", "f1", "brier_uncalibrated", "calibration_error_uncalibrated")
    rows = []
    for task, labels in tasks.items():
        for label in reading_order(labels):
            entry = labels[label]
            if "precision" in entry:
                values = [(entry.get(name) or {}).get("value") for name in names]
                cells = ("-" if value is None else f"{value:.3f}" for value in values)
                rows.append([label_name(task, label, entry, tasks), *cells])
    header = ["label", "threshold", "precision", "recall", "F1", "Brier uncalibrated", "ECE uncalibrated"]
    return html_table(header, rows, 1, wrap=True) if rows else ""


def _reasons(tasks):
    return bullets(
        f"{task} {label}: {entry['reason']}"
        for task, labels in tasks.items()
        for label, entry in labels.items()
        if entry.get("reason") and label not in POOLED
    )


def _of_label(predictions, place):
    """(targets bool [E], rows bool [N]) of a label's known examples."""
    rows = predictions.known[:, place]
    return predictions.targets[rows, place] > 0, rows


def _calibration(tasks, results, uncalibrated, calibration):
    """Slope, intercept, O : E, errors, numbers that exclude the truth marked; then a small plot for each label."""
    rows = []
    for task, labels in calibration.items():
        for label, measures in labels.items():
            entry = tasks.get(task, {}).get(label, {})
            cells = [_checked(measures[name], right) for name, right in _RIGHT.items()]
            errors = [interval_text(entry.get(name)) for name in ("calibration_error", "brier")]
            rows.append([label_name(task, label, entry, tasks), count_text(entry.get("positives", 0)), *cells, *errors])
    header = ["label", "events", *_NAMES.values(), "ECE", "Brier"]
    note = (
        "Slope 1, intercept 0 and O : E (events over the sum of the risks) 1 are right; a slope below 1 says that "
        "risks are too extreme, an O : E above 1 that they are too low. "
        f"{CAUTION}: the 95% interval excludes what is right; of many, one in twenty does so by chance."
    )
    table = f"<p>{escape(note)}</p>{html_table(header, rows, 1, wrap=True)}" if rows else ""
    charts = []
    for task, (predictions, probabilities) in results.items():
        for place, label in enumerate(predictions.labels):
            targets, known = _of_label(predictions, place)
            if targets.any() and not targets.all():
                before = uncalibrated[task][known, place] if task in uncalibrated else None
                panel = calibration_panel(targets, probabilities[known, place], before)
                name = label_name(task, label, {}, tasks)
                charts.append(chart(name, panel.series, **panel.axes))
    return table + (f'<div class="plots">{"".join(charts)}</div>' if charts else "")


def _checked(entry, right):
    text = interval_text(entry)
    return Markup(f'<strong class="off">{CAUTION} {escape(text)}</strong>') if _is_off(entry, right) else text


def _curves(results, baselines, tasks):
    """ROC and precision-recall curves, folded label by label."""
    parts = []
    for task, (predictions, probabilities) in results.items():
        for place, label in enumerate(predictions.labels):
            targets, known = _of_label(predictions, place)
            name = label_name(task, label, {}, tasks)
            if not targets.any() or targets.all():
                kind = "no known label" if not len(targets) else "one class only"
                parts.append(f"<p>{escape(name)}: no curves, {kind}.</p>")
                continue
            curves = [("model", targets, probabilities[known, place])]
            for rival, of_task in baselines.items():
                if task in of_task and label in of_task[task][0].labels:
                    other, column = of_task[task][0], of_task[task][0].labels.index(label)
                    seen = other.known[:, column]
                    curves.append((rival, other.targets[seen, column] > 0, of_task[task][1][seen, column]))
            panels = [roc(curves), precision_recall(curves)]
            svgs = "".join(chart(panel.title, panel.series, **panel.axes) for panel in panels)
            auroc = interval_text(tasks.get(task, {}).get(label, {}).get("roc_auc"))
            summary = f"{name}: {int(targets.sum()):,} events of {len(targets):,}, AUROC {auroc}"
            parts.append(folded(summary, f'<div class="plots">{svgs}</div>'))
    return "".join(parts)


def _training(rows):
    """Charts of losses, weights and gradients, folded away."""
    charts, number = _charts(rows, "step")
    return folded(f"{number} chart{'s' * (number > 1)} of losses, weights and gradients", charts)


def _charts(rows, x_label):
    """(charts as HTML, "" for none; how many)."""
    panels = training_panels(rows, x_label)
    charts = [chart(panel.title, panel.series, **panel.axes) for panel in panels[:_MOST_CURVES]]
    more = f"<p>{len(panels) - len(charts)} more charts would show what else is in the logs.</p>"
    html = f'<div class="plots">{"".join(charts)}</div>{more if len(panels) > len(charts) else ""}' if charts else ""
    return html, len(charts)
