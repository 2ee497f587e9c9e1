"""Many small files: inserted together, with the rows, ranges and rejects of each."""

import duckdb
import pytest

from medtop.sources import load_stays, reading, rows

HEADER = "patient_id,admit,discharge,code\n"


def write(folder, count, bad=()):
    folder.mkdir()
    for number in range(count):
        day = "2010-13-45" if number in bad else "2010-01-03"
        text = f"P{number},2010-01-01,2010-01-03,I10\nP{number},2010-01-01,{day},I1{number % 10}\n"
        (folder / f"f{number:04d}.csv").write_text(HEADER + text * (1 + number % 3))
    return str(folder / "f*.csv")


def load(pattern, rejects):
    with duckdb.connect() as connection:
        report = load_stays(connection, pattern, rejects_path=rejects)
        stays = connection.execute("SELECT * FROM stays").fetchall()
    return stays, report.rows_in, report.rows_dropped, rejects.read_text() if rejects.exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize("in_query", [200, 1])
def test_together_is_as_one_by_one(tmp_path, monkeypatch, in_query):
    """The same rows in the same order, the same rejects; few statements instead of one a file."""
    pattern = write(tmp_path / "a", 40, bad=(3, 17, 39))
    calls, insert = [], reading.TableReader.insert_plain
    monkeypatch.setattr(
        reading.TableReader,
        "insert_plain",
        lambda self, numbers, *more: calls.append(len(numbers)) or insert(self, numbers, *more),
    )
    monkeypatch.setattr(rows, "MOST_IN_QUERY", in_query)
    together = load(pattern, tmp_path / "together.csv")
    assert max(calls) > 10 and sum(calls) >= 40
    calls.clear()
    monkeypatch.setattr(rows, "MOST_TOGETHER", 1)
    monkeypatch.setattr(rows, "MOST_IN_QUERY", 200)
    alone = load(pattern, tmp_path / "alone.csv")
    assert set(calls) == {1}
    assert together[:3] == alone[:3] and together[3] == alone[3]
    assert together[3].count("\n") == 1 + sum(1 + number % 3 for number in (3, 17, 39))
    assert "f0017.csv,3,discharge," in together[3]


def test_plain_files_with_another_column_are_groups_of_their_own(tmp_path):
    pattern = write(tmp_path / "a", 12)
    for number in (4, 5):
        path = tmp_path / "a" / f"f{number:04d}.csv"
        path.write_text("code;patient_id;admit;discharge\nI10;Q;2010-01-01;2010-01-03\n")
    stays, rows_in, dropped, _ = load(pattern, tmp_path / "r.csv")
    assert rows_in == len(stays) == sum(2 * (1 + n % 3) for n in range(12) if n not in (4, 5)) + 2
    assert dropped == {} and [row[0] for row in stays].count("Q") == 2


def test_a_file_without_rows_is_named(tmp_path):
    from medtop.files.errors import DataError

    pattern = write(tmp_path / "a", 12)
    (tmp_path / "a" / "f0007.csv").write_text(HEADER)
    with pytest.raises(DataError, match="f0007.csv: expected rows below the header"):
        load(pattern, tmp_path / "r.csv")
