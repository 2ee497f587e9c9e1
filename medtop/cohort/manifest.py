"""What a preprocessing run did, as one dict for `<prefix>.manifest.json`, and as lines to read.

The rows add up: `rows_in = rows_out + rows_merged + sum(rows_dropped.values())`; so do the patients.
"""

import platform
import shlex

import duckdb
import numpy
import pyarrow

import medtop
from medtop.cohort.division import empty_splits, short_periods
from medtop.cohort.endpoint_codes import match_lines
from medtop.cohort.rolling_up import coverage_warnings
from medtop.cohort.vocabulary import FEW_CODES, FEW_PATIENTS
from medtop.sources.findings import findings_of
from medtop.sources.unusable import SAID, STOPS

FORMAT = "medtop preprocessing"


def _versions():
    return {
        "medtop": medtop.__version__,
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "numpy": numpy.__version__,
        "pyarrow": pyarrow.__version__,
    }


def _source(report):
    return {
        "name": report.source,
        "files": [str(file) for file in report.files],
        "counts": dict(report.counts),
        "icd_codes": report.icd_codes,
        "present_on_admission": report.has_present_on_admission,
        "notes": list(report.notes),
        "warnings": [str(finding) for finding in findings_of(report)],
    }


def _rows(report, out, merged, dropped):
    """The sum of rows: what the source did, then what the cohort did."""
    joined = dict(report.rows_dropped)
    for reason, rows in dropped.items():
        joined[reason] = joined.get(reason, 0) + rows
    return {
        "rows_in": report.rows_in,
        "rows_out": out,
        "rows_merged": report.rows_merged + merged,
        "rows_dropped": {reason: int(rows) for reason, rows in joined.items() if rows},
    }


def default_manifest(report, cohort, options, settings):
    """The manifest of the default layout.

    Args:
        report: `StaysReport`.
        cohort: `medtop.cohort.build.Cohort`.
        options: `medtop.cohort.build.Options`.
        settings: dict of the flags that determine the outputs.
    """
    tally, labels = cohort.tally, cohort.tally.labels()
    late_rows, _, late_patients = cohort.after_death
    rows_left_out = {"not_in_subset": cohort.rows_not_in_subset, "stay_after_death": late_rows}
    patients_left_out = {"not_in_subset": cohort.patients_not_in_subset, "stay_after_death": late_patients}
    patients_dropped = dict(report.patients_dropped) | tally.patients_dropped()
    patients_dropped |= {name: count for name, count in patients_left_out.items() if count}
    manifest = {
        "format": FORMAT,
        "layout": "default",
        "settings": settings,
        "versions": _versions(),
        "source": _source(report),
        **_rows(report, tally.rows_out, tally.rows_merged, rows_left_out | tally.rows_dropped()),
        "patients_in": cohort.patients + sum(report.patients_dropped.values()),
        "patients_out": int(tally.patients[0]),
        "patients_dropped": patients_dropped,
        "overlapping_visits": tally.overlaps,
        "dates": shown_dates(
            {
                "first_admission": cohort.dates[0],
                "last_discharge": cohort.dates[1],
                "prediction_times": [_iso(time) for time in tally.times],
                "prediction_times_of_splits": {
                    split: [_iso(t) for t in times] for split, times in tally.split_times().items()
                },
            },
            options.exact_dates,
        ),
        "prediction_times": _prediction_times(cohort, options),
        "tasks": cohort.tasks,
        "splits": tally.splits(),
        "splits_file": {"counts": cohort.division.report["counts"]},
        "split_by": {name: value for name, value in cohort.division.report.items() if name != "counts"},
        "labels": labels,
        "days_observed_after_prediction": tally.observation(),
        "days_observed_by_outcome": tally.observation_by_outcome(),
        "vocabulary": {
            "size": len(cohort.vocabulary),
            "hash": cohort.vocabulary.hash,
            "given": options.vocabulary,
            "share_of_codes_known": cohort.known_codes,
            **cohort.code_patients,
        },
        "roll_up": {
            **cohort.roll_up,
            **({"tokens_added": tally.tokens_added} if cohort.roll_up.get("many") == "all" else {}),
        },
        **({"endpoints": cohort.endpoint_codes.to_dict()} if cohort.endpoint_codes else {}),
        "statements": _statements(report, cohort, options, labels),
    }
    manifest["source"]["warnings"] += _time_warnings(manifest["prediction_times"]) + coverage_warnings(cohort.roll_up)
    if (strange := patients_dropped.get("not_in_splits_file", 0)) > STOPS * manifest["patients_in"]:
        manifest["source"]["warnings"].append(
            f"{strange:,} of {manifest['patients_in']:,} patients are not in the file of --splits: are ids alike?"
        )
    return manifest


def _prediction_times(cohort, options):
    entry = {"index": options.index_name}
    if cohort.given_times:
        dropped = {**cohort.given_times["rows_dropped"], **cohort.tally.times_dropped()}
        entry |= {**cohort.given_times, "rows_dropped": {reason: rows for reason, rows in dropped.items() if rows}}
    return entry


def shown_dates(dates, exact):
    """First and last dates as a manifest holds them: months, because a date is an identifier.

    Args:
        dates: ISO date or time, None, or lists and dicts of such.
        exact: keep them as they are.

    >>> shown_dates({"first_admission": "2010-03-26", "prediction_times": [None, "2011-01-02T10:00:00"]}, False)
    {'first_admission': '2010-03', 'prediction_times': [None, '2011-01']}
    """
    if exact or dates is None:
        return dates
    if isinstance(dates, dict):
        return {name: shown_dates(value, exact) for name, value in dates.items()}
    return [shown_dates(value, exact) for value in dates] if isinstance(dates, list) else dates[:7]


_TIME_LOSSES = ("time_sentinel", "time_in_future", "patient_without_stays")


def _time_warnings(entry):
    """Given prediction times of which more than 5% cannot be used: list of sentences."""
    rows = entry.get("rows", 0)
    return [
        f"prediction times: {dropped:,} of {rows:,} ({dropped / rows:.0%}) dropped: {reason}"
        for reason, dropped in entry.get("rows_dropped", {}).items()
        if dropped > (SAID if reason.startswith("time_") else STOPS) * rows and reason in _TIME_LOSSES
    ]


def _iso(seconds):
    return None if seconds is None else str(numpy.datetime64(int(seconds), "s"))


def _statements(report, cohort, options, labels):
    """Sentences that a reader of the results needs."""
    lines = [f"Observation: {report.observation_end}", *cohort.division.sentences]
    if empty := empty_splits(cohort.division.report, cohort.tally.splits()):
        lines.append(empty)
    lines += short_periods(cohort.division.report, labels)
    if cohort.endpoints and cohort.endpoints.hospital_acquired:
        lines.append(
            "Only diagnoses marked as not present on admission count as events."
            if report.has_present_on_admission
            else "This source does not mark what was present on admission: complications that patients brought "
            "with them count as events too."
        )
    if cohort.after_death[0]:
        lines.append(
            f"{cohort.after_death[1]:,} patients have stays that begin after their day of death "
            f"({cohort.after_death[0]:,} rows): these are no input, no event and no next stay. Are the deaths right?"
        )
    if cohort.endpoint_codes:
        lines += cohort.endpoint_codes.warnings
    if options.index == "lineage" and not options.prediction_times:
        lines.append(
            "Prediction times were chosen by top-BERT's rule, which looks at the outcome (--index=lineage): results "
            "do not hold for patients whose outcome is still open."
        )
    if options.long_stay_label == "any" and "long_stay" in cohort.tasks:
        lines.append(
            "long_stay says whether any stay of the record lasts more than 7 days, also those in the input "
            "(--long_stay_label=any): it serves pretraining and predicts nothing."
        )
    lines += _later_codes(labels)
    lines += _censoring(options, cohort, labels)
    if censored := _mostly_censored(labels["train"].get("complications", {})):
        lines.append(
            f"More patients are censored than known for {', '.join(censored)}: choose shorter --horizons, or "
            "prediction times early enough."
        )
    return lines


def _later_codes(labels):
    """A sentence on negatives whose later stays hold a code of the endpoint that is no event; empty without any."""
    counts = {}
    for split in labels.values():
        for name, entry in split.get("complications", {}).items():
            counts[name] = counts.get(name, 0) + entry.get("negatives_with_later_codes", 0)
    listed = ", ".join(f"{name} {number:,}" for name, number in counts.items() if number)
    if not listed:
        return []
    return [
        "Label 0 although a stay within the horizon holds a code of the endpoint's history, or one that was present on "
        f"admission where only others count (the event itself was not seen): {listed}."
    ]


def _censoring(options, cohort, labels):
    """What the prevalence of the complications means, where observation ends before the horizon."""
    if "complications" not in cohort.tasks or not cohort.endpoints:
        return []
    labels = labels["train"]["complications"]
    if options.labels == "complete_followup":
        return [
            "Labels of complications are known only where observation reaches the horizon "
            "(--labels=complete_followup): their prevalence is the risk of those who could be followed so long."
        ]
    off = [
        f"{name} {entry['prevalence']:.1%} against {entry['risk_ipcw']:.1%}"
        for name, entry in labels.items()
        if entry["positives"] >= _FEW
        and entry.get("risk_ipcw")
        and abs(entry["prevalence"] / entry["risk_ipcw"] - 1) > _OFF
    ]
    if not off:
        return []
    return [
        "An event is known even where observation ends before the horizon, its absence is not, so that events are "
        "overrepresented among the known: prevalence against the risk corrected for censoring (IPCW) is "
        f"{', '.join(off)} in the training split. Predicted risks follow the first; --labels=complete_followup "
        "takes only patients who could be followed through the horizon."
    ]


_FEW, _OFF = 10, 0.1
"""Positives from which, and relative difference from which, prevalence and corrected risk are compared aloud."""


def _mostly_censored(labels):
    """Labels for which more examples are censored than known."""
    return [name for name, entry in labels.items() if entry["unknown"].get("censored", 0) > entry["known"]]


def medbert_manifest(report, result, settings):
    """The manifest of `--layout=medbert`.

    Args:
        report: `StaysReport`.
        result: `medtop.cohort.medbert_layout.MedbertResult`.
        settings: dict of the flags that determine the outputs.
    """
    outside = result.rows - result.subset_rows
    left_out = result.patients - result.subset_patients
    return {
        "format": FORMAT,
        "layout": "medbert",
        "settings": settings,
        "versions": _versions(),
        "source": _source(report),
        **_rows(
            report, result.rows_out, result.subset_rows - result.rows_out, {"not_in_subset": outside} if outside else {}
        ),
        "patients_in": result.patients + sum(report.patients_dropped.values()),
        "patients_out": result.subset_patients,
        "patients_dropped": report.patients_dropped | ({"not_in_subset": left_out} if left_out else {}),
        "dates": shown_dates(
            {"first_admission": result.dates[0], "last_discharge": result.dates[1]}, settings["exact_dates"]
        ),
        "tasks": {"long_stay": ["long_stay"]},
        "splits": {
            split: {"patients": count["patients"], "codes": count["codes"], "longest": count["longest"]}
            for split, count in result.splits.items()
        },
        "labels": {
            split: {
                "long_stay": {
                    "long_stay": {
                        "examples": count["patients"],
                        "known": count["patients"],
                        "positives": count["prolonged"],
                        "share_known": 1.0 if count["patients"] else None,
                        "prevalence": count["prolonged"] / count["patients"] if count["patients"] else None,
                        "unknown": {},
                    }
                }
            }
            for split, count in result.splits.items()
        },
        "vocabulary": {
            "size": len(result.vocabulary),
            "hash": result.vocabulary.hash,
            "given": settings["vocabulary"],
            "new_codes": result.new_codes,
        },
        "statements": [
            "Med-BERT's layout: ids are numbered over all patients before the split, and long_stay says whether "
            "any stay of the record, also those in the input, lasts more than 7 days.",
            "Every code of every patient enters a vocabulary of Med-BERT's layout, also what one patient has alone: "
            "read vocab.txt before it is given away.",
        ],
    }


def summary_lines(manifest):
    """The manifest as lines for a reader: patients, dates, codes, labels by split, reasons for dropping."""
    dates, dropped = manifest["dates"], manifest["rows_dropped"]
    lines = [
        f"source: {manifest['source']['name']}, {manifest['rows_in']:,} rows, {manifest['patients_in']:,} patients, "
        f"{dates['first_admission']} to {dates['last_discharge']}",
        f"rows: {manifest['rows_in']:,} in = {manifest['rows_out']:,} out + {manifest['rows_merged']:,} merged "
        f"+ {sum(dropped.values()):,} dropped",
        f"patients: {manifest['patients_in']:,} in = {manifest['patients_out']:,} out "
        f"+ {sum(manifest['patients_dropped'].values()):,} dropped",
    ]
    source = manifest["source"]
    lines += _count_lines("counted", source["counts"])
    lines += _count_lines("counted in splits", manifest.get("splits_file", {}).get("counts", {}))
    lines += _dropped_lines("rows", dropped) + _dropped_lines("patients", manifest["patients_dropped"])
    if "index" in manifest.get("prediction_times", {}):
        times = manifest["prediction_times"]
        lines.append(
            f"prediction times: {times['index']}, {' to '.join(str(time) for time in dates['prediction_times'])}"
        )
        lines += _dropped_lines("given times", times.get("rows_dropped", {}))
        lines += _count_lines("counted in given times", times.get("counts", {}))
    lines += _code_lines(manifest)
    if "endpoints" in manifest:
        lines += match_lines(manifest["endpoints"])
    lines += [
        "splits: "
        + ", ".join(
            f"{split} {entry['patients']:,} patients"
            + (
                f" ({entry['examples']:,} examples)"
                if entry.get("examples", entry["patients"]) != entry["patients"]
                else ""
            )
            for split, entry in manifest["splits"].items()
        )
    ]
    lines += label_lines(manifest["labels"]) + manifest["statements"] + source["notes"]
    return lines + [f"warning: {warning}" for warning in source["warnings"]]


def _count_lines(what, counts):
    return [f"  {what}: {name} {number:,}" for name, number in counts.items() if number]


def _dropped_lines(what, dropped, most=10):
    commonest = sorted(dropped.items(), key=lambda item: -item[1])[:most]
    return [f"  {what} dropped: {reason} {number:,}" for reason, number in commonest]


def _code_lines(manifest):
    vocabulary, roll = manifest["vocabulary"], manifest.get("roll_up", {})
    line = f"vocabulary: {vocabulary['size']:,} entries"
    shares = vocabulary.get("share_of_codes_known") or {}
    if any(share is not None for share in shares.values()):
        line += "; codes known: " + ", ".join(
            f"{split} {share:.1%}" for split, share in shares.items() if share is not None
        )
    lines = [line]
    if vocabulary.get("left_out_for_few_patients"):
        lines.append(
            f"  {vocabulary['left_out_for_few_patients']:,} codes of fewer than {vocabulary['min_code_patients']} "
            "training patients are [UNK] (--min_code_patients)"
        )
    if few := vocabulary.get(FEW_CODES):
        lines.append(f"warning: the vocabulary holds {few:,} codes of fewer than {FEW_PATIENTS} training patients")
    if roll.get("kind", "none") != "none":
        covered = (
            f", map covers {roll['share_of_rows_covered']:.1%} of the rows" if "share_of_rows_covered" in roll else ""
        )
        lines.append(f"codes rolled up: {roll['codes_before']:,} to {roll['codes_after']:,}{covered}")
    return lines


def label_lines(labels):
    """A table: prevalence among the known, risk corrected for censoring, and share known, of each label and split."""
    rows = [(task, label) for task, entries in labels["train"].items() for label in entries]
    width = max([len(label) for _, label in rows] + [5])
    corrected = any("risk_ipcw" in entry for entries in labels["train"].values() for entry in entries.values())
    heading = f" {'IPCW':>6}" if corrected else ""
    lines = (
        [f"{'label':<{width}} " + " ".join(f"{split + ' prevalence':>17}{heading} {'known':>6}" for split in labels)]
        if rows
        else []
    )
    for task, label in rows:
        cells = [labels[split][task][label] for split in labels]
        lines.append(
            f"{label:<{width}} "
            + " ".join(
                f"{_percent(cell['prevalence']):>17}"
                + (f" {_percent(cell.get('risk_ipcw')):>6}" if corrected else "")
                + f" {_percent(cell['share_known']):>6}"
                for cell in cells
            )
        )
    return lines


def _percent(share):
    return "-" if share is None else f"{share:.1%}"


def next_command(prefix, split="train"):
    """The command that follows a run, for one of its splits."""
    types = f"{prefix}.types"
    return (
        "python preprocessing/create_BERTpretrain_EHRfeatures.py "
        f"--input_file={shlex.quote(f'{prefix}.bencs.{split}')} "
        f"--output_file={shlex.quote(f'{prefix}.{split}.tfrecord')} "
        f"--vocab_file={shlex.quote(types)}"
    )
