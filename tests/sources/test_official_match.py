"""Codes held against official tables for the data report: shares, lights and the flag, on a table written by hand."""

import json

from medtop.sources.official_match import match_official

SCRIPT = "preprocessing/preprocess_pretrain_data.py"


def table(folder):
    path = folder / "official.csv"
    codes = ["icd10,E11.9", "icd10,I50.21", "icd10,I10", "icd9,428.0", "icd9,250.00", "hcpcs,92928"]
    path.write_text("\n".join(["system,code", *codes]) + "\n")
    return path


def test_shares_and_lights(tmp_path):
    rows = {"ICD10_E119": 90, "ICD10_I50": 8, "ICD10_XYZ": 2, "ICD9_428": 3, "ICD9_9999": 4, "HCPCS_92928": 1}
    rows |= {"ICD10PCS_0270346": 5}
    found, findings = match_official(rows, table(tmp_path))
    systems = found["systems"]
    assert found["table"] == str(tmp_path / "official.csv")
    assert systems["icd10"] == {
        "rows": 100, "distinct": 3, "rows_matched": 98, "distinct_matched": 2, "share": 0.98, "light": "green"
    }  # fmt: skip
    assert (systems["icd9"]["rows_matched"], systems["icd9"]["light"]) == (3, "red")
    assert systems["hcpcs"]["light"] == "green" and systems["icd10pcs"]["light"] is None  # the file has none of it
    assert [(finding.name, finding.count, finding.light) for finding in findings] == [
        ("codes_not_official_icd9", 4, "red")
    ]
    assert "--code_table" in findings[0].repair
    assert match_official({"ICD10_E119": 9, "ICD10_XYZ": 1}, table(tmp_path))[1][0].light == "yellow"


def test_codes_without_a_mark_are_held_against_both(tmp_path):
    found, (finding,) = match_official({"428.0": 7, "e11.9": 1, "none": 2}, table(tmp_path))
    assert found["systems"]["no mark as icd9"]["share"] == 0.7 and found["systems"]["no mark as icd10"]["share"] == 0.1
    assert (finding.count, finding.repair) == (7, "--code_system=icd9") and "7 of 10 rows" in finding.sentence
    assert match_official({"401.1": 1}, table(tmp_path))[1] == []


def test_the_report_shows_it(tmp_path, run_script):
    lines = ["patient_id,admit,discharge,code"] + [
        f"P{patient},2012-{month:02}-03,2012-{month:02}-09,{'ICD10_E119' if month < 7 else 'ICD10_Q0Q'}"
        for patient in range(20)
        for month in range(1, 13)
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    done = run_script(SCRIPT, tmp_path / "t.csv", "NA", tmp_path / "t", 0, "--check", f"--code_table={table(tmp_path)}")
    assert done.returncode == 0, done.stderr
    assert "yellow: 120 of 240 rows of icd10 hold a code that the official table" in done.stdout
    report = json.loads((tmp_path / "t.data_report.json").read_text())
    assert report["official_codes"]["systems"]["icd10"]["share"] == 0.5
    page = (tmp_path / "t.data_report.html").read_text()
    assert "Official table:" in page and "50.0%" in page
