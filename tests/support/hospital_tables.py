"""Hand-written tables of hospital layouts; each holds every trap that its source's docstring names."""

import gzip
from pathlib import Path


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
