"""The reader of tables whose texts span lines: against Python's `csv`, and what it refuses, each in one line."""

import csv
import gzip
import io
import random
import re

import pytest
from note_tables import write_tables

from medtop.files.errors import DataError
from medtop.notes.options import NotesOptions
from medtop.notes.preprocess import NotesInput, preprocess_notes
from medtop.notes.quoted_csv import iterate_blocks


def read_all(path, block_bytes=1 << 20):
    """(rows as lists of str, their lines, rejects) as `iterate_blocks` gives them."""
    rows, lines, rejects = [], [], []
    for block in iterate_blocks(path, block_bytes):
        rejects += block.rejects
        lines += block.lines.tolist()
        for starts, ends, quoted in zip(block.starts, block.ends, block.quoted, strict=True):
            fields = [block.content[start:end].decode() for start, end in zip(starts, ends, strict=True)]
            rows.append(
                [field.replace('""', '"') if inside else field for field, inside in zip(fields, quoted, strict=True)]
            )
        content = path.read_bytes() if path.suffix != ".gz" else gzip.decompress(path.read_bytes())
        assert content[block.base : block.base + len(block.content)] == block.content.removesuffix(
            b"\n" * (not content.endswith(b"\n")) if block.content.endswith(b"\n") else b""
        )
    return rows, lines, rejects


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
def test_equals_pythons_reader(tmp_path, line_end, quoting, block_bytes):
    numbers = random.Random(0)
    rows = [
        [
            "".join(numbers.choices(["a", '"', ",", "\n", "\r\n", "é", " ", ";"], k=numbers.randrange(9)))
            for _ in range(3)
        ]
        for _ in range(120)
    ]
    rows = [row for row in rows if any(row)]
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end, quoting=quoting).writerows([["a", "b", "c"], *rows])
    path = tmp_path / "table.csv"
    path.write_bytes(text.getvalue().encode())
    assert read_all(path, block_bytes)[0] == rows
    reader = csv.reader(io.StringIO(text.getvalue(), newline=""), lineterminator=line_end)
    lines = []
    for number, _ in enumerate(reader):
        lines += [reader.line_num] if number else []
    found = read_all(path, block_bytes)[1]
    feeds = [sum(field.count("\n") for field in row) for row in rows]
    assert found == [2 + number + sum(feeds[:number]) for number in range(len(rows))]
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_all(packed, block_bytes)[0] == rows


def test_blank_lines_missing_line_end_and_wrong_counts(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b'a,b\n1,2\n\n\r\n3\n4,"x\ny"\n5,6,7\n"8","9"')
    assert read_all(path) == (
        [["1", "2"], ["4", "x\ny"], ["8", "9"]],
        [2, 6, 9],
        [(5, "too_few_columns"), (8, "too_many_columns")],
    )


@pytest.mark.parametrize(
    "content, message",
    [
        (b'a,b\n1,2\n3,"x\n4,5\n', "line 3: .* never closed"),
        (b'a,b\n1,2\n3,x"y\n', "line 3: .*within a value"),
        (b'a,b\n1,"x"y\n', "line 2: .*before the value ends"),
        (b'a,b\n1,"x\ny" ,\n', "line 3: .*before the value ends"),
        (b"a,b\r1,2\r", "carriage returns alone"),
        (b"a,b\n1,\0\n", "NUL byte at byte 6"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"", "empty file"),
    ],
)
def test_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    for block_bytes in (3, 1 << 20):
        with pytest.raises(DataError, match=message) as caught:
            list(iterate_blocks(path, block_bytes))
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_quote_that_swallows_the_file_is_found_early(tmp_path, monkeypatch):
    monkeypatch.setattr("medtop.notes.quoted_csv.LONGEST_RECORD", 1_000)
    path = tmp_path / "table.csv"
    path.write_bytes(b'a,b\n1,2\n3,"open\n' + b"4,5\n" * 1_000)
    with pytest.raises(DataError, match="line 3: expected a record of at most 1,000 bytes"):
        list(iterate_blocks(path, 100))


def test_cut_gzip(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-9])
    with pytest.raises(DataError, match="whole gzip file"):
        list(iterate_blocks(path))


HEAD = "SUBJECT_ID,HADM_ID,CHARTDATE,CATEGORY,TEXT\n"


INPUT = ("strict", "encoding", "accept_unusable")


def run(folder, **options):
    source = NotesInput(str(folder), **{name: options.pop(name) for name in INPUT if name in options})
    return preprocess_notes(source, NotesOptions(**options), folder.parent / "out")[0]


def rejects_of(folder):
    with open(folder.parent / "out.rejects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["file"].rsplit("/")[-1], int(row["line"]), row["column"], row["reason"]) for row in rows]


@pytest.fixture
def folder(tmp_path):
    return write_tables(tmp_path / "tables")


def test_bad_rows_are_listed(folder):
    lines = (folder / "ADMISSIONS.csv").read_text().splitlines()
    lines[3] = "1,13,2150-02-02 10:00:00,soon,,URGENT"
    first = len(lines) + 1
    lines += [
        ",14,2150-01-01,2150-01-02,,URGENT",
        "1,,2150-01-01,2150-01-02,,URGENT",
        "1,15,2150-01-03,2150-01-02,,URGENT",
        "1,16,9999-12-31,2150-01-02,,URGENT",
        "1,17,2150-01-01",
        lines[1],
    ]
    (folder / "ADMISSIONS.csv").write_text("\n".join(lines) + "\n")
    notes = (
        HEAD.encode()
        + b'1,11,2150-01-05,Discharge summary,"good\nnote"\n'
        + "".join(
            [
                "1,,2150-01-05,Discharge summary,no admission id\n",
                ",11,2150-01-05,Discharge summary,no patient\n",
                "1,11,2150-01-05,Discharge summary,\n",
                "1,12,05/01/2150,Discharge summary,other date\n",
                "1,12,,Discharge summary,no date\n",
                "1,99,2150-01-05,Discharge summary,other stay\n",
                "1,12,2150\n",
                "2,12,2150-01-05,Discharge summary,of another patient\n",
                "1,12,9999-12-31,Discharge summary,never\n",
                "1,12.0,2150-01-25,Discharge summary,a number as pandas writes it\n",
            ]
        ).encode()
        + (b"1,12,2150-01-25,Discharge summary,\xff\xfe latin\n")
    )
    (folder / "NOTEEVENTS.csv").write_bytes(notes)
    manifest = run(folder, mode="discharge", accept_unusable=("rows",))
    assert rejects_of(folder) == [
        ("ADMISSIONS.csv", 4, "dischtime", "discharge_unparsable"),
        ("ADMISSIONS.csv", first, "subject_id", "patient_id_empty"),
        ("ADMISSIONS.csv", first + 1, "hadm_id", "admission_id_empty"),
        ("ADMISSIONS.csv", first + 2, "dischtime", "discharge_before_admit"),
        ("ADMISSIONS.csv", first + 3, "admittime", "admit_sentinel"),
        ("ADMISSIONS.csv", first + 4, "DISCHTIME", "too_few_columns"),
        ("NOTEEVENTS.csv", 4, "HADM_ID", "admission_id_empty"),
        ("NOTEEVENTS.csv", 5, "SUBJECT_ID", "patient_id_empty"),
        ("NOTEEVENTS.csv", 6, "TEXT", "text_empty"),
        ("NOTEEVENTS.csv", 7, "CHARTDATE", "time_unparsable"),
        ("NOTEEVENTS.csv", 8, "CHARTDATE", "time_empty"),
        ("NOTEEVENTS.csv", 9, "HADM_ID", "admission_unknown"),
        ("NOTEEVENTS.csv", 10, "", "too_few_columns"),
        ("NOTEEVENTS.csv", 11, "HADM_ID", "admission_unknown"),
        ("NOTEEVENTS.csv", 12, "CHARTDATE", "time_sentinel"),
        ("NOTEEVENTS.csv", 14, "TEXT", "text_not_in_encoding"),
    ]
    assert "good" not in (folder.parent / "out.rejects.csv").read_text()
    assert manifest["admissions_merged"] == 1 and manifest["rows_out"] == 2
    for what in ("rows", "admissions"):
        assert manifest[f"{what}_in"] == manifest[f"{what}_out"] + manifest[f"{what}_merged"] + sum(
            manifest[f"{what}_dropped"].values()
        )


def test_strict_stops_at_the_first(folder):
    with pytest.raises(DataError, match=r"NOTEEVENTS.csv: line \d+, column TEXT: .*strict.* text_empty"):
        run(folder, strict=True)


def test_latin_1(folder):
    (folder / "NOTEEVENTS.csv").write_bytes((HEAD + "1,11,2150-01-05,Discharge summary,fi\xe8vre\n").encode("latin-1"))
    with pytest.raises(DataError, match="received none: 1 of 1 rows dropped for text_not_in_encoding; .*--encoding"):
        run(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["tables"]
    manifest = run(folder, encoding="latin-1")
    assert manifest["rows_out"] == 1
    import pyarrow.parquet as parquet

    tables = [parquet.read_table(f"{folder.parent}/out.notes.{split}.parquet") for split in ("train", "valid", "test")]
    assert [text for table in tables for text in table["text"].to_pylist()] == ["fièvre"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("NOTEEVENTS.csv", None, "expected a table NOTEEVENTS"),
        ("ADMISSIONS.csv", None, "expected a table ADMISSIONS"),
        ("NOTEEVENTS.csv", HEAD, "the header only"),
        ("NOTEEVENTS.csv", "SUBJECT_ID,CHARTDATE,CATEGORY,TEXT\n1,2,3,4\n", "expected a column hadm_id"),
        ("NOTEEVENTS.csv", HEAD[:-1] + ",TEXT\n1,11,2150-01-05,Discharge summary,a,b\n", "expected one column text"),
        ("NOTEEVENTS.csv", HEAD + "1,11,2150-01-05,Discharge summary,a\0b\n", "NUL byte"),
        (
            "NOTEEVENTS.csv",
            HEAD + "1,11,5/1/2150,Discharge summary,a\n1,11,\n1,11,6/1/2150,Discharge summary,a\n",
            "received none: 2 of 3 rows dropped for time_unparsable; give the form with --date_format",
        ),
        ("ADMISSIONS.csv", "SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,ADMISSION_TYPE\n1,2,3,4,5\n", "column deathtime"),
        (
            "ADMISSIONS.csv",
            "SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE\n1,2,3/4/2150,,,URGENT\n",
            "received none: 1 of 1 rows dropped for admit_unparsable; give the form with --date_format",
        ),
    ],
)
def test_tables_that_are_refused(folder, name, content, message):
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        run(folder)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.parent.iterdir()] == ["tables"]


def test_a_table_there_twice_and_no_folder(folder):
    (folder / "noteevents.csv.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(DataError, match="expected one file for noteevents"):
        run(folder)
    with pytest.raises(DataError, match="found a file"):
        run(folder / "ADMISSIONS.csv")
    with pytest.raises(DataError, match="found nothing"):
        run(folder / "none")
