"""Schema files and tables: what is read, what is left out and counted, and every mistake as one line."""

import csv
import gzip
import json

import duckdb
import numpy as np
import pytest
from tabular_cases import HEADER, SCHEMA, loaded, rows_of, write

from medtop.files.errors import DataError
from medtop.synthetic.hemodialysis import CLASSES, make_rows
from medtop.tabular.rows import choose_rows, read_table
from medtop.tabular.schema import Condition, parse_condition, read_schema
from medtop.tabular.table_data import load
from medtop.tabular.table_files import read_columns

CONFIGS = ["ckd_schema.json", "hemodialysis_schema.json", "yaib_schema.json"]


def row(**changes):
    """One row of text with some values changed."""
    values = dict(zip(HEADER, ["P1", "1.5", "60", "F", "1", "0", "HD", "250"], strict=True))
    return [str(value) for value in (values | changes).values()]


def test_a_schema_is_read(tmp_path):
    schema = read_schema(write(tmp_path)[1])
    assert schema.rows == (Condition("kt_v", ">", 1.2),) and schema.group == "patient"
    assert [(one.name, one.kind, one.missing) for one in schema.inputs] == [
        ("age", "numeric", "median"),
        ("sex", "categorical", "own_category"),
        ("illness", "multi_hot", "absent"),
    ]
    assert schema.columns == ["kt_v", "patient", "age", "sex", "stroke", "diabetes", "mode", "flow"]
    assert [target.weight for target in schema.with_weights(["flow:2.5"]).targets] == [1.0, 2.5]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_shipped_schemas(repo_root, name):
    schema = read_schema(repo_root / "medtop" / "configs" / name)
    assert len(schema.targets) >= 3 and {target.kind for target in schema.targets} == {"classification", "regression"}


def test_the_hemodialysis_schema_has_36_inputs_and_10_targets(repo_root):
    schema = read_schema(repo_root / "medtop" / "configs" / "hemodialysis_schema.json")
    assert len([column for one in schema.inputs for column in one.columns]) == 36
    heads = {target.name: len(target.classes or ()) for target in schema.targets}
    assert list(heads.values()) == [4, 3, 10, 10, 0, 0, 6, 7, 3, 2]
    assert {name: len(classes) for name, (classes, _) in CLASSES.items()} == {n: k for n, k in heads.items() if k}


def test_generated_hemodialysis_rows(repo_root, tmp_path):
    rows = make_rows(600, seed=3)
    schema = read_schema(repo_root / "medtop" / "configs" / "hemodialysis_schema.json")
    assert set(schema.columns) == set(rows)
    again = make_rows(600, seed=3)
    assert all((rows[name] == again[name]).all() for name in rows)
    assert any((rows[name] != column).any() for name, column in make_rows(600, seed=4).items())
    for name, (classes, _) in CLASSES.items():
        assert set(rows[name]) == set(classes), name
    assert len(set(rows["patient_id"])) < 400
    (tmp_path / "h.csv").write_text("\n".join(",".join(line) for line in [rows, *zip(*rows.values(), strict=True)]))
    data = load(tmp_path / "h.csv", schema)
    assert list(data.dropped) == ["not kt_v > 1.2"] and 0 < data.dropped["not kt_v > 1.2"] < 150
    assert len(data.table) + data.dropped["not kt_v > 1.2"] == 600
    flow, size = (np.array([float(text) for text in rows[name] if text]) for name in ("blood_flow", "dry_weight_kg"))
    assert 230 < flow.mean() < 270 and 55 < size.mean() < 75


@pytest.mark.parametrize(
    "text, expected",
    [
        ("kt_v>1.2", Condition("kt_v", ">", 1.2)),
        ("a b <= -3e2", Condition("a b", "<=", -300.0)),
        ("sex == F", Condition("sex", "==", "F")),
        ("mode != 'HD+HP'", Condition("mode", "!=", "HD+HP")),
        ("x == 1", Condition("x", "==", 1.0)),
    ],
)
def test_conditions(text, expected):
    assert parse_condition(text, "schema.json") == expected


def wrong(name, change, expected):
    return pytest.param(change, expected, id=name)


def with_input(**fields):
    return {"inputs": [SCHEMA["inputs"][0] | fields]}


def with_target(**fields):
    return {"targets": [SCHEMA["targets"][0] | fields]}


@pytest.mark.parametrize(
    "change, expected",
    [
        wrong("version", {"version": 2}, "expected version 1, received version 2"),
        wrong("a version that is true", {"version": True}, "version: expected a whole number, received True"),
        wrong("unknown field", {"input": []}, "the schema: expected known fields, received 'input'"),
        wrong("no inputs", {"inputs": []}, "inputs: expected one entry or more, received none"),
        wrong("inputs no list", {"inputs": "age"}, "inputs: expected a list, received 'age'"),
        wrong("an input no object", {"inputs": ["age"]}, "inputs: expected an object with named fields, received str"),
        wrong(
            "kind", with_input(kind="number"), "age: kind: expected one of numeric, categorical, multi_hot, received"
        ),
        wrong(
            "policy", with_input(missing="own_category"), "age: missing: expected one of median, mean, drop, received"
        ),
        wrong("field of another kind", with_input(components=2), "age: expected known fields, received 'components'"),
        wrong("indicator", with_input(indicator="yes"), "age: indicator: expected a true or false, received 'yes'"),
        wrong("no column", {"inputs": [{"kind": "numeric"}]}, "inputs: expected a column, received ['kind']"),
        wrong("columns without a name", {"inputs": [{"kind": "multi_hot", "columns": ["stroke"]}]}, "a name beside"),
        wrong("components", {"inputs": [SCHEMA["inputs"][2] | {"components": -1}]}, "expected components of 0 or more"),
        wrong("twice", {"inputs": SCHEMA["inputs"][:1] * 2}, "inputs: expected each name once, received age twice"),
        wrong("leak", with_target(column="age"), "age: expected an input or a target, received both"),
        wrong("target kind", with_target(kind="multi_hot"), "mode: kind: expected one of classification, regression"),
        wrong("one class", with_target(classes=["HD"]), "mode: expected two classes or more, received ('HD',)"),
        wrong("weight", with_target(weight=-1), "mode: expected a weight of 0 or more, received -1.0"),
        wrong(
            "units", {"targets": [SCHEMA["targets"][1] | {"loss_units": "mL"}]}, "loss_units: expected one of standard"
        ),
        wrong("condition", {"rows": ["kt_v"]}, "rows: expected conditions such as 'kt_v > 1.2', received 'kt_v'"),
        wrong(
            "condition's value", {"rows": ["kt_v > high"]}, "rows: expected a number after >, received 'kt_v > high'"
        ),
        wrong("separator", {"separator": ";;"}, "separator: expected one character, received ';;'"),
        wrong("texts", {"missing": [0]}, "missing: expected a list of texts, received [0]"),
    ],
)
def test_a_wrong_schema_is_one_line(tmp_path, change, expected):
    path = write(tmp_path, schema=change)[1]
    with pytest.raises(DataError) as caught:
        read_schema(path)
    assert expected in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, expected",
    [
        (None, "expected a schema file (JSON), found no such file"),
        ("{", "expected JSON, received another content"),
        ("[]", "the schema: expected an object with named fields, received list"),
    ],
)
def test_no_schema(tmp_path, content, expected):
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match="schema.json: ") as caught:
        read_schema(path)
    assert expected in str(caught.value)


@pytest.mark.parametrize("items", ["flow", "flow:", "flow:-1", "flow:nan", "other:1", ":1"])
def test_wrong_task_weights(tmp_path, items):
    with pytest.raises(DataError, match="--task_weights: expected target:number"):
        read_schema(write(tmp_path)[1]).with_weights([items])


# Rows


def test_rows_are_filtered_and_counted(tmp_path):
    rows = [
        row(),
        row(kt_v="1.2"),
        row(kt_v="NA"),
        row(patient=""),
        row(mode="", flow="?"),
        row(mode=" HDF "),
        row(flow="", age="null"),
    ]
    data, schema = (f(path) for f, path in zip((lambda p: p, read_schema), write(tmp_path, rows), strict=True))
    table, dropped = choose_rows(read_table(data, schema), schema)
    assert dropped == {"kt_v missing": 1, "not kt_v > 1.2": 1, "patient missing": 1, "no target known": 1}
    assert table.lines.tolist() == [2, 7, 8] and len(table) + sum(dropped.values()) == len(rows)
    assert table.columns["mode"].tolist() == ["HD", "HDF", "HD"] and table.columns["age"].tolist()[2] is None


def test_drop_policy(tmp_path):
    rows = [row(age=""), *rows_of(20)]
    kept = loaded(tmp_path, rows, {"inputs": [{"column": "age", "kind": "numeric", "missing": "drop"}]})
    assert kept.dropped["age missing"] == sum(one[2] == "" for one in rows) == 2


@pytest.mark.parametrize("comparison, left", [(">", 1), (">=", 2), ("<", 1), ("<=", 2), ("==", 1), ("!=", 2)])
def test_each_comparison(tmp_path, comparison, left):
    data, path = write(tmp_path, [row(kt_v=text) for text in ("1.0", "1.2", "1.20001")])
    path.write_text(json.dumps(SCHEMA | {"rows": [f"kt_v {comparison} 1.2"]}))
    schema = read_schema(path)
    assert len(choose_rows(read_table(data, schema), schema)[0]) == left


def test_csv_gz_and_parquet_are_the_same(tmp_path):
    path, described = write(tmp_path)
    schema = read_schema(described)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT * FROM read_csv('{path}')) TO '{tmp_path}/t.parquet'")
    plain = read_table(path, schema)
    zipped, typed = read_table(tmp_path / "t.csv.gz", schema), read_table(tmp_path / "t.parquet", schema)
    for name in schema.columns:
        assert zipped.columns[name].tolist() == plain.columns[name].tolist()
        assert [value is None for value in typed.columns[name]] == [value is None for value in plain.columns[name]]


@pytest.mark.parametrize(
    "rows, schema, expected",
    [
        ([row()], with_input(column="agee"), "expected the column agee"),
        ([row(age="sixty"), row()], {}, "line 2: age: expected a number or a missing value, received another text"),
        ([row(), row(age="inf")], {}, "line 3: age: expected a number"),
        ([row(stroke="maybe"), row()], {}, "line 2: stroke: expected yes or no"),
        ([row(age="-1"), row()], with_input(log=True), "line 2: age: expected 0 or more (log)"),
        ([row(), row(flow="300")], {}, "mode: expected a target with two classes or more, received 1"),
        ([row(), row(mode="HDF")], {}, "flow: expected a target with two values or more, received one"),
        ([row(age=""), row(age="NA", mode="HDF")], {}, "age: expected some value, received a column that is"),
        ([row(flow=""), row(flow="?", mode="HDF")], {}, "flow: expected some value, received a column that"),
        ([row(kt_v="1")], {}, "expected rows that take part, 1 were left out (not kt_v > 1.2: 1)"),
        ([row(kt_v="good")], {}, "line 2: kt_v: expected a number"),
        ([row(), row(mode="HF")], with_target(classes=["HD", "HDF"]), "line 3: mode: expected one of the 2 classes"),
        ([], {}, "expected 1 to 2000000 rows, received none"),
    ],
)
def test_a_wrong_table_is_one_line_without_values(tmp_path, rows, schema, expected):
    path, described = write(tmp_path, rows, schema)
    with pytest.raises(DataError) as caught:
        load(path, read_schema(described))
    message = str(caught.value)
    assert expected in message and str(path) in message and "\n" not in message
    assert "sixty" not in message and "maybe" not in message and "HF," not in message


def test_no_table(tmp_path):
    schema = read_schema(write(tmp_path)[1])
    with pytest.raises(DataError, match="expected a table .CSV or Parquet., found no such file"):
        read_table(tmp_path / "none.csv", schema)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="bad.parquet: expected a Parquet file, received another content"):
        read_table(tmp_path / "bad.parquet", schema)


def test_lines_are_those_of_the_file(tmp_path):
    """Quoted fields over two lines, blank lines, a byte order mark, blanks in the header, a column nobody asked for."""
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbf a ;note; b \r\n1;"x;\ny";"2"\n\n3;"say ""no""";4\r\n5;;\n')
    rows, lines = read_columns(path, ["b", "a"], ";", "me")
    assert rows == [("2", "1"), ("4", "3"), ("", "5")] and lines == [2, 5, 6]
    with open(path, newline="", encoding="utf-8-sig") as file:
        plain = list(csv.DictReader(file, delimiter=";"))
    assert [(row[" b "], row[" a "]) for row in plain] == rows


SECRET = b"P17;secret"


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"a;b\n1;2\n" + SECRET + b";3\n", "line 3: expected 2 fields as in the header, received 3"),
        (b"a;b\n1;2\nsecret\n", "line 3: expected 2 fields as in the header, received 1"),
        (b'a;b\n1;"secret\n3;4\n', "line 2: expected fields between separators or quotes, received another content"),
        (b'a;b\n1;"secret"x\n', "line 2: expected fields between separators or quotes, received another content"),
        (b"a;b\n1;2\n3;secret\xe9\n", "expected text in UTF-8, received other bytes"),
        (
            SECRET + b"\n18;3\n",
            "line 1: expected a header with the columns of schema.json, received 2 fields without any",
        ),
        (
            b"secret",
            "line 1: expected a header with the columns of schema.json, received 1 field without any of them (is",
        ),
        (b"", "line 1: expected a header with the columns of schema.json, received 0 fields without any of them"),
        (b"a;c\n1;secret\n", "line 1: expected the column b (schema.json), received a, c"),
        (b"a;b;a\n1;2;secret\n", "line 1: expected each column once, received a twice"),
        (b"a;b\n", "expected 1 to 2000000 rows, received none"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_tables_are_one_line_without_values(tmp_path, content, expected, zipped):
    path = tmp_path / f"t.csv{'.gz' if zipped else ''}"
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError) as caught:
        read_columns(path, ["a", "b"], ";", "schema.json")
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and expected in message and "\n" not in message
    assert "secret" not in message and "P17" not in message


def test_a_cut_gzip_file(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a;b\n" + b"1;2\n" * 10000)[:-20])
    with pytest.raises(DataError, match="behind line .*: expected a whole gzip file, received a damaged one"):
        read_columns(tmp_path / "t.csv.gz", ["a", "b"], ";", "schema.json")
    (tmp_path / "t.csv.gz").write_bytes(b"a;b\n1;2\n")
    with pytest.raises(DataError, match="expected a whole gzip file, received a damaged one"):
        read_columns(tmp_path / "t.csv.gz", ["a", "b"], ";", "schema.json")
