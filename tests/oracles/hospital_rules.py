"""The rules of docs/sources.md for hospitals' tables once more, in pandas: no code of medtop's, no SQL.

Each function gives (diagnoses, people): a frame of patient, stay, admit, discharge, code, one row a diagnosis that is
kept, and one of patient, birth, sex, death. `left` counts what was dropped, by reason. Tables are taken to be clean but
for the traps of their layout.
"""

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
    clock = {name: values.where(values.str.len().eq(5) & (values != "00:00")) for name, values in clock.items()}
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
