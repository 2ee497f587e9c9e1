"""MEDS 0.4: a folder with data/*.parquet (shards, also in folders), one event a row: subject_id, time, code.

MEDS has no visits. They come from `hadm_id` where the shards have it (`--meds_visits=hadm_id`): from the admission
event of the stay to its discharge event, or from its first to its last event where it has none (counted). Or from
events of admission and discharge (`--meds_visits=events`): a stay lasts from an admission to the first discharge before
the next one; a diagnosis belongs to the stay within which its time lies, up to the end of the day of discharge.
Diagnoses are the codes that `--meds_code_pattern` matches as a whole; all other events are counted, not read.
MEDS_BIRTH and MEDS_DEATH are birth and death, never diagnoses. Sex is an event such as GENDER//F.
Order: the place in the shard. `metadata/subject_splits.parquet` goes to `--splits`.
"""

import re
from pathlib import Path

from medtop.files.errors import DataError
from medtop.files.shown import shown_headers
from medtop.files.sql import quote
from medtop.sources.ids import settle_ids
from medtop.sources.joined import Joined, load_joined
from medtop.sources.parquet import parquet_text
from medtop.sources.reading import TableReader, column_types, parquet_sql
from medtop.sources.settling import Account
from medtop.sources.stays import Source, TableUse
from medtop.sources.text_files import is_parquet

NEEDED = ("subject_id", "time", "code")
HADM = "hadm_id"
PATTERN = r"(?:(?:DIAGNOSIS|CONDITION|DX)/+)?ICD[-_/]*(?P<system>9|10)(?:[-_]?CM)?[-_/: ]+(?P<code>[^/ ]+)"
"""Codes of diagnoses: `DIAGNOSIS//ICD//9//25000`, `ICD10CM//E11.9`."""

PROCEDURES = re.compile(r"(?:PROCEDURE/+)ICD[-_/]*(9|10)(?:[-_]?(?:CM|PCS))?[-_/: ]+([^/ ]+)", re.IGNORECASE)
ADMISSION = re.compile(r"(HOSPITAL_)?ADMISSION(//.*)?", re.IGNORECASE)
DISCHARGE = re.compile(r"(HOSPITAL_)?DISCHARGE(//.*)?", re.IGNORECASE)
SEX = re.compile(r"(?:GENDER|SEX)/+(F|M|FEMALE|MALE)", re.IGNORECASE)
BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
SHOWN = 6


def _shards(folder):
    """The shards, sorted by name; empty where `folder` is none of MEDS."""
    place = Path(folder) / "data"
    return sorted(place.rglob("*.parquet")) if place.is_dir() else []


def _recognise(data_file):
    shards = _shards(data_file)
    if not shards or not is_parquet(shards[0]):
        return False
    import pyarrow.parquet

    return "code" in pyarrow.parquet.read_schema(shards[0]).names


def _load(request):
    shards, connection = _shards(request.data_file), request.connection
    if not shards:
        raise DataError(f"{request.data_file}: expected a MEDS folder with data/*.parquet, received none")
    choices, account, reader = request.rules.choices, Account(), TableReader(connection)
    types = [_types(connection, path) for path in shards]
    has_hadm = any(HADM in kinds for kinds in types)
    if choices.meds_visits == HADM and not has_hadm:
        raise DataError(f"{request.data_file}: expected a column {HADM} for --meds_visits={HADM}, received none")
    mode = choices.meds_visits if choices.meds_visits != "auto" else HADM if has_hadm else "events"
    _classify(request, shards, account)
    spans = mode == HADM
    for path, kinds in zip(shards, types, strict=True):
        _read(request, reader, path, kinds, spans)
    for table in ("meds_events", *(["meds_spans"] if spans else [])):
        account.add(settle_ids(connection, table, "patient", "patient_id"))
        if table == "meds_spans" or spans:
            account.add(settle_ids(connection, table, "stay", "stay_id"))
    stays = _stays_of_column(connection, account) if spans else _stays_of_events(request, account)
    headers = {"patient_id": "subject_id", "stay_id": HADM, "admit": "time", "discharge": "time", "version": "code"}
    joined = Joined(
        stays=stays,
        rows="SELECT file, record, patient, stay, time AS day, mark, bare AS code, NULL AS order_1, NULL AS order_2, "
        "record AS order_3, NULL AS present FROM meds_events WHERE role = 'diagnosis'",
        people="""SELECT patient, CASE role WHEN 'birth' THEN time END AS birth,
            CASE role WHEN 'sex' THEN bare END AS sex,
            CASE role WHEN 'death' THEN time END AS death FROM meds_events WHERE role IN ('birth', 'death', 'sex')""",
        kinds=(),
        headers=[headers] * len(shards),
        row_files=list(range(len(shards))),
        paths=shards,
    )
    account.notes.append(
        f"Stays come from the column {HADM}." if spans else "Stays come from events of admission and discharge."
    )
    report = load_joined(request, SOURCE, reader, account, joined)
    for table in ("codes", "events", "spans", "visits"):
        connection.execute(f"DROP TABLE IF EXISTS temp.meds_{table}")
    return report


def _types(connection, path):
    """Column types of a shard by name in lower case; refuses other layouts."""
    types = column_types(connection, path)
    if missing := [name for name in NEEDED if name not in types]:
        hint = " (MEDS before 0.3 called it patient_id)" if missing[0] == "subject_id" and "patient_id" in types else ""
        raise DataError(
            f"{path}: expected a column {missing[0]}{hint}, received columns {shown_headers([*types], 400)}"
        )
    if not types["time"].startswith(("TIMESTAMP", "DATE")):
        raise DataError(f"{path}: column time: expected timestamps, received {types['time']}")
    return types


def _classify(request, shards, account):
    """Makes `meds_codes`: each distinct code that is read, with its role, mark and bare code.

    Raises:
        DataError: for a pattern that is none, and where it matches nothing.
    """
    choices, connection = request.rules.choices, request.connection
    pattern = compile_pattern(choices.meds_code_pattern or PATTERN)
    files = ", ".join(quote(path) for path in shards)
    counted = connection.execute(
        f"SELECT code, count(*) FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false) "
        "WHERE code IS NOT NULL GROUP BY code ORDER BY count(*) DESC, code"
    ).fetchall()
    rows, others, unread = [], {}, 0
    for code, number in counted:
        role = _role(code, pattern, choices.procedures)
        if role is None:
            unread += number
            others.setdefault(re.split(r"[/:]", code)[0], None)
        else:
            rows.append((code, *role))
    if not any(role == "diagnosis" for _, role, _, _ in rows):
        raise DataError(
            f"{request.data_file}: expected codes that --meds_code_pattern matches, received none; codes begin with "
            f"{', '.join(list(others)[:SHOWN]) or 'nothing'}"
        )
    account.add({"events_not_read": unread})
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE meds_codes (code VARCHAR, role VARCHAR, mark VARCHAR, bare VARCHAR)"
    )
    connection.executemany("INSERT INTO meds_codes VALUES (?, ?, ?, ?)", rows)
    types = "file INTEGER, record BIGINT, patient VARCHAR, stay VARCHAR, time VARCHAR"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE meds_events ({types}, role VARCHAR, mark VARCHAR, bare VARCHAR)")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE meds_spans (patient VARCHAR, stay VARCHAR, low VARCHAR, high VARCHAR)"
    )


def compile_pattern(text):
    """The pattern of diagnoses, which has a group `code` and may have a group `system`.

    Raises:
        DataError: for another text.
    """
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise DataError(f"--meds_code_pattern: expected a regular expression, received {text!r} ({error})") from None
    if "code" not in pattern.groupindex:
        raise DataError(
            f"--meds_code_pattern: expected a group (?P<code>...) and, for ICD, (?P<system>9|10), received {text!r}"
        )
    return pattern


def _role(code, pattern, procedures):
    """(role, mark, bare code) of a distinct code, None where it is not read.

    >>> pattern = compile_pattern(PATTERN)
    >>> _role("DIAGNOSIS//ICD//9//25000", pattern, False), _role("LAB//X", pattern, False)
    (('diagnosis', 'ICD9_', '25000'), None)
    """
    for name, role in ((BIRTH, "birth"), (DEATH, "death")):
        if code == name or code.startswith(f"{name}//"):
            return role, None, None
    if sex := SEX.fullmatch(code):
        return "sex", None, sex[1][0].upper()
    for event, role in ((ADMISSION, "admission"), (DISCHARGE, "discharge")):
        if event.fullmatch(code):
            return role, None, None
    if match := pattern.fullmatch(code):
        groups = match.groupdict()
        return "diagnosis", f"ICD{groups['system']}_" if groups.get("system") else "", groups["code"]
    if procedures and (match := PROCEDURES.fullmatch(code)):
        return "diagnosis", "ICD9PROC_" if match[1] == "9" else "ICD10PCS_", match[2]
    return None


def _read(request, reader, path, types, spans):
    """Reads the events of a shard that have a role, and with `spans` the first and last event of each stay."""
    connection, number = request.connection, reader.open(path, None)
    text = {
        name: parquet_text(path, name, types[name], request.rules.dates) for name in types if name in (*NEEDED, HADM)
    }
    stay = text.get(HADM, "NULL")
    rows = parquet_sql(path).removesuffix(")") + ", file_row_number = true)"
    connection.execute(
        f"INSERT INTO meds_events SELECT {number}, r.file_row_number, {text['subject_id']}, {stay}, {text['time']}, "
        f"role, mark, bare FROM {rows} r JOIN meds_codes c ON c.code = r.code ORDER BY r.file_row_number"
    )
    if spans and HADM in types:
        connection.execute(
            f"INSERT INTO meds_spans SELECT {text['subject_id']}, {stay}, min({text['time']}), max({text['time']}) "
            f"FROM {parquet_sql(path)} WHERE {HADM} IS NOT NULL GROUP BY ALL"
        )
    columns = [(name, sql, {"subject_id": "patient_id", HADM: "stay_id"}.get(name, name)) for name, sql in text.items()]
    reader.used.append(TableUse(path, None, list(types), columns))


def _stays_of_column(connection, account):
    """SQL of the stays of `hadm_id`; counts those that lack an event of admission or discharge."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE meds_visits AS
        SELECT s.patient, s.stay, low, high, admit, discharge FROM (
            SELECT patient, stay, min(low) AS low, max(high) AS high FROM meds_spans GROUP BY patient, stay) s
        LEFT JOIN (SELECT patient, stay, min(time) FILTER (role = 'admission') AS admit,
                          max(time) FILTER (role = 'discharge') AS discharge
                   FROM meds_events WHERE role IN ('admission', 'discharge') GROUP BY patient, stay) e
        ON e.patient = s.patient AND e.stay = s.stay"""
    )
    lacking = "SELECT count(*) FROM meds_visits WHERE admit IS NULL OR discharge IS NULL"
    account.add({"stays_from_first_to_last_event": connection.execute(lacking).fetchone()[0]})
    return """SELECT patient, stay, NULL AS kind, coalesce(admit, low) AS raw_admit, coalesce(discharge, high)
        AS raw_discharge, false AS still, 0 AS place FROM meds_visits"""


def _stays_of_events(request, account):
    """SQL of the stays between events of admission and discharge; gives diagnoses the stay that holds their time.

    Raises:
        DataError: where there are no such events.
    """
    connection = request.connection
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE meds_visits AS
        WITH admissions AS (
            SELECT patient, time, CAST(row_number() OVER same AS VARCHAR) AS stay, lead(time) OVER same AS following
            FROM (SELECT DISTINCT patient, time FROM meds_events WHERE role = 'admission' AND time IS NOT NULL)
            WINDOW same AS (PARTITION BY patient ORDER BY time))
        SELECT a.patient, a.stay, a.time AS admit, min(d.time) AS discharge FROM admissions a
        LEFT JOIN (SELECT patient, time FROM meds_events WHERE role = 'discharge') d
        ON d.patient = a.patient AND d.time >= a.time AND (a.following IS NULL OR d.time <= a.following)
        GROUP BY a.patient, a.stay, a.time"""
    )
    visits, open_ended = connection.execute(
        "SELECT count(*), count(*) FILTER (discharge IS NULL) FROM meds_visits"
    ).fetchone()
    if not visits:
        raise DataError(
            f"{request.data_file}: expected events HOSPITAL_ADMISSION and HOSPITAL_DISCHARGE (or a column {HADM}), "
            "from which stays are made, received none"
        )
    account.add({"admissions_without_discharge": open_ended})
    connection.execute(
        """UPDATE meds_events SET stay = CASE WHEN l.discharge IS NULL OR left(l.time, 10) <= left(l.discharge, 10)
                                              THEN l.visit END
        FROM (SELECT e.file, e.record, e.time, v.stay AS visit, v.discharge FROM meds_events e
              ASOF JOIN meds_visits v ON v.patient = e.patient AND v.admit <= e.time
              WHERE e.role = 'diagnosis') l
        WHERE meds_events.file = l.file AND meds_events.record = l.record"""
    )
    return """SELECT patient, stay, NULL AS kind, admit AS raw_admit, discharge AS raw_discharge, false AS still,
        0 AS place FROM meds_visits"""


SOURCE = Source(
    name="meds",
    description="MEDS 0.4: a folder with data/*.parquet, one event a row",
    observation_end="for every patient the end of the last month with a usual number of admissions, or the death "
    "before it: MEDS does not say until when it observes",
    present_on_admission="null: MEDS does not say which diagnoses were present on admission",
    recognise=_recognise,
    load=_load,
    choices=("link_by_date", "procedures", "meds_visits", "meds_code_pattern"),
)
