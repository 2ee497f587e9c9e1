"""What only some sources ask for; a flag that a source does not read is refused with it."""

import dataclasses

from medtop.files.options import compared, option

ALL = "all"
"""`--encounter_types=all`: every kind of encounter is a stay."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """Choices of single sources; docs/sources.md says what each does."""

    encounter_types: tuple = option(
        (),
        "Kinds of encounters that are stays, in the source's own words, such as IP,EI (pcornet) or 9201,262 (omop); "
        "all takes every one. Default: inpatient ones.",
        default_in_help=False,
    )
    link_by_date: bool = option(
        False, "Diagnoses whose stay is missing or unknown go to the patient's stay within which their date lies."
    )
    procedures: bool = option(
        False, "Procedures become codes of their stay, too (ICD9PROC_, ICD10PCS_, HCPCS_), for endpoints."
    )
    omop_codes: str = option(
        "source", "Codes of omop: those of the source, or the standard concepts.", choices=("source", "standard")
    )
    fhir_conditions: str = option(
        "encounter",
        "Conditions of fhir_ndjson: those of encounters, or all, the problem list among them.",
        choices=("encounter", "all"),
    )
    meds_visits: str = option(
        "auto",
        "Stays of meds: of the column hadm_id, or of events of admission and discharge. Default: the column, if there.",
        choices=("auto", "hadm_id", "events"),
        default_in_help=False,
    )
    meds_code_pattern: str | None = option(
        None,
        "Codes of meds that are diagnoses: a regular expression for the whole code with a group (?P<code>...) and, for "
        "ICD, (?P<system>9|10). Default: DIAGNOSIS//ICD//10//E119, ICD10CM//E11.9 and the like.",
    )
    coverage: str = option(
        "ignore",
        "ffs: observation ends before a year with months in an HMO, whose claims are not in the table (synpuf); "
        "ignore: they count as observed.",
        choices=("ignore", "ffs"),
    )

    @property
    def settings(self):
        """dict of plain values: what determines the outputs."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in compared(self).items()}

    @property
    def given(self):
        """Names of the choices that are not the default."""
        return [field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]
