"""Stays tables written by hand or at random, and what becomes of them by a slow reading of the rules: plain Python, one
patient at a time, sharing no code with medtop but constants of files."""

import datetime as dt
import hashlib

import duckdb
import numpy as np
import pyarrow

from medtop.sources.stays import PATIENTS_COLUMNS, STAYS_COLUMNS, StaysReport

DAY = dt.timedelta(days=1)
ENDPOINT_PREFIXES = {  # written out again, from the issue, not read from the shipped file
    "MACE": (("410", "428", "431", "434"), ("I21", "I22", "I23", "I50", "I61", "I62", "I63")),
    "CKD": (("585", "2504"), ("N18", "E102", "E112")),
    "RET": (("3620",), tuple(f"E1{kind}3{number}" for kind in "01" for number in range(1, 6))),
    "NEUR": (("3572", "2506"), ("E104", "E114", "E124", "E134", "E144", "G632", "G629")),
}
HISTORY_PREFIXES = {"MACE": (("412", "V1254"), ("I252", "Z8673")), "CKD": (("V420", "V451"), ("Z940", "Z992"))}


def time(text):
    """A datetime from `2014-03-26` or `2014-03-26 17:15`."""
    return dt.datetime.fromisoformat(text)


def row(patient, admit, discharge, code, order=(0, 0, 0), stay=None, poa=None):
    """One row of the stays table, with short times."""
    return {
        "patient_id": patient,
        "stay_id": stay,
        "admit": time(admit),
        "discharge": time(discharge),
        "code": code,
        "order_1": order[0],
        "order_2": order[1],
        "order_3": order[2],
        "present_on_admission": poa,
    }


def make_tables(rows, patients=None):
    """A DuckDB connection with both tables, and a `StaysReport`.

    Args:
        rows: list of dicts (`row`).
        patients: dict patient -> dict of birth, sex, death, observation_end (dates); observation_end defaults to the
            latest discharge of all.
    """
    connection = duckdb.connect()
    _fill(connection, "stays", STAYS_COLUMNS, rows)
    latest = max(entry["discharge"] for entry in rows).date()
    known = {patient: {} for patient in sorted({entry["patient_id"] for entry in rows})}
    people = [
        {
            "patient_id": patient,
            "birth": None,
            "sex": None,
            "death": None,
            "observation_end": latest,
            **(patients or {}).get(patient, {}),
        }
        for patient in known
    ]
    _fill(connection, "patients", PATIENTS_COLUMNS, people)
    report = StaysReport(
        "by_hand",
        ["rows.py"],
        len(rows),
        0,
        {},
        {},
        "the latest discharge",
        any(entry["present_on_admission"] for entry in rows),
        True,
    )
    return connection, report


def _fill(connection, name, columns, rows):
    connection.execute(f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})")
    table = pyarrow.table({column: [entry[column] for entry in rows] for column in columns})
    connection.register("filling", table)
    connection.execute(f"INSERT INTO {name} SELECT * FROM filling")
    connection.unregister("filling")


def random_rows(seed, num_patients=120, with_times=True, with_stays=True):
    """Random stays: overlapping, ending together, repeated codes, ties in the order, short and long."""
    rng = np.random.default_rng(seed)
    codes = [
        "ICD10_E119",
        "ICD10_E11.22",
        "ICD10_I219",
        "ICD9_410.9",
        "ICD9_412",
        "ICD9_250.62",
        "ICD10_Z99.2",
        "ICD9_4019",
        "ICD10_N186",
        "ICD9_E8490",
        "ICD10_I10",
        "ICD10_G63.2",
        "ICD9_5990",
        "ICD10_A419",
        "OTHER",
        "ICD10_Z001",
        "ICD10_R51",
    ]
    rows, people = [], {}
    for number in range(num_patients):
        patient = f"p{number}"
        start = dt.datetime(2010, 1, 1) + int(rng.integers(0, 400)) * DAY
        stays = []
        for stay in range(int(rng.geometric(0.2))):
            admit = start + int(rng.integers(0, 1500)) * DAY
            if stays and rng.random() < 0.3:
                admit = stays[int(rng.integers(len(stays)))][int(rng.integers(2))]  # meets another stay
            discharge = admit + int(rng.choice([0, 1, 6, 7, 8, 9, 30])) * DAY
            if with_times:
                admit += dt.timedelta(minutes=int(rng.choice([0, 0, 61, 700])))
                discharge = max(admit, discharge + dt.timedelta(minutes=int(rng.choice([0, 61, 800]))))
            if stays and rng.random() < 0.15:
                discharge = max(admit, stays[-1][1])  # ends together with another one, if it can
            stays.append((admit, discharge))
            for _ in range(int(rng.geometric(0.3))):
                rows.append(
                    {
                        "patient_id": patient,
                        "stay_id": f"s{stay}" if with_stays else None,
                        "admit": admit,
                        "discharge": discharge,
                        "code": str(rng.choice(codes)) if rng.random() < 0.97 else f"RARE{rng.integers(8)}",
                        "order_1": [0, 1, None][int(rng.integers(3))],
                        "order_2": int(rng.integers(2)),
                        "order_3": int(rng.integers(3)),
                        "present_on_admission": [None, "Y", "N"][int(rng.integers(3))],
                    }
                )
        last = max(stay[1] for stay in stays)
        people[patient] = {
            "birth": None if rng.random() < 0.2 else dt.date(1900 + int(rng.integers(0, 115)), 3, 4),
            "sex": [None, "F", "M"][int(rng.integers(3))],
            "death": (last + int(rng.choice([0, rng.integers(-400, 500)])) * DAY).date()
            if rng.random() < 0.4
            else None,
            "observation_end": None if rng.random() < 0.1 else (last + int(rng.integers(0, 900)) * DAY).date(),
        }
    return rows, people


def hashes(patient, seed):
    """The two numbers in [0, 1) of a patient: halves of MD5."""
    digest = hashlib.md5(f"{seed}:{patient}".encode()).hexdigest()
    return [(int(half, 16) >> 11) / 2**53 for half in (digest[:16], digest[16:])]


def endpoints_of(code, lists=ENDPOINT_PREFIXES):
    """Names of the endpoints that a code belongs to as an event."""
    system, _, rest = code.partition("_")
    place = {"ICD9": 0, "ICD10": 1}.get(system)
    if place is None:
        return set()
    return {
        name
        for name, prefixes in lists.items()
        if any(rest.replace(".", "").startswith(prefix) for prefix in prefixes[place])
    }


def visits_of(rows, visit):
    """A patient's visits in order, each a dict of admit, discharge, rows and codes (repeated ones once)."""
    groups = {}
    for entry in rows:
        key = (
            (entry["discharge"].date(),)
            if visit == "discharge_date"
            else (entry["discharge"], entry["admit"], entry["stay_id"] or "")
        )
        groups.setdefault(key, []).append(entry)
    result = []
    for _, part in sorted(groups.items()):

        def order(entry):
            orders = tuple((entry[name] is None, entry[name] or 0) for name in ("order_1", "order_2", "order_3"))
            place = (entry["discharge"], entry["admit"], entry["stay_id"] or "") if visit == "discharge_date" else ()
            return (*orders, *place, entry["code"])

        part = sorted(part, key=order)
        result.append(
            {
                "admit": min(entry["admit"] for entry in part),
                "discharge": max(entry["discharge"] for entry in part),
                "rows": part,
                "codes": list(dict.fromkeys(entry["code"] for entry in part)),
                "events": set().union(*(endpoints_of(entry["code"]) for entry in part)),
                "endpoints": set().union(
                    *(endpoints_of(entry["code"]) | endpoints_of(entry["code"], HISTORY_PREFIXES) for entry in part)
                ),
            }
        )
    return result


def living(rows, person):
    """A patient's rows without those of stays that begin after the day of death."""
    return [entry for entry in rows if person["death"] is None or entry["admit"].date() <= person["death"]]


def age_days(birth, day):
    """Days since birth; 0 unknown; at least 1, at most 90 years."""
    if birth is None or day < birth:
        return 0
    return min(max((day - birth).days, 1), int(90 * 365.25))


def slow_example(visits, person, when, until, horizons=(365, 730, 1095), within=365):
    """Features and labels of one patient at one time, by the rules of docs/preprocessing.md."""
    known = [visit for visit in visits if visit["discharge"] <= until]
    day = when.date()
    gaps = [0] + [
        max((after["admit"].date() - before["discharge"].date()).days, 0)
        for before, after in zip(known, known[1:], strict=False)
    ]
    return {
        "codes": [code for visit in known for code in visit["codes"]],
        "visits": [number for number, visit in enumerate(known, 1) for _ in visit["codes"]],
        "visit_positions": [place for visit in known for place in range(len(visit["codes"]))],
        "stay_days": [(visit["discharge"].date() - visit["admit"].date()).days for visit in known],
        "gaps_before": gaps,
        "recencies": [(day - visit["discharge"].date()).days for visit in known],
        "ages": [age_days(person["birth"], visit["admit"].date()) for visit in known],
        "age_at_prediction": age_days(person["birth"], day),
        "sex": {None: 0, "F": 1, "M": 2}[person["sex"]],
        "long_stay": slow_long_stay(visits, day, until, within),
        "complications": [
            slow_complication(visits, person, day, until, name, horizon)
            for name in ENDPOINT_PREFIXES
            for horizon in horizons
        ],
        "rows": sum(len(visit["rows"]) for visit in known),
    }


def slow_long_stay(visits, day, until, within):
    """1, 0 or None."""
    later = [visit for visit in visits if visit["admit"] > until]
    if not later:
        return None
    first = min(later, key=lambda visit: visit["admit"])  # the first in visit order among equal ones
    if (first["admit"].date() - day).days > within:
        return None
    return int((first["discharge"].date() - first["admit"].date()).days > 7)


def slow_complication(visits, person, day, until, name, horizon):
    """1, 0 or None."""
    events = []
    for visit in visits:
        if name in visit["endpoints"] and visit["discharge"] <= until:
            return None
        if name in visit["events"] and visit["discharge"] > until:
            events.append(max((visit["admit"].date() - day).days, 0))
    if events and min(events) <= horizon:
        return 1
    if person["death"] is not None and (person["death"] - day).days <= horizon:
        return 0
    if person["observation_end"] is not None and (person["observation_end"] - day).days >= horizon:
        return 0
    return None


def slow_random_visit(visits, person, patient, seed, min_visits):
    """The prediction time, or the reason against it."""
    enough = [
        visit for visit in visits if sum(other["discharge"] <= visit["discharge"] for other in visits) >= min_visits
    ]
    alive = [visit for visit in enough if person["death"] is None or person["death"] > visit["discharge"].date()]
    if not enough:
        return "fewer_than_min_visits"
    if not alive:
        return "stay_ends_in_death"
    return alive[int(hashes(patient, seed)[1] * len(alive))]["discharge"]


def slow_lineage(visits):
    """The prediction time, or the reason against it."""
    first = next((visit for visit in visits if visit["endpoints"]), None)
    before = [visit for visit in visits if first is None or visit["discharge"] < first["discharge"]]
    return before[-1]["discharge"] if before else "endpoint_in_first_visit"
