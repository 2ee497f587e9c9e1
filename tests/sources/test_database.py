"""A stays table out of a real PostgreSQL through ADBC: outputs as from a file, no password anywhere."""

import json
import logging
import os
import stat

import postgres
import pyarrow as pa
import pytest

from medtop.cohort.build import Options
from medtop.cohort.preprocess import CohortInput, check_input, preprocess
from medtop.files.errors import DataError
from medtop.sources import database
from medtop.sources.dates import DateRules
from medtop.sources.rules import Rules
from medtop.synthetic.cohort import write_cohort

QUERY = "SELECT * FROM stays ORDER BY place -- by place in the file\n;\n"


def test_addresses_are_shown_without_passwords():
    shown = database.shown_address
    assert shown("adbc:postgresql://anna:x@h:1/d?sslmode=require&password=y") == "adbc:postgresql://anna@h:1/d"
    assert shown("adbc:postgresql:///cohort?host=/run/p&user=anna&password=y") == "adbc:postgresql:///cohort"
    for odd in ("postgresql://a:p@ss@h/d", "postgresql://a:pa/ss@h/d", "postgresql://a:pa?ss@h/d", "mysql://a:b@c/d"):
        assert shown(f"adbc:{odd}") == "adbc:postgresql://..."
        with pytest.raises(DataError, match="of a password as %40") as error:
            database.check_flags(f"adbc:{odd}", "q.sql", None)
        assert "ss@" not in str(error.value)


def test_flags_that_do_not_fit(tmp_path):
    address = "adbc:postgresql://anna:word@localhost/d"
    for given, message in (
        ((address, None, None), "adbc:postgresql://anna@localhost/d: expected --query_file"),
        ((address, "q.sql", "omop"), "expected --source=columns"),
        (("a.csv", "q.sql", None), "--query_file has no effect"),
    ):
        with pytest.raises(DataError, match=message):
            database.check_flags(*given)
    for content, message in (
        (b"", "received nothing"),
        (b"-- only\n", "received nothing"),
        (b"DELETE FROM stays", "received another statement"),
        (b"\xff\xfe", "expected a query in UTF-8"),
    ):
        (tmp_path / "q.sql").write_bytes(content)
        with pytest.raises(DataError, match=message):
            database.fetch(address, tmp_path / "q.sql", tmp_path / "out")
    with pytest.raises(DataError, match="found no such file"):
        database.fetch(address, tmp_path / "none.sql", tmp_path / "out")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(address with its password, folder with the same table as CSV)."""
    pytest.importorskip("adbc_driver_postgresql", reason="the extra medtop[database] is not installed")
    if reason := postgres.missing():
        pytest.skip(reason)
    import adbc_driver_postgresql.dbapi as driver

    folder = tmp_path_factory.mktemp("database")
    write_cohort(folder / "c", 300, 3)
    with postgres.server() as port:
        address = f"postgresql://anna:{postgres.ESCAPED}@127.0.0.1:{port}/postgres"
        with driver.connect(address) as connection, connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE stays (place serial, patient_id text, stay_id bigint, admit timestamp, "
                "discharge timestamp, code text, order_1 int, order_2 int, order_3 int, present_on_admission char(1), "
                "birth date, sex varchar(1), death date, observation_end date)"
            )
            with open(folder / "c.csv", encoding="utf-8") as file:
                names = file.readline().strip()
                rows = [[cell or None for cell in line.rstrip("\n").split(",")] for line in file]
            texts = pa.table(
                {name: list(column) for name, column in zip(names.split(","), zip(*rows, strict=True), strict=True)}
            )
            cursor.adbc_ingest("texts", texts)
            kinds = {"stay_id": "bigint", "admit": "timestamp", "discharge": "timestamp"}
            kinds |= {f"order_{number}": "int" for number in (1, 2, 3)}
            kinds |= dict.fromkeys(("birth", "death", "observation_end"), "date")
            values = ", ".join(f"{name}::{kinds[name]}" if name in kinds else name for name in names.split(","))
            cursor.execute(f"INSERT INTO stays ({names}) SELECT {values} FROM texts")
            connection.commit()
        (folder / "q.sql").write_text(QUERY)
        yield f"adbc:{address}", folder


def run(data_file, prefix, query=None, **options):
    rules = Rules(dates=options.pop("dates", DateRules()))
    source = CohortInput(str(data_file), query_file=None if query is None else str(query), rules=rules)
    return preprocess(source, Options(**options), prefix, overwrite=True)


def test_outputs_are_those_of_the_same_table_as_a_file(server, tmp_path, caplog, capfd):
    address, folder = server
    caplog.set_level(logging.DEBUG)
    first = run(folder / "c.csv", tmp_path / "file").manifest
    second = run(address, tmp_path / "database", folder / "q.sql").manifest
    names = [f"bencs.{split}" for split in ("train", "valid", "test")] + ["types", "vocab.txt", "splits.csv"]
    for name in names:
        assert (tmp_path / f"database.{name}").read_bytes() == (tmp_path / f"file.{name}").read_bytes()
    for key in ("rows_in", "rows_out", "patients_in", "patients_out", "labels"):
        assert second[key] == first[key]
    assert second["source"]["files"] == [str(folder / "q.sql")] and list(second["inputs"]) == [str(folder / "q.sql")]
    assert second["settings"]["data_file"] == address.replace(f":{postgres.ESCAPED}", "")
    assert "Whether the database has changed" in json.dumps(second)
    # no password in any file, message or log, and nothing of the result is left
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    shown = "".join(capfd.readouterr()) + caplog.text
    for secret in (postgres.PASSWORD, postgres.ESCAPED):
        assert secret.encode() not in everything and secret not in shown
    assert not list(tmp_path.rglob("*.parquet"))
    assert run(address, tmp_path / "database", folder / "q.sql").manifest["rows_in"] == first["rows_in"]
    report = check_input(CohortInput(address, query_file=str(folder / "q.sql")), Options())
    assert report["rows"]["in"] == first["rows_in"] and {row["file"] for row in report["columns"]} == {
        str(folder / "q.sql")
    }


def test_types_that_only_a_database_has(server, tmp_path):
    """Zoned times, numerics, arrays of codes, nulls: by the rules of typed files."""
    address, _ = server
    (tmp_path / "q.sql").write_text(
        "SELECT 7::numeric AS patient_id, '2014-07-01 23:30+02'::timestamptz AS admit, "
        "'2014-07-09 00:30+02'::timestamptz AS discharge, ARRAY['ICD10_I10', 'ICD10_E119'] AS code "
        "UNION ALL SELECT 8, '2014-01-01', '2014-01-02', NULL "
        "UNION ALL SELECT 8, '2014-01-01', '2014-01-02', '{ICD10_I10}'"
    )
    flags = dict(index="none", tasks=(), min_code_count=1, min_code_patients=1, splits="train")
    made = run(address, tmp_path / "out", tmp_path / "q.sql", dates=DateRules(time_zone="Europe/Berlin"), **flags)
    assert (made.manifest["patients_out"], made.manifest["rows_out"]) == (2, 3)
    rejects = (tmp_path / "out.rejects.csv").read_text().splitlines()
    assert rejects[1:] == [f"{tmp_path / 'q.sql'},2,code,code_empty"]
    first = made.manifest["dates"]
    assert first["first_admission"] == "2014-01" and "query_result" not in json.dumps(made.manifest)


def test_what_the_database_refuses_is_one_line_without_password(server, tmp_path):
    address, folder = server
    wrong = address.replace(postgres.ESCAPED, "wr0ng%2Fword")
    cases = [
        (wrong, "SELECT 1", "password authentication failed"),
        (address.replace("/postgres", "/n0such"), "SELECT 1", "does not exist"),
        (address.rpartition(":")[0] + ":1/postgres", "SELECT 1", "expected a result of"),
        (address, "SELECT * FROM nothing_here", "does not exist"),
        (address, "WITH gone AS (DELETE FROM stays RETURNING *) SELECT * FROM gone", "read-only transaction"),
        (address, "SELECT * FROM stays WHERE false", "expected rows of"),
        (address, "SELECT 'MRN 77'::int", "expected a result of"),
        (address, "SELECT 1 AS a", "q.sql: expected a column patient_id"),
        (address, "SELECT patient_id, admit, discharge, 401.9::float8 AS code FROM stays", "q.sql: column code"),
    ]
    for where, query, message in cases:
        (tmp_path / "q.sql").write_text(query)
        with pytest.raises(DataError, match=message) as error:
            run(where, tmp_path / "out", tmp_path / "q.sql")
        text = str(error.value)
        assert "\n" not in text and "MRN 77" not in text and "query_result" not in text
        for secret in (postgres.PASSWORD, postgres.ESCAPED, "wr0ng"):
            assert secret not in text
        assert error.value.__cause__ is None
    assert not [path for path in tmp_path.iterdir() if path.name != "q.sql"]
    (tmp_path / "q.sql").write_text("SELECT count(*) AS n FROM stays")
    assert database.fetch(address, tmp_path / "q.sql", tmp_path / "left") == 1  # nothing was deleted
    assert stat.S_IMODE(os.stat(tmp_path / "left").st_mode) == 0o600


def test_memory_holds_a_batch(server, tmp_path):
    """A result of some 300 MB takes a few dozen."""
    import resource

    address, _ = server
    (tmp_path / "q.sql").write_text("SELECT n AS a, repeat(md5(n::text), 16) AS b FROM generate_series(1, 600000) AS n")
    before, seen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    rows = database.fetch(address, tmp_path / "q.sql", tmp_path / "out", lambda what, count: seen.append(count))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert rows == seen[-1] == 600_000 and len(seen) > 5 and seen == sorted(seen)
    assert grown < 150_000  # kB


def test_the_script_takes_both(server, tmp_path, run_script):
    address, folder = server
    script = "preprocessing/preprocess_pretrain_data.py"
    done = run_script(script, address, "NA", tmp_path / "out", 0, f"--query_file={folder / 'q.sql'}", "--dry_run")
    assert done.returncode == 0 and "Read from adbc:postgresql://anna@127.0.0.1" in done.stdout
    report = run_script(script, address, "NA", tmp_path / "out", 0, f"--query_file={folder / 'q.sql'}", "--check")
    assert report.returncode == 0 and (tmp_path / "out.data_report.html").is_file()
    refused = run_script(script, address, "NA", tmp_path / "out", 0)
    assert refused.returncode == 1 and "expected --query_file" in refused.stderr
    shown = "".join(run.stdout + run.stderr for run in (done, report, refused))
    shown += "".join(path.read_text() for path in tmp_path.iterdir())
    assert postgres.PASSWORD not in shown and postgres.ESCAPED not in shown
