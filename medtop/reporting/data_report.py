"""<prefix>.data_report.html: a table before anything is built of it, with a traffic light for each thing to know."""

from pathlib import Path

import numpy as np

from medtop.files.atomic import write_json
from medtop.reporting.elements import WITHHELD, count_text, escape, html_table, write_page
from medtop.reporting.small_counts import shown_data_report
from medtop.reporting.svg import Series, chart

COLOURS = {"red": "#c62828", "yellow": "#e0a100", "green": "#2e7d32"}
DOT = "\u25cf"

MOST_MONTHS_LISTED = 36


def write_reports(prefix, report, min_cell=0):
    """Writes `<prefix>.data_report.json` and `<prefix>.data_report.html`, each whole or not at all.

    Args:
        prefix: beginning of the files' names, with their folder.
        report: dict of `medtop.sources.data_report.check_data`.
        min_cell: smallest count that is shown, 0 = all; with it first and last values are left out too.

    Returns:
        list of lines for a reader.
    """
    paths = [Path(f"{prefix}.data_report.{kind}") for kind in ("json", "html")]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    report = shown_data_report(report, min_cell)
    write_json(paths[0], report)
    write_data_report(paths[1], report)
    rows, patients = report["rows"], report["patients"]
    lines = [
        f"source: {report['source']}, {count_text(rows['in'])} rows in, {count_text(rows['usable'])} usable, "
        f"{count_text(patients['usable'])} patients"
    ]
    for finding in report["findings"]:
        repair = f" ({finding['repair']})" if finding["repair"] else ""
        lines.append(f"{finding['light']}: {finding['sentence']}{repair}")
    for column in report["columns"]:
        if column["light"] != "green":
            lines.append(f"{column['light']}: column {column['column']}: {column['repair']}")
    return [*lines, f"written: {paths[1]} and {paths[0].name}"]


def write_data_report(path, report):
    """Writes the page, whole or not at all.

    Args:
        path: the file.
        report: dict of `medtop.sources.data_report.check_data`.
    """
    rows, patients = report["rows"], report["patients"]
    facts = {
        "source": report["source"],
        "files": ", ".join(report["files"]),
        "rows": f"{count_text(rows['in'])} in, {count_text(rows['usable'])} usable",
        "patients": f"{count_text(patients['usable'])} usable, {_sum(patients['dropped'])} without a usable row",
        "observation": report["observation_end"],
    }
    sections = [
        ("findings", "What to know", _findings(report["findings"])),
        ("columns", "Columns", _columns(report["columns"])),
        ("dropped", "Rows that cannot be used", _dropped(rows["dropped"])),
        ("months", "Admissions per month", _months(report)),
        ("stays", "Stays", _stays(report)),
        ("codes", "Codes", _codes(report)),
        ("people", "Patients", _people(report["people"])),
        ("counts", "Everything that was counted", _dropped(report["counts"])),
    ]
    notes = [*report["notes"], "No value of a patient stands here: a form shows each digit as 9, each letter as A."]
    write_page(path, "Data report", sections, facts, notes, shared=False)


def light_words(light):
    """A light and its name, as text; `_coloured` gives it its colour."""
    return f"{DOT} {light}"


def _coloured(html):
    for light, colour in COLOURS.items():
        dot = f'<span style="white-space:nowrap"><span style="color:{colour}">{DOT}</span> {light}</span>'
        html = html.replace(f"{DOT} {light}", dot)
    return html


def _findings(findings):
    if not findings:
        return _coloured(f"<p>{light_words('green')}: nothing was found.</p>")
    rows = [[light_words(finding["light"]), finding["sentence"], finding["repair"] or "-"] for finding in findings]
    return _coloured(html_table(["light", "what", "repair"], rows, 3, wrap=True))


def _columns(columns):
    header = ["light", "column", "taken for", "given", "of rows", "distinct", "usable", "from", "to", "sentinels"]
    header += ["null words", "blanks around", "forms", "repair"]
    rows = []
    for column in columns:
        usable = column.get("usable")
        forms = ", ".join(f"{form} {_share(share)}" for form, share in column["forms"].items())
        rows.append(
            [light_words(column["light"]), column["column"], column["role"], count_text(column["given"])]
            + [_part(column["given"], column["rows"]), count_text(column["distinct"])]
            + ["-" if usable is None else f"{usable:.1%}", column.get("earliest") or "-", column.get("latest") or "-"]
            + [count_text(count) for count in (column.get("sentinels", 0), column["null_words"], column["trimmed"])]
            + [forms or "-", column["repair"] or "-"]
        )
    return _coloured(html_table(header, rows, 3, wrap=True))


def _share(share):
    return "under 1%" if share < 0.005 else f"{share:.0%}"


def _sum(counts):
    return WITHHELD if None in counts.values() else f"{sum(counts.values()):,}"


def _part(count, total):
    return "-" if count is None or not total else f"{count / total:.1%}"


def _dropped(counts):
    if not counts:
        return "<p>None.</p>"
    return html_table(["what", "number"], [[name, count_text(number)] for name, number in counts.items()])


def _months(report):
    months, usual = report["months"], report["usual_months"]
    x = np.array([int(name[:-3]) + (int(name[-2:]) - 0.5) / 12 for name in months])
    y = np.array(list(months.values()), float)  # NaN where a count is withheld
    drawn = (
        [Series("admissions", x, y), Series("usual from", x[[0, -1]], np.full(2, usual["least"]))] if len(x) > 1 else []
    )
    parts = [f"<p>{escape(usual['sentence'])}.</p>"]
    if drawn:
        parts.append(chart("Admissions per month", drawn, x_label="year", y_label="stays admitted"))
    after = {name: number for name, number in months.items() if name > (usual["end"] or "9999")[:7]}
    listed = list((after or months).items())[-MOST_MONTHS_LISTED:]
    heading = "month after the end" if after else "month"
    table = html_table([heading, "admissions"], [[name, count_text(number)] for name, number in listed])
    parts.append(f"<details><summary>Months as numbers</summary>{table}</details>")
    return "".join(parts)


def _stays(report):
    stays, gaps = report["stays"], report["days_to_next_stay"]
    words = {
        "stays": "stays",
        "overlapping": "begin on a day before the previous one ended",
        "equal_times": "have the times of another one under another id",
        "same_day": "end on the day they begin",
        "over_7_days": "last more than 7 days",
        "over_a_year": "last more than a year",
        "before_birth": "begin before the patient's birth",
    }
    total = stays["stays"]
    rows = [[text, count_text(stays[name]), _part(stays[name], total)] for name, text in words.items()]
    late = count_text(report["rows"]["dropped"].get("after_death", 0))
    rows.append(["rows dropped: begin after the patient's death", late, "-"])
    after = [[name, count_text(number), _part(number, total)] for name, number in gaps.items()]
    return html_table(["stays", "number", "share"], rows) + html_table(
        ["time to the next stay", "stays", "share"], after
    )


def _codes(report):
    rows = [
        [name, *(count_text(entry[kind]) for kind in ("rows", "distinct"))] for name, entry in report["codes"].items()
    ]
    table = html_table(["system", "rows", "distinct codes"], rows)
    official = report["official_codes"]
    header = ["light", "system", "rows", "known", "share", "distinct codes", "known"]
    matched = [
        [
            light_words(entry["light"]),
            system,
            count_text(entry["rows"]),
            count_text(entry["rows_matched"]),
            WITHHELD if entry["share"] is None else f"{entry['share']:.1%}",
        ]
        + [count_text(entry["distinct"]), count_text(entry["distinct_matched"])]
        for system, entry in official["systems"].items()
        if entry["light"]
    ]
    told = f"<p>Official table: {escape(official['table'])}.</p>"
    return table + told + (_coloured(html_table(header, matched, 2)) if matched else "")


def _people(people):
    shares = [
        [name.replace("_", " "), WITHHELD if people[name] is None else f"{people[name]:.1%}"]
        for name in ("with_birth", "with_sex", "with_death")
    ]
    ends = [[name.replace("_", " "), people[name] or "-"] for name in people if name.endswith("observation_end")]
    return html_table(["patients", "value"], shares + ends)
