"""The rules of docs/sources.md for hospitals' tables once more, in pandas: no code of medtop's, no SQL.

Each function gives (diagnoses, people): a frame of patient, stay, admit, discharge, code, one row a diagnosis that is
kept, and one of patient, birth, sex, death. `left` counts what was dropped, by reason. Tables are taken to be clean but
for the traps of their layout.
"""

import gzip
import json
from collections import Counter
from pathlib import Path

import pandas as pd

END_OF_DAY = pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)
FIELDS = ["patient", "stay", "admit", "discharge", "code"]


def read(folder, name, known_as=str.lower):
    """A table as texts, None where it is missing; columns in lower case, empty is NaN."""
    path = next((path for path in Path(folder).iterdir() if path.name.lower().split(".")[0] == name), None)
    if path is None:
        return None
    table = pd.read_parquet(path).astype("string") if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
    return table.rename(columns=known_as)


def moments(dates, clocks=None):
    """(instants, whether a time of day is known) of dates and of times of day `H:MM`."""
    day = pd.to_datetime(dates.str[:10])
    clocks = pd.Series(pd.NA, index=dates.index, dtype="string") if clocks is None else clocks
    own = dates.str[10:].str.strip(" T").where(dates.str.len() > 10)
    clocks = clocks.where(clocks.notna(), own.where(~own.fillna("").str.match(r"00:00(:00)?")))
    return day + pd.to_timedelta(clocks.str.zfill(5).str[:5] + ":00").fillna(pd.Timedelta(0)), clocks.notna()


def ends(dates, clocks=None):
    """Discharges: a bare date is the end of its day."""
    instants, timed = moments(dates, clocks)
    return instants.where(timed, instants + END_OF_DAY)


def whole(ids):
    """`16.0` is 16."""
    return ids.str.replace(r"\.0+$", "", regex=True)


def by_date(rows, stays):
    """Stays of the rows' patients that hold the rows' day: the last begun, the first ended, the smallest id."""
    pairs = rows.reset_index().merge(stays, on="patient", suffixes=("", "_of_stay"))
    pairs = pairs[(pairs.admit.dt.normalize() <= pairs.day) & (pairs.discharge >= pairs.day)]
    pairs = pairs.sort_values(["admit", "discharge", "stay_of_stay"], ascending=[False, True, True], kind="stable")
    return pairs.groupby("index").stay_of_stay.first().reindex(rows.index)


def join(rows, stays, kinds, link_by_date=False):
    """Rows with their stays: (kept rows of `FIELDS`, Counter of what was left out)."""
    left = Counter()
    stays = stays.drop_duplicates(["patient", "stay"])
    key = pd.MultiIndex.from_frame(stays[["patient", "stay"]])
    known = pd.MultiIndex.from_frame(rows[["patient", "stay"]]).isin(key)
    if link_by_date:
        chosen = stays[stays.kind.isin(kinds) & ~stays.still]
        linked = by_date(rows[~known], chosen)
        rows = rows.assign(stay=rows.stay.where(known, linked))
        left["linked"] = int(linked.notna().sum())
    rows = rows.merge(stays, on=["patient", "stay"], how="left", indicator=True)
    rows["kind"] = rows.kind.where(rows._merge == "both", kinds[0])

    def take(test, reason):
        nonlocal rows
        left[reason] = int(test.sum())
        rows = rows[~test.reindex(rows.index)]

    take(~rows.kind.isin(kinds), "other_encounter_type")
    take(rows.patient.isna(), "patient_id_empty")
    take(rows.code.isna(), "code_empty")
    take(rows["mark"].isna(), "code_system_unknown")
    take(rows._merge != "both", "stay_unknown")
    take(rows.still.astype(bool), "still_patient")
    take(rows.admit.isna(), "admit_unparsable")
    take(rows.discharge.isna(), "discharge_empty")
    bare = rows.code.str.replace(".", "").str.upper()
    return rows.assign(code=rows["mark"] + bare)[[*FIELDS, *(["place"] if "place" in rows else [])]], +left


def pcornet(folder, procedures=False, link_by_date=False, kinds=("IP", "EI")):
    """PCORnet CDM."""
    encounters, diagnoses = read(folder, "encounter"), read(folder, "diagnosis")
    one_day = encounters.discharge_date.isna() & ~encounters.enc_type.isin(["IP", "EI", "IS", "OS"])
    admit, _ = moments(encounters.admit_date, encounters.admit_time)
    stays = pd.DataFrame(
        {
            "patient": encounters.patid,
            "stay": encounters.encounterid,
            "kind": encounters.enc_type,
            "admit": admit,
            "discharge": ends(
                encounters.discharge_date.where(~one_day, encounters.admit_date.str[:10]), encounters.discharge_time
            ),
            "still": False,
        }
    )
    marks = {"09": "ICD9_", "9": "ICD9_", "10": "ICD10_", "11": "ICD11_", "SM": "SNOMED_"}
    rows = pd.DataFrame(
        {
            "patient": diagnoses.patid,
            "stay": diagnoses.encounterid,
            "day": pd.to_datetime(diagnoses.dx_date.fillna(diagnoses.admit_date).str[:10]),
            "mark": diagnoses.dx_type.map(marks),
            "code": diagnoses.dx,
        }
    )
    if procedures:
        table = read(folder, "procedures")
        marks = {"09": "ICD9PROC_", "10": "ICD10PCS_", "CH": "HCPCS_"}
        more = pd.DataFrame(
            {
                "patient": table.patid,
                "stay": table.encounterid,
                "day": pd.to_datetime(table.px_date),
                "mark": table.px_type.map(marks),
                "code": table.px,
            }
        )
        rows = pd.concat([rows, more], ignore_index=True)
    kept, left = join(rows, stays, kinds, link_by_date)
    people = read(folder, "demographic")
    deaths = read(folder, "death")
    first = (
        pd.to_datetime(deaths.death_date).groupby(deaths.patid).min() if deaths is not None else pd.Series(dtype=object)
    )
    people = pd.DataFrame(
        {
            "patient": people.patid,
            "birth": pd.to_datetime(people.birth_date.where(people.birth_date != "1900-01-01")),
            "sex": people.sex.where(people.sex.isin(["F", "M"])),
            "death": people.patid.map(first),
        }
    )
    return kept, people[people.patient.isin(kept.patient)], left


def _omop_header(header):
    return (header.split("(")[1].split(",")[0] if "(" in header else header).lower()


VOCABULARIES = {"ICD10CM": "ICD10_", "ICD10": "ICD10_", "ICD9CM": "ICD9_", "SNOMED": "SNOMED_", "ICD10PCS": "ICD10PCS_"}
VOCABULARIES |= {"CPT4": "HCPCS_"}


def omop(folder, link_by_date=False, codes="source", procedures=False, kinds=("9201", "262")):
    """OMOP CDM 5.3 and 5.4."""
    visits = read(folder, "visit_occurrence", _omop_header)
    concepts = read(folder, "concept", _omop_header).drop_duplicates("concept_id").set_index("concept_id")
    clock = {
        name: visits.get(f"visit_{name}_datetime", pd.Series(pd.NA, index=visits.index)).astype("string").str[11:16]
        for name in ("start", "end")
    }
    clock = {
        name: pd.Series(
            [text if isinstance(text, str) and len(text) == 5 and text != "00:00" else None for text in values],
            index=values.index,
            dtype="string",
        )
        for name, values in clock.items()
    }
    still = visits.visit_type_concept_id.eq("32220")
    for name in ("discharged_to_concept_id", "discharge_to_concept_id"):
        if name in visits:
            still |= visits[name].eq("32220")
    stays = pd.DataFrame(
        {
            "patient": visits.person_id,
            "stay": whole(visits.visit_occurrence_id),
            "kind": whole(visits.visit_concept_id),
            "admit": moments(visits.visit_start_date, clock["start"])[0],
            "discharge": ends(visits.visit_end_date, clock["end"]),
            "still": still,
        }
    )
    left, parts = Counter(), []
    for table, day in (("condition", "start_date"), ("procedure", "date")):
        if table == "procedure" and not procedures:
            continue
        raw = read(folder, f"{table}_occurrence", _omop_header).rename(
            columns=lambda name, own=table: name.removeprefix(f"{own}_")
        )
        raw["visit_occurrence_id"] = whole(raw.visit_occurrence_id)
        if codes == "source":
            same = ["person_id", "visit_occurrence_id", day, "source_concept_id", "source_value"]
            first = raw.groupby(same, dropna=False).concept_id.transform("first")
            left["merged"] += int((first != raw.concept_id).sum())
            raw = raw[first == raw.concept_id]
        concept = whole(raw.source_concept_id if codes == "source" else raw.concept_id)
        known = concept.isin(concepts.index) & (concept != "0")
        marked = raw.source_value.fillna("").str.match(r"ICD10CM:") & (codes == "source")
        mark = (
            concept.map(concepts.vocabulary_id)
            .map(VOCABULARIES)
            .where(known, pd.Series("ICD10_", raw.index).where(marked))
        )
        code = concept.map(concepts.concept_code).where(known, raw.source_value.str.replace("ICD10CM:", ""))
        day = pd.to_datetime(raw[day])
        parts.append(
            pd.DataFrame(
                {"patient": raw.person_id, "stay": raw.visit_occurrence_id, "day": day, "mark": mark, "code": code}
            )
        )
    kept, more = join(pd.concat(parts, ignore_index=True), stays, kinds, link_by_date)
    person, deaths = read(folder, "person", _omop_header), read(folder, "death", _omop_header)
    first = (
        pd.to_datetime(deaths.death_date).groupby(deaths.person_id).min()
        if deaths is not None
        else pd.Series(dtype=object)
    )
    parts = pd.DataFrame(
        {
            "year": person.year_of_birth.astype(float),
            "month": person.month_of_birth.astype(float).fillna(1),
            "day": person.day_of_birth.astype(float).fillna(1),
        }
    )
    people = pd.DataFrame(
        {
            "patient": person.person_id,
            "birth": pd.to_datetime(parts),
            "sex": person.gender_concept_id.map({"8532": "F", "8507": "M"}),
            "death": person.person_id.map(first),
        }
    )
    return kept, people[people.patient.isin(kept.patient)], left + more


def meds(folder, visits="hadm_id", link_by_date=False, procedures=False, pattern=None):
    """MEDS 0.4."""
    shards = sorted((Path(folder) / "data").rglob("*.parquet"))
    events = pd.concat([pd.read_parquet(path) for path in shards], ignore_index=True)
    events["patient"] = events.subject_id.astype(str)
    code = events.code
    found = code.str.extract(pattern or r"^(?:DIAGNOSIS//ICD//|ICD)(?P<system>9|10)(?:CM)?//(?P<code>.+)$")
    events["mark"] = (
        "ICD" + found.system + "_" if "system" in found else found.code.map(lambda _: "", na_action="ignore")
    )
    events["bare"] = found.code
    if procedures:
        more = code.str.extract(r"^PROCEDURE//ICD//(9|10)//(.+)$")
        events["mark"] = events["mark"].fillna(more[0].map({"9": "ICD9PROC_", "10": "ICD10PCS_"}))
        events["bare"] = events.bare.fillna(more[1])
    begins, stops = code.str.startswith("HOSPITAL_ADMISSION"), code.str.startswith("HOSPITAL_DISCHARGE")
    if visits == "hadm_id":
        events["stay"] = events.hadm_id.map(lambda number: None if pd.isna(number) else str(int(number)))
        inside = events[events.stay.notna()]
        spans = inside.groupby(["patient", "stay"]).time.agg(["min", "max"])
        spans["admit"] = inside[begins.reindex(inside.index)].groupby(["patient", "stay"]).time.min()
        spans["end"] = inside[stops.reindex(inside.index)].groupby(["patient", "stay"]).time.max()
        admit, end = spans.admit.fillna(spans["min"]), spans.end.fillna(spans["max"])
        stays = pd.DataFrame({"admit": admit, "discharge": end}).reset_index()
    else:
        stays = []
        for patient, own in events.groupby("patient"):
            admissions = sorted(set(own[begins.reindex(own.index)].time))
            for number, admit in enumerate(admissions):
                following = admissions[number + 1] if number + 1 < len(admissions) else pd.Timestamp.max
                ends_within = [time for time in own[stops.reindex(own.index)].time if admit <= time <= following]
                stays.append((patient, str(number + 1), admit, min(ends_within, default=pd.NaT)))
        stays = pd.DataFrame(stays, columns=["patient", "stay", "admit", "discharge"])

        def stay_of(event):
            before = stays[(stays.patient == event.patient) & (stays.admit <= event.time)].sort_values("admit")
            if not len(before):
                return None
            last = before.iloc[-1]
            late = pd.notna(last.discharge) and event.time.normalize() > last.discharge.normalize()
            return None if late else last.stay

        events["stay"] = [stay_of(event) for event in events.itertuples()]
    rows = events[events.bare.notna()].assign(code=events.bare, day=events.time.dt.normalize())
    kept, left = join(
        rows[["patient", "stay", "day", "mark", "code"]].reset_index(drop=True),
        stays.assign(kind="", still=False),
        ("",),
        link_by_date,
    )
    people = pd.DataFrame({"patient": events.patient.unique()})
    for name, event in (("birth", "MEDS_BIRTH"), ("death", "MEDS_DEATH")):
        first = events[code == event].groupby("patient").time.min().dt.normalize()
        people[name] = people.patient.map(first)
    people["sex"] = people.patient.map(events[code.str.startswith("GENDER//")].set_index("patient").code.str[-1])
    return kept, people[people.patient.isin(kept.patient)], left


def _resources(folder, name):
    found = []
    for path in Path(folder).iterdir():
        if name in path.name:
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            found += [json.loads(line) for line in text.decode().splitlines()]
    return found


def _wall(text):
    """FHIR's dates: (instant as written, whether a time of day is known); months alone are no instants."""
    if text is None or len(text) < 10:
        return pd.NaT, False
    return pd.Timestamp(text[:19]), len(text) > 10


def _id(reference):
    """Last part of a reference, without its version."""
    text = (reference or {}).get("reference")
    return text and text.split("/_history")[0].split("/")[-1].split(":")[-1]


URLS = {
    "icd-10-cm": "ICD10_",
    "6.90": "ICD10_",
    "icd-9-cm": "ICD9_",
    "snomed.info/sct": "SNOMED_",
    "icd-10-pcs": "ICD10PCS_",
}


def fhir_ndjson(folder, everything=False, link_by_date=False, procedures=False, kinds=("IMP", "ACUTE", "NONAC")):
    """FHIR R4 and R5."""
    stays = []
    for item in _resources(folder, "Encounter"):
        if item["status"] in ("entered-in-error", "cancelled"):
            continue
        period = item.get("period") or item.get("actualPeriod")
        (admit, _), (end, timed) = _wall(period.get("start")), _wall(period.get("end"))
        kind = item["class"]["code"] if isinstance(item["class"], dict) else item["class"][0]["coding"][0]["code"]
        still = item["status"] == "in-progress" and "end" not in period
        stays.append((_id(item["subject"]), item["id"], kind, admit, end if timed else end + END_OF_DAY, still))
    stays = pd.DataFrame(stays, columns=["patient", "stay", "kind", "admit", "discharge", "still"])
    rows = []
    for item in _resources(folder, "Condition") + (_resources(folder, "Procedure") if procedures else []):
        status = item.get("verificationStatus", {}).get("coding", [{}])[0].get("code")
        category = (item.get("category") or [{}])[0].get("coding", [{}])[0].get("code")
        if status in ("entered-in-error", "refuted") or (category == "problem-list-item" and not everything):
            continue
        pairs = [
            (next((mark for url, mark in URLS.items() if c["system"].endswith(url)), None), c["code"])
            for c in item["code"]["coding"]
        ]
        mark, code = next((pair for pair in pairs if pair[0] and pair[0].startswith("ICD")), pairs[0])
        rows.append((_id(item["subject"]), _id(item.get("encounter")), _wall(item.get("recordedDate"))[0], mark, code))
    rows = pd.DataFrame(rows, columns=["patient", "stay", "day", "mark", "code"])
    rows["day"] = pd.to_datetime(rows.day).dt.normalize()
    kept, left = join(rows, stays, kinds, link_by_date)
    people = []
    for item in _resources(folder, "Patient"):
        birth, death = item["birthDate"], item.get("deceasedDateTime")
        birth = pd.Timestamp(birth)  # pandas takes the first day
        death = (
            pd.NaT
            if death is None
            else pd.Period(death).end_time.normalize()
            if len(death) < 10
            else pd.Timestamp(death)
        )
        people.append((item["id"], birth, {"female": "F", "male": "M"}.get(item["gender"]), death))
    people = pd.DataFrame(people, columns=["patient", "birth", "sex", "death"])
    return kept, people[people.patient.isin(kept.patient)], left


def synthea(folder, link_by_date=False, kinds=("inpatient",)):
    """Synthea's CSV."""
    encounters, conditions, people = (read(folder, name) for name in ("encounters", "conditions", "patients"))
    stays = pd.DataFrame(
        {
            "patient": encounters.patient,
            "stay": encounters.id,
            "kind": encounters.encounterclass,
            "admit": pd.to_datetime(encounters.start.str[:19]),
            "discharge": pd.to_datetime(encounters.stop.str[:19]),
            "still": False,
        }
    )
    rows = pd.DataFrame(
        {
            "patient": conditions.patient,
            "stay": conditions.encounter,
            "day": pd.to_datetime(conditions.start.str[:10]),
            "mark": "SNOMED_",
            "code": conditions.code,
        }
    )
    kept, left = join(rows, stays, kinds, link_by_date)
    people = pd.DataFrame(
        {
            "patient": people.id,
            "birth": pd.to_datetime(people.birthdate),
            "sex": people.gender,
            "death": pd.to_datetime(people.deathdate),
        }
    )
    return kept, people[people.patient.isin(kept.patient)], left


def i2b2(folder, link_by_date=False, kinds=("I",)):
    """i2b2."""
    visits, facts, people = (
        read(folder, name) for name in ("visit_dimension", "observation_fact", "patient_dimension")
    )
    stays = pd.DataFrame(
        {
            "patient": visits.patient_num,
            "stay": visits.encounter_num,
            "kind": visits.inout_cd,
            "admit": pd.to_datetime(visits.start_date),
            "discharge": pd.to_datetime(visits.end_date),
            "still": False,
        }
    )
    found = facts.concept_cd.str.extract(r"(?:^|\|)ICD(9|10)(?:CM)?:(.+)$")
    rows = pd.DataFrame(
        {
            "patient": facts.patient_num,
            "stay": facts.encounter_num,
            "day": pd.to_datetime(facts.start_date).dt.normalize(),
            "mark": "ICD" + found[0] + "_",
            "code": found[1],
        }
    )[found[1].notna()]
    once = facts[found[1].notna()].drop(columns="modifier_cd").duplicated()
    kept, left = join(rows[~once].reset_index(drop=True), stays, kinds, link_by_date)
    left["merged"] = int(once.sum())
    people = pd.DataFrame(
        {
            "patient": people.patient_num,
            "birth": pd.to_datetime(people.birth_date),
            "sex": people.sex_cd.str[0],
            "death": pd.to_datetime(people.death_date),
        }
    )
    return kept, people[people.patient.isin(kept.patient)], left
