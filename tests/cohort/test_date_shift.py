"""--shift_dates: every date of a patient moves by one number of days, and nothing else changes."""

import datetime as dt

import numpy as np
import pytest
from fixed_key import write_key

from medtop.cohort.pickled_lists import read_chunks
from medtop.files.keys import read_key

SCRIPT = "preprocessing/preprocess_pretrain_data.py"
DAY = 86_400


def table(path, num_patients=60):
    """Stays with birth, death and, for some, an age beyond 90."""
    rng, lines = np.random.default_rng(0), ["patient_id,admit,discharge,code,birth,sex,death"]
    for number in range(num_patients):
        admit = dt.date(2010, 1, 1) + dt.timedelta(days=int(rng.integers(0, 900)))
        birth = admit - dt.timedelta(days=int(rng.integers(30, 99)) * 365)
        stays = []
        for _ in range(int(rng.integers(1, 6))):
            discharge = admit + dt.timedelta(days=int(rng.integers(0, 20)))
            stays.append((admit, discharge))
            admit = discharge + dt.timedelta(days=int(rng.integers(1, 200)))
        death = stays[-1][1] + dt.timedelta(days=3) if number % 5 == 0 else ""
        for admit, discharge in stays:
            for code in rng.choice(["E119", "I10", "N183", "I214"], 2, replace=False):
                lines.append(f"p{number},{admit},{discharge},ICD10_{code},{birth},F,{death}")
    path.write_text("\n".join(lines) + "\n")
    return path


def read(prefix):
    """dict (patient) -> (prediction time, ages, codes, gaps, labels) of all splits."""
    found = {}
    for split in ("train", "valid", "test"):
        for chunk in read_chunks(f"{prefix}.bencs.{split}"):
            codes, visits = (np.cumsum([0, *counts]) for counts in (chunk.code_counts, chunk.visit_counts))
            for place, patient in enumerate(chunk.patient_ids):
                visit = slice(visits[place], visits[place + 1])
                found[patient] = (
                    int(chunk.prediction_times[place]),
                    chunk.codes[codes[place] : codes[place + 1]].tolist(),
                    {name: getattr(chunk, name)[visit].tolist() for name in ("stay_days", "gaps_before", "recencies")},
                    {task: np.asarray(values[place]).tolist() for task, values in chunk.labels.items()},
                    chunk.ages[visit].tolist(),
                )
    return found


@pytest.mark.quick("True")
@pytest.mark.parametrize("given", [False, True])
def test_only_dates_move(tmp_path, run_script, given):
    data, key_file = table(tmp_path / "stays.csv"), tmp_path / "key"
    write_key(key_file)
    more = []
    if given:
        lines = [f"p{number},2012-06-30" for number in range(60)]
        (tmp_path / "times.csv").write_text("patient_id,prediction_time\n" + "\n".join(lines) + "\n")
        more = [f"--prediction_times={tmp_path}/times.csv"]
    columns = (
        "--columns=patient_id=patient_id,admit=admit,discharge=discharge,code=code,birth=birth,sex=sex,death=death"
    )
    for name, flags in (("plain", []), ("moved", ["--shift_dates", f"--key_file={key_file}"])):
        done = run_script(SCRIPT, data, "NA", tmp_path / name / "cohort", 0, columns, *more, *flags)
        assert done.returncode == 0, done.stderr
    assert "shifted dates" in done.stdout or "patients_with_shifted_dates" in done.stdout
    plain, moved, key = read(tmp_path / "plain/cohort"), read(tmp_path / "moved/cohort"), read_key(key_file)
    assert plain.keys() == moved.keys() and len(plain) > 30
    shifts = set()
    for patient, (time, *same, ages) in plain.items():
        new, *others, new_ages = moved[patient]
        assert new - time == key.shift_days(patient) * DAY
        np.testing.assert_equal(others, same)  # labels unknown are NaN
        if max(ages) < 90 * 365:
            assert np.abs(np.subtract(ages, new_ages)).max() <= 0
        else:
            assert max(new_ages) <= 91 * 366
        shifts.add(new - time)
    assert len(shifts) > 20
    assert key.secret.hex() not in (tmp_path / "moved/cohort.manifest.json").read_text()


def test_flags(tmp_path, run_script):
    data, key_file = table(tmp_path / "stays.csv"), tmp_path / "out/key"
    key_file.parent.mkdir()
    write_key(key_file)
    for flags, message in (
        (["--shift_dates"], "--shift_dates needs --key_file"),
        ([f"--key_file={key_file}"], "no effect without --shift_dates"),
        (["--shift_dates", f"--key_file={key_file}"], "outside of the output"),
    ):
        done = run_script(SCRIPT, data, "NA", tmp_path / "out/cohort", 0, *flags)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["key"]
