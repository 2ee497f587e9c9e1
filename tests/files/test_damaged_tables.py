"""Damaged Parquet and small CSV tables: one line that names the file, whoever reads them."""

import collections
import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixed_key import write_key
from hospital_tables import meds

from medtop.cohort.code_maps import make_map
from medtop.corpus.documents import find_sources, read_batches
from medtop.deidentification.notes_files import NotesFile
from medtop.deidentification.policy import read_policy
from medtop.deidentification.roster import read_roster
from medtop.evaluation.ipcw import COLUMNS, read_follow_up
from medtop.files.errors import DataError
from medtop.files.keys import read_key
from medtop.files.parquet import batches, open_parquet, reading
from medtop.files.staging import check_whole
from medtop.readmission.stay_facts import read_outcomes
from medtop.similarity.pairs import read_pairs
from medtop.sources import load_stays
from medtop.training.run_directory import RunDirectory

COLUMNS_OF = {"patient_id": ["a", "b"], "last_name": ["Smith", "Oh"], "note_id": ["1", "2"], "text": ["one", "two"]}


def page_damaged(folder):
    """A Parquet file whose description is whole and whose first page is not: Arrow says OSError, without a name."""
    path = folder / "t.parquet"
    pq.write_table(pa.table(COLUMNS_OF), path, compression="none")
    content = bytearray(path.read_bytes())
    content[4:20] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(OSError) as told:
        pq.read_table(path)
    assert told.value.filename is None
    return path


@pytest.mark.parametrize(
    "read",
    [
        lambda path: list(batches(path, 10)),
        lambda path: list(read_batches(find_sources([str(path)])[0], collections.Counter())),
        lambda path: read_roster(path),
        lambda path: list(NotesFile(path).rows()),
    ],
    ids=["batches", "corpus", "roster", "notes"],
)
def test_a_damaged_page(tmp_path, read):
    path = page_damaged(tmp_path)
    with pytest.raises(DataError, match="t.parquet: expected a Parquet file") as told:
        read(path)
    assert "\n" not in str(told.value)


def test_a_damaged_page_of_a_folder_that_is_queried(tmp_path):
    """MEDS: the shards' descriptions are whole, their pages are not."""
    meds(tmp_path)
    for path in (tmp_path / "data").rglob("*.parquet"):
        content = bytearray(path.read_bytes())
        content[4:40] = b"\xff" * 36
        path.write_bytes(content)
    with duckdb.connect() as connection, pytest.raises(DataError, match="expected .*, received") as told:
        load_stays(connection, tmp_path, source="meds")
    assert "\n" not in str(told.value)


def test_a_checksum_that_is_none(tmp_path):
    (tmp_path / "c.splits.csv").write_text("patient_id,split\na,train\n")
    for value in (1.5, [1], {"a": 1}):
        (tmp_path / "c.manifest.json").write_text(json.dumps({"sha256": {"splits.csv": value}}))
        with pytest.raises(DataError, match="c.splits.csv: expected the content that its manifest tells of"):
            check_whole(tmp_path / "c.splits.csv")


def test_what_the_file_system_says_goes_through(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_parquet(tmp_path / "none.parquet")
    with pytest.raises(PermissionError), reading("x"):
        raise PermissionError(13, "Permission denied", "x")


@pytest.mark.parametrize(
    "read, content",
    [
        (lambda at: read_pairs(at), b"term1,term2,mean\na,\xff,1\n"),
        (lambda at: read_outcomes(at), b"admission_id,readmission\n1,0\n\xff,1\n"),
        (lambda at: read_follow_up(at), ",".join(COLUMNS).encode() + b"\n\xff,b,c,1,event\n"),
        (lambda at: read_follow_up(at), ",".join(COLUMNS).encode() + "\na,b,c,\u00b2,event\n".encode()),
        (lambda at: make_map("phecode", [str(at)]), b"icd9,phecode\n401.9\n250.00,250.2\n"),
        (lambda at: make_map("ccsr", [str(at)]), b'{"a":' * 100_000),
        (lambda at: read_policy(str(at)), b'{"keep":' + b"[" * 100_000),
    ],
    ids=["pairs", "outcomes", "follow up", "other digits", "short row", "deep map", "deep policy"],
)
def test_small_tables_and_json(tmp_path, read, content):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(DataError) as told:
        read(tmp_path / "t")
    assert str(tmp_path / "t") in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    "content", ["id,split\na,train\n", "patient_id,split\na\n", "patient_id,split\na,\ufffd\ud800\n"]
)
def test_splits_of_a_run(tmp_path, content):
    run = RunDirectory(tmp_path)
    run.restricted.mkdir()
    run.splits_file.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match="splits.csv"):
        run.read_splits()


def test_a_deep_key_file(tmp_path):
    write_key(tmp_path / "key")
    content = json.loads((tmp_path / "key").read_text())
    (tmp_path / "key").write_text(json.dumps(content)[:-1] + ', "more": ' + "[" * 100_000)
    with pytest.raises(DataError, match="key: expected a key file"):
        read_key(tmp_path / "key")
