"""top-BERT's table: comma-separated, ten columns.

patient, admission, discharge, diagnosis, present on admission, third party, priority, date of birth, age at the
encounter, sex. Columns are found by their headers where all required ones are known (`HEADERS`, without regard to
case), else by position. Codes are taken verbatim; where they are phecodes (250.2), endpoint files that speak ICD cannot
be matched, and the report says so (`icd_codes` false).
"""

from medtop.files.errors import DataError
from medtop.sources.row_sql import POA_PARSED, text_layout
from medtop.sources.rows import load_rows
from medtop.sources.stays import REQUIRED_COLUMNS, Source
from medtop.sources.text_files import (
    describe_delimiter,
    expand_paths,
    first_rows,
    header_line,
    is_parquet,
    looks_like_date,
    read_head,
    split_rows,
)

HEADERS = {
    "patient": ("patient", "patient_id", "pt_id", "pat_id", "patientid", "person_id", "mrn"),
    "admit": ("admit", "admit_date", "admission", "admission_date", "admit_dt", "admitdate", "vadate"),
    "discharge": ("discharge", "discharge_date", "discharge_dt", "dischargedate", "disch_date", "vddate"),
    "diagnosis": ("diagnosis", "diagnosis_code", "dx", "diag", "code", "phecode", "icd_code"),
    "poa": ("poa", "present_on_admission", "poa_ind"),
    "third_party": ("third_party", "third_party_ind", "thirdparty"),
    "priority": ("priority", "diagnosis_priority", "dx_priority"),
    "dob": ("dob", "birth", "birth_date", "date_of_birth", "birthdate"),
    "age_at_enc": ("age_at_enc", "age", "age_at_encounter"),
    "sex": ("sex", "gender"),
}
"""Column -> headers by which it is known; in the order of the columns by position."""

STANDARD = {
    "patient_id": "patient",
    "admit": "admit",
    "discharge": "discharge",
    "code": "diagnosis",
    "order_1": "poa",
    "order_2": "third_party",
    "order_3": "priority",
    "present_on_admission": "poa",
    "birth": "dob",
    "sex": "sex",
}


def find_places(headers):
    """Places of the ten columns: dict column -> position.

    By headers when each of the ten is known once, else by position.

    >>> find_places("SEX dx PT_ID admit discharge poa third_party priority dob age".split())["patient"]
    2
    """
    folded = [header.lower() for header in headers]
    places = {}
    for column, known in HEADERS.items():
        at = [place for place, header in enumerate(folded) if header in known]
        if len(at) != 1:
            return {column: place for place, column in enumerate(HEADERS)}
        places[column] = at[0]
    return places


def _layout(path, request):
    if is_parquet(path):
        raise DataError(f"{path}: expected comma-separated text, received Parquet (--source=columns reads it)")
    lines = read_head(path)
    if not any(len(row) == len(HEADERS) for row in split_rows(lines[:21], ",")):
        raise DataError(
            f"{path}: line 1: expected {len(HEADERS)} comma-separated columns ({', '.join(HEADERS)}), "
            f"received {len(header_line(lines, ','))}; {describe_delimiter(lines)}"
        )
    headers = header_line(lines, ",")
    headers = headers if len(headers) == len(HEADERS) else list(HEADERS)
    places = find_places(headers)
    standard = {name: places[column] for name, column in STANDARD.items()}
    return text_layout(headers, standard, ",", POA_PARSED)


def _recognise(data_file):
    rows = first_rows(data_file, ",")[:2]
    if not rows or {len(row) for row in rows} != {len(HEADERS)}:
        return False
    headers = [field.strip() for field in rows[0]]
    if {header.lower() for header in headers} >= set(REQUIRED_COLUMNS):
        return False  # the standard column names: source `columns`
    places = find_places(headers)
    return len(rows) == 1 or all(looks_like_date(rows[1][places[name]]) for name in ("admit", "discharge"))


def _load(request):
    return load_rows(request, SOURCE, expand_paths(request.data_file), _layout)


SOURCE = Source(
    name="topbert_csv",
    description="top-BERT's comma-separated table of ten columns: " + ", ".join(HEADERS),
    observation_end="for every patient the end of the last month with a usual number of admissions: the table does not "
    "say until when it observes",
    present_on_admission="column poa: Y and N are taken, all else (numbers, U, W) is null",
    recognise=_recognise,
    load=_load,
)
