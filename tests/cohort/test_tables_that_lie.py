"""Damage that hospital tables really have, one kind a test, through the script: the outputs are those of the clean
table, or the run is refused, or the count stands on the screen and in the manifest."""

import datetime as dt
import json

import duckdb
import pyarrow
import pyarrow.parquet
import pytest

from medtop.sources import load_stays

HEADER = "patient_id,admit,discharge,code"
CODES = ("ICD10_E119", "ICD10_I10", "ICD10_N183", "ICD9_4019")


SCRIPT = "preprocessing/preprocess_pretrain_data.py"


@pytest.fixture
def run(run_script, tmp_path):
    """Writes a table and runs the script on it: (CompletedProcess, manifest or None, dict name -> bytes)."""

    def go(table, *flags, name="t", suffix="csv", index="none"):
        path, prefix = tmp_path / f"{name}.{suffix}", tmp_path / f"out/{name}"
        if isinstance(table, bytes):
            path.write_bytes(table)
        elif isinstance(table, pyarrow.Table):
            pyarrow.parquet.write_table(table, path)
        else:
            path.write_text("\n".join(table) + "\n", encoding="utf-8")
        basic = ["--min_code_count=1", "--min_code_patients=1", *([f"--index={index}"] if index else [])]
        done = run_script(SCRIPT, path, "NA", prefix, 0, *basic, *flags)
        files = {file.name.removeprefix(f"{name}."): file.read_bytes() for file in prefix.parent.glob(f"{name}.*")}
        manifest = json.loads(files["manifest.json"]) if "manifest.json" in files else None
        return done, manifest, files

    return go


def clean(patients=30, stays=3):
    """Rows of a small table: stays a year apart, of nine days, with two codes each."""
    rows = []
    for patient in range(patients):
        for stay in range(stays):
            admit = dt.date(2012 + stay, 1 + patient % 12, 1 + patient % 9)
            for code in (CODES[patient % 4], CODES[(patient + stay) % 4]):
                rows.append([f"P{patient:03}", str(admit), str(admit + dt.timedelta(days=9)), code])
    return rows


def lines(rows, header=HEADER):
    return [header, *(",".join(row) for row in rows)]


def same(files, others):
    """Whether two runs gave the same examples, ids and splits."""
    names = ("bencs.train", "bencs.valid", "bencs.test", "vocab.txt", "splits.csv")
    return all(files[name] == others[name] for name in names)


def refused(done, *words):
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, done
    assert all(word in done.stderr for word in words), done.stderr


def counted(done, manifest, name, number):
    """The count stands in the manifest and on the screen."""
    assert done.returncode == 0, done.stderr
    assert manifest["source"]["counts"][name] == number
    assert f"counted: {name} {number:,}" in done.stdout


@pytest.fixture(scope="module")
def reference(run_script, tmp_path_factory):
    """The outputs of the clean table."""
    folder = tmp_path_factory.mktemp("clean")
    (folder / "t.csv").write_text("\n".join(lines(clean())) + "\n")
    done = run_script(
        SCRIPT, folder / "t.csv", "NA", folder / "t", 0, "--min_code_count=1", "--min_code_patients=1", "--index=none"
    )
    assert done.returncode == 0 and "warning" not in done.stdout and "counted" not in done.stdout, done
    return {file.name.removeprefix("t."): file.read_bytes() for file in folder.glob("t.*")}


@pytest.mark.parametrize("around", ["{} ", "{}\u00a0", "\u200b{}", "\ufeff{}", '"{}\t"'])
def test_invisible_characters_around_an_id(run, reference, around):
    rows = clean()
    for row in rows[::2]:
        row[0] = around.format(row[0])
    done, manifest, files = run(lines(rows))
    counted(done, manifest, "patient_id_trimmed", len(rows) // 2)
    assert manifest["patients_in"] == 30 and same(files, reference)


def test_ids_that_became_floats(run):
    rows = clean()
    for row in rows:
        row[0] = str(int(row[0][1:]) + 1)
    expected = run(lines(rows), name="whole")[2]
    for row in rows[::3]:
        row[0] += ".0"
    done, manifest, files = run(lines(rows))
    counted(done, manifest, "patient_id_point_zero", len(rows) // 3)
    assert same(files, expected)


@pytest.mark.parametrize("word", ["NULL", "nan", "None", "N/A", "-", "unknown"])
def test_null_words_are_no_ids(run, reference, word):
    rows = [*clean(), [word, "2012-01-01", "2012-01-20", "ICD10_I10"], [word, "2013-01-01", "2013-01-20", "ICD10_I10"]]
    done, manifest, files = run(lines(rows))
    counted(done, manifest, "patient_id_null_words", 2)
    assert manifest["rows_dropped"]["patient_id_empty"] == 2 and same(files, reference)


def test_ids_that_only_look_different(run):
    rows = clean()
    for row in rows[:6]:
        row[0] = row[0].lower()  # one patient in two: p000 nowhere else
    for row in rows[6:8]:
        row[0] = "P1"  # beside P001
    done, manifest, _ = run(lines(rows))
    counted(done, manifest, "patient_ids_alike", 2)
    assert "warning: 2 patient ids differ from another one only in case, leading zeros" in done.stdout


def test_patients_without_a_usable_row_stay_in_the_flow_chart(run):
    rows = clean()
    for row in rows[:18]:
        row[1] = "01/02/2012"
    done, manifest, _ = run(lines(rows))
    assert manifest["patients_in"] == 30 and manifest["patients_dropped"] == {"no_usable_row": 3}
    assert "patients: 30 in = 27 out + 3 dropped" in done.stdout
    assert "warning: 18 of 180 rows (10.0%) dropped: admit_unparsable (--date_format)" in done.stdout


def test_more_than_half_of_the_rows(run):
    rows = clean()
    for row in rows[:120]:
        row[1] = "01/02/2012"
    done, _, files = run(lines(rows))
    refused(done, "received 120 of 180 that cannot be used", "admit_unparsable", "--accept_unusable=rows")
    assert not files
    done, manifest, _ = run(lines(rows), "--accept_unusable=rows")
    assert done.returncode == 0 and manifest["patients_dropped"] == {"no_usable_row": 20}


@pytest.mark.parametrize("share", [1, 3, 20])
def test_columns_that_cannot_be_used(run, share):
    """Death as 10/03/2016 among ISO admissions: 3% are counted, 10% are a warning, 67% stop the run."""
    rows = [[*row, "2020-01-01", "F"] for row in clean()]
    for row in rows[: 6 * share]:
        row[4] = "10/03/2016"
    header = HEADER + ",death,sex"
    done, manifest, _ = run(lines(rows, header))
    if share == 20:
        refused(done, "column death", "120 of 180", "--date_format", "--accept_unusable=death")
        done, manifest, _ = run(lines(rows, header), "--accept_unusable=death")
    counted(done, manifest, "death_unusable", 6 * share)
    assert ("warning: death: " in done.stdout) == (share > 1)


@pytest.mark.parametrize(
    ("day", "reason"),
    [("1900-01-01", "admit_sentinel"), ("1800-01-01", "admit_sentinel"), ("1970-01-01", "admit_sentinel")]
    + [("1850-03-01", "admit_out_of_range")],
)
def test_admissions_that_stand_for_a_missing_one(run, reference, day, reason):
    rows = [*clean(), ["P000", day, "2012-06-01", "ICD9_4019"]]
    done, manifest, files = run(lines(rows))
    assert manifest["rows_dropped"] == {reason: 1} and f"rows dropped: {reason} 1" in done.stdout
    assert same(files, reference)


@pytest.mark.parametrize(
    ("day", "reason"),
    [("2999-12-31", "discharge_sentinel"), ("9999-12-31", "discharge_sentinel"), ("2105-01-03", "discharge_in_future")],
)
def test_discharges_that_cannot_be(run, reference, day, reason):
    rows = [*clean(), ["P000", "2012-01-01", day, "ICD9_4019"]]
    done, manifest, files = run(lines(rows))
    assert manifest["rows_dropped"] == {reason: 1} and "warning: 1 of 181 rows" in done.stdout
    assert same(files, reference)


def test_birth_and_death_that_stand_for_missing_ones(run):
    rows = [[*row, "1950-02-03", "", ""] for row in clean()]
    expected = run(lines(rows, HEADER + ",birth,death,observation_end"), name="clean")[2]
    other = [list(row) for row in rows]
    for row in other[:6]:
        row[5], row[6] = "9999-12-31", "2999-12-31"
    for row in other[6:12]:
        row[5] = "2190-01-01"
    done, manifest, files = run(lines(other, HEADER + ",birth,death,observation_end"))
    for name, number in (("death_sentinel", 6), ("observation_end_sentinel", 6), ("death_impossible", 6)):
        counted(done, manifest, name, number)
    assert same(files, expected)
    for row in other[12:18]:
        row[4], row[5], row[6] = "1900-01-01", "", ""
    done, manifest, _ = run(lines(other, HEADER + ",birth,death,observation_end"), name="birth")
    counted(done, manifest, "birth_sentinel", 6)


def test_one_wrong_date_does_not_move_the_end_of_observation(run):
    """The issue's: 180 rows and P001,2105-01-01,2105-01-03; and the same within the past."""
    labels = ("--tasks=complications", "--horizons=365", "--seed=3")
    clean_labels = run(lines(clean()), *labels, name="clean", index=None)[1]["labels"]
    future = [*clean(), ["P001", "2105-01-01", "2105-01-03", "ICD9_4019"]]
    done, manifest, _ = run(lines(future), *labels, name="future", index=None)
    assert manifest["labels"] == clean_labels and manifest["rows_dropped"]["admit_in_future"] == 1
    past = [*clean(), ["P001", "2021-01-01", "2021-01-03", "ICD9_4019"]]
    done, manifest, _ = run(lines(past), *labels, name="past", index=None)
    counted(done, manifest, "admissions_after_observation_end", 1)
    assert manifest["statements"][0].startswith("Observation: for all patients") and "2021-01 (1)" in done.stdout
    unknown = {split: entry["complications"] for split, entry in manifest["labels"].items()}
    assert sum(entry["MACE_365"]["unknown"].get("censored", 0) for entry in unknown.values()) > 0


def test_observation_end_as_a_day_and_as_a_column(run):
    labels = ("--tasks=complications", "--horizons=365")
    rows = lines(clean())
    early = run(rows, *labels, "--observation_end=2012-01-05", name="early", index=None)[1]
    late = run(rows, *labels, "--observation_end=2026-01-05", name="late", index=None)[1]

    def known(manifest):
        return sum(entry["complications"]["MACE_365"]["known"] for entry in manifest["labels"].values())

    def prevalent(manifest):
        entries = [entry["complications"]["MACE_365"]["unknown"] for entry in manifest["labels"].values()]
        return sum(entry.get("prevalent", 0) for entry in entries)

    assert known(early) == 0 and known(late) == 30 - prevalent(late)
    assert "2012-01-05 for every patient" in early["statements"][0]
    refused(run(rows, "--observation_end=column", name="none")[0], "expected a column observation_end")
    refused(run(rows, "--observation_end=soon", name="none")[0], "--observation_end: expected a day")


BERLIN = [("2014-07-01T23:30:00+02:00", "2014-07-09T00:30:00+02:00"), ("2014-07-01 21:30:00Z", "2014-07-08 22:30:00Z")]


def test_offsets_are_local_time_as_written_or_converted(run):
    """A stay from 1 July 23:30 to 9 July 00:30 in Berlin is long; told in UTC it lasts 7 days."""

    def positives(manifest):
        return sum(entry["long_stay"]["long_stay"]["positives"] for entry in manifest["labels"].values())

    for number, (admit, discharge) in enumerate(BERLIN):
        rows = lines([[f"P{patient}", admit, discharge, "ICD10_I10"] for patient in range(22)])
        done, manifest, _ = run(rows, name=f"written{number}")
        counted(done, manifest, "times_with_offset", 22)
        assert positives(manifest) == (22 if number == 0 else 0)
        assert "local calendar time as written" in done.stdout
        done, manifest, _ = run(rows, "--time_zone=Europe/Berlin", name=f"zone{number}")
        assert positives(manifest) == 22 and "converted to Europe/Berlin" in done.stdout
    refused(run(rows, "--time_zone=Berlin", name="bad")[0], "--time_zone: expected a name such as Europe/Berlin")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_zoned_parquet(run, zone):
    instants = [dt.datetime(2014, 7, 1, 21, 30), dt.datetime(2014, 7, 8, 22, 30)]
    kind = pyarrow.timestamp("us", tz=zone)
    table = pyarrow.table(
        {
            "patient_id": [f"P{patient}" for patient in range(22)],
            "admit": pyarrow.array([instants[0]] * 22, kind),
            "discharge": pyarrow.array([instants[1]] * 22, kind),
            "code": ["ICD10_I10"] * 22,
        }
    )
    for number, flags in enumerate(([], ["--time_zone=Europe/Berlin"])):
        done, manifest, _ = run(table, *flags, name=f"n{number}", suffix="parquet")
        positives = sum(entry["long_stay"]["long_stay"]["positives"] for entry in manifest["labels"].values())
        assert positives == (0 if zone == "UTC" and not flags else 22), done.stdout
        assert flags or f"local time of {zone}, as the file says" in done.stdout


def test_times_of_prediction_follow_the_same_rule(run, tmp_path):
    times = tmp_path / "times.csv"
    rows = lines(clean())
    written = ["patient_id,prediction_time"] + [f"P{patient:03},2013-12-31 23:30:00" for patient in range(30)]
    times.write_text("\n".join(written) + "\n")
    expected = run(rows, f"--prediction_times={times}", name="plain", index=None)[2]
    offsets = [written[0]] + [f"{line.replace(' ', 'T')}+02:00" for line in written[1:]]
    offsets[5] = offsets[5].replace("P004", "P004\u00a0")
    extra = ["P001,1900-01-01", "P002,2999-12-31", "P003,2055-01-01"]
    times.write_text("\n".join([*offsets, *extra]) + "\n", encoding="utf-8")
    done, manifest, files = run(rows, f"--prediction_times={times}", index=None)
    assert same(files, expected)
    given = manifest["prediction_times"]
    assert given["counts"] == {"patient_id_trimmed": 1, "times_with_offset": 30}
    assert given["rows_dropped"] == {"time_sentinel": 2, "time_in_future": 1} and given["rows"] == 33
    assert "counted in given times: times_with_offset 30" in done.stdout
    assert "given times dropped: time_sentinel 2" in done.stdout


def test_splits_with_untidy_ids(run, tmp_path):
    splits = tmp_path / "splits.csv"
    tidy = [f"P{patient:03},{('train', 'valid', 'test', 'train')[patient % 4]}" for patient in range(30)]
    splits.write_text("\n".join(["patient_id,split", *tidy]) + "\n")
    expected = run(lines(clean()), f"--splits={splits}", name="tidy")[2]
    untidy = [line.replace(",", "\u00a0,") for line in tidy]
    splits.write_text("\n".join(["patient_id,split", *untidy]) + "\n", encoding="utf-8")
    done, manifest, files = run(lines(clean()), f"--splits={splits}")
    assert same(files, expected) and manifest["splits_file"]["counts"] == {"patient_id_trimmed": 30}
    assert "counted in splits: patient_id_trimmed 30" in done.stdout
    splits.write_text("patient_id,split\nP001,train\nP001\u200b,test\n", encoding="utf-8")
    refused(run(lines(clean()), f"--splits={splits}", name="two")[0], "received a patient in two")


FORMS = {"ICD10_E119": ["E11.9", "e11.9", "E119 ", "E119"], "ICD10_I10": ["I10", "i10", " I10", "I10"]}
FORMS |= {"ICD10_N183": ["N18.3", "n183", "N183", "N18.3"]}


def test_one_form_of_a_code(run):
    """Without marks, in all the ways that people write: known as ICD-10, or said to be it."""
    rows = [row for row in clean() if row[3] in FORMS]
    expected = run(lines(rows), name="clean")[2]
    for place, row in enumerate(rows):
        row[3] = FORMS[row[3]][place % 4]
    for number, flags in enumerate(([], ["--code_system=icd10"])):
        done, manifest, files = run(lines(rows), *flags, name=f"n{number}")
        counted(done, manifest, "code_normalised", len(rows))
        assert same(files, expected)
    done, manifest, files = run(lines(rows), "--code_system=verbatim", name="verbatim")
    assert manifest["source"]["counts"]["codes_alike"] == 8 and "codes_alike 8" in done.stdout


@pytest.mark.parametrize("mark", ["icd10_e11.9", "ICD-10-CM E11.9", "ICD10CM:E119", "ICD10_E119  ", "Icd10_E11.9"])
def test_marks_in_any_spelling(run, reference, mark):
    rows = [[*row[:3], mark if row[3] == "ICD10_E119" else row[3]] for row in clean()]
    done, manifest, files = run(lines(rows))
    changed = sum(row[3] == mark for row in rows)
    name = "code_trimmed" if mark.strip() == "ICD10_E119" else "code_normalised"
    counted(done, manifest, name, changed)
    assert same(files, reference)


def test_icd9_gets_its_mark_and_its_zeros(run):
    expected = run(lines([[*row[:3], f"ICD9_{code}"] for row, code in numbered("0389", "25000", "V270")]), name="a")[2]
    rows = [[*row[:3], code] for row, code in numbered("38.9", "250.00", "v27.0")]
    assert same(run(lines(rows), "--code_system=icd9", name="b")[2], expected)
    done, manifest, _ = run(lines(rows), name="c")  # numbers with dots may be phecodes: nothing is guessed
    assert b"250.00" in (run(lines(rows), name="c")[2]["vocab.txt"]) and done.returncode == 0


def numbered(*codes):
    return [(row, codes[place % len(codes)]) for place, row in enumerate(clean())]


@pytest.mark.parametrize("word", ["NULL", "-", "UNK", "ICD10_NULL", "nan"])
def test_null_words_are_no_codes(run, reference, word):
    rows = [*clean(), *(["P000", "2012-01-01", "2012-01-10", word] for _ in range(3))]
    done, manifest, files = run(lines(rows))
    counted(done, manifest, "code_null_words", 3)
    assert manifest["rows_dropped"] == {"code_empty": 3} and same(files, reference)


def test_cells_that_hold_several_codes(run, tmp_path):
    """They are named; with their separator, or as a Parquet list, each code counts."""
    single = [["P1", "2012-01-01", "2012-01-10", code] for code in ("ICD10_I10", "ICD10_E119", "ICD9_42731")]
    others = [["P2", "2012-01-01", "2012-01-10", "ICD10_I10"]] * 3
    ordered = [[*row, str(place)] for place, row in enumerate(single)] + [[*row, "1"] for row in others]
    expected = run(lines(ordered, HEADER + ",order_1"), name="single")[2]
    cell = [[*single[0][:3], "ICD10_I10; ICD10_E11.9;NULL;ICD9_427.31"], *others]
    done, manifest, _ = run(lines(cell), name="named")
    counted(done, manifest, "codes_with_several", 1)
    assert "warning: 1 rows seem to hold several codes in one cell" in done.stdout
    done, manifest, files = run(lines(cell), "--code_separator=;", name="split")
    counted(done, manifest, "codes_split_from_cells", 3)
    counted(done, manifest, "code_null_words", 1)
    assert (manifest["rows_in"], manifest["rows_dropped"]) == (7, {"code_empty": 1})
    assert files["vocab.txt"] == expected["vocab.txt"] and same(files, expected)
    columns = [list(column) for column in zip(*cell, strict=True)]
    columns[3] = [["ICD10_I10", "ICD10_E11.9", "NULL", "ICD9_427.31"], *([["ICD10_I10"]] * 3)]
    table = pyarrow.table(dict(zip(HEADER.split(","), columns, strict=True)))
    done, manifest, files = run(table, name="lists", suffix="parquet")
    assert done.returncode == 0 and same(files, expected) and manifest["rows_in"] == 7
    refused(run(lines(cell), "--code_separator=A", name="bad")[0], "--code_separator: expected a sign")


def test_codes_as_floats_are_refused(run):
    columns = [list(column) for column in zip(*clean(), strict=True)]
    columns[3] = [4019.0] * len(columns[0])
    table = pyarrow.table(dict(zip(HEADER.split(","), columns, strict=True)))
    refused(run(table, suffix="parquet")[0], "column code: expected codes as text, received DOUBLE")
    done, manifest, _ = run(lines([[*row[:3], "4019.0"] for row in clean()]), name="text")
    counted(done, manifest, "codes_written_as_floats", 180)


def test_ids_as_floats(run):
    columns = [list(column) for column in zip(*clean(), strict=True)]
    for number, (last, good) in enumerate(((29.0, True), (None, True), (29.5, False), (2.0**53, False))):
        columns[0] = [float(patient) for patient in range(29) for _ in range(6)] + [last] * 6
        table = pyarrow.table(dict(zip(HEADER.split(","), columns, strict=True)))
        done, manifest, files = run(table, name=f"n{number}", suffix="parquet")
        if good:
            assert manifest["patients_in"] == 29 + (last is not None) and b"\n7," in files["splits.csv"]
        else:
            refused(done, "column patient_id", "received 6 floats that are not whole or too large")


def test_two_digit_years_need_a_pivot(run):
    rows = [[row[0], *(dt.date.fromisoformat(day).strftime("%d.%m.%y") for day in row[1:3]), row[3]] for row in clean()]
    rows = [[*row, "03.02.60"] for row in rows]
    header = HEADER + ",birth"
    refused(run(lines(rows, header), "--date_format=%d.%m.%y")[0], "--two_digit_years_from with %y")
    four = [[*row[:4], "1960-02-03"] for row in clean()]
    expected = run(lines(four, header), name="four")[2]
    flags = ("--date_format=%d.%m.%y", "--two_digit_years_from=1930")
    assert same(run(lines(rows, header), *flags, name="two")[2], expected)
    done, manifest, _ = run(lines(rows, header), flags[0], "--two_digit_years_from=1990", name="wrong")
    counted(done, manifest, "birth_impossible", 180)  # 2060: nobody is born in the future


def test_stays_after_death(run):
    """Two days are a grace; what begins later is no stay of this patient."""
    rows = [[*row, ""] for row in clean()]
    death = {"P000": "2013-01-15", "P001": "2013-01-30", "P002": "2014-03-02"}  # stays: 1.1., 2.2., 3.3. of three years
    for row in rows:
        row[4] = death.get(row[0], "")
    header = HEADER + ",death"
    done, manifest, files = run(lines(rows, header))
    # P000 in 2014, P001 from 2 February 2013; P002 within the grace, which the cohort leaves out: death ends a life
    assert manifest["rows_dropped"] == {"after_death": 2 + 4, "stay_after_death": 2}
    counted(done, manifest, "rows_shortly_after_death", 2)  # P002, 3 March 2014
    assert "rows dropped: after_death 6" in done.stdout and "warning: 6 of 180 rows" in done.stdout
    assert files["rejects.csv"].decode().count(",admit,after_death\n") == 6
    strict = run(lines(rows, header), "--death_grace_days=0", name="strict")[1]
    assert strict["rows_dropped"] == {"after_death": 8}


def test_bare_dates_are_known_at_the_end_of_their_day(run, tmp_path):
    """A stay that ends on the day of the prediction is not known at ten in the morning, with a bare date."""
    rows = lines([["P1", "2014-03-20", "2014-03-26", "ICD10_I10"], ["P1", "2014-01-01", "2014-01-05", "ICD10_E119"]])
    times = tmp_path / "times.csv"

    def codes(time, name, table=rows):
        times.write_text(f"patient_id,prediction_time\nP1,{time}\n")
        flags = (f"--prediction_times={times}", "--splits=train", "--tasks=long_stay")
        return run(table, *flags, name=name, index=None)[1]["splits"]["train"]["codes"]

    assert codes("2014-03-26 10:00:00", "morning") == 1
    assert codes("2014-03-26", "day") == 2
    timed = [rows[0], "P1,2014-03-20 08:00,2014-03-26 09:00,ICD10_I10", "P1,2014-01-01,2014-01-05,ICD10_E119"]
    assert codes("2014-03-26 10:00:00", "timed", timed) == 2


@pytest.mark.parametrize("first", ["sep=,", "# exported by the system", "-- export"])
def test_a_first_line_that_is_no_header(run, first):
    refused(run([first, *lines(clean())])[0], "line 1: expected a header, received", first[:2])


def test_outputs_beside_the_input_are_no_input(run_script, tmp_path):
    for number, part in enumerate((clean()[:90], clean()[90:])):
        (tmp_path / f"part{number}.csv").write_text("\n".join(lines(part)) + "\n")
    (tmp_path / "part1.csv").open("a").write("P000,never,2012-01-01,ICD9_4019\n")
    command = (SCRIPT, tmp_path / "*.csv", "NA", tmp_path / "out", 0, "--min_code_count=1", "--min_code_patients=1")
    first = run_script(*command)
    assert first.returncode == 0 and {"out.splits.csv", "out.rejects.csv"} <= {path.name for path in tmp_path.iterdir()}
    second = run_script(*command)
    assert second.returncode == 0 and "nothing to do" in second.stdout, second.stderr


def test_byte_order_marks_in_json_and_yaml(run, tmp_path):
    pytest.importorskip("yaml")
    texts = {"e.json": '{"endpoints": {"HTN": {"icd10": ["I10"]}}}', "e.yaml": "endpoints:\n  HTN:\n    icd10: [I10]\n"}
    manifests = []
    for name, text in texts.items():
        (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")
        flags = (f"--endpoints={tmp_path / name}", "--tasks=complications", "--horizons=365")
        done, manifest, _ = run(lines(clean()), *flags, name=name[2:], index=None)
        assert done.returncode == 0, done.stderr
        manifests.append(manifest["labels"])
    assert manifests[0] == manifests[1] and "HTN_365" in manifests[0]["train"]["complications"]


def mimic_folder(folder):
    """MIMIC-IV's three tables with untidy ids, deaths, codes; 20 patients of two stays."""
    folder.mkdir()
    patients = ["subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod"]
    admissions = ["subject_id,hadm_id,admittime,dischtime,deathtime,admission_type"]
    diagnoses = ["subject_id,hadm_id,seq_num,icd_code,icd_version"]
    for number in range(20):
        name = f"{number}\u00a0" if number == 3 else f"{number}.0" if number == 4 else str(number)
        died = {5: "2150-02-12", 6: "10/03/2150", 7: "9999-12-31"}.get(number, "")
        patients.append(f"{name},F,50,2150,x,{died}")
        for stay in range(2):
            at = f"2150-0{1 + 2 * stay}-01 10:00:00,2150-0{1 + 2 * stay}-09 10:00:00"
            admissions.append(f"{number},{100 * stay + number}.0,{at},,URGENT")
            diagnoses += [f"{number},{100 * stay + number},1,{code},10" for code in ("I5021  ", "NULL", "n18.3")]
    for name, table in (("patients", patients), ("admissions", admissions), ("diagnoses_icd", diagnoses)):
        (folder / f"{name}.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    return folder


def test_the_rules_hold_for_mimic(run_script, tmp_path):
    folder = mimic_folder(tmp_path / "m")
    done = run_script(
        SCRIPT, folder, "NA", tmp_path / "out", 0, "--min_code_count=1", "--min_code_patients=1", "--index=none"
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    for name, number in (
        ("patient_id_trimmed", 1),
        ("patient_id_point_zero", 1),
        ("stay_id_point_zero", 40),
        ("code_null_words", 40),
        ("code_trimmed", 40),
        ("death_unusable", 1),
        ("death_sentinel", 1),
    ):
        counted(done, manifest, name, number)
    assert "patients_not_in_patients_table" not in manifest["source"]["counts"]
    assert manifest["rows_dropped"] == {"code_empty": 40, "after_death": 2}  # patient 5 in March, two codes
    codes = (tmp_path / "out.vocab.txt").read_text().split()[5:]
    assert sorted(codes) == ["ICD10_I5021", "ICD10_N183"]
    assert "warning: death: 1 of 3 values (33%) cannot be used" in done.stdout


def test_a_missing_year_of_beneficiaries_is_refused(run_script, tmp_path):
    cells = ",".join(f"ICD9_DGNS_CD_{number}" for number in range(1, 11))
    claims = [f"DESYNPUF_ID,CLM_ID,SEGMENT,CLM_ADMSN_DT,NCH_BENE_DSCHRG_DT,{cells}"]
    claims += [
        f"B{number},{number},1,20080{1 + number % 9}01,20080{1 + number % 9}05,4019{',' * 9}" for number in range(20)
    ]
    (tmp_path / "s").mkdir()
    (tmp_path / "s/x_2008_to_2009_Inpatient_Claims.csv").write_text("\n".join(claims) + "\n")
    people = ["DESYNPUF_ID,BENE_BIRTH_DT,BENE_DEATH_DT,BENE_SEX_IDENT_CD", *(f"B{n},19300101,,1" for n in range(20))]
    (tmp_path / "s/x_2008_Beneficiary_Summary.csv").write_text("\n".join(people) + "\n")
    command = (
        SCRIPT,
        tmp_path / "s",
        "NA",
        tmp_path / "out",
        0,
        "--min_code_count=1",
        "--min_code_patients=1",
        "--index=none",
    )
    refused(
        run_script(*command), "a beneficiary file for each year", "none for 2009", "--accept_unusable=beneficiary_years"
    )
    done = run_script(*command, "--accept_unusable=beneficiary_years")
    counted(done, json.loads((tmp_path / "out.manifest.json").read_text()), "beneficiary_years_missing", 1)
    assert "warning: 1 years of claims have no beneficiary file" in done.stdout


def test_prediction_times_that_cannot_be_used_are_warned_of(run, tmp_path):
    times = ["patient_id,prediction_time"] + [f"P{p:03},{'9999-12-31' if p < 10 else '2013-12-31'}" for p in range(30)]
    (tmp_path / "times.csv").write_text("\n".join(times) + "\n")
    done, manifest, _ = run(lines(clean()), f"--prediction_times={tmp_path / 'times.csv'}", index=None)
    assert done.returncode == 0, done.stderr
    warning = "prediction times: 10 of 30 (33%) dropped: time_sentinel"
    assert f"warning: {warning}" in done.stdout and warning in manifest["source"]["warnings"]


def test_a_death_in_dropped_rows_alone_stays_known(tmp_path):
    """The only row that gives the death is of a stay after it: the row goes, the death stays, and so does its end."""
    rows = [[*row, ""] for row in clean()] + [["P000", "2020-05-01", "2020-05-03", "ICD10_I10", "2013-06-01"]]
    (tmp_path / "t.csv").write_text("\n".join(lines(rows, HEADER + ",death")) + "\n")
    with duckdb.connect() as connection:
        report = load_stays(connection, tmp_path / "t.csv")
        person = connection.execute("SELECT death, observation_end FROM patients WHERE patient_id = 'P000'").fetchone()
    assert report.rows_dropped == {"after_death": 3}  # and the two rows of the stay of 2014
    assert person == (dt.date(2013, 6, 1), dt.date(2013, 6, 1))


def test_more_than_half_of_the_prediction_times(run, tmp_path):
    """The rule of columns holds for times of prediction: stop, or --accept_unusable."""
    times = ["patient_id,prediction_time"] + [f"P{p:03},{'9999-12-31' if p < 16 else '2013-12-31'}" for p in range(30)]
    (tmp_path / "times.csv").write_text("\n".join(times) + "\n")
    flags, table = [f"--prediction_times={tmp_path / 'times.csv'}"], lines(clean())
    done, manifest, _ = run(table, *flags, index=None)
    refused(done, "times.csv: column prediction_time", "received 16 of 30", "--accept_unusable=prediction_time")
    assert manifest is None
    done, manifest, _ = run(table, *flags, "--accept_unusable=prediction_time", index=None)
    assert done.returncode == 0 and manifest["prediction_times"]["rows_dropped"] == {"time_sentinel": 16}
    strangers = [line.replace("P0", "Q0") if number < 17 else line for number, line in enumerate(times)]
    strangers = [line.replace("9999-12-31", "2013-12-31") for line in strangers]
    (tmp_path / "times.csv").write_text("\n".join(strangers) + "\n")
    done, manifest, _ = run(table, *flags, name="strangers", index=None)
    assert "warning: prediction times: 16 of 30 (53%) dropped: patient_without_stays" in done.stdout


def test_a_map_or_a_split_that_misses_most(run, tmp_path):
    """A code map that knows less than half of the rows and drops the others; splits that name few of the patients."""
    (tmp_path / "map.csv").write_text("from,to\nE11.9,D\nICD10_I10,H\n")
    flags, table = [f"--code_map={tmp_path / 'map.csv'}", "--code_map_missing=drop"], lines(clean())
    known = sum(row[3] == "ICD10_I10" for row in clean())
    lost = 1 - known / len(clean())
    refused(run(table, *flags)[0], "map.csv: expected codes that stand in the map", f"received {lost:.0%} of the rows")
    done, manifest, _ = run(table, *flags, "--accept_unusable=code_map")
    assert done.returncode == 0 and f"warning: code map: {lost:.0%} of the rows" in done.stdout
    done, manifest, _ = run(table, flags[0], name="kept")
    assert "and keep their codes as they are" in manifest["source"]["warnings"][-1]
    (tmp_path / "map.csv").write_text("from,to\n" + "".join(f"{code},X{code[-1]}\n" for code in CODES))
    assert not run(table, *flags, name="whole")[1]["source"]["warnings"]
    (tmp_path / "splits.csv").write_text("patient_id,split\n" + "".join(f"P{p:03},train\n" for p in range(10)))
    done, manifest, _ = run(table, f"--splits={tmp_path / 'splits.csv'}", name="few")
    assert "warning: 20 of 30 patients are not in the file of --splits" in done.stdout
