"""Med-BERT's table: tab-separated, seven columns by position, the header line ignored whatever it says.

patient, admission, discharge, diagnosis, present on admission, diagnosis priority, third-party indicator
(ZhiGroup/Med-BERT, preprocess_pretrain_data.py, which sorts a patient's rows by discharge, present on admission,
third party, priority).
"""

from medtop.files.errors import DataError
from medtop.sources.row_sql import POA_PARSED, text_layout
from medtop.sources.rows import load_rows
from medtop.sources.stays import REQUIRED_COLUMNS, Source
from medtop.sources.text_files import (
    describe_delimiter,
    expand_paths,
    first_rows,
    is_parquet,
    looks_like_date,
    read_head,
    split_rows,
)

HEADERS = ["patient", "admission", "discharge", "diagnosis", "present_on_admission", "priority", "third_party"]
PLACES = {
    "patient_id": 0,
    "admit": 1,
    "discharge": 2,
    "code": 3,
    "order_1": 4,
    "order_2": 6,
    "order_3": 5,
    "present_on_admission": 4,
}


def _layout(path, request):
    if is_parquet(path):
        raise DataError(f"{path}: expected tab-separated text, received Parquet (--source=columns reads it)")
    lines = read_head(path)
    rows = split_rows(lines[:21], "\t")
    # The first rows decide, not the header alone: it is ignored, and a few bad rows among good ones are rejects.
    if not any(len(row) == len(HEADERS) for row in rows):
        raise DataError(
            f"{path}: line 1: expected {len(HEADERS)} tab-separated columns ({', '.join(HEADERS)}), "
            f"received {len(rows[0])}; {describe_delimiter(lines)}"
        )
    return text_layout(HEADERS, PLACES, "\t", POA_PARSED)


def _recognise(data_file):
    rows = first_rows(data_file, "\t")[:2]
    if not rows or {len(row) for row in rows} != {len(HEADERS)}:
        return False
    if {name.strip().lower() for name in rows[0]} >= set(REQUIRED_COLUMNS):
        return False  # the standard column names: source `columns`
    return len(rows) == 1 or (looks_like_date(rows[1][1]) and looks_like_date(rows[1][2]))


def _load(request):
    return load_rows(request, SOURCE, expand_paths(request.data_file), _layout)


SOURCE = Source(
    name="medbert_tsv",
    description="Med-BERT's tab-separated table of seven columns by position: patient, admission, discharge, "
    "diagnosis, present on admission, priority, third party; the header line is ignored",
    observation_end="for every patient the end of the last month with a usual number of admissions: the table does not "
    "say until when it observes",
    present_on_admission="the fifth column where it holds Y and N; null where it holds numbers, as Med-BERT's does: "
    "they order the codes and do not say whether one was present",
    recognise=_recognise,
    load=_load,
    code_system="verbatim",  # the contract with Med-BERT's users
)
