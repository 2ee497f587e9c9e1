"""Plain text: Arrow's way and DuckDB's way give the same tables, counts, rejects and errors; doubt falls back."""

import duckdb
import numpy as np
import pytest

from medtop.files.errors import DataError
from medtop.sources import load_stays, plain_text, reading, rows
from medtop.sources.dates import DateRules
from medtop.sources.row_sql import UNUSABLE
from medtop.sources.rules import Rules

TSV_HEADER = "patient\tadmit\tdischarge\tdiagnosis\tpoa\tpriority\tthird_party\n"
GOOD = "p1\t2014-03-01\t2014-03-04\tICD9_150.6\t6\t1\t0\n"
COLUMNS = "patient_id,admit,discharge,code,order_1,present_on_admission,birth,sex,death,observation_end,more\n"


@pytest.fixture
def ways(monkeypatch):
    """The reading methods that were called, in order."""
    called = []
    for name in ("insert", "insert_plain"):
        method = getattr(reading.TableReader, name)

        def spy(self, *arguments, _name=name, _method=method, **named):
            called.append(_name)
            return _method(self, *arguments, **named)

        monkeypatch.setattr(reading.TableReader, name, spy)
    return called


def load(files, folder, **arguments):
    """Everything that loading gives: tables in order, report or error line, rejects."""
    rejects = folder / "rejects.csv"
    rejects.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        try:
            report = load_stays(connection, ",".join(map(str, files)), rejects_path=rejects, **arguments)
        except DataError as error:
            return str(error), connection.execute("SELECT current_setting('threads')").fetchall()
        return (
            connection.execute("SELECT rowid, * FROM stays ORDER BY rowid").fetchall(),
            connection.execute("DESCRIBE stays").fetchall(),
            connection.execute("SELECT * FROM patients ORDER BY patient_id").fetchall(),
            connection.execute("DESCRIBE patients").fetchall(),
            report,
            rejects.read_text() if rejects.exists() else None,
            connection.execute("SELECT current_setting('threads')").fetchall(),
        )


def both_ways(files, folder, monkeypatch, **arguments):
    """Loads as it comes, and with DuckDB's reader alone; the two must agree."""
    first = load(files, folder, **arguments)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "plain_types", lambda *_: None)
        second = load(files, folder, **arguments)
    assert first == second
    return first


def write(folder, content, name="data.tsv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def random_rows(rng, count, delimiter, awkward):
    """A table's rows; `awkward` is the share of values that are not plain, or not usable."""
    dates = ["2014-03-01", "2014-03-04", "2016-02-29", "1799-12-31", "2262-01-01", "0001-01-01", "9999-12-31", ""]
    odd_dates = [
        "2014/03/01",
        "20140301",
        "2014-02-30",
        "2014-03-01 08:00",
        "2014-03-01 ",
        "NULL",
        "never",
        "0000-01-01",
    ]
    numbers = ["0", "1", "12", "007", "65535", ""]
    odd_numbers = ["-1", "65536", "0x1F", "0xFFFFFFFF", "1e2", " 5", "Y", "NULL", "99999999999", "+3", "1_0"]
    codes = ["A00", "ICD9_250.00", "ICD10_E11", "é", "\u2028", "x" * 40, ""]

    def draw(usual, odd):
        return str(rng.choice(odd if rng.random() < awkward else usual))

    for _ in range(count):
        admit, discharge = draw(dates[:3] * 4 + dates, odd_dates), draw(dates[:3] * 4 + dates, odd_dates)
        values = [
            str(rng.choice(["p1", "p2", "12", "007", ""], p=[0.3, 0.3, 0.2, 0.15, 0.05])),
            admit,
            discharge,
            str(rng.choice(codes)),
        ]
        if delimiter == "\t":
            values += [draw(numbers, odd_numbers) for _ in range(3)]
        else:
            values += [
                draw(numbers, odd_numbers),
                str(rng.choice(["Y", "N", "1", "U", ""])),
                draw(dates, odd_dates),
                str(rng.choice(["F", "m", "x", ""])),
                draw(dates, odd_dates),
                draw(dates, odd_dates),
                "z",
            ]
        yield delimiter.join(values) + "\n"


@pytest.mark.quick(r"0-\t-0.2", "0-,-0", "0-,-0.001")
@pytest.mark.parametrize("awkward", [0, 0.001, 0.2])
@pytest.mark.parametrize("delimiter", ["\t", ","])
@pytest.mark.parametrize("seed", range(6))
def test_random_tables_load_alike(tmp_path, monkeypatch, ways, seed, delimiter, awkward):
    rng = np.random.default_rng([seed, ord(delimiter), int(1000 * awkward)])
    monkeypatch.setattr(plain_text, "BLOCK", 4096)  # many batches, so that a failure comes after some were inserted
    header = TSV_HEADER if delimiter == "\t" else COLUMNS
    tables = [random_rows(rng, int(rng.integers(1, 500)), delimiter, share) for share in (0, awkward, awkward)]
    files = [write(tmp_path, header + "".join(table), f"{number}.txt") for number, table in enumerate(tables)]
    source = "medbert_tsv" if delimiter == "\t" else "columns"
    accepted = Rules(accept_unusable=("rows", *UNUSABLE))
    result = both_ways(files, tmp_path, monkeypatch, source=source, rules=accepted)
    assert "insert_plain" in ways
    if not awkward:
        assert 1 <= ways.count("insert_plain") <= 3  # those that are alike together
        assert ways.count("insert") == 3  # then DuckDB alone
        assert len(result) == 7 and result[0]


def test_a_plain_file_is_read_once(tmp_path, ways):
    stays, *_ = load([write(tmp_path, TSV_HEADER + GOOD * 3)], tmp_path)
    assert ways == ["insert_plain"] and len(stays) == 3


NOT_PLAIN_AT_SIGHT = {
    "quote": GOOD.replace("p1", '"p1"'),
    "blank": GOOD.replace("2014-03-04", "2014-03-04 "),
    "carriage return": GOOD.replace("\n", "\r\n"),
    "empty line": "\n" + GOOD,
    "slashes": GOOD.replace("-", "/"),
    "times": GOOD.replace("2014-03-04", "2014-03-04T10:00:00"),
    "short row": "p1\t2014-03-01\n" + GOOD,
}


@pytest.mark.quick(first=3)
@pytest.mark.parametrize("name", NOT_PLAIN_AT_SIGHT)
def test_what_is_not_plain_at_sight_is_not_tried(tmp_path, monkeypatch, ways, name):
    both_ways([write(tmp_path, TSV_HEADER + GOOD + NOT_PLAIN_AT_SIGHT[name])], tmp_path, monkeypatch)
    assert ways == ["insert", "insert"]


NOT_PLAIN_LATE = {
    "other date": GOOD.replace("2014-03-01", "20140301"),
    "date and time": GOOD.replace("2014-03-04", "2014-03-04T00:00:00"),
    "no date": GOOD.replace("2014-03-01", "NULL"),
    "number below zero": GOOD.replace("\t6\t", "\t-1\t"),
    "number as hexadecimal": GOOD.replace("\t6\t", "\t0xFFFFFFFF\t"),
    "letter for a number": GOOD.replace("\t6\t", "\tY\t"),
    "too few columns": "p1\t2014-03-01\n",
    "too many columns": GOOD.replace("\n", "\t1\n"),
    "not UTF-8": GOOD.encode().replace(b"p1", b"p\xff"),
    "long line": GOOD.replace("p1", "p" * 40_000),
}


@pytest.mark.quick(first=3)
@pytest.mark.parametrize("name", NOT_PLAIN_LATE)
def test_what_turns_out_not_plain_is_read_from_its_start(tmp_path, monkeypatch, ways, name):
    monkeypatch.setattr(plain_text, "BLOCK", 8192)
    bad = NOT_PLAIN_LATE[name]
    bad = bad if isinstance(bad, bytes) else bad.encode()
    files = [
        write(tmp_path, TSV_HEADER + GOOD * 50, "first.tsv"),
        write(tmp_path, TSV_HEADER.encode() + GOOD.encode() * 900 + bad + GOOD.encode(), "second.tsv"),
    ]
    stays, *_ = both_ways(files, tmp_path, monkeypatch)
    # both together; each on its own, the second by DuckDB after all; then DuckDB alone
    assert ways == ["insert_plain"] * 3 + ["insert"] * 3
    assert 951 <= len(stays) <= 952


def test_values_that_cannot_be_used_do_not_need_the_other_way(tmp_path, monkeypatch, ways):
    bad = (
        GOOD.replace("p1", "")
        + GOOD.replace("ICD9_150.6", "")
        + GOOD.replace("2014-03-01", "")
        + GOOD.replace("2014-03-04", "2014-02-28")
        + GOOD.replace("2014-03-04", "9999-12-31")
    )
    *_, report, rejects, _ = both_ways([write(tmp_path, TSV_HEADER + GOOD * 5 + bad)], tmp_path, monkeypatch)
    assert ways == ["insert_plain", "insert"]
    assert report.rows_dropped == {
        "patient_id_empty": 1,
        "code_empty": 1,
        "admit_empty": 1,
        "discharge_before_admit": 1,
        "discharge_sentinel": 1,
    }
    assert rejects.splitlines()[1].endswith(",7,patient,patient_id_empty")


@pytest.mark.parametrize(
    "content",
    [
        TSV_HEADER,
        TSV_HEADER + GOOD[:-1],
        "\ufeff" + TSV_HEADER + GOOD,
        "only one\n" + GOOD,
        TSV_HEADER + "\n" * 3,
        TSV_HEADER.encode() + GOOD.encode() + b"\0",
        TSV_HEADER.encode().replace(b"patient", b"p\xff") + GOOD.encode(),
        TSV_HEADER + GOOD.replace("2014-03-01", "") * 2,
        TSV_HEADER + GOOD.replace("p1", "0" * 30),
    ],
)
def test_odd_files_end_alike(tmp_path, monkeypatch, content):
    both_ways([write(tmp_path, content)], tmp_path, monkeypatch, source="medbert_tsv")


@pytest.mark.parametrize("options", [{"strict": True}, {"rules": Rules(DateRules(date_format="%Y-%m-%d"))}])
def test_options_hold_on_both_ways(tmp_path, monkeypatch, options):
    both_ways([write(tmp_path, TSV_HEADER + GOOD + GOOD.replace("ICD9_150.6", ""))], tmp_path, monkeypatch, **options)


def test_a_path_with_a_packer_s_suffix_is_read_by_its_bytes(tmp_path, monkeypatch, ways):
    both_ways([write(tmp_path, TSV_HEADER + GOOD, "data.bz2")], tmp_path, monkeypatch, source="medbert_tsv")
    assert ways == ["insert_plain", "insert"]


def test_rows_that_go_missing_are_noticed(tmp_path, ways, monkeypatch):
    monkeypatch.setattr(plain_text, "_counted", lambda batches, expected: COUNTED(batches, expected + 1))
    stays, *_ = load([write(tmp_path, TSV_HEADER + GOOD * 3)], tmp_path)
    assert ways == ["insert_plain", "insert"] and len(stays) == 3


COUNTED = plain_text._counted
