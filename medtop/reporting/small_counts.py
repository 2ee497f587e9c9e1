"""What reports and cards show of a preprocessing manifest, and a data report, where small counts are hidden.

What is hidden is None; pages write `WITHHELD` (`elements.count_text`). The rule is `medtop.evaluation.small_cells`.
"""

import copy

from medtop.evaluation.small_cells import hide_in_sentence, is_small, sum_is_small, withheld, withheld_in_table


def shown_manifest(manifest, least):
    """A copy of a preprocessing manifest without counts of 1 to `least - 1` and what would give them away.

    Args:
        manifest: dict, or None.
        least: smallest count that is shown; 0 or 1 hides nothing.
    """
    if manifest is None or least <= 1:
        return manifest
    manifest = copy.deepcopy(manifest)
    for what in ("patients", "rows"):
        _hide_dropped(manifest, f"{what}_dropped", f"{what}_in", least)
    for name in ("overlapping_visits", "rows_merged"):
        if is_small(manifest.get(name), least):
            manifest[name] = None
    if manifest.get("rows_merged", 0) is None:
        manifest["rows_in"] = None  # rows in = out + merged + dropped
    _hide_splits(manifest, least)
    _hide_labels(manifest.get("labels") or {}, least)
    for split, days in (manifest.get("days_observed_after_prediction") or {}).items():
        of_split = (manifest.get("splits") or {}).get(split, {})
        if is_small(days.get("n"), least) or of_split.get("patients", 0) is None:
            days |= dict.fromkeys(days)
    for place in (manifest, manifest.get("source") or {}):
        for name in ("statements", "label_statements", "notes", "warnings"):
            if name in place:
                place[name] = [hide_in_sentence(sentence, least) for sentence in place[name]]
    return manifest


def _hide_dropped(holder, name, total, least):
    """Reasons with few; where all that is hidden is few, the number that came in goes, which is out + dropped."""
    dropped = holder.get(name) or {}
    cells = {reason: (count,) for reason, count in dropped.items()}
    hidden = withheld(cells, least)
    if total and hidden and (len(hidden) == 1 or sum_is_small(cells, hidden, least)):
        holder[total] = None
    dropped |= dict.fromkeys(hidden)


def _hide_splits(manifest, least):
    splits = manifest.get("splits") or {}
    cells = {split: (entry["patients"], entry.get("examples", entry["patients"])) for split, entry in splits.items()}
    hidden = withheld(cells, least)
    for split in hidden:
        splits[split] |= dict.fromkeys(splits[split])
    if hidden and (len(hidden) == 1 or sum_is_small(cells, hidden, least)):
        manifest["patients_out"] = manifest["patients_in"] = None


def _hide_labels(labels, least):
    """Per label a table: splits x (positives, negatives, unknown by reason); the sums of its lines are known."""
    names = {(task, label) for tasks in labels.values() for task, entries in tasks.items() for label in entries}
    for task, label in sorted(names):
        entries = {split: tasks[task][label] for split, tasks in labels.items() if label in tasks.get(task, {})}
        reasons = {reason for entry in entries.values() for reason in entry.get("unknown") or {}}
        table = {
            split: {
                "positives": entry["positives"],
                "negatives": entry["known"] - entry["positives"],
                **{f"unknown {reason}": (entry.get("unknown") or {}).get(reason, 0) for reason in reasons},
            }
            for split, entry in entries.items()
        }
        people = {split: _of_people(entry["patients"]) for split, entry in entries.items() if "patients" in entry}
        hidden = withheld_in_table(table, least, people)
        for split, entry in entries.items():
            gone = {column for row, column in hidden if row == split}
            classes = gone & {"positives", "negatives"}
            if classes:
                entry |= {"positives": None, "prevalence": None, "risk_ipcw": None}
            of_people = entry.pop("patients", {})
            counted = entry, of_people
            if len(classes) == 1 or any(is_small(counts.get("known"), least) for counts in counted):
                entry |= {"known": None, "share_known": None, "prevalence": None, "risk_ipcw": None}
            if any(is_small(counts.get("examples"), least) for counts in counted):
                entry["examples"] = None
            for reason in entry.get("unknown") or {}:
                if f"unknown {reason}" in gone:
                    entry["unknown"][reason] = None
            for name in ("deaths_without_event", "negatives_with_later_codes"):
                if any(is_small(counts.get(name), least) for counts in counted):
                    entry[name] = None


def _of_people(patients):
    """The cells of a label's table, of the patients whom a manifest counts apart."""
    classes = {name: patients[name] for name in ("positives", "negatives")}
    return classes | {f"unknown {reason}": count for reason, count in patients["unknown"].items()}


def shown_data_report(report, least):
    """A copy of a data report (`medtop.sources.data_report.check_data`) without small counts and first and last values.

    Args:
        report: dict.
        least: smallest count that is shown; 0 or 1 hides nothing.
    """
    if least <= 1:
        return report
    report = copy.deepcopy(report)
    _hide_dropped(report["rows"], "dropped", "in", least)
    _hide_dropped(report["patients"], "dropped", None, least)  # how many came in is not shown
    for name in ("months", "days_to_next_stay"):
        report[name] |= dict.fromkeys(withheld({key: (count,) for key, count in report[name].items()}, least))
    systems = {name: (entry["rows"],) for name, entry in report["codes"].items()}
    for name in withheld(systems, least):
        report["codes"][name] |= dict.fromkeys(report["codes"][name])
    for entry in report["official_codes"]["systems"].values():
        unknown = entry["rows"] - entry["rows_matched"]
        if any(is_small(count, least) for count in (entry["rows"], entry["rows_matched"], unknown)):
            entry |= {"rows_matched": None, "share": None}
        if is_small(entry["rows"], least):
            entry |= {"rows": None, "light": None}  # leaves the table
    for entry in (*report["codes"].values(), *report["official_codes"]["systems"].values()):
        for name in ("distinct", "distinct_matched"):
            if is_small(entry.get(name), least):
                entry[name] = None
    whole = report["stays"]["stays"]
    for holder, total in ((report["stays"], whole), (report["counts"], None)):
        for name, count in holder.items():
            if is_small(count, least) or (total is not None and is_small(total - count, least)):
                holder[name] = None
    for finding in report["findings"]:
        finding["sentence"] = hide_in_sentence(finding["sentence"], least)
        if is_small(finding["count"], least):
            finding["count"] = None
    report["notes"] = [hide_in_sentence(note, least) for note in report["notes"]]
    if is_small(report["usual_months"]["later"], least):
        report["usual_months"]["later"] = None
    report["usual_months"]["sentence"] = hide_in_sentence(report["usual_months"]["sentence"], least)
    people, patients = report["people"], report["patients"]["usable"] or 0
    for name, value in people.items():
        if name.endswith("observation_end"):
            people[name] = None  # somebody's date
        elif value is not None and any(is_small(round(share * patients), least) for share in (value, 1 - value)):
            people[name] = None
    for column in report["columns"]:
        _hide_column(column, least)
    return report


def _hide_column(column, least):
    column |= {"earliest": None, "latest": None} if "earliest" in column else {}
    given, rows = column["given"], column["rows"]
    usable = column.get("usable")
    if usable is not None and is_small(round((1 - usable) * given), least):
        column["usable"] = None
    rare = {form for form, share in column["forms"].items() if is_small(round(share * given), least)}
    column["forms"] = {form: share for form, share in column["forms"].items() if form not in rare}
    if is_small(given, least) or is_small(rows - given, least):
        column["given"] = None
    for name in ("distinct", "null_words", "trimmed", "sentinels"):
        if is_small(column.get(name), least):
            column[name] = None
