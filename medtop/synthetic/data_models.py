"""The generated cohort as a hospital's data model: PCORnet, OMOP 5.4, MEDS 0.4, FHIR R4 (NDJSON), each a folder.

What a model cannot hold is lost: presence on admission in OMOP, MEDS and FHIR; the end of observation in all but OMOP.
Rows of a stay stand in their clinical order, so that a source that orders by place finds it again. Patients are numbers
from 1 in OMOP and MEDS.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from medtop.cohort.splits import assign_splits
from medtop.files.folders import whole_folder
from medtop.synthetic.block_columns import BlockWriter, dates, patient_ids, presence, stay_numbers, times
from medtop.synthetic.codes import CODES

LAYOUTS = ("pcornet", "omop", "meds", "fhir_ndjson")
MARK = "medtop-generated.json"
FIRST_CONCEPT = 45_000_000
INPATIENT, EHR_RECORD = "9201", "32817"
MEDS_SPLITS = {"train": "train", "valid": "tuning", "test": "held_out"}
_MEDS_SCHEMA = pa.schema(
    [("subject_id", pa.int64()), ("time", pa.timestamp("us")), ("code", pa.string()), ("hadm_id", pa.int64())]
)
_UNTIMED = np.iinfo(np.int64).min


def dotted(code):
    """ICD-10 with its dot.

    >>> dotted("E119"), dotted("I10")
    ('E11.9', 'I10')
    """
    return f"{code[:3]}.{code[3:]}" if len(code) > 3 else code


_DOTTED = pa.array([dotted(code.replace(".", "")) for code in CODES])


def open_folder(stack, path, layout, gzip=False, overwrite=False):
    """A function that takes blocks and adds them to the folder `path`, which appears whole when the stack closes.

    Args:
        stack: contextlib.ExitStack.
        path: the folder.
        layout: one of `LAYOUTS`.
        gzip: whether text files are compressed.
        overwrite: replace an earlier one; only what this function made.
    """
    folder = stack.enter_context(whole_folder(path, lambda there: (there / MARK).is_file(), overwrite))
    (folder / MARK).write_text(json.dumps({"generator": "medtop synthetic cohort", "layout": layout}) + "\n")
    return {"pcornet": _open_pcornet, "omop": _open_omop, "meds": _open_meds, "fhir_ndjson": _open_fhir}[layout](
        stack, folder, gzip
    )


def _in_clinical_order(block):
    """Places of the block's rows by stay, presence on admission, priority and code: int64 [C]."""
    return np.lexsort((np.array(CODES)[block.codes], block.priorities, presence(block)[1], block.code_visits))


def _clock(seconds):
    """`HH:MM:SS` of seconds since 1970."""
    rest = np.asarray(seconds) % 86_400
    return pa.array([f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}" for second in rest.tolist()])


def _deaths(block, ids):
    """(ids, dates) of the patients whose death was seen."""
    dead = np.flatnonzero(block.death_days >= 0)
    return ids.take(pa.array(dead)), dates(block.death_days[dead])


def _tables(stack, folder, gzip, names):
    """dict name -> BlockWriter of `<name>.csv[.gz]`."""
    end = ".csv.gz" if gzip else ".csv"
    return {name: BlockWriter(stack, folder / f"{name}{end}", gzip=gzip) for name in names}


def _open_pcornet(stack, folder, gzip):
    files, counted = _tables(stack, folder, gzip, ("ENCOUNTER", "DIAGNOSIS", "DEMOGRAPHIC", "DEATH")), [0]

    def write(block):
        ids, stays, order = patient_ids(block), pa.array(stay_numbers(block)), _in_clinical_order(block)
        people, visits = pa.array(block.visit_patients), block.code_visits[order]
        at, numbers = pa.array(visits), np.arange(len(order)) + counted[0] + 1
        counted[0] += len(order)
        admitted = dates(block.admits // 86_400)
        inpatient = pa.array(["IP"] * len(people))
        files["ENCOUNTER"].write(
            pa.table(
                {
                    "ENCOUNTERID": stays,
                    "PATID": ids.take(people),
                    "ADMIT_DATE": admitted,
                    "ADMIT_TIME": _clock(block.admits),
                    "DISCHARGE_DATE": dates(block.discharges // 86_400),
                    "DISCHARGE_TIME": _clock(block.discharges),
                    "ENC_TYPE": inpatient,
                }
            )
        )
        files["DIAGNOSIS"].write(
            pa.table(
                {
                    "DIAGNOSISID": pa.array(numbers),
                    "PATID": ids.take(people).take(at),
                    "ENCOUNTERID": stays.take(at),
                    "ENC_TYPE": inpatient.take(at),
                    "ADMIT_DATE": admitted.take(at),
                    "DX": _DOTTED.take(pa.array(block.codes[order])),
                    "DX_TYPE": pa.array(["10"] * len(order)),
                    "DX_DATE": admitted.take(at),
                    "DX_SOURCE": pa.array(["DI"] * len(order)),
                    "PDX": pa.array(np.where(block.priorities[order] == 1, "P", "S")),
                    "DX_POA": presence(block)[0].take(pa.array(order)),
                }
            )
        )
        files["DEMOGRAPHIC"].write(
            pa.table({"PATID": ids, "BIRTH_DATE": dates(block.births), "SEX": pa.array(block.sexes.tolist())})
        )
        dead, days = _deaths(block, ids)
        files["DEATH"].write(pa.table({"PATID": dead, "DEATH_DATE": days}))

    return write


def _open_omop(stack, folder, gzip):
    names = ("visit_occurrence", "condition_occurrence", "person", "death", "observation_period", "concept")
    files, written = _tables(stack, folder, gzip, names), [0]
    files["concept"].write(
        pa.table(
            {
                "concept_id": pa.array(range(FIRST_CONCEPT, FIRST_CONCEPT + len(CODES))),
                "vocabulary_id": pa.array(["ICD10CM"] * len(CODES)),
                "concept_code": _DOTTED,
            }
        )
    )

    def write(block):
        ids, stays = patient_ids(block, "omop"), pa.array(stay_numbers(block))
        files["visit_occurrence"].write(_omop_visits(block, ids, stays))
        files["condition_occurrence"].write(_omop_conditions(block, ids, stays, written[0]))
        written[0] += len(block.codes)
        files["person"].write(_omop_people(block, ids))
        dead, days = _deaths(block, ids)
        files["death"].write(pa.table({"person_id": dead, "death_date": days}))
        starts = np.searchsorted(block.visit_patients, np.arange(len(block)))
        files["observation_period"].write(
            pa.table(
                {
                    "observation_period_id": ids,
                    "person_id": ids,
                    "observation_period_start_date": dates(block.admits[starts] // 86_400),
                    "observation_period_end_date": dates(block.observation_days),
                }
            )
        )

    return write


def _omop_visits(block, ids, stays):
    people = pa.array(block.visit_patients)
    return pa.table(
        {
            "visit_occurrence_id": stays,
            "person_id": ids.take(people),
            "visit_concept_id": pa.array([INPATIENT] * len(people)),
            "visit_start_date": dates(block.admits // 86_400),
            "visit_start_datetime": times(block.admits),
            "visit_end_date": dates(block.discharges // 86_400),
            "visit_end_datetime": times(block.discharges),
            "visit_type_concept_id": pa.array([EHR_RECORD] * len(people)),
        }
    )


def _omop_conditions(block, ids, stays, written):
    """The diagnoses of a block; `written` stand in the table already."""
    order = _in_clinical_order(block)
    at, codes = pa.array(block.code_visits[order]), block.codes[order]
    return pa.table(
        {
            "condition_occurrence_id": pa.array(np.arange(len(order)) + written + 1),
            "person_id": ids.take(pa.array(block.visit_patients)).take(at),
            "condition_concept_id": pa.array(np.zeros(len(order), np.int64)),  # no standard concepts: source codes
            "condition_start_date": dates(block.admits // 86_400).take(at),
            "visit_occurrence_id": stays.take(at),
            "condition_source_value": _DOTTED.take(pa.array(codes)),
            "condition_source_concept_id": pa.array(codes + FIRST_CONCEPT),
        }
    )


def _omop_people(block, ids):
    born = block.births.astype("datetime64[D]")
    return pa.table(
        {
            "person_id": ids,
            "gender_concept_id": pa.array(np.where(block.sexes == "F", 8532, 8507)),
            "year_of_birth": pa.array(born.astype("datetime64[Y]").astype(int) + 1970),
            "month_of_birth": pa.array(born.astype("datetime64[M]").astype(int) % 12 + 1),
            "day_of_birth": pa.array((born - born.astype("datetime64[M]")).astype(int) + 1),
        }
    )


def _open_meds(stack, folder, gzip):
    (folder / "data").mkdir()
    (folder / "metadata").mkdir()
    dataset = {"dataset_name": "medtop synthetic cohort", "meds_version": "0.4"}
    (folder / "metadata" / "dataset.json").write_text(json.dumps(dataset) + "\n")
    schema = pa.schema([("subject_id", pa.int64()), ("split", pa.string())])
    splits = stack.enter_context(pyarrow.parquet.ParquetWriter(folder / "metadata" / "subject_splits.parquet", schema))
    shards = [0]

    def write(block):
        ids = patient_ids(block, "meds").to_pylist()
        named = [MEDS_SPLITS[split] for split in assign_splits(ids, 0)]
        splits.write_table(pa.table([pa.array(map(int, ids), pa.int64()), pa.array(named)], schema=schema))
        pyarrow.parquet.write_table(_meds_events(block), folder / "data" / f"{shards[0]}.parquet")
        shards[0] += 1

    return write


def _meds_events(block):
    """The block's events, by subject and time (untimed ones first), in clinical order within an instant."""
    order, stays = _in_clinical_order(block), stay_numbers(block)
    visits, everybody = block.code_visits[order], np.arange(len(block))
    dead = np.flatnonzero(block.death_days >= 0)
    day = 86_400
    untimed, none = np.full(len(block), _UNTIMED), np.zeros(len(block), np.int64)
    codes = np.array([f"DIAGNOSIS//ICD//10//{code.replace('.', '')}" for code in CODES], object)
    parts = [  # (patients, seconds, codes, stays)
        (everybody, untimed, np.char.add("GENDER//", block.sexes.astype(str)).astype(object), none),
        (everybody, block.births * day, np.full(len(block), "MEDS_BIRTH", object), none),
        (block.visit_patients, block.admits, np.full(len(stays), "HOSPITAL_ADMISSION//URGENT", object), stays),
        (block.visit_patients[visits], block.discharges[visits], codes[block.codes[order]], stays[visits]),
        (block.visit_patients, block.discharges, np.full(len(stays), "HOSPITAL_DISCHARGE//HOME", object), stays),
        (dead, block.death_days[dead] * day, np.full(len(dead), "MEDS_DEATH", object), np.zeros(len(dead), np.int64)),
    ]
    patients, seconds, names, hadm = (np.concatenate(values) for values in zip(*parts, strict=True))
    place = np.lexsort((np.arange(len(patients)), seconds, patients))
    patients, seconds, names, hadm = patients[place], seconds[place], names[place], hadm[place]
    timed = seconds != _UNTIMED
    when = pa.array(np.where(timed, seconds, 0) * 1_000_000, pa.timestamp("us"), mask=~timed)
    subjects = pa.array(block.first + patients + 1)
    return pa.table([subjects, when, pa.array(names, pa.string()), pa.array(hadm, mask=hadm == 0)], schema=_MEDS_SCHEMA)


def _open_fhir(stack, folder, gzip):
    files = {}
    for name in ("Encounter", "Condition", "Patient"):
        stream = stack.enter_context(pa.OSFile(str(folder / f"{name}.ndjson{'.gz' if gzip else ''}"), "wb"))
        files[name] = stack.enter_context(pa.CompressedOutputStream(stream, "gzip")) if gzip else stream

    def put(name, resources):
        text = "".join(json.dumps({"resourceType": name, **resource}) + "\n" for resource in resources)
        files[name].write(text.encode())

    def write(block):
        ids, stays = patient_ids(block).to_pylist(), stay_numbers(block).tolist()
        begins, ends = (_instants(values) for values in (block.admits, block.discharges))
        put("Patient", map(_person, ids, block.sexes.tolist(), block.births.tolist(), block.death_days.tolist()))
        put(
            "Encounter",
            (
                {
                    "id": str(stay),
                    "status": "finished",
                    "class": {"code": "IMP"},
                    "subject": {"reference": f"Patient/{ids[patient]}"},
                    "period": {"start": begin, "end": end},
                }
                for stay, patient, begin, end in zip(stays, block.visit_patients.tolist(), begins, ends, strict=True)
            ),
        )
        order = _in_clinical_order(block)
        names = _DOTTED.take(pa.array(block.codes[order])).to_pylist()
        put(
            "Condition",
            (
                {
                    "id": f"{stays[visit]}-{number}",
                    "category": [{"coding": [{"code": "encounter-diagnosis"}]}],
                    "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]},
                    "subject": {"reference": f"Patient/{ids[block.visit_patients[visit]]}"},
                    "encounter": {"reference": f"Encounter/{stays[visit]}"},
                    "recordedDate": ends[visit],
                }
                for number, (visit, code) in enumerate(zip(block.code_visits[order].tolist(), names, strict=True))
            ),
        )

    return write


def _instants(seconds):
    """FHIR's times with an offset, whose wall time is the cohort's."""
    return [f"{text}+00:00" for text in np.datetime_as_string(np.asarray(seconds).astype("datetime64[s]"))]


def _person(name, sex, birth, death):
    resource = {"id": name, "gender": "female" if sex == "F" else "male", "birthDate": str(np.datetime64(birth, "D"))}
    return resource | ({"deceasedDateTime": str(np.datetime64(death, "D"))} if death >= 0 else {})
