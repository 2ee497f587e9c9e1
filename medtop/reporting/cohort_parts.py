"""What a report says of the cohort: source and splits, the flow of rows and patients, labels by split."""

from medtop.reporting.elements import bullets, count_text, definitions, html_table
from medtop.reporting.flow import flow_chart
from medtop.reporting.svg import is_number


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "-" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _percent(value):
    return f"{100 * value:.1f}%" if is_number(value) else "-"


def cohort(manifest):
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


def flow(manifest):
    """Rows and patients: in = out + merged + dropped, reason by reason."""
    parts = []
    for what in ("rows", "patients"):
        dropped = manifest.get(f"{what}_dropped")
        if dropped is None:
            continue
        entries = [("in", manifest.get(f"{what}_in")), ("out", manifest.get(f"{what}_out"))]
        if what == "rows":
            entries.append(("merged", manifest.get("rows_merged")))
        order = sorted(dropped, key=lambda reason: dropped[reason] or 0, reverse=True)
        entries += [(f"dropped: {reason}", dropped[reason]) for reason in order]
        whole = manifest.get(f"{what}_in")
        rows = [
            [name, count_text(number), _percent(number / whole) if whole and number is not None else "-"]
            for name, number in entries
        ]
        parts.append(html_table([what, "number", "share"], rows))
    chart = flow_chart(manifest)
    parts = [f'<div class="plots">{"".join(part)}</div>' for part in ([chart] if chart else [], parts) if part]
    return "".join(parts)


def labels_by_split(manifest):
    """Known, positive and unknown examples per label and split, with the reasons for unknown."""
    rows = []
    for split, tasks in (manifest.get("labels") or {}).items():
        for task, labels in tasks.items():
            for label, entry in labels.items():
                unknown = ", ".join(
                    f"{reason} {count_text(number)}" for reason, number in (entry.get("unknown") or {}).items()
                )
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


def matched_codes(endpoints):
    """One sentence an endpoint, kind of code and system: which prefixes, and how many distinct codes begin with each.

    Args:
        endpoints: as a manifest has them (`medtop.cohort.endpoint_codes`), or None.
    """
    for name, kinds in ((endpoints or {}).get("matches") or {}).items():
        for kind, systems in kinds.items():
            for system, prefixes in systems.items():
                codes = ", ".join(f"{prefix} ({entry['codes']})" for prefix, entry in prefixes.items())
                yield f"{name}, {kind}, {system}: codes that begin with (how many of the data do): {codes}."
