"""The rules of docs/sources.md and docs/preprocessing.md once more, in pandas: whole cohorts, no code of medtop's.

Written from the two pages. Diagnoses are a frame of patient, stay, admit, discharge, code, order_1, order_2, order_3,
one row each; people one of patient, birth, sex, death, observation_end. `cohort` gives the examples with their labels
and counts; `endpoint_lists` reads an endpoint file by itself.
"""

import hashlib
import json
import math

import pandas as pd

DAY = pd.Timedelta(days=1)
ORDER = ["order_1", "order_2", "order_3"]
VISIT = ["patient", "discharge", "admit", "stay"]
SPLITS = ("train", "valid", "test")
GRACE_DAYS = 2
NAN = float("nan")


# --- tables ----------------------------------------------------------------------------------------------------------


def mimic3(folder):
    """MIMIC-III: codes `ICD9_` and undotted; observation ends with the patient's last discharge."""
    read = dict(dtype=str, compression="gzip")
    stays = pd.read_csv(folder / "ADMISSIONS.csv.gz", **read)
    codes = pd.read_csv(folder / "DIAGNOSES_ICD.csv.gz", **read)
    people = pd.read_csv(folder / "PATIENTS.csv.gz", **read)
    for name in ("admittime", "dischtime", "deathtime"):
        stays[name] = pd.to_datetime(stays[name])
    good = stays[stays.dischtime >= stays.admittime]
    codes = codes[codes.icd9_code.notna()].merge(good, on=["subject_id", "hadm_id"], how="inner")
    diagnoses = pd.DataFrame(
        {
            "patient": codes.subject_id,
            "stay": codes.hadm_id,
            "admit": codes.admittime,
            "discharge": codes.dischtime,
            "code": "ICD9_" + codes.icd9_code.str.strip().str.replace(".", "").str.upper(),
            "order_1": pd.to_numeric(codes.seq_num),
        }
    )
    last = good.groupby("subject_id").agg(end=("dischtime", "max"), deathtime=("deathtime", "min"))
    known = people.set_index("subject_id")
    people = pd.DataFrame({"patient": diagnoses.patient.unique()})
    at = people.patient
    death = pd.to_datetime(known.dod.reindex(at)).where(lambda dod: dod.notna(), last.deathtime.reindex(at))
    people["birth"] = pd.to_datetime(known.dob.reindex(at)).dt.normalize().to_numpy()
    people["death"] = death.dt.normalize().to_numpy()
    people["sex"] = known.gender.reindex(at).to_numpy()
    people["observation_end"] = last.end.reindex(at).dt.normalize().to_numpy()
    return diagnoses, people


def synpuf(folder):
    """CMS DE-SynPUF: a claim is a stay, its segments are one; observation ends with the usual admissions, at the latest
    on the last day of the last year, or with death before it."""
    claims = pd.concat(pd.read_csv(path, dtype=str) for path in sorted(folder.glob("*Inpatient_Claims*")))
    claims = claims.assign(
        admit=pd.to_datetime(claims.CLM_ADMSN_DT, format="%Y%m%d"),
        discharge=pd.to_datetime(claims.NCH_BENE_DSCHRG_DT, format="%Y%m%d"),
        segment=pd.to_numeric(claims.SEGMENT),
    )
    claims = claims[claims.discharge >= claims.admit]
    span = claims.groupby(["DESYNPUF_ID", "CLM_ID"]).agg(admit=("admit", "min"), discharge=("discharge", "max"))
    parts = []
    for number in range(1, 11):
        cells = claims[["DESYNPUF_ID", "CLM_ID", "segment", f"ICD9_DGNS_CD_{number}"]].set_axis(
            ["patient", "stay", "segment", "code"], axis=1
        )
        parts.append(cells[cells.code.notna()].assign(order_1=10 * (cells.segment - 1) + number))
    codes = pd.concat(parts)
    codes = codes[codes.code.str.strip() != ""]
    span = span.reindex(pd.MultiIndex.from_frame(codes[["patient", "stay"]]))
    diagnoses = codes.assign(
        admit=span.admit.to_numpy(), discharge=span.discharge.to_numpy(), code="ICD9_" + codes.code.str.strip()
    ).drop(columns="segment")
    known = pd.concat(pd.read_csv(path, dtype=str) for path in sorted(folder.glob("*Beneficiary_Summary*")))
    for name in ("BENE_BIRTH_DT", "BENE_DEATH_DT"):
        known[name] = pd.to_datetime(known[name], format="%Y%m%d")
    known["BENE_SEX_IDENT_CD"] = pd.to_numeric(known.BENE_SEX_IDENT_CD)
    known = known.groupby("DESYNPUF_ID").agg(
        birth=("BENE_BIRTH_DT", "min"), death=("BENE_DEATH_DT", "min"), sex=("BENE_SEX_IDENT_CD", "min")
    )
    people = pd.DataFrame({"patient": diagnoses.patient.unique()})
    known = known.reindex(people.patient)
    for name in ("birth", "death"):
        people[name] = known[name].to_numpy()
    people["sex"] = known.sex.map({1: "M", 2: "F"}).to_numpy()
    end = min(end_of_observation(diagnoses), pd.Timestamp("2010-12-31"))
    people["observation_end"] = people.death.where(people.death < end, end)
    return diagnoses, people


# --- rules -----------------------------------------------------------------------------------------------------------


def endpoint_lists(path):
    """dict endpoint -> ({"ICD9": [prefixes], "ICD10": [...]} of events, the same of histories), without dots."""

    def plain(systems):
        return {
            name.upper(): tuple(prefix.replace(".", "").upper() for prefix in systems.get(name, ()))
            for name in ("icd9", "icd10")
        }

    content = json.loads(path.read_text(encoding="utf-8"))["endpoints"]
    return {name: (plain(systems), plain(systems.get("history", {}))) for name, systems in content.items()}


def carries(codes, lists):
    """bool: the code begins with a prefix of its own ICD version."""
    parts = codes.str.partition("_")
    bare = parts[2].str.replace(".", "").str.upper()
    found = pd.Series(False, index=codes.index)
    for system, prefixes in lists.items():
        if prefixes:
            found |= (parts[0].str.upper() == system) & bare.str.startswith(prefixes)
    return found


def normal(codes):
    """Codes with a mark in their one form: upper case, no dots."""
    marked = codes.str.upper().str.match(r"ICD(9|10)_")
    return codes.where(~marked, codes.str.upper().str.replace(".", ""))


def end_of_observation(stays):
    """Where a table does not say: n(m) admissions in a calendar month; u the largest number such that months with
    n >= u hold half of all; the end of the last month with n >= u / 2, or the last discharge before it."""
    admissions = stays[["patient", "admit"]].drop_duplicates()
    months = admissions.groupby(admissions.admit.dt.to_period("M")).size()
    falling = months.sort_values(ascending=False)
    usual = falling[falling.cumsum() >= falling.sum() / 2].iloc[0]
    last = months.index[months >= usual / 2].max().end_time.normalize()
    return min(last, stays.discharge.max().normalize())


def numbers_of(patient, seed):
    """The halves of MD5("<seed>:<patient>") as two numbers in [0, 1)."""
    digest = hashlib.md5(f"{seed}:{patient}".encode()).hexdigest()
    return int(digest[:16], 16) / 2**64, int(digest[16:], 16) / 2**64


def split_of(patient, seed):
    """7:1:2 by the first number."""
    number = numbers_of(patient, seed)[0]
    return "train" if number < 0.7 else "valid" if number < 0.8 else "test"


def days(later, earlier):
    """Whole days between two calendar dates."""
    return (later.dt.normalize() - earlier.dt.normalize()) / DAY


def visits_of(diagnoses):
    """One row a visit, in order; `codes` is a list, each code once, in clinical order."""
    rows = diagnoses.assign(**{name: diagnoses.get(name, NAN) for name in ORDER})
    rows["stay"] = rows.stay.fillna("") if "stay" in rows else ""
    rows = rows.sort_values([*VISIT, *ORDER, "code"], na_position="last", kind="stable")
    visits = rows.groupby(VISIT, sort=True).agg(codes=("code", lambda codes: list(dict.fromkeys(codes))))
    return visits.reset_index().assign(rows=rows.groupby(VISIT, sort=True).size().to_numpy())


def random_times(visits, people, seed, min_visits):
    """(Series patient -> discharge of the drawn visit, Series patient -> why there is none)."""
    until = visits.groupby("patient").discharge.rank(method="max")
    enough = until >= min_visits
    alive = enough & ~(visits.patient.map(people.death) <= visits.discharge.dt.normalize())
    eligible = visits[alive]
    numbers = eligible.groupby("patient").size()
    drawn = pd.Series({patient: math.floor(numbers_of(patient, seed)[1] * count) for patient, count in numbers.items()})
    times = (
        eligible[eligible.groupby("patient").cumcount() == eligible.patient.map(drawn)].set_index("patient").discharge
    )
    anything = enough.groupby(visits.patient).any()
    reasons = anything[~anything.index.isin(numbers.index)].map(
        {True: "stay_ends_in_death", False: "fewer_than_min_visits"}
    )
    return times, reasons


def long_stays(visits):
    """Series patient -> the first admission after the prediction, within 365 days: over 7 days? NaN without one."""
    later = visits[visits.admit > visits.time].sort_values(["admit", "discharge", "stay"], kind="stable")
    first = later.groupby("patient").first()
    label = (days(first.discharge, first.admit) > 7).astype(float)
    return label.where(days(first.admit, first.time) <= 365)


def complications(visits, people, endpoint, horizons, complete, latest):
    """Frame patient x horizon of 1, 0 or NaN: the table of docs/preprocessing.md, in its order from below."""
    known, event = visits.discharge <= visits.time, visits[f"event_{endpoint}"]
    prevalent = (known & (event | visits[f"history_{endpoint}"])).groupby(visits.patient).any()
    after = days(visits.admit, visits.time).clip(lower=0).where(~known & event)
    first = after.groupby(visits.patient).min()
    at = people.reindex(prevalent.index)
    start = visits.groupby("patient").time.first()
    death, observed = days(at.death, start), days(at.observation_end, start)
    cut = at.death.notna() & (at.death == at.observation_end)
    reach = observed.where(~cut, (latest - start.dt.normalize()) / DAY)
    labels = {}
    for horizon in horizons:
        label = pd.Series(NAN, index=prevalent.index)
        label[(observed >= horizon) | (death <= horizon)] = 0.0
        label[first <= horizon] = 1.0
        if complete:
            label[~(reach >= horizon)] = NAN
        label[prevalent] = NAN
        labels[f"{endpoint}_{horizon}"] = label
    return pd.DataFrame(labels)


def ages(births, times):
    """Days from birth to prediction: 0 unknown or not born, 1 to 32,872 else."""
    pairs = zip(births, times, strict=True)
    return [
        0 if pd.isna(birth) or birth > when.normalize() else min(max(when.toordinal() - birth.toordinal(), 1), 32_872)
        for birth, when in pairs
    ]


def cohort(diagnoses, people, lists, horizons=(365, 730, 1095), seed=0, min_visits=1, complete=False):
    """All examples.

    Returns:
        (dict patient -> dict of split, time, codes, visits, stay_days, age, sex, labels {name: 1, 0, NaN}; dict of
        "patients" and "rows" left out, by reason).
    """
    people = people.set_index("patient")
    diagnoses = diagnoses.assign(code=normal(diagnoses.code))
    everybody = set(diagnoses.patient)
    since_death = (diagnoses.admit.dt.normalize() - diagnoses.patient.map(people.death)) / DAY
    much_later = since_death > GRACE_DAYS  # the source's rule: not this patient's stay, or a wrong death
    diagnoses, since_death = diagnoses[~much_later], since_death[~much_later]
    usable, late = set(diagnoses.patient), since_death > 0  # the cohort's rule: death ends a life
    diagnoses = diagnoses[~late].reset_index(drop=True)
    people = people[people.index.isin(usable)]
    visits = visits_of(diagnoses)
    flat = visits.codes.explode()
    for name, both in lists.items():
        for kind, prefixes in zip(("event", "history"), both, strict=True):
            visits[f"{kind}_{name}"] = carries(flat, prefixes).groupby(level=0).any()
    times, reasons = random_times(visits, people, seed, min_visits)
    rows_out = visits.rows.groupby(visits.patient.map(reasons)).sum().to_dict()
    visits = visits[visits.patient.isin(times.index)].assign(time=lambda frame: frame.patient.map(times))
    known = visits[visits.discharge <= visits.time]
    rows_out |= {
        "after_prediction_time": int(visits.rows[visits.discharge > visits.time].sum()),
        "stay_after_death": int(late.sum()),
        "after_death": int(much_later.sum()),
    }
    labels = pd.concat(
        [
            long_stays(visits).rename("long_stay"),
            *(complications(visits, people, name, horizons, complete, people.observation_end.max()) for name in lists),
        ],
        axis=1,
    ).reindex(times.index)
    features = known.assign(length=days(known.discharge, known.admit).astype(int)).groupby("patient")
    about = pd.DataFrame({"codes": features.codes.agg(list), "stay_days": features.length.agg(list)})
    at = people.reindex(times.index)
    found = {}
    for (patient, when), age, sex in zip(times.items(), ages(at.birth, times), at.sex, strict=True):
        found[patient] = {
            "split": split_of(patient, seed),
            "time": when,
            "codes": [code for codes in about.codes[patient] for code in codes],
            "visits": [number for number, codes in enumerate(about.codes[patient], 1) for _ in codes],
            "stay_days": about.stay_days[patient],
            "age": age,
            "sex": sex if isinstance(sex, str) else None,
            "labels": labels.loc[patient].to_dict(),
        }
    patients_out = reasons.value_counts().to_dict()
    patients_out["stay_after_death"] = len(usable - set(diagnoses.patient))
    patients_out["no_usable_row"] = len(everybody - usable)
    return found, {
        "patients": {reason: count for reason, count in patients_out.items() if count},
        "rows": {reason: int(count) for reason, count in rows_out.items() if count},
    }
