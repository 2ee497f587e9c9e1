"""All that finds identifiers, united; and spans that overlap made into spans that do not."""

import re
import typing

from medtop.deidentification import dates
from medtop.deidentification.dates import STARTS as DATE_STARTS
from medtop.deidentification.name_rules import trimmed_name
from medtop.deidentification.roster import Roster
from medtop.deidentification.rules import RULES
from medtop.deidentification.scan import Scanner, lowered, matches
from medtop.deidentification.views import INVISIBLE, views

TYPES = (
    "NAME", "LOCATION", "ZIP", "DATE", "YEAR", "AGE", "PHONE", "FAX", "EMAIL", "SSN", "MRN", "HEALTH_PLAN", "ACCOUNT",
    "LICENSE", "VEHICLE", "DEVICE", "URL", "IP", "BIOMETRIC", "OTHER_ID",
    "WEEKDAY", "TIME",
)  # fmt: skip
_BIRTH_YEAR = re.compile(r"\b(?:born(?:\s+(?:in|on))?|dob:?|birth\s*year:?|year\s+of\s+birth:?|b\.)\s*$", re.I)


class Finding(typing.NamedTuple):
    """One identifier in a document.

    Attributes:
        start, end: code points, end excluded.
        type: one of `TYPES`, or a type of the model.
        source: the rule's name, "roster: ...", or "model".
        score: the model's score, None for rules.
        date: for dates the match that can be shifted, else None; it spans exactly start to end.
    """

    start: int
    end: int
    type: str
    source: str
    score: float | None = None
    date: object = None


class Detector:
    """Rules, roster and, where there is one, a model's spans.

    Args:
        rules: tuple of `medtop.deidentification.rule.Rule`.
        roster: `Roster`.
        dates: whether dates are looked for.
        thresholds: dict model type -> (type here, lowest score that counts).
    """

    def __init__(self, rules=RULES, roster=None, dates=True, thresholds=None):
        self.rules, self.roster, self.dates = tuple(rules), roster or Roster(), dates
        self.thresholds = thresholds or {}
        self._scanner = Scanner([*(rule.starts for rule in self.rules), *DATE_STARTS.values()])

    def find(self, text, patient_id="", marked=()):
        """The identifiers of a text: list of `Finding`, disjoint, in order.

        Args:
            text: str.
            patient_id: "" where unknown.
            marked: spans of a model (`medtop.entities.documents.Span`).
        """
        findings = []
        for view in views(text):
            findings += self._in_view(view, patient_id)
        for span in marked:
            kind, least = self.thresholds.get(span.type, (span.type, 2.0))
            if span.start < span.end and (span.score is None or span.score >= least):
                findings.append(Finding(span.start, span.end, kind, "model", span.score))
        return resolve(findings, text)

    def _in_view(self, view, patient_id):
        text, lower, edges = view.text, lowered(view.text), view.edges
        for start, end, kind, source in self.roster.find(text, patient_id):
            yield Finding(*edges(start, end), kind, source)
        places = self._scanner.places(lower)
        for rule, where in zip(self.rules, places, strict=False):
            if (rule.starts is not None and not where) or (rule.hint is not None and not rule.hint(lower)):
                continue
            anywhere = rule.starts is None
            hits = rule.pattern.finditer(text) if anywhere else matches(rule.pattern, text, where, rule.before)
            for match in hits:
                start, end = match.span(rule.group)
                if rule.type == "NAME":
                    first, after = trimmed_name(text[start:end])
                    start, end = start + first, start + after
                if end > start and (rule.accepts is None or rule.accepts(text[start:end])):
                    yield Finding(*edges(start, end), rule.type, rule.name)
        if self.dates:
            for start, end, kind, match in dates.find(text, places[len(self.rules) :]):
                if kind == "YEAR" and _BIRTH_YEAR.search(text[max(0, start - 20) : start]):
                    yield Finding(*view.edges(start, end), "DATE", "year of birth", None, match)
                else:
                    yield Finding(*view.edges(start, end), kind, "date" if kind == "DATE" else "year", None, match)


def resolve(findings, text):
    """Disjoint findings in order: those that share a character become one, from the first to the last character, of
    the type of the longest of them (of equal ones the first found that is not OTHER_ID); invisible characters behind
    one belong to it.

    Args:
        findings: list of `Finding`.
        text: the document's text.
    """
    groups, hidden = [], not text.isascii()
    for item in sorted(findings, key=lambda item: (item.start, -item.end)):
        if groups and item.start < groups[-1][1]:
            groups[-1][1] = max(groups[-1][1], item.end)
            groups[-1][2].append(item)
        else:
            groups.append([item.start, item.end, [item]])
    resolved = []
    for start, end, items in groups:
        best = max(items, key=lambda item: (item.end - item.start, item.type != "OTHER_ID"))  # the first of equal ones
        whole = best.date if (best.start, best.end) == (start, end) else None
        while hidden and end < len(text) and INVISIBLE.match(text[end]):
            end += 1
        if (best.start, best.end, best.date) == (start, end, whole):
            resolved.append(best)
        else:
            resolved.append(best._replace(start=start, end=end, date=whole))
    return resolved
