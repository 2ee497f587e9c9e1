"""Good files of each kind that we read, small, and who reads them: what `fuzz` damages."""

import gzip
import io
import json
import pickle
from pathlib import Path

import numpy as np


def make_kinds(folder):
    """dict kind -> (dict name -> bytes, function of the folder that reads them); `folder` is for making."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for make in (_lists, _json, _arrays, _tables, _entities, _runs):
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

    schema = {
        "version": 1,
        "inputs": [{"name": "a", "kind": "number"}, {"name": "b", "kind": "category"}],
        "targets": [{"name": "y", "kind": "binary"}],
    }
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
        "schema": ({"s.json": json.dumps(schema).encode()}, lambda at: read_schema(at / "s.json")),
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
        files = {path.name: path.read_bytes() for path in sorted(at.rglob("*")) if path.is_file()}

        def read(at, form=form):
            return list(form.read(input_files(at, form.suffixes), Tally()))

        if len(files) and all(path.is_file() for path in at.iterdir()):
            made[name] = (files, read)
    return made


def _runs(folder):
    from medtop.files.atomic import write_json
    from medtop.reporting.card import read_card
    from medtop.training.run_directory import RunDirectory

    run = RunDirectory(folder / "run")
    run.path.mkdir(exist_ok=True)
    write_json(run.run_file, {"version": 1, "settings": {"seed": 1, "tasks": ["long_stay"]}})
    task = {"name": "long_stay", "level": "patient", "labels": ["long_stay"]}
    write_json(run.tasks_file, {"version": 1, "tasks": [task]})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "I10", "E11"]
    write_json(run.config_file, {"activation": "gelu", "vocab_size": len(tokens), "embeddings": ["code", "visit"]})
    run.vocabulary_file.write_text("\n".join(tokens) + "\n")
    files = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}

    def read(at):
        RunDirectory(at).read()
        RunDirectory(at).settings()
        read_card(at)

    return {"run": (files, read)}
