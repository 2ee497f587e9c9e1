"""convert_entities: tables, splits, repeated documents, types, and every refusal in one line."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from entity_cases import documents, meaning

from medtop.entities.convert import ConvertOptions, convert, parse_inputs
from medtop.entities.documents import Document, Span, Tally
from medtop.entities.formats import FORMATS
from medtop.entities.reading import input_files
from medtop.entities.tables import read_tables
from medtop.files.errors import DataError


def write_jsonl(path, given):
    FORMATS["jsonl"].write(path, given, Tally())
    return str(path / "documents.jsonl")


def test_tables_hold_everything(tmp_path):
    given = documents(np.random.default_rng(7), 40)
    given[3].kept = {"brat": {"lines": ["R1\tx Arg1:T1 Arg2:T2"]}}
    given[4].patient_id = "p 4"
    for document in given:
        for span in document.spans:
            span.attributes["assertion"] = "é"
    path = write_jsonl(tmp_path / "in", given)
    manifest, before = convert(ConvertOptions(((None, path),), "jsonl"), tmp_path / "out")
    read = {
        d.document_id: d for split in ("train", "valid", "test") for d in read_tables(tmp_path / "out", split, Tally())
    }
    assert not before and manifest["documents_out"] == len(read) == 40 and all(manifest["splits"])
    for document in given:
        again = read[document.document_id]
        assert (*meaning(again), again.patient_id) == (*meaning(document), document.patient_id)
        assert again.kept.items() >= document.kept.items()
    names = pq.read_schema(tmp_path / "out.spans.train.parquet").names
    assert names == ["document_id", "span_id", "type", "fragment", "start", "end", "attributes", "score"]
    assert convert(ConvertOptions(((None, path),), "jsonl"), tmp_path / "out")[1], (
        "the second time there is nothing to do"
    )
    with pytest.raises(DataError, match="received others"):
        convert(ConvertOptions(((None, path),), "jsonl", seed=1), tmp_path / "out")
    convert(ConvertOptions(((None, str(tmp_path / "out")),), "parquet", "jsonl"), tmp_path / "back")
    back = [
        d
        for s in ("train", "valid", "test")
        for d in FORMATS["jsonl"].read(input_files(tmp_path / "back" / s, (".jsonl",)), Tally())
    ]
    assert {d.document_id: meaning(d) for d in back} == {d.document_id: meaning(d) for d in given}
    with pytest.raises(DataError, match="expected a new folder"):
        convert(ConvertOptions(((None, str(tmp_path / "out")),), "parquet", "jsonl"), tmp_path / "back")


def test_what_belongs_together_stays_together(tmp_path):
    """Patients, equal texts and groups, joined in chains."""
    given = [
        Document(f"d{n}", f"text {n}", patient_id=f"p{n // 2}", columns={"template": str(n // 4)}) for n in range(80)
    ]
    given += [Document("same", "text 0")]
    path = write_jsonl(tmp_path / "in", given)
    for groups, size in (((), 2), (("template",), 4)):
        prefix = tmp_path / f"out{size}"
        convert(ConvertOptions(((None, path),), "jsonl", groups=groups), prefix)
        rows = dict(line.split(",")[::2] for line in (tmp_path / f"out{size}.splits.csv").read_text().splitlines()[1:])
        assert len(rows) == 81 and set(rows.values()) == {"train", "valid", "test"}
        assert all(rows[f"d{n}"] == rows[f"d{n // size * size}"] for n in range(80)) and rows["same"] == rows["d0"]
    with pytest.raises(DataError, match="expected a column of the documents"):
        convert(ConvertOptions(((None, path),), "jsonl", groups=("nothing",)), tmp_path / "x")


def test_given_splits(tmp_path):
    given = [Document(f"d{n}", f"text {n}", patient_id=f"p{n}") for n in range(4)]
    path = write_jsonl(tmp_path / "in", given)
    (tmp_path / "s.csv").write_text("patient_id,split\np0,test\np1,train\np2,valid\n")
    options = ConvertOptions(((None, path),), "jsonl", splits=str(tmp_path / "s.csv"))
    manifest, _ = convert(options, tmp_path / "out")
    assert {name: entry["documents"] for name, entry in manifest["splits"].items()} == {
        "test": 1,
        "train": 1,
        "valid": 1,
    }
    assert manifest["rejected"] == {"not in the file of splits": 1} and manifest["documents_left_out"] == 1
    assert manifest["documents_in"] == manifest["documents_out"] + manifest["documents_left_out"]
    (tmp_path / "s.csv").write_text("patient_id,split\np0,test\np0,train\n")
    with pytest.raises(DataError, match="s.csv: line 3: expected each id in one split"):
        convert(options, tmp_path / "other")
    other = write_jsonl(tmp_path / "in2", [Document("x", "text 0")])
    manifest, _ = convert(ConvertOptions((("train", path), ("test", other)), "jsonl"), tmp_path / "shared")
    assert manifest["counts"]["documents_that_share_a_patient_text_or_group_with_another_split"] == 2
    assert parse_inputs("train=a,dev=b") == (("train", "a"), ("valid", "b"))
    with pytest.raises(DataError, match="expected FILE"):
        parse_inputs("train=a,b")


def test_repeated_documents_types_and_fragments(tmp_path):
    spans = [Span("T1", "Modifier", ((0, 2), (3, 7))), Span("T2", "Odd", ((0, 1),))]
    (tmp_path / "in").mkdir()
    for name, text in (("a", "ab text"), ("b", "ab text"), ("c", "another")):
        FORMATS["jsonl"].write(tmp_path / name, [Document("d", text, spans if name != "c" else [])], Tally())
        (tmp_path / name / "documents.jsonl").rename(tmp_path / "in" / f"{name}.jsonl")
    options = ConvertOptions(
        ((None, str(tmp_path / "in")),), "jsonl", types={"Modifier": "Disease"}, fragments="longest", splits="train"
    )
    manifest, _ = convert(options, tmp_path / "out")
    (document,) = read_tables(tmp_path / "out", "train", Tally())
    assert document.spans == [Span("T1", "Disease", ((3, 7),))]
    assert (manifest["documents_in"], manifest["documents_merged"], manifest["documents_left_out"]) == (3, 1, 1)
    assert manifest["rejected"] == {"a second document with this id": 1, "a type that --types does not name": 1}
    with pytest.raises(DataError, match="a type that --types does not name|a second document"):
        convert(ConvertOptions(options.inputs, "jsonl", types={"x": "y"}, strict=True), tmp_path / "strict")
    assert not list(tmp_path.glob("strict*")) and not list(tmp_path.glob(".strict*"))


def test_script(tmp_path, run_script):
    (tmp_path / "a.txt").write_text("secret pain")
    (tmp_path / "a.ann").write_text("T1\tx 7 11\tpain\nT2\tx 0 6\tother\n")
    flags = [f"--input={tmp_path}", "--from=brat", f"--output_prefix={tmp_path}/out"]
    done = run_script("preprocessing/convert_entities.py", *flags, "--splits=train")
    assert done.returncode == 0 and "1 documents, 1 spans" in done.stdout, done.stderr
    assert (
        "secret"
        not in done.stdout + (tmp_path / "out.rejects.csv").read_text() + (tmp_path / "out.manifest.json").read_text()
    )
    done = run_script("preprocessing/convert_entities.py", *flags[:2], f"--output_prefix={tmp_path}/x", "--to=pubtator")
    assert done.returncode == 0 and json.loads((tmp_path / "x/conversion.json").read_text())["spans_out"] == 1
    (tmp_path / "empty").mkdir()
    done = run_script(
        "preprocessing/convert_entities.py", f"--input={tmp_path}/empty", flags[1], f"--output_prefix={tmp_path}/y"
    )
    assert (
        done.returncode == 1
        and done.stderr == f"error: {tmp_path}/empty: expected files that end in .txt, .ann, found none\n"
    )


def test_what_a_format_has_no_place_for_is_not_counted_as_written(tmp_path):
    spans = [Span("T1", "x", ((0, 2), (3, 4))), Span("T2", "x", ((3, 7),)), Span("T3", "y", ((4, 7),))]
    path = write_jsonl(tmp_path / "in", [Document("a", "ab text", spans), Document("b", "x\0", spans[1:1])])
    for name, out, left in (
        ("i2b2_2014", {"x": 1, "y": 1}, (1, 1)),
        ("conll", {"x": 1}, (0, 2)),
        ("jsonl", {"x": 2, "y": 1}, (0, 0)),
    ):
        manifest = convert(ConvertOptions(inputs=((None, path),), source="jsonl", target=name), tmp_path / name)[0]
        assert manifest["splits"]["all"]["spans"] == out and manifest["spans_out"] == sum(out.values())
        assert (manifest["documents_left_out"], manifest["spans_left_out"]) == left
        assert manifest["documents_out"] == 2 - left[0]
    path = write_jsonl(tmp_path / "none", [Document("b", "x\0")])
    with pytest.raises(DataError, match="found none that can be used"):
        convert(ConvertOptions(inputs=((None, path),), source="jsonl", target="bioc"), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_nothing_to_use_says_why(tmp_path):
    """The reasons, not the names of files, which may be patients'."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("smith", "jones"):
        (folder / f"{name}.txt").write_text("Has pain")
    with pytest.raises(DataError, match=r"found none that can be used: .*\.ann.* \(2 times\)$") as error:
        convert(ConvertOptions(inputs=((None, str(folder)),), source="brat"), tmp_path / "tables")
    assert "smith" not in str(error.value) and list(tmp_path.iterdir()) == [folder]
