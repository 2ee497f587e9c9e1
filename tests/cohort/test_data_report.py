"""--check: one table that holds every kind of damage at once; the report names each, and no value of a patient."""

import datetime as dt
import json
import re

SCRIPT = "preprocessing/preprocess_pretrain_data.py"
HEADER = "patient_id,stay_id,admit,discharge,code,birth,sex,death,observation_end"


def write_damaged(path):
    """A table of 60 patients with 4 stays of 2 codes; each kind of damage in rows of its own."""
    rows = []
    for patient in range(60):
        for stay in range(4):
            admit = dt.date(2012 + stay, 1 + patient % 12, 1 + patient % 9)
            for code in ("ICD10_E119", "ICD9_4019"):
                row = [f"Zx{patient:03}", f"s{stay}", str(admit), str(admit + dt.timedelta(days=9)), code]
                rows.append([*row, "1950-02-03", "F", "", "2016-12-31"])
    damage = [
        (0, 0, "{}\u00a0"),  # trimmed
        (8, 0, "NULL"),
        (16, 0, "zx002"),  # beside Zx002
        (24, 2, "03/01/2012"),
        (32, 2, "1900-01-01"),
        (40, 3, "2105-01-03"),
        (48, 2, "{}T08:00:00+02:00"),
        (56, 4, "UNK"),
        (64, 4, "I10;N18.3"),
        (72, 4, "icd10_e11.9"),
        (80, 4, "4019.0"),
        (88, 5, "9999-12-31"),
        (96, 5, "2080-01-01"),
        (104, 7, "10/03/2016"),
        (112, 7, "2012-06-01"),  # stays of later years follow
        (120, 6, "?x"),
        (128, 8, "9999-12-31"),
        (136, 5, "2015-01-01"),  # born after the first admission
    ]
    for place, column, value in damage:
        for row in rows[place : place + (8 if column == 7 or value == "2015-01-01" else 1)]:
            row[column] = value.format(row[column])
    rows.append(["Zx001", "late", "2021-05-01", "2021-05-03", "ICD10_I10", "1950-02-03", "F", "", "2016-12-31"])
    rows.append(["Zx003", "inner", "2012-04-06", "2012-04-07", "ICD10_I10", "1950-02-03", "F", "", "2016-12-31"])
    rows += [  # people of their own: an id as pandas writes it, nothing usable, codes that are alike, days after death
        ["7.0", "a", "2012-05-01", "2012-05-03", "ICD10_I10", "1950-02-03", "F", "", "2016-12-31"],
        ["7", "b", "2013-05-01", "2013-05-03", "ICD10_Q0Q", "1950-02-03", "F", "", "2016-12-31"],
        ["Zx900", "a", "never", "2012-05-03", "ICD10_I10", "1950-02-03", "F", "", "2016-12-31"],
        ["Zx901", "a", "2012-05-01", "2012-05-03", "q25.00", "1950-02-03", "F", "", "2016-12-31"],
        ["Zx901", "a", "2012-05-01", "2012-05-03", "Q2500", "1950-02-03", "F", "", "2016-12-31"],
        ["Zx902", "a", "2012-05-01", "2012-05-03", "ICD10_I10", "1950-02-03", "F", "2012-05-09", "2016-12-31"],
        ["Zx902", "b", "2012-05-10", "2012-05-11", "ICD10_I10", "1950-02-03", "F", "2012-05-09", "2016-12-31"],
        ["Zx903", "a", "2012-05-01", "2012-05-30", "ICD10_I10", "1950-02-03", "F", "2012-05-09", "2016-12-31"],
        ["Zx904", "a", "1944-05-01", "1944-05-02", "ICD10_I10", "1950-02-03", "F", "1944-05-09", "2016-12-31"],
    ]
    path.write_text("\n".join([HEADER, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def test_the_report_names_every_damage(tmp_path, run_script):
    path, prefix = write_damaged(tmp_path / "t.csv"), tmp_path / "out/t"
    (tmp_path / "official.csv").write_text("system,code\nicd10,E11.9\nicd10,I10\nicd9,401.9\n")
    done = run_script(SCRIPT, path, "NA", prefix, 0, "--check", f"--code_table={tmp_path / 'official.csv'}")
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in prefix.parent.iterdir()) == ["t.data_report.html", "t.data_report.json"]
    report = json.loads((tmp_path / "out/t.data_report.json").read_text())
    named = {found["name"]: found for found in report["findings"]}
    expected = {
        "patient_id_null_words": 1,
        "patient_ids_alike": 2,
        "admit_sentinel": 1,
        "discharge_in_future": 1,
        "times_with_offset": 1,
        "codes_with_several": 1,
        "codes_written_as_floats": 1,
        "birth_sentinel": 1,
        "birth_impossible": 1,
        "observation_end_sentinel": 1,
        "death_unusable": 8,
        "death_stops_a_run": 8,
        "after_death": 6,
        "no_usable_row": 1,
        "codes_alike": 2,
        "codes_without_icd_prefix": 4,  # two alike, two codes in a cell, a float
        "rows_shortly_after_death": 1,
        "rows_ending_after_death": 1,
        "patients_dead_before_birth": 1,
        "patients_born_after_admission": 2,
        "stays_overlapping": 2,  # the inner one; and the stay of which one row has another time of admission
    }
    assert {name: named[name]["count"] for name in expected} == expected
    counts = report["counts"]
    icd10 = report["official_codes"]["systems"]["icd10"]
    assert icd10["rows"] - icd10["rows_matched"] == 1 and icd10["light"] == "green"
    assert report["official_codes"]["systems"]["icd9"]["share"] == 1 and counts["patient_id_point_zero"] == 1
    assert (counts["patient_id_trimmed"], counts["code_null_words"], counts["sex_unusable"]) == (1, 1, 1)
    assert counts["code_normalised"] == 1 and report["rows"]["dropped"]["admit_unparsable"] == 2
    assert named["death_unusable"]["light"] == "red" and named["death_unusable"]["repair"] == "--date_format"
    assert named["codes_with_several"]["repair"] == "--code_separator"
    columns = {column["column"]: column for column in report["columns"]}
    assert list(columns) == HEADER.split(",")
    assert columns["death"]["light"] == "red" and columns["death"]["forms"] == {"9999-99-99": 0.6, "99/99/9999": 0.4}
    assert columns["admit"]["sentinels"] == 1 and columns["admit"]["latest"] == "2021-05-01"
    assert columns["stay_id"]["light"] == "green" and columns["stay_id"]["distinct"] == 8
    assert report["months"]["2021-05"] == 1 and report["usual_months"]["later"] == 1
    assert report["codes"]["ICD-10"]["rows"] > 200 and report["codes"]["no mark"]["rows"] == 4
    assert sum(report["days_to_next_stay"].values()) == report["stays"]["stays"]
    page = (tmp_path / "out/t.data_report.html").read_text()
    for text in (page, (tmp_path / "out/t.data_report.json").read_text(), done.stdout):
        assert "Zx0" not in text and "I10;N18" not in text, "a value of a patient"
    assert all(found["sentence"].replace("'", "&#x27;") in page for found in report["findings"])
    assert "red: death: 8 of 14 values (57%) cannot be used" in done.stdout


def test_a_clean_table_is_green(tmp_path, run_script):
    lines = [HEADER] + [
        f"P{patient},s{month},2012-{month:02}-03,2012-{month:02}-09,ICD10_E119,1950-02-03,F,,2013-01-31"
        for patient in range(20)
        for month in range(1, 13)
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    done = run_script(SCRIPT, tmp_path / "t.csv", "NA", tmp_path / "t", 0, "--check")
    report = json.loads((tmp_path / "t.data_report.json").read_text())
    assert (
        done.returncode == 0
        and report["findings"] == []
        and "nothing was found" in (tmp_path / "t.data_report.html").read_text()
    )
    lights = {column["column"]: column["light"] for column in report["columns"]}
    assert lights == {name: "yellow" if name == "death" else "green" for name in HEADER.split(",")}
    assert report["stays"]["stays"] == 240 and report["stays"]["overlapping"] == 0


def whole_numbers(content, path=()):
    """Yields (path, number) of each whole number in JSON."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in pairs:
        yield from whole_numbers(value, (*path, name))
    if isinstance(content, int) and not isinstance(content, bool):
        yield path, content


def test_small_counts_leave_the_report_on_request(tmp_path, run_script):
    """The same damages: with --min_cell no count of 1 to 10 is left, in the JSON, on the page, on the screen."""
    path = write_damaged(tmp_path / "t.csv")
    texts, reports = {}, {}
    for least in (0, 11):
        done = run_script(SCRIPT, path, "NA", tmp_path / f"t{least}", 0, "--check", f"--min_cell={least}")
        assert done.returncode == 0, done.stderr
        page = (tmp_path / f"t{least}.data_report.html").read_text()
        table = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)
        texts[least] = [table, done.stdout]
        reports[least] = json.loads((tmp_path / f"t{least}.data_report.json").read_text())
        few = [pair for pair in whole_numbers(reports[least]) if 0 < pair[1] < 11 and pair[0][-1] not in NO_COUNTS]
        assert bool(few) is (least == 0), few
    cell = re.compile(r"<td>(10|[1-9])</td>|(?<![\w.,-])(?:10|[1-9]) (?:rows|values|patients|stays)")
    assert [bool(cell.search(text)) for text in texts[0]] == [True, True]
    for text in texts[11]:
        assert not cell.search(text) and ">None<" not in text, cell.search(text)
    assert "withheld" in texts[11][0] and "fewer than 11" in texts[11][1]
    assert reports[11]["columns"][2]["earliest"] is None and reports[11]["rows"]["dropped"].keys() == (
        reports[0]["rows"]["dropped"].keys()
    )
    done = run_script(SCRIPT, path, "NA", tmp_path / "u", 0, "--min_cell=11")
    assert done.returncode == 1 and "--min_cell has no effect without --check" in done.stderr


NO_COUNTS = ("least",)  # from how many admissions on a month is a usual one
