"""Months in an HMO (SynPUF): counted, and with --coverage=ffs the end of observation, on values worked out by hand."""

import datetime as dt

import duckdb
import pytest

from medtop.files.errors import DataError
from medtop.sources import load_stays
from medtop.sources.choices import Choices
from medtop.sources.findings import findings_of
from medtop.sources.rules import Rules

CODES = ",".join(f"ICD9_DGNS_CD_{number}" for number in range(1, 11))


def synpuf(folder, months, column=True):
    """Claims of five patients, each admitted in March 2008, 2009 and 2010; E in 2009 and 2010 only. `months` gives HMO
    months by patient and year; D dies in 2010."""
    folder.mkdir()
    lines = [f"DESYNPUF_ID,CLM_ID,SEGMENT,CLM_ADMSN_DT,NCH_BENE_DSCHRG_DT,{CODES}"]
    for patient in "ABCDE":
        for year in (2008, 2009, 2010)[patient == "E" :]:
            lines.append(f"{patient},{patient}{year},1,{year}0310,{year}0312,4019{',' * 9}")
    (folder / "DE1_0_2008_to_2010_Inpatient_Claims_Sample_9.csv").write_text("\n".join(lines) + "\n")
    for year in (2008, 2009, 2010):
        header = "DESYNPUF_ID,BENE_BIRTH_DT,BENE_DEATH_DT,BENE_SEX_IDENT_CD" + ",BENE_HMO_CVRAGE_TOT_MONS" * column
        rows = [header]
        for patient in "ABCDE":
            death = "20101101" if (patient, year) == ("D", 2010) else ""
            rows.append(f"{patient},19400501,{death},1" + f",{months.get((patient, year), 0)}" * column)
        (folder / f"DE1_0_{year}_Beneficiary_Summary_File_Sample_9.csv").write_text("\n".join(rows) + "\n")
    return folder


MONTHS = {("B", 2009): 3, ("B", 2010): 12, ("C", 2008): 1, ("D", 2010): 4, ("E", 2008): 12}
USUAL = dt.date(2010, 3, 12)  # the last discharge, in the last usual month


def ends(folder, coverage="ignore", **rules):
    with duckdb.connect() as connection:
        report = load_stays(connection, folder, rules=Rules(choices=Choices(coverage=coverage), **rules))
        rows = connection.execute("SELECT patient_id, observation_end FROM patients ORDER BY 1").fetchall()
    return dict(rows), report


def test_hmo_years_end_observation(tmp_path):
    found, report = ends(synpuf(tmp_path / "raw", MONTHS), coverage="ffs")
    assert found == {
        "A": USUAL,
        "B": dt.date(2008, 12, 31),  # the first of two years
        "C": dt.date(2007, 12, 31),  # from the year of the first admission on: never observed
        "D": dt.date(2009, 12, 31),  # before the death
        "E": USUAL,  # a year before the first admission
    }
    assert report.counts["patients_with_hmo_months"] == 3
    assert any("--coverage=ffs" in note for note in report.notes)


def test_by_default_they_are_counted_and_warned_of(tmp_path):
    found, report = ends(synpuf(tmp_path / "raw", MONTHS))
    assert set(found.values()) == {USUAL} and report.counts["patients_with_hmo_months"] == 3
    assert any("--coverage=ffs" in str(finding) and "3 patients" in str(finding) for finding in findings_of(report))


@pytest.mark.parametrize("months", ["13", "-1", "many"])
def test_months_that_cannot_be_read_count_as_some(tmp_path, months):
    found, report = ends(synpuf(tmp_path / "raw", {("A", 2009): months}), coverage="ffs")
    assert found["A"] == dt.date(2008, 12, 31) and report.counts["hmo_months_unusable"] == 1


def test_a_given_end_stays_the_latest(tmp_path):
    folder = synpuf(tmp_path / "raw", MONTHS)
    found, _ = ends(folder, coverage="ffs", observation_end="2009-06-30")
    assert found["A"] == dt.date(2009, 6, 30) and found["B"] == dt.date(2008, 12, 31)


def test_what_cannot_be_known_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a column BENE_HMO_CVRAGE_TOT_MONS for --coverage=ffs"):
        ends(synpuf(tmp_path / "raw", {}, column=False), coverage="ffs")
    found, report = ends(tmp_path / "raw")
    assert found["A"] == USUAL and any("are not known" in note for note in report.notes)
    table = tmp_path / "t.csv"
    table.write_text("patient_id,admit,discharge,code\na,2012-01-01,2012-01-03,ICD10_I10\n")
    with pytest.raises(DataError, match="--coverage has no effect with --source=columns: leave it out"):
        ends(table, coverage="ffs")
