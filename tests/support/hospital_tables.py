"""Hand-written tables of hospital layouts; each holds every trap that its source's docstring names."""

import gzip
import json
from pathlib import Path

import pandas as pd


def write(folder, name, text):
    """Writes lines without their indentation; `.gz` is packed."""
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(f"{line.strip()}\n" for line in text.strip().splitlines()).encode()
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def pcornet(folder):
    """PCORnet: e1 a stay with times; e2 no discharge (still there, or not recorded); e3 an office visit without one; e4
    an emergency that became a stay; e5 another person's; a row without an encounter within e4; types 9, OT and null."""
    write(
        folder,
        "ENCOUNTER.csv",
        """ENCOUNTERID,PATID,ADMIT_DATE,ADMIT_TIME,DISCHARGE_DATE,DISCHARGE_TIME,ENC_TYPE
        e1,a,2014-03-01,9:30,2014-03-04,16:00,IP
        e2,a,2014-05-01,10:00,,,IP
        e3,a,2014-06-01,,,,AV
        e4,b,2014-07-01 00:00:00,23:15,2014-07-09,,EI
        e4,b,2014-07-01 00:00:00,23:15,2014-07-09,,EI
        e5,c,2014-08-01,,2014-08-02,,IP
        e6,c,2014-09-01,,2014-09-01,,""",
    )
    write(
        folder,
        "diagnosis.csv.gz",
        """DIAGNOSISID,PATID,ENCOUNTERID,ENC_TYPE,ADMIT_DATE,DX,DX_TYPE,DX_DATE,DX_SOURCE,PDX,DX_POA
        1,a,e1,IP,2014-03-01,E11.9,10,2014-03-01,FI,S,Y
        2,a,e1,,2014-03-01,250.00,09,,FI,P,Y
        3,a,e1,IP,2014-03-01,i10,10,,AD,X,NI
        4,a,e1,IP,2014-03-01,N17.9,10,,DI,S,N
        5,a,e2,IP,2014-05-01,I10,10,,FI,P,Y
        6,a,e3,AV,2014-06-01,I10,10,,FI,P,
        7,b,e4,EI,2014-07-01,486,9,,FI,P,U
        8,b,,,2014-07-03,J18.9,10,2014-07-03,FI,S,
        9,b,e5,IP,2014-08-01,J18.9,10,2014-08-01,FI,S,
        10,b,e4,EI,2014-07-01,X1,OT,,FI,S,
        11,c,e5,IP,2014-08-01,38341003,SM,,FI,P,Y
        12,,e5,IP,2014-08-01,I10,10,,FI,P,Y
        13,c,e5,IP,2014-08-01,NULL,10,,FI,P,Y""",
    )
    write(folder, "Demographic.csv", "PATID,BIRTH_DATE,SEX\na,1950-02-03,F\nb,1900-01-01,M\nc,1960-01-01,NI")
    write(folder, "DEATH.csv", "PATID,DEATH_DATE,DEATH_SOURCE\nb,2015-01-02,L\nb,2015-01-05,N")
    write(
        folder,
        "PROCEDURES.csv",
        """PROCEDURESID,PATID,ENCOUNTERID,PX,PX_TYPE,PX_DATE
        1,a,e1,027034Z,10,2014-03-02
        2,b,e4,92928,CH,2014-07-02
        3,b,e4,36.06,09,2014-07-02
        4,b,e4,zz,OT,2014-07-02""",
    )
    return Path(folder)


def omop(folder):
    """OMOP: headers of R; datetimes that are dates; a still-patient visit by type (13) and by discharge (14); an
    outpatient visit (12); visit ids that are missing, 0, of nobody, of another person; source concepts that are ICD,
    SNOMED, 0 with a marked and with an unmarked source value; a source code with two standard concepts; births by day,
    by year; a death; two observation periods."""
    write(
        folder,
        "VISIT_OCCURRENCE.csv",
        """VISIT_OCCURRENCE_ID,PERSON_ID,VISIT_CONCEPT_ID,"date(visit_start_date,'unixepoch')",visit_start_datetime,"date(visit_end_date,'unixepoch')",visit_end_datetime,VISIT_TYPE_CONCEPT_ID,DISCHARGED_TO_CONCEPT_ID
        10,1,9201,2014-03-01,2014-03-01 09:30:00,2014-03-04,2014-03-04 16:00:00,44818517,0
        11,1,262,2014-05-01,2014-05-01,2014-05-09,2014-05-09,44818517,0
        12,1,9202,2014-06-01,,2014-06-01,,44818517,0
        13,2,9201,2014-07-01,,2014-08-31,,32220,0
        14,2,9201,2014-07-01,,2014-08-31,,44818517,32220
        15,2,9201.0,2014-05-05,2014-05-05 00:00:00,2014-05-07,2014-05-07 00:00:00,44818517,
        16,3,9201,2014-05-05,,2014-05-07,,44818517,""",
    )
    write(
        folder,
        "condition_occurrence.csv.gz",
        """condition_occurrence_id,person_id,condition_concept_id,condition_start_date,condition_status_concept_id,visit_occurrence_id,condition_source_value,condition_source_concept_id
        1,1,201826,2014-03-01,32893,10,E11.9,45500001
        2,1,320128,2014-03-01,32902,10,I10,45500002
        3,1,320128,2014-03-02,0,10,38341003,320128
        4,1,4000001,2014-03-03,0,10,E11.2,45500003
        5,1,4000002,2014-03-03,0,10,E11.2,45500003
        6,1,320128,2014-05-02,0,,I10,45500002
        7,1,320128,2014-05-03,0,0,ICD10CM:I10,0
        8,1,320128,2014-05-03,0,11,I10,0
        9,1,320128,2014-06-01,0,12,I10,45500002
        10,2,320128,2014-07-05,0,13,I10,45500002
        11,2,320128,2014-07-05,0,14,I10,45500002
        12,2,320128,2014-05-06,0,16,I10,45500002
        13,2,0,2014-05-06,0,15,401.9,44800001
        14,3,320128,2014-05-06,0,16.0,I10,45500002
        15,3,320128,2012-05-06,0,99,I10,45500002
        16,3,201826,2014-05-06,0,16,E11.9,45500001
        17,3,320128,2014-05-07,0,16,I10,45500002""",
    )
    write(
        folder,
        "concept.csv",
        """concept_id,concept_name,vocabulary_id,concept_code
        45500001,x,ICD10CM,E11.9
        45500002,x,ICD10CM,I10
        45500003,x,ICD10,E11.2
        44800001,x,ICD9CM,401.9
        320128,x,SNOMED,38341003
        201826,x,SNOMED,44054006
        4000001,x,SNOMED,111
        4000002,x,SNOMED,222
        2000001,x,ICD10PCS,027034Z
        2000002,x,CPT4,92928""",
    )
    write(
        folder,
        "person.csv",
        """person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,birth_datetime
        1,8532,1950,2,3,1950-02-03
        2,8507,1941,,,
        3,8551,1960,7,,""",
    )
    write(folder, "death.csv", "person_id,death_date\n2,2015-01-02")
    write(
        folder,
        "observation_period.csv",
        """observation_period_id,person_id,observation_period_start_date,observation_period_end_date
        1,1,2010-01-01,2012-01-01
        2,1,2013-01-01,2015-06-30
        3,2,2010-01-01,2015-01-02
        4,3,2010-01-01,2014-12-31""",
    )
    write(
        folder,
        "procedure_occurrence.csv",
        """procedure_occurrence_id,person_id,procedure_concept_id,procedure_date,visit_occurrence_id,procedure_source_value,procedure_source_concept_id
        1,1,4001,2014-03-02,10,027034Z,2000001
        2,3,4002,2014-05-06,16,92928,2000002""",
    )
    return Path(folder)


MEDS_EVENTS = """1,,GENDER//F,
1,1950-02-03 00:00:00,MEDS_BIRTH,
1,2014-03-01 09:30:00,HOSPITAL_ADMISSION//EMERGENCY,100
1,2014-03-01 09:30:00,LAB//50912//mg/dL,100
1,2014-03-04 16:00:00,HOSPITAL_DISCHARGE//HOME,100
1,2014-03-04 16:00:00,DIAGNOSIS//ICD//10//E119,100
1,2014-03-04 16:00:00,DIAGNOSIS//ICD//9//250.00,100
1,2014-03-04 20:00:00,ICD10CM//I10,
1,2014-03-08 20:00:00,ICD10CM//I10,
1,2014-05-01 10:00:00,HOSPITAL_ADMISSION//URGENT,101
1,2014-05-02 10:00:00,ICD10CM//I10,101
1,2014-05-03 10:00:00,PROCEDURE//ICD//10//027034Z,101
1,2014-06-01 10:00:00,HOSPITAL_ADMISSION//URGENT,102
1,2014-06-02 10:00:00,ICD10CM//N17.9,102
1,2014-06-03 11:00:00,HOSPITAL_DISCHARGE//HOME,102
2,,GENDER//M,
2,1940-01-01 00:00:00,MEDS_BIRTH,
2,2014-07-01 10:00:00,HOSPITAL_ADMISSION//URGENT,200
2,2014-07-01 12:00:00,ICD9CM//486,200
2,,ICD9CM//4019,200
2,2014-07-05 10:00:00,HOSPITAL_DISCHARGE//DIED,200
2,2014-07-05 10:00:00,MEDS_DEATH,
2,2014-07-05 11:00:00,LOCAL//X1,200
2,2014-09-05 11:00:00,ICD9CM//4019,"""


def meds(folder, hadm=True):
    """MEDS, two shards in two folders: laboratory events; a code after the discharge on its day; one between stays; an
    admission without a discharge; a diagnosis without a time; local codes; birth and death as events."""
    rows = [line.split(",") for line in MEDS_EVENTS.splitlines()]
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "code", "hadm_id"])
    frame["subject_id"] = frame.subject_id.astype("int64")
    frame["time"] = pd.to_datetime(frame.time.where(frame.time != "")).astype("datetime64[us]")
    frame["hadm_id"] = pd.to_numeric(frame.hadm_id)
    frame["numeric_value"] = 1.5
    frame = frame if hadm else frame.drop(columns="hadm_id")
    for split, subject in (("train", 1), ("held_out", 2)):
        path = Path(folder) / "data" / split / "0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame[frame.subject_id == subject].to_parquet(path, index=False)
    splits = pd.DataFrame({"subject_id": [1, 2], "split": ["tuning", "held_out"]})
    (Path(folder) / "metadata").mkdir(exist_ok=True)
    splits.to_parquet(Path(folder) / "metadata" / "subject_splits.parquet", index=False)
    return Path(folder)


def lines(folder, name, resources):
    """One resource a line."""
    return write(folder, name, "\n".join(map(json.dumps, resources)))


ICD10, ICD9, SNOMED = "http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/icd-9-cm", "http://snomed.info/sct"


def condition(number, patient, encounter, *codings, day=None, category="encounter-diagnosis", verified=None):
    """A Condition."""
    found = {"resourceType": "Condition", "id": f"c{number}", "subject": {"reference": f"Patient/{patient}"}}
    found["code"] = {"coding": [{"system": system, "code": code} for system, code in codings]}
    found |= {"encounter": {"reference": encounter}} if encounter else {}
    found |= {"recordedDate": day} if day else {}
    found |= {"category": [{"coding": [{"code": category}]}]} if category else {}
    found |= {"verificationStatus": {"coding": [{"code": verified}]}} if verified else {}
    return found


def fhir_ndjson(folder):
    """FHIR, R4 and R5 mixed: offsets; classes as coding and as list; absolute, versioned and urn references; an
    encounter in progress, one entered in error, an ambulatory one; problem list; several codings; partial dates; a line
    that is no JSON."""

    def encounter(number, patient, kind, start, end, status="finished", **more):
        found = {"resourceType": "Encounter", "id": f"e{number}", "status": status}
        period = {name: value for name, value in (("start", start), ("end", end)) if value}
        r5 = isinstance(kind, list)
        found |= {"class": kind if r5 else {"code": kind}, ("actualPeriod" if r5 else "period"): period}
        return found | {"subject": {"reference": f"https://h/fhir/Patient/{patient}/_history/2"}} | more

    ranks = [
        {"condition": {"reference": "Condition/c2"}, "rank": 1},
        {"condition": {"reference": "Condition/c1"}, "rank": 2},
    ]
    lines(
        folder,
        "Encounter.000.ndjson",
        [
            encounter(1, "a", "IMP", "2014-03-01T23:30:00+01:00", "2014-03-04T16:00:00+01:00", diagnosis=ranks),
            encounter(2, "a", [{"coding": [{"code": "ACUTE"}]}], "2014-05-01", "2014-05-09"),
            encounter(3, "a", "AMB", "2014-06-01", "2014-06-01"),
            encounter(4, "b", "IMP", "2014-07-01", None, status="in-progress"),
            encounter(5, "b", "IMP", "2014-08-01", "2014-08-03", status="entered-in-error"),
            encounter(6, "b", "IMP", "2014-09-01T10:00:00Z", "2014-09-03T10:00:00Z"),
            encounter(7, "b", "IMP", "2014-10", "2014-11"),
        ],
    )
    lines(
        folder,
        "Condition.ndjson.gz",
        [
            condition(1, "a", "Encounter/e1", (SNOMED, "44054006"), (ICD10, "E11.9"), (ICD9, "250.00")),
            condition(2, "a", "https://h/fhir/Encounter/e1", ("urn:oid:2.16.840.1.113883.6.90", "I10")),
            condition(3, "a", "Encounter/e1", (SNOMED, "38341003"), category=None),
            condition(4, "a", "Encounter/e1", (ICD10, "N18.3"), category="problem-list-item"),
            condition(5, "a", "Encounter/e1", (ICD10, "N18.4"), verified="entered-in-error"),
            condition(6, "a", "Encounter/e1", (ICD10, "N18.5"), verified="refuted"),
            condition(7, "a", None, (ICD10, "N17.9"), day="2014-05-03T10:00:00+02:00"),
            condition(8, "a", "urn:uuid:e2", (ICD10, "I21.4")),
            condition(9, "a", "Encounter/e3", (ICD10, "I10")),
            condition(10, "b", "Encounter/e4", (ICD10, "I10")),
            condition(11, "b", "Encounter/e5", (ICD10, "I10")),
            condition(12, "b", "Encounter/e6", (ICD9, "486")),
            condition(13, "b", "Encounter/e6", ("http://local/codes", "X1")),
            condition(14, "b", "Encounter/e7", (ICD10, "I10")),
            condition(15, "b", "Encounter/e6", (ICD10, "J18.9")),
            condition(16, "b", "Encounter/e6", (ICD10, "J96.0")),
        ],
    )
    lines(
        folder,
        "1.Patient.ndjson",
        [
            {"resourceType": "Patient", "id": "a", "gender": "female", "birthDate": "1950-02"},
            {
                "resourceType": "Patient",
                "id": "b",
                "gender": "other",
                "birthDate": "1940",
                "deceasedDateTime": "2015-02",
            },
            {
                "resourceType": "Patient",
                "id": "c",
                "gender": "male",
                "birthDate": "1960-01-01",
                "deceasedBoolean": True,
            },
        ],
    )
    lines(
        folder,
        "Procedure.ndjson",
        [
            {
                "resourceType": "Procedure",
                "id": "p1",
                "status": "completed",
                "subject": {"reference": "Patient/a"},
                "encounter": {"reference": "Encounter/e1"},
                "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-pcs", "code": "027034Z"}]},
            }
        ],
    )
    return Path(folder)


def synthea(folder):
    """Synthea: an ambulatory encounter, a condition without one, times in Z."""
    write(
        folder,
        "encounters.csv",
        """Id,START,STOP,PATIENT,ENCOUNTERCLASS
        e1,2014-03-01T23:30:00Z,2014-03-04T16:00:00Z,a,inpatient
        e2,2014-05-01T10:00:00Z,2014-05-01T10:15:00Z,a,ambulatory
        e3,2014-07-01T10:00:00Z,2014-07-09T10:15:00Z,b,inpatient""",
    )
    write(
        folder,
        "conditions.csv",
        """START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION
        2014-03-01,,a,e1,44054006,x
        2014-05-01,,a,e2,38341003,x
        2014-03-02,,a,,38341003,x
        2014-07-01,,b,e3,38341003,x
        2014-07-01,,b,e3,,x
        2014-07-01,,b,e3,233604007,x""",
    )
    write(folder, "patients.csv", "Id,BIRTHDATE,DEATHDATE,GENDER\na,1950-02-03,,F\nb,1940-01-01,2015-01-02,M")
    return Path(folder)


def i2b2(folder):
    """i2b2: facts that modifiers repeat, with a site's prefix, of other kinds; outpatient and unknown visits."""
    write(
        folder,
        "VISIT_DIMENSION.csv",
        """ENCOUNTER_NUM,PATIENT_NUM,START_DATE,END_DATE,INOUT_CD
        1,10,2014-03-01 09:30:00,2014-03-04 16:00:00,I
        2,10,2014-05-01 09:30:00,2014-05-01 10:00:00,O
        3,11,2014-07-01 09:30:00,2014-07-04 16:00:00,I""",
    )
    write(
        folder,
        "observation_fact.csv",
        """ENCOUNTER_NUM,PATIENT_NUM,CONCEPT_CD,PROVIDER_ID,START_DATE,MODIFIER_CD,INSTANCE_NUM
        1,10,ICD10:E11.9,@,2014-03-01 09:30:00,DX:PRIMARY,1
        1,10,ICD10:E11.9,@,2014-03-01 09:30:00,@,1
        1,10,ICD10:E11.9,@,2014-03-01 09:30:00,DX:BILL,1
        1,10,UKY|ICD9CM:250.00,@,2014-03-01 09:30:00,@,1
        1,10,LOINC:1234-5,@,2014-03-01 09:30:00,@,1
        1,10,ICD10PCS:027034Z,@,2014-03-01 09:30:00,@,1
        2,10,ICD10:I10,@,2014-05-01 09:30:00,@,1
        3,11,ICD10:J18.9,@,2014-07-01 09:30:00,@,1
        9,11,ICD10:I10,@,2014-07-02 09:30:00,@,1""",
    )
    write(
        folder,
        "patient_dimension.csv",
        """PATIENT_NUM,VITAL_STATUS_CD,BIRTH_DATE,DEATH_DATE,SEX_CD
        10,N,1950-02-03 00:00:00,,F
        11,Y,1940-01-01 00:00:00,2015-01-02 00:00:00,Male""",
    )
    return Path(folder)
