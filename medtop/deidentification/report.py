"""What a privacy review reads: what was looked for, what was removed, what is known to be left, and what is not known.

The tool measures; whether a text may leave the house is a person's decision.
"""

import collections

from medtop.deidentification import scores
from medtop.deidentification.policy import POLICIES
from medtop.reporting.elements import definitions, html_table, write_page

DECISION = (
    "This page measures and certifies nothing: whether these notes may be shared, with whom and under which "
    "agreement, is the decision of a person who may take it."
)


class RemovalCounts:
    """Sums over documents; they add up over parts.

    Attributes:
        values: dict of plain values.
    """

    def __init__(self):
        self.values = {
            "documents": 0, "renamed": 0, "removed": {}, "by": {}, "with_truth": 0, "types": {}, "found": {},
            "terms": [0, 0], "characters": [0, 0], "leaking_documents": 0, "testable_documents": 0, "patients": {},
        }  # fmt: skip

    def add(self, findings, document, renamed, truth, policy=None, replace="tag", patient_mark=""):
        """Counts one document.

        Args:
            findings: list of `Finding` that were removed.
            document: `Document`.
            renamed: whether its id held an identifier.
            truth: `Truth` or None.
            policy, replace: see `scores.compare`.
            patient_mark: what tells patients apart, in no readable form.
        """
        values = self.values
        values["documents"] += 1
        values["renamed"] += renamed
        for item in findings:
            _increase(values["removed"], item.type)
            _increase(values["by"], f"{item.type}: {item.source}")
        gold = truth.of(document) if truth else None
        if gold is None:
            return
        result = scores.compare(document.text, gold, findings, policy, replace, truth.term_types)
        values["with_truth"] += 1
        for name in ("types", "found"):
            for kind, pair in result[name].items():
                _add_pair(values[name].setdefault(kind, [0, 0]), pair)
        _add_pair(values["terms"], result["terms"])
        _add_pair(values["characters"], result["characters"])
        if result["leaked"] is not None:
            values["testable_documents"] += 1
            values["leaking_documents"] += result["leaked"]
            values["patients"][patient_mark] = values["patients"].get(patient_mark, False) or result["leaked"]

    def merge(self, other):
        """Adds the values of another part."""
        values = self.values
        for name in ("documents", "renamed", "with_truth", "leaking_documents", "testable_documents"):
            values[name] += other[name]
        for name in ("removed", "by"):
            for kind, number in other[name].items():
                _increase(values[name], kind, number)
        for name in ("types", "found"):
            for kind, pair in other[name].items():
                _add_pair(values[name].setdefault(kind, [0, 0]), pair)
        for name in ("terms", "characters"):
            _add_pair(values[name], other[name])
        for mark, leaked in other["patients"].items():
            values["patients"][mark] = values["patients"].get(mark, False) or leaked

    def to_json(self):
        """Plain values."""
        return self.values


def _increase(counts, name, number=1):
    counts[name] = counts.get(name, 0) + number


def _add_pair(pair, other):
    pair[0] += other[0]
    pair[1] += other[1]


def facts(tally, machine, settings, options, target, types):
    """The content of `deidentification.json`.

    Args:
        tally: `RemovalCounts`.
        machine: `medtop.deidentification.run.Parts`.
        settings: dict, what the run is compared by.
        options: `DeidentifyOptions`.
        target: name of the notes in the output.
        types: all types that are looked for.
    """
    values, policy = tally.values, machine.remover.policy
    about = {
        "settings": settings,
        "decision": DECISION,
        "notes": target,
        "documents": values["documents"],
        "document_ids_replaced": values["renamed"],
        "columns_left_out": machine.notes.dropped,
        "policy": {"name": policy.name, "keep": sorted(policy.keep)},
        "replace": options.replace,
        "looked_for": {
            "rules": len(machine.detector.rules),
            "roster_people": machine.detector.roster.people,
            "model": options.model or None,
        },
        "removed": dict(sorted(values["removed"].items())),
        "removed_by": dict(sorted(values["by"].items(), key=lambda entry: -entry[1])),
    }
    if machine.truth:
        about["measured"] = measured(values, [kind for kind in types if policy.removes(kind, options.replace)])
    return about


def measured(values, types):
    """Recall, precision and leak rates with bounds, from summed counts.

    Args:
        values: `RemovalCounts.values`.
        types: types that should have been removed.
    """
    result = {"documents_with_truth": values["with_truth"], "types": {}}
    for kind in sorted({*types, *values["types"], *values["found"]}):
        number, left = values["types"].get(kind, (0, 0))
        removed, wrong = values["found"].get(kind, (0, 0))
        result["types"][kind] = {
            "examples": number,
            "left": left,
            "recall": scores.proportion(number - left, number),
            "removed": removed,
            "precision": scores.proportion(removed - wrong, removed),
        }
    result["not_testable"] = [kind for kind in types if not values["types"].get(kind, (0, 0))[0]]
    patients = values["patients"]
    for name, hits, number in (
        ("document_leak", values["leaking_documents"], values["testable_documents"]),
        ("patient_leak", sum(patients.values()), len(patients)),
        ("terms_lost", values["terms"][1], values["terms"][0]),
        ("characters_removed_too_much", values["characters"][1], values["characters"][0]),
    ):
        result[name] = {"number": number, "hits": hits, **scores.proportion(hits, number)}
    return result


def _percent(value, digits=2):
    return "-" if value is None else f"{100 * value:.{digits}f}%"


def _range(entry):
    return (
        "-"
        if entry["value"] is None
        else f"{_percent(entry['value'])} [{_percent(entry['low'])}, {_percent(entry['high'])}]"
    )


RATES = {
    "document_leak": "documents with something left",
    "patient_leak": "patients with something left",
    "terms_lost": "clinical terms lost",
    "characters_removed_too_much": "letters and digits removed that identify nobody",
}


def lines(about):
    """What the screen shows."""
    removed = ", ".join(f"{kind} {number:,}" for kind, number in about["removed"].items())
    shown = [f"{about['documents']:,} notes; removed: {removed or 'nothing'}"]
    if about["document_ids_replaced"]:
        shown.append(f"ids of notes that held an identifier, replaced: {about['document_ids_replaced']:,}")
    if about["columns_left_out"]:
        shown.append(f"columns left out (--keep_columns keeps them): {', '.join(about['columns_left_out'])}")
    if "measured" not in about:
        return [*shown, "nothing is known of what was missed: --gold= measures it on notes with true spans"]
    measures = about["measured"]
    shown.append(f"measured on {measures['documents_with_truth']:,} notes with true spans:")
    shown.append(f"  {'type':<12} examples  left  recall [95%]")
    for kind, entry in measures["types"].items():
        if entry["examples"]:
            shown.append(f"  {kind:<12} {entry['examples']:>8} {entry['left']:>5}  {_range(entry['recall'])}")
    for name, words in RATES.items():
        entry = measures[name]
        shown.append(
            f"  {words}: {entry['hits']:,} of {entry['number']:,}, {_percent(entry['value'])}, "
            f"upper bound {_percent(entry['upper'])}"
        )
    if measures["not_testable"]:
        shown.append(f"  not testable, 0 examples: {', '.join(measures['not_testable'])}")
    return shown


def write_html(path, about):
    """Writes `deidentification.html`."""
    looked = about["looked_for"]
    top = {
        "notes": f"{about['documents']:,}",
        "policy": about["policy"]["name"]
        + (f", kept: {', '.join(about['policy']['keep'])}" if about["policy"]["keep"] else ""),
        "put in their place": about["replace"],
        "rules": looked["rules"],
        "people in the roster": f"{looked['roster_people']:,}",
        "model": looked["model"] or "none",
        "columns left out": ", ".join(about["columns_left_out"]) or "none",
        "ids of notes replaced": about["document_ids_replaced"],
    }
    sections = []
    if "measured" in about:
        measures = about["measured"]
        rows = [
            [kind, entry["examples"] or "0: not testable", entry["left"], _range(entry["recall"]),
             _percent(entry["recall"]["lower"]), entry["removed"], _range(entry["precision"])]
            for kind, entry in measures["types"].items()
        ]  # fmt: skip
        header = ["type", "examples", "left", "recall [95%]", "lower bound", "removed", "precision [95%]"]
        sections.append(("types", "By type", html_table(header, rows)))
        rows = [
            [
                words,
                measures[name]["number"],
                measures[name]["hits"],
                _range(measures[name]),
                _percent(measures[name]["upper"]),
            ]
            for name, words in RATES.items()
        ]
        sections.append(
            ("rates", "What was left, what was lost", html_table(["", "n", "hits", "share [95%]", "upper bound"], rows))
        )
    else:
        sections.append(
            ("types", "By type", definitions({"recall": "not measured: no notes with true spans (--gold)"}))
        )
    by = collections.Counter(about["removed_by"]).most_common()
    sections.append(("by", "Removed by", html_table(["type: rule", "spans"], by)))
    notes = [
        DECISION,
        "An identifier counts as left where any letter or digit of it is left. Bounds are exact (Clopper and Pearson), "
        "the one-sided ones at 95%; they hold for notes like those measured.",
        f"Policies: {', '.join(POLICIES)}. States and ages below 90 are not removed; weekdays and times of day "
        "under strict only.",
    ]
    write_page(path, "De-identification", sections, top, notes)
