"""FHIR bulk export, R4 or R5: a folder with Encounter, Condition, Patient, Procedure (`.ndjson`, `.ndjson.gz`).

A stay is an Encounter of the class IMP, ACUTE or NONAC (`--encounter_types`); R4 writes the class as a coding, R5 as a
list of concepts, and `period` became `actualPeriod`. An encounter in progress has not ended (`still_patient`).
Resources entered in error, cancelled encounters and refuted conditions are left out, counted. Conditions of the problem
list tell what a patient has, not what a stay was for: they are left out unless `--fhir_conditions=all`.
Of several codings the first of ICD counts, else the first of SNOMED CT. Times keep their wall time, offsets are dropped
(or `--time_zone`). Births of a year or month alone are set to its first day, deaths to its last, both counted.
Order: the rank in Encounter.diagnosis (R4), then the place in the file.
"""

import calendar
import itertools
import json
import re
from pathlib import Path

import pyarrow as pa

from medtop.files.errors import DataError
from medtop.sources.ids import settle_ids
from medtop.sources.joined import Joined, load_joined
from medtop.sources.reading import TableReader
from medtop.sources.settling import Account
from medtop.sources.stays import Source
from medtop.sources.text_files import stream_bytes

NEEDED = ("Encounter", "Condition", "Patient")
FILE = re.compile(r"(?:\d+[._-])?([A-Z][A-Za-z]+)(?:[._-]?\d+)*\.ndjson(?:\.gz)?")
"""`Condition.ndjson`, `Condition.000.ndjson`, `1.Condition.ndjson.gz`."""

INPATIENT = ("IMP", "ACUTE", "NONAC")
SYSTEMS = (
    (re.compile(r"icd-?10-?pcs|113883\.6\.4$", re.IGNORECASE), "ICD10PCS_"),
    (re.compile(r"icd-?10|113883\.6\.(90|3)$", re.IGNORECASE), "ICD10_"),
    (re.compile(r"icd-?9(-?cm)?$|icd-?9-?cm/diagnosis|113883\.6\.103$", re.IGNORECASE), "ICD9_"),
    (re.compile(r"icd-?9-?cm/procedure|113883\.6\.104$", re.IGNORECASE), "ICD9PROC_"),
    (re.compile(r"ama-assn\.org/go/cpt|hcpcs|113883\.6\.12$", re.IGNORECASE), "HCPCS_"),
    (re.compile(r"snomed\.info|113883\.6\.96$", re.IGNORECASE), "SNOMED_"),
)
WRONG = "entered-in-error"
BATCH = 20_000
TABLES = {
    "encounter": ("patient", "stay", "kind", "raw_admit", "raw_discharge", "still"),
    "coded": ("patient", "stay", "resource", "day", "mark", "code"),
    "rank": ("stay", "resource", "rank"),
    "patient": ("patient", "birth", "sex", "death"),
}


class LineReader(TableReader):
    """Keeps account of NDJSON files: a record is a line, from 0."""

    def add(self, path):
        """Gives a file a number."""
        self.files.append((path, None, None))
        return len(self.files) - 1

    def reject(self, number, line, reason):
        """Lists a line that is no resource."""
        self.connection.execute("INSERT INTO medtop_structural VALUES (?, ?, '', ?)", [number, line, reason])

    def structural_rejects(self, number):
        """Rejected lines of file `number`: list of (line, "", reason)."""
        query = "SELECT place, column_name, reason FROM medtop_structural WHERE file = ? ORDER BY place"
        return self.connection.execute(query, [number]).fetchall()

    def kept_lines(self, number):
        """Yields 1, 2, 3, ..."""
        return itertools.count(1)


def _files(folder):
    """NDJSON files by resource: dict name -> sorted list of paths."""
    files = {}
    for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
        if name := FILE.fullmatch(path.name):
            files.setdefault(name[1], []).append(path)
    return files


def iterate_lines(path):
    """Yields (line number from 1, bytes) of lines that hold something, from a text file or gzip."""
    rest, number = b"", 0
    for block in stream_bytes(path):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield number, line
    if rest.strip():
        yield number + 1, rest


def _load(request):
    files, choices, connection = _files(request.data_file), request.rules.choices, request.connection
    needed = [*NEEDED, *(["Procedure"] if choices.procedures else [])]
    if missing := [name for name in needed if name not in files]:
        raise DataError(
            f"{request.data_file}: expected a folder with {', '.join(f'{name}.ndjson' for name in needed)}, received "
            f"none for {', '.join(missing)}"
        )
    account, reader, reading = Account(), LineReader(connection), _Reading(connection, choices)
    row_files, paths = [], []
    for name in needed:
        for path in files[name]:
            number = reader.add(path)
            paths.append(path)
            if name in ("Condition", "Procedure"):
                row_files.append(number)
            reading.read(reader, path, number, name)
    account.add(reading.counts)
    for table, column, name in (
        ("encounter", "patient", "patient_id"),
        ("coded", "patient", "patient_id"),
        ("patient", "patient", "patient_id"),
        ("encounter", "stay", "stay_id"),
        ("coded", "stay", "stay_id"),
    ):
        account.add(settle_ids(connection, f"fhir_{table}", column, name))
    headers = {"patient_id": "subject", "stay_id": "encounter", "admit": "period.start", "discharge": "period.end"}
    headers |= {"version": "code.coding.system", "code": "code.coding.code"}
    joined = Joined(
        stays="SELECT patient, stay, kind, raw_admit, raw_discharge, still = 'true' AS still, rowid AS place "
        "FROM fhir_encounter",
        rows="SELECT c.file, c.record, c.patient, c.stay, day, mark, code, r.rank AS order_1, c.rowid AS order_2, "
        "NULL AS order_3, NULL AS present FROM fhir_coded c LEFT JOIN (SELECT stay, resource, "
        "min(TRY_CAST(rank AS INTEGER)) AS rank FROM fhir_rank GROUP BY stay, resource) r "
        "ON r.stay = c.stay AND r.resource = c.resource",
        people="SELECT patient, birth, sex, death FROM fhir_patient",
        kinds=INPATIENT,
        headers=[headers] * len(paths),
        row_files=row_files,
        paths=paths,
    )
    report = load_joined(request, SOURCE, reader, account, joined)
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS temp.fhir_{table}")
    return report


class _Reading:
    """Turns resources into rows of the temporary tables `fhir_*`, in batches."""

    def __init__(self, connection, choices):
        self.connection, self.all_conditions, self.counts = connection, choices.fhir_conditions == "all", {}
        for table, columns in TABLES.items():
            listed = ", ".join(f"{name} VARCHAR" for name in columns)
            connection.execute(f"CREATE OR REPLACE TEMP TABLE fhir_{table} (file INTEGER, record BIGINT, {listed})")
        self.rows = {table: [] for table in TABLES}

    def count(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1

    def read(self, reader, path, number, name):
        """Reads one file of the resource `name`."""
        take = {"Encounter": self.encounter, "Patient": self.patient}.get(name, self.coded)
        empty = True
        for line, raw in iterate_lines(path):
            empty = False
            try:
                resource = json.loads(raw)
                kind = resource.get("resourceType")
            except (ValueError, AttributeError, RecursionError):  # RecursionError: thousands of levels
                reader.reject(number, line, "not_json")
                continue
            if kind != name:
                reader.reject(number, line, "other_resource")
                continue
            take(resource, (number, line - 1))
            if max(map(len, self.rows.values())) >= BATCH:
                self.flush()
        if empty:
            raise DataError(f"{path}: expected resources, one a line, received an empty file")
        self.flush()

    def flush(self):
        """Moves what was read into the tables."""
        for table, columns in TABLES.items():
            if rows := self.rows[table]:
                types = [pa.int32(), pa.int64(), *[pa.string()] * len(columns)]
                arrays = [
                    pa.array(list(values), kind) for values, kind in zip(zip(*rows, strict=True), types, strict=True)
                ]
                self.connection.register("medtop_batch", pa.table(arrays, ["file", "record", *columns]))
                self.connection.execute(f"INSERT INTO fhir_{table} SELECT * FROM medtop_batch")
                self.connection.unregister("medtop_batch")
                self.rows[table] = []

    def encounter(self, resource, place):
        """A stay, and the ranks of its diagnoses."""
        status = resource.get("status")
        if status in (WRONG, "cancelled"):
            return self.count("encounters_entered_in_error_or_cancelled")
        period = _dict(resource.get("period") or resource.get("actualPeriod"))
        still = status in ("in-progress", "onleave", "on-hold", "arrived", "triaged") and not period.get("end")
        stay = _text(resource.get("id"))
        row = (_reference(resource.get("subject")), stay, _class(resource.get("class")), _text(period.get("start")))
        self.rows["encounter"].append((*place, *row, _text(period.get("end")), str(still).lower()))
        for diagnosis in _list(resource.get("diagnosis")):
            diagnosis = _dict(diagnosis)
            for condition in _list(diagnosis.get("condition")):
                condition = _dict(condition)
                inner = condition.get("reference")
                resource_id = _reference(inner if isinstance(inner, dict) else condition)
                if resource_id and isinstance(diagnosis.get("rank"), int):
                    self.rows["rank"].append((*place, stay, resource_id, str(diagnosis["rank"])))

    def coded(self, resource, place):
        """A condition or procedure."""
        verified = {_text(coding.get("code")) for coding in _codings(resource.get("verificationStatus"))}
        if WRONG in verified or resource.get("status") == WRONG:
            return self.count("conditions_entered_in_error")
        if "refuted" in verified or resource.get("status") == "not-done":
            return self.count("conditions_refuted")
        categories = {_text(c.get("code")) for concept in _list(resource.get("category")) for c in _codings(concept)}
        if "problem-list-item" in categories and "encounter-diagnosis" not in categories and not self.all_conditions:
            return self.count("conditions_of_the_problem_list")
        mark, code = _code(_codings(resource.get("code")))
        day = resource.get("recordedDate") or resource.get("onsetDateTime")
        day = day or resource.get("performedDateTime") or _dict(resource.get("performedPeriod")).get("start")
        day = day or resource.get("occurrenceDateTime")
        stay = _reference(resource.get("encounter") or resource.get("context"))
        person = _reference(resource.get("subject"))
        self.rows["coded"].append((*place, person, stay, _text(resource.get("id")), _text(day), mark, code))

    def patient(self, resource, place):
        """A person."""
        birth, death = _text(resource.get("birthDate")), _text(resource.get("deceasedDateTime"))
        if whole := _whole_date(birth, last=False):
            birth = whole
            self.count("births_without_a_day")
        if whole := _whole_date(death, last=True):
            death = whole
            self.count("deaths_without_a_day")
        if resource.get("deceasedBoolean") is True and not death:
            self.count("deaths_without_a_date")
        sex = {"female": "F", "male": "M"}.get(resource.get("gender"))
        self.rows["patient"].append((*place, _text(resource.get("id")), birth, sex, death))


def _dict(value):
    return value if isinstance(value, dict) else {}


def _list(value):
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value):
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _codings(concept):
    return [coding for coding in map(_dict, _list(_dict(concept).get("coding"))) if coding]


def _class(value):
    """Code of an encounter's class: R4 a coding, R5 a list of concepts.

    >>> _class({"code": "IMP"}), _class([{"coding": [{"code": "AMB"}]}])
    ('IMP', 'AMB')
    """
    for item in map(_dict, _list(value)):
        for coding in [item, *_codings(item)]:
            if code := _text(coding.get("code")):
                return code.strip().upper()
    return None


def _reference(value):
    """Id of a reference: relative, absolute, versioned or `urn:uuid:`.

    >>> _reference({"reference": "https://h/fhir/Patient/7/_history/2"}), _reference({"reference": "urn:uuid:a-b"})
    ('7', 'a-b')
    """
    text = _text(_dict(value).get("reference"))
    if not text:
        return None
    return re.sub(r"[/]_history/.*$", "", text).rsplit("/", 1)[-1].removeprefix("urn:uuid:").lstrip("#") or None


def _code(codings):
    """(mark, code) of the first ICD coding, else of the first known one, else (None, its code)."""
    known = []
    for coding in codings:
        system, code = _text(coding.get("system")) or "", _text(coding.get("code"))
        mark = next((mark for pattern, mark in SYSTEMS if pattern.search(system)), None)
        if code:
            known.append((mark, code))
    known.sort(key=lambda pair: (pair[0] is None, not (pair[0] or "").startswith("ICD")))
    return known[0] if known else (None, None)


def _whole_date(text, last):
    """A date of a year or a month alone as its first or last day; None where it is whole or none.

    >>> _whole_date("1950", False), _whole_date("2014-02", True), _whole_date("2014-02-03", True)
    ('1950-01-01', '2014-02-28', None)
    """
    match = re.fullmatch(r"\s*(\d{4})(?:-(\d{2}))?\s*", text or "")
    if not match or not 1 <= int(match[2] or 1) <= 12 or int(match[1]) == 0:
        return None
    month = int(match[2] or (12 if last else 1))
    day = calendar.monthrange(int(match[1]), month)[1] if last else 1
    return f"{match[1]}-{month:02}-{day:02}"


SOURCE = Source(
    name="fhir_ndjson",
    description="FHIR bulk export, R4 or R5: a folder with Encounter, Condition, Patient and Procedure (.ndjson, "
    ".ndjson.gz)",
    observation_end="for every patient the end of the last month with a usual number of admissions, or the death "
    "before it: FHIR does not say until when it observes",
    present_on_admission="null: FHIR's Condition does not say which diagnoses were present on admission",
    recognise=lambda data_file: _files(data_file).keys() >= set(NEEDED),
    load=_load,
    choices=("encounter_types", "link_by_date", "procedures", "fhir_conditions"),
)
