"""First and last dates stand in no output but as months, unless they are asked for: a date is an identifier."""

import json
import re

import pytest

SCRIPT = "preprocessing/preprocess_pretrain_data.py"
FIRST, LAST = "2010-01-13", "2014-11-17"


@pytest.mark.parametrize("layout", ["default", "medbert"])
@pytest.mark.parametrize("exact", [False, True])
def test_outputs_hold_months_or_dates_as_asked(tmp_path, run_script, layout, exact):
    rows = [f"{name}\t2012-0{name % 9 + 1}-05\t2012-0{name % 9 + 1}-09\tI10\t0\t1\t0" for name in range(60)]
    rows += [f"70\t{FIRST}\t2010-01-20\tI10\t0\t1\t0", f"71\t2014-11-13\t{LAST}\tI10\t0\t1\t0"]
    header = "patient_id\tvadate\tvddate\tdiag\tpoa\tdiagnosis_priority\tthird_party_ind\n"
    (tmp_path / "t.tsv").write_text(header + "\n".join(rows) + "\n")
    more = [f"--layout={layout}", *(["--index=none"] if layout == "default" else []), *(["--exact_dates"] * exact)]
    done = run_script(SCRIPT, tmp_path / "t.tsv", "NA", tmp_path / "c", 0, *more)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "c.manifest.json").read_text()
    dates = json.loads(text)["dates"]
    size = 10 if exact else 7
    assert (dates["first_admission"], dates["last_discharge"]) == (FIRST[:size], LAST[:size])
    names = (FIRST, LAST, "2010-01-20", "2014-11-13")
    assert any(day in done.stdout for day in names) == any(day in text for day in names) == exact
    command = [f"--input_file={tmp_path}/c.bencs.train"]
    command += [f"--vocab_file={tmp_path}/c.types", f"--output_file={tmp_path}/r"]
    assert run_script("preprocessing/create_BERTpretrain_EHRfeatures.py", *command).returncode == 0
    about = re.sub(r'"changed": \d+', "", (tmp_path / "r.dataset.json").read_text())
    assert any(day in about for day in names) == exact
