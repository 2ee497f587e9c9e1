"""Good files of each kind that we read, small, and who reads them: what `fuzz` damages."""

import collections
import gzip
import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
from fixed_key import write_key


def make_kinds(folder):
    """dict kind -> (dict name -> bytes, function of the folder that reads them); `folder` is for making."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for make in (_lists, _json, _arrays, _tables, _entities, _runs, _identifiers, _texts, _codes, _sources):
        made |= make(folder)
    return made


def _lists(folder):
    from sequence_cases import TASKS, VOCABULARY, chunk_of, random_patients

    from medtop.cohort.pickled_lists import SequenceWriter, read_chunks, read_medbert_rows
    from medtop.cohort.splits import read_split_file
    from medtop.cohort.vocabulary import Vocabulary

    with SequenceWriter(folder / "a.bencs", TASKS, split="train", vocabulary_hash=VOCABULARY.hash) as writer:
        for seed in range(2):
            writer.write(chunk_of(random_patients(4, seed)))
    VOCABULARY.write(folder / "a")
    rows = [[f"p{n}", [3, 0], [12, 0], [1, 2, n], [1, 1, 2]] for n in range(5)]
    return {
        "lists": ({"a.bencs": (folder / "a.bencs").read_bytes()}, lambda at: list(read_chunks(at / "a.bencs"))),
        "medbert": ({"a": pickle.dumps(rows, protocol=2)}, lambda at: list(read_medbert_rows(at / "a"))),
        "types": ({"a.types": (folder / "a.types").read_bytes()}, lambda at: Vocabulary.read(at / "a.types")),
        "vocabulary": ({"a.txt": "\n".join(VOCABULARY.tokens).encode()}, lambda at: Vocabulary.read(at / "a.txt")),
        "splits": ({"a.csv": b"patient_id,split\na,train\nb,test\n"}, lambda at: read_split_file(at / "a.csv")),
    }


def _json(folder):
    from medtop.cohort.endpoints import read_endpoints
    from medtop.data.description import read_dataset
    from medtop.data.framing import check_frames
    from medtop.evaluation.calibration import Calibration, read_calibrations, write_calibrations
    from medtop.grid.cells import read_grid
    from medtop.model.config import BertConfig
    from medtop.tabular.schema import read_schema
    from medtop.training.log import read_log

    root = Path(__file__).resolve().parents[2]
    write_calibrations(folder / "c.json", {"t": Calibration.identity("t", ("a", "b"), reason=None)})
    endpoints = json.dumps({"endpoints": {"A": {"icd10": ["I10", "I11"], "history": {"icd9": ["410"]}}}}).encode()
    own = b"endpoints:\n  A: &a\n    icd10: [I10, I11]\n  B: *a\n"
    grid = b"output_dir: out\nflags: {do_train: true}\ngrid:\n  seed: [1, 2]\n  a: {low: 1, high: 2}\n"
    from test_hostile_datasets import RECORD, describe, frame

    path, content = describe(folder)

    def dataset(at):
        check_frames(read_dataset(at / "d"))

    schema = (root / "medtop" / "configs" / "ckd_schema.json").read_bytes()
    return {
        "config": (
            {"c.json": (root / "medtop" / "configs" / "small.json").read_bytes()},
            lambda at: BertConfig.from_file(at / "c.json"),
        ),
        "dataset.json": ({"d.dataset.json": path.read_bytes(), "d": frame(RECORD) * 2}, dataset),
        "endpoints": ({"e.json": endpoints}, lambda at: read_endpoints(at / "e.json")),
        "yaml": ({"e.yaml": own}, lambda at: read_endpoints(at / "e.yaml")),
        "grid": ({"g.yaml": grid}, lambda at: read_grid(at / "g.yaml", root / "run_scripts")),
        "calibration": (
            {"c.json": (folder / "c.json").read_bytes()},
            lambda at: read_calibrations(at / "c.json"),
        ),
        "schema": ({"s.json": schema}, lambda at: read_schema(at / "s.json")),
        "log": ({"l.jsonl": b'{"step": 1, "loss": 0.5}\n' * 3}, lambda at: read_log(at / "l.jsonl")),
    }


def _arrays(folder):
    from medtop.convert.weight_files import read_weights
    from medtop.training.checkpoints import read_arrays, write_arrays

    arrays = {"a/kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(3, np.float32)}
    write_arrays(folder / "w.npz", arrays, {"step": 3})
    made = {"npz": ({"w.npz": (folder / "w.npz").read_bytes()}, lambda at: read_arrays(at / "w.npz"))}
    try:
        import torch
        from safetensors.numpy import save
    except ImportError:
        return made
    content = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, content)
    return made | {
        "safetensors": ({"model.safetensors": save(arrays)}, read_weights),
        "torch": ({"pytorch_model.bin": content.getvalue()}, read_weights),
    }


def _tables(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from medtop.files.sql import open_database
    from medtop.notes.quoted_csv import iterate_rows, table_header
    from medtop.sources import load_stays

    months = [f"20{n % 15 + 10}-0{n % 9 + 1}" for n in range(60)]
    lines = [
        f"P{n % 9},S{n},{month}-05,{month}-0{n % 4 + 5},I{n % 40 + 10},F,1950-01-0{n % 9 + 1}"
        for n, month in enumerate(months)
    ]
    header = "patient_id,stay_id,admit,discharge,code,sex,birth"
    plain = "\n".join([header, *lines, ""]).encode()
    quoted = "\n".join([header, *(line.replace(",I", ',"I').replace(",F", '",F') for line in lines), ""]).encode()
    table = pa.table([list(part) for part in zip(*(line.split(",") for line in lines), strict=True)], header.split(","))
    pq.write_table(table, folder / "t.parquet")
    notes = b'ID,TEXT,Label\n1,"a ""b""\nc",0\n2,d,1\n'

    def load(name):
        def read(at):
            with open_database(folder, "256MB", 1) as connection:
                load_stays(connection, at / name, source="columns")

        return read

    def rows(at):
        columns = range(len(table_header(at / "n.csv")[1]))
        return [[field(place) for place in columns] for _, field in iterate_rows(at / "n.csv")]

    return {
        "csv": ({"t.csv": plain}, load("t.csv")),
        "quoted": ({"t.csv": quoted}, load("t.csv")),
        "gzip": ({"t.csv.gz": gzip.compress(plain)}, load("t.csv.gz")),
        "parquet": ({"t.parquet": (folder / "t.parquet").read_bytes()}, load("t.parquet")),
        "notes": ({"n.csv": notes}, rows),
    }


def _entities(folder):
    from medtop.entities.documents import Document, Span, Tally
    from medtop.entities.formats import FORMATS
    from medtop.entities.reading import input_files

    text = "Severe pain in the left arm .\nNo fever today .\n"
    spans = [Span("T1", "Problem", ((7, 11),)), Span("T2", "Problem", ((33, 38),), {"assertion": "absent"})]
    made = {}
    for name, form in FORMATS.items():
        at = folder / name
        at.mkdir(exist_ok=True)
        form.write(at, [Document("a", text, spans)], Tally())
        files = {path.relative_to(at).as_posix(): path.read_bytes() for path in sorted(at.rglob("*")) if path.is_file()}

        def read(at, form=form):
            return list(form.read(input_files(at, form.suffixes), Tally()))

        made[name] = (files, read)
    return made


def _runs(folder):
    from medtop.evaluation.predictions import Predictions, read_predictions, write_predictions
    from medtop.files.atomic import write_json
    from medtop.files.errors import DataError
    from medtop.files.staging import check_whole
    from medtop.reporting.card import Card, read_card, write_card
    from medtop.training.run_directory import RunDirectory

    run = RunDirectory(folder / "run")
    run.path.mkdir(exist_ok=True)
    write_json(run.run_file, {"version": 1, "settings": {"seed": 1, "tasks": ["long_stay"]}})
    task = {"name": "long_stay", "level": "patient", "labels": ["long_stay"]}
    write_json(run.tasks_file, {"version": 1, "tasks": [task]})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "I10", "E11"]
    write_json(run.config_file, {"activation": "gelu", "vocab_size": len(tokens), "embeddings": ["code", "visit"]})
    run.vocabulary_file.write_text("\n".join(tokens) + "\n")
    write_card(run.path, Card(tasks={"long_stay": ["long_stay"]}, split="test", metrics={}))
    run.restricted.mkdir(exist_ok=True)
    run.write_splits({"train": ["a", "b"], "valid": ["c"], "test": ["d"]})
    ones = np.ones((3, 1))
    predictions = Predictions("long_stay", ("long_stay",), np.array(["d", "e", "f"]), np.arange(3), ones, ones, -ones)
    write_predictions(run.predictions_file, [(predictions, predictions.probabilities)])
    files = {path.relative_to(run.path).as_posix(): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}

    def read(at):
        here = RunDirectory(at)
        for read_one in (here.read, here.settings, here.read_splits, lambda: read_card(at)):
            try:
                read_one()
            except DataError as error:
                first = error
        read_predictions(here.predictions_file)
        if "first" in locals():
            raise first

    prefix = folder / "cohort"
    content = b"patient_id,split\na,train\n"
    manifest = {"format": "medtop preprocessing", "sha256": {"splits.csv": hashlib.sha256(content).hexdigest()}}
    sums = {"cohort.splits.csv": content, "cohort.manifest.json": json.dumps(manifest).encode()}
    return {"run": (files, read), "checksums": (sums, lambda at: check_whole(at / f"{prefix.name}.splits.csv"))}


def _identifiers(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from medtop.deidentification.model import read_thresholds
    from medtop.deidentification.notes_files import NotesFile
    from medtop.deidentification.own_rules import choose_rules
    from medtop.deidentification.policy import POLICIES, read_policy
    from medtop.deidentification.roster import read_roster
    from medtop.files.keys import read_key

    (folder / "key").unlink(missing_ok=True)
    write_key(folder / "key")
    rows = {
        "patient_id": ["a", "b"],
        "first_name": ["Ann", "Bo"],
        "last_name": ["Smith", "O'Hara"],
        "mrn": ["77889", ""],
    }
    roster = "\n".join([",".join(rows), *(",".join(row) for row in zip(*rows.values(), strict=True)), ""]).encode()
    pq.write_table(pa.table(rows), folder / "roster.parquet")
    notes = {"note_id": ["1", "2"], "patient_id": ["a", "b"], "text": ["Ann Smith came.", "Bo left on 2101-03-04."]}
    pq.write_table(pa.table(notes), folder / "n.parquet")
    rules = json.dumps([{"type": "MRN", "name": "ours", "pattern": "[A-Z]{2}\\d{5}"}]).encode()
    thresholds = json.dumps({"model": "x", "types": {"NAME": {"threshold": 0.5}}}).encode()

    def key(at):
        (at / "key").chmod(0o600)
        read_key(at / "key")

    def own_rules(at):
        choose_rules(str(at / "r.json"), POLICIES["safe_harbor"])[0][0].pattern.search("AB12345 " * 20)

    return {
        "key": ({"key": (folder / "key").read_bytes()}, key),
        "roster": ({"r.csv": roster}, lambda at: read_roster(at / "r.csv").find("Ann Smith, 77889", "a")),
        "roster parquet": (
            {"r.parquet": (folder / "roster.parquet").read_bytes()},
            lambda at: read_roster(at / "r.parquet").find("Ann Smith, 77889", "a"),
        ),
        "policy": ({"p.json": b'{"keep": ["DATE", "AGE"]}'}, lambda at: read_policy(str(at / "p.json"))),
        "rules": ({"r.json": rules}, own_rules),
        "thresholds": ({"t.json": thresholds}, lambda at: read_thresholds(at / "t.json")),
        "noted csv": (
            {"n.csv": b'note_id,patient_id,text\n1,a,"Ann\nSmith"\n2,b,left\n'},
            lambda at: list(NotesFile(at / "n.csv").rows()),
        ),
        "noted parquet": (
            {"n.parquet": (folder / "n.parquet").read_bytes()},
            lambda at: list(NotesFile(at / "n.parquet").rows()),
        ),
    }


def _texts(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from medtop.corpus.documents import find_sources, read_batches

    lines = b'{"id": "1", "text": "pain in the arm"}\n{"id": "2", "text": "no fever"}\n'
    pq.write_table(pa.table({"id": ["1", "2"], "text": ["pain", "fever"]}), folder / "c.parquet")
    rows = b'1,2,3,2101-01-01,Nursing,"a ""b""\nc"\n2,2,4,2101-01-02,X,d\n'
    table = b"ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CATEGORY,TEXT\n" + rows

    def read(name):
        return lambda at: list(read_batches(find_sources([str(at / name)])[0], collections.Counter()))

    return {
        "corpus lines": ({"c.jsonl": lines}, read("c.jsonl")),
        "corpus parquet": ({"c.parquet": (folder / "c.parquet").read_bytes()}, read("c.parquet")),
        "corpus table": ({"c.csv": table}, read("c.csv")),
        "corpus text": ({"c.txt": b"pain in the arm\n"}, read("c.txt")),
    }


def _codes(folder):
    from medtop.cohort.code_maps import make_map
    from medtop.cohort.rolling_up import code_map_of, roll_up
    from medtop.evaluation.ipcw import read_follow_up
    from medtop.files.sql import open_database
    from medtop.readmission.stay_facts import read_outcomes
    from medtop.similarity.pairs import read_pairs
    from medtop.sources.code_titles import code_titles

    gem, ccsr = b"4019  I10    00000\n25000 E119   10000\nV1000 NoDx   01000\n", b'{"I10": "CIR007", "E119": "END002"}'
    ccs = b"1     Tuberculosis\n      01000 01001\n2     Other\n      V1000\n"
    phecode = b'icd9,phecode\n401.9,401.1\n250.00,"250.2"\n'

    def made(kind):
        return lambda at: make_map(kind, [str(at / "m")])

    def used(at):
        with open_database(at, "256MB", 1) as connection:
            roll_up(["ICD10_I10", "ICD10_E119"], np.array([3, 2]), code_map_of(connection, str(at / "m.csv"), "first"))

    ends = b"patient_id,prediction_time,endpoint,days,end\na,2010-01-01T00:00:00,CKD,30,event\n"
    outcomes, pairs = b"admission_id,readmission\n1,0\n2,1\n", b"term1,term2,mean\na,b,1\nb,c,2\nc,d,3\n"
    titles = b"system,code,title\nicd10,I10,Hypertension\n"
    return {
        "follow up": ({"f.csv": ends}, lambda at: read_follow_up(at / "f.csv")),
        "outcomes": ({"o.csv": outcomes}, lambda at: read_outcomes(at / "o.csv")),
        "pairs": ({"p.csv": pairs}, lambda at: read_pairs(at / "p.csv")),
        "titles": ({"t.csv": titles}, lambda at: code_titles(["ICD10_I10"], at / "t.csv")),
        "gem": ({"m": gem}, made("gem")),
        "ccs": ({"m": ccs}, made("ccs")),
        "ccsr": ({"m": ccsr}, made("ccsr")),
        "phecode": ({"m": phecode}, made("phecode")),
        "code map": ({"m.csv": b"from,to\nICD10_I10,A\nICD10_E119,B\n"}, used),
    }


def _sources(folder):
    import hospital_tables

    from medtop.files.sql import open_database
    from medtop.sources import load_stays

    made = {}
    for name, source in (("fhir_ndjson", "fhir_ndjson"), ("meds", "meds")):
        at = folder / name
        at.mkdir(exist_ok=True)
        getattr(hospital_tables, name)(at)
        files = {path.relative_to(at).as_posix(): path.read_bytes() for path in at.rglob("*") if path.is_file()}

        def read(at, source=source):
            with open_database(at.parent / "db", "256MB", 1) as connection:
                load_stays(connection, at, source=source)

        made[name] = (files, read)
    return made
