"""Notes' tables of which much cannot be read, by the script: warned of from 5%, stopped from half, accepted by flag."""

import json

import pytest

SCRIPT = "preprocessing/preprocess_notes.py"
ADMISSIONS = "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,hospital_expire_flag"


@pytest.fixture
def run(tmp_path, run_script):
    def go(deaths=(), deathtimes=(), bad_admissions=0, bad_notes=0, flags=()):
        """20 patients with a stay and a note each; the first ones get these deaths, times of death, and faults."""
        folder = tmp_path / "raw"
        folder.mkdir(exist_ok=True)
        admissions, patients = [ADMISSIONS], ["subject_id,dod"]
        notes = ["note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text"]
        for number in range(20):
            admit = "someday" if number < bad_admissions else "2150-01-01 10:00:00"
            time = deathtimes[number] if number < len(deathtimes) else ""
            admissions.append(f"{number},1{number},{admit},2150-01-09 10:00:00,{time},URGENT,0")
            patients.append(f"{number},{deaths[number] if number < len(deaths) else ''}")
            charted = "someday" if number < bad_notes else "2150-01-09 09:00:00"
            notes.append(f"n{number},{number},1{number},DS,1,{charted},,words")
        (folder / "admissions.csv").write_text("\n".join(admissions) + "\n")
        (folder / "patients.csv").write_text("\n".join(patients) + "\n")
        (folder / "discharge.csv").write_text("\n".join(notes) + "\n")
        done = run_script(SCRIPT, folder, tmp_path / "out/n", "--overwrite", *flags)
        path = tmp_path / "out/n.manifest.json"
        return done, json.loads(path.read_text()) if path.is_file() else None

    return go


GOOD, BAD = "2151-03-04", "04/03/2151"


def test_unreadable_deaths(run):
    done, manifest = run(deaths=[BAD] * 3 + [GOOD] * 2)
    assert done.returncode == 1 and manifest is None
    assert "patients.csv: column death" in done.stderr and "3 of 5 that cannot" in done.stderr
    assert "--accept_unusable=death" in done.stderr and "Traceback" not in done.stderr
    done, manifest = run(deaths=[BAD] * 3 + [GOOD] * 2, flags=["--accept_unusable=death"])
    assert done.returncode == 0, done.stderr
    assert manifest["source"]["counts"]["patients_with_unreadable_day_of_death"] == 3
    assert "warning: admissions: death: 3 of 5 values (60%) cannot be used" in done.stdout
    assert manifest["source"]["warnings"] == [line[9:] for line in done.stdout.splitlines() if line[:9] == "warning: "]


def test_few_unreadable_deaths_are_a_warning_and_sentinels_are_counted(run):
    done, manifest = run(deaths=[BAD, "9999-12-31", *[GOOD] * 10])
    assert done.returncode == 0 and "death: 1 of 12 values (8%)" in done.stdout, done.stderr
    assert manifest["source"]["counts"]["death_sentinel"] == 1
    assert "counted: death_sentinel 1" in done.stdout


def test_unreadable_times_of_death(run):
    done, _ = run(deathtimes=[BAD] * 2 + [f"{GOOD} 10:00:00"])
    assert done.returncode == 1 and "admissions.csv: column death" in done.stderr


@pytest.mark.parametrize("faults", [{"bad_admissions": 11}, {"bad_notes": 11}])
def test_more_than_half_of_the_rows(run, faults):
    done, manifest = run(**faults)
    assert done.returncode == 1 and manifest is None
    assert "11 of 20 that cannot be used" in done.stderr and "--accept_unusable=rows" in done.stderr
    done, manifest = run(**faults, flags=["--accept_unusable=rows"])
    assert done.returncode == 0 and "warning: " in done.stdout and "11 of 20 rows (55.0%) dropped" in done.stdout


def test_a_clean_table_has_no_warning(run):
    done, manifest = run(deaths=[GOOD])
    assert done.returncode == 0 and manifest["source"]["warnings"] == [] and "warning:" not in done.stdout, done.stderr
