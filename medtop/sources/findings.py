"""What a reader of the results should know of the input, as sentences: one rule for each count of a `StaysReport`."""

import dataclasses

from medtop.sources.unusable import SAID, shares

RED, YELLOW, GREEN = "red", "yellow", "green"

LOUD = {
    "patient_id_null_words": ("rows have a word for nothing as patient id and were dropped", ""),
    "patient_ids_alike": (
        "patient ids differ from another one only in case, leading zeros or blanks: they count as different people",
        "make the ids equal where they are one",
    ),
    "codes_alike": (
        "distinct codes differ from another one in case or dots only: they count as different codes",
        "--code_system=icd9 or icd10",
    ),
    "codes_with_several": (
        "rows seem to hold several codes in one cell: each cell counts as one code",
        "--code_separator",
    ),
    "codes_written_as_floats": (
        "rows hold a code such as 4019.0, written by a program that took codes for numbers: zeros may be lost",
        "read the codes as text where the file is made",
    ),
    "codes_without_icd_prefix": ("rows hold a code without a mark of ICD-9 or ICD-10", "--code_system"),
    "times_with_offset": (
        "rows have times with an offset or Z",
        "--time_zone, if local time as written is not what is meant",
    ),
    "rows_ending_after_death": ("rows belong to stays that end after the patient's death", "check the dates of death"),
    "rows_shortly_after_death": (
        "rows belong to stays that begin a day or two after the death",
        "--death_grace_days=0",
    ),
    "patients_dead_before_birth": ("patients die before they are born", "check the dates"),
    "patients_born_after_admission": (
        "patients are born after their first admission: ages are unknown",
        "check the dates",
    ),
    "death_table_missing": ("table of deaths is not there: nobody is known to have died", ""),
    "rows_linked_by_date_to_one_of_several": (
        "diagnoses without a stay fell into several stays of their patient and went to the one that began last",
        "leave --link_by_date out",
    ),
    "stays_with_conflicting_times": ("stays are given several times with other dates: the first was taken", ""),
    "patients_with_several_observation_periods": (
        "patients have several observation periods: the last one ends their observation, gaps count as observed",
        "--observation_end",
    ),
    "deaths_without_a_day": ("deaths are known by year or month only and were set to its last day", ""),
    "deaths_without_a_date": ("people are known to have died, nobody says when: they count as alive", ""),
    "births_without_a_day": ("births are known by year or month only and were set to its first day", ""),
    "beneficiary_years_missing": ("years of claims have no beneficiary file: deaths of that time are not known", ""),
    "patients_with_hmo_months": (
        "patients have years with months in an HMO, whose claims are not in the table: that no event is seen in them "
        "says nothing",
        "--coverage=ffs",
    ),
    "hmo_months_unusable": ("numbers of HMO months cannot be read and count as some", ""),
    "admissions_after_observation_end": (
        "admissions lie after the end of usual admissions, where absence of an event says nothing",
        "--observation_end",
    ),
}
"""Count -> (what it means, the flag or deed that repairs it); said on the screen as a warning."""

SUFFIXES = {
    "_sentinel": ("values stand for a missing date (1900-01-01, 9999-12-31, ...) and are taken for it", "--sentinels"),
    "_impossible": ("dates lie in the future, or too far back, and are taken for missing", "--shifted_dates"),
}


@dataclasses.dataclass(frozen=True)
class TableFinding:
    """One thing to know.

    Attributes:
        name: of the count.
        count: how many.
        light: "red", "yellow" or "green".
        sentence: what it means, with the count.
        repair: the flag that repairs it, or "".
    """

    name: str
    count: int
    light: str
    sentence: str
    repair: str

    def __str__(self):
        return f"{self.sentence} ({self.repair})" if self.repair else self.sentence


def findings_of(report):
    """The `TableFinding`s of a `StaysReport`: list, red ones first."""
    findings = []
    for name, count in report.counts.items():
        text = LOUD.get(name) or next((text for suffix, text in SUFFIXES.items() if name.endswith(suffix)), None)
        if text:
            column = "" if name in LOUD else f"{name.rsplit('_', 1)[0]}: "
            findings.append(TableFinding(name, count, YELLOW, f"{column}{count:,} {text[0]}", text[1]))
    unusable = {name: report.counts.get(f"{name}_unusable", 0) for name in report.given}
    for name, (count, given) in shares(unusable, report.given).items():
        sentence = (
            f"{name}: {count:,} of {given:,} values ({count / given:.0%}) cannot be used and are taken for missing"
        )
        dates = name in ("birth", "death", "observation_end")
        findings.append(TableFinding(f"{name}_unusable", count, RED, sentence, "--date_format" if dates else ""))
    for reason, count in report.rows_dropped.items():
        if reason == "other_encounter_type":  # by choice (--encounter_types)
            continue
        if count > SAID * report.rows_in or reason.endswith(("_sentinel", "_in_future")) or reason == "after_death":
            sentence = f"{count:,} of {report.rows_in:,} rows ({count / report.rows_in:.1%}) dropped: {reason}"
            light = RED if count > SAID * report.rows_in else YELLOW
            findings.append(TableFinding(reason, count, light, sentence, _repair(reason)))
    for reason, count in report.patients_dropped.items():
        findings.append(TableFinding(reason, count, YELLOW, f"{count:,} patients dropped: {reason}", ""))
    return sorted(findings, key=lambda finding: finding.light != RED)


def _repair(reason):
    if reason.endswith("unparsable"):
        return "--date_format"
    if reason.endswith("_sentinel"):
        return "--sentinels"
    if reason.endswith("_in_future"):
        return "--shifted_dates, if dates were shifted per patient"
    return "--death_grace_days" if reason == "after_death" else ""
