"""The warehouse's query, run on DuckDB over the generated cohort, makes the stays that the source itself makes."""

import duckdb
import pytest

from medtop.sources import load_stays
from medtop.sources.warehouse_sql import DIALECTS, QUERIES, stays_query
from medtop.synthetic.cohort import cohort_paths, write_cohort

sqlglot = pytest.importorskip("sqlglot", reason="the extra [database] is not installed")
COLUMNS = "patient_id, stay_id, admit, discharge, code, present_on_admission"


@pytest.mark.parametrize("source", QUERIES)
def test_the_query_makes_the_sources_stays(tmp_path, source):
    write_cohort(tmp_path / "c", 30, 1, layout=source)
    folder = cohort_paths(tmp_path / "c", source)["stays"]
    with duckdb.connect() as connection:
        load_stays(connection, folder)
        expected = connection.execute(f"SELECT {COLUMNS} FROM stays ORDER BY ALL").fetchall()
        people = connection.execute("SELECT patient_id, birth, sex, death FROM patients ORDER BY 1").fetchall()
        in_order = "SELECT stay_id, list(code ORDER BY order_1, order_2, order_3) FROM stays GROUP BY 1 ORDER BY 1"
        order = connection.execute(in_order).fetchall()
    with duckdb.connect() as warehouse:
        for path in folder.glob("*.csv"):
            warehouse.execute(f"CREATE TABLE {path.stem} AS SELECT * FROM read_csv('{path}')")
        if source == "pcornet":  # the CDM's types are codes in text
            warehouse.execute("ALTER TABLE DIAGNOSIS ALTER DX_TYPE TYPE VARCHAR")
        else:
            warehouse.execute(
                "ALTER TABLE condition_occurrence ADD COLUMN condition_status_concept_id INTEGER DEFAULT 0"
            )
        warehouse.execute(f"COPY ({stays_query(source, 'duckdb')}) TO '{tmp_path / 'stays.csv'}' (HEADER)")
    with duckdb.connect() as connection:
        load_stays(connection, tmp_path / "stays.csv", source="columns")
        assert connection.execute(f"SELECT {COLUMNS} FROM stays ORDER BY ALL").fetchall() == expected
        assert connection.execute("SELECT patient_id, birth, sex, death FROM patients ORDER BY 1").fetchall() == people
        if source == "omop":  # PCORnet's ties go by the place in the table, which a query does not have
            assert connection.execute(in_order).fetchall() == order


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("source", QUERIES)
def test_every_dialect_parses_to_the_same_columns(source, dialect):
    parsed = sqlglot.parse_one(stays_query(source, dialect), read=dialect)
    wanted = sqlglot.parse_one(QUERIES[source], read="duckdb")
    assert [name.lower() for name in parsed.named_selects] == [name.lower() for name in wanted.named_selects]
    assert len(list(parsed.find_all(sqlglot.exp.Join))) == len(list(wanted.find_all(sqlglot.exp.Join)))
