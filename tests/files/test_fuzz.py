"""A seeded fuzz run over every kind of file that we read: never a traceback, 1 GB, 20 seconds, or a changed file.

A minute here; ten with FUZZ_SECONDS=600 (docs/security.md). FUZZ_SEED is another run.
"""

import os
import subprocess
import sys

import pytest
from hostile import ROOT


@pytest.mark.slow
def test_damaged_files_of_each_kind(tmp_path):
    pytest.importorskip("yaml")
    seconds, seed = os.environ.get("FUZZ_SECONDS", "60"), os.environ.get("FUZZ_SEED", "19")
    paths = [ROOT, *(ROOT / "tests" / name for name in ("support", "oracles", "data"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, str(ROOT / "tests" / "support" / "fuzz.py"), seconds, seed, str(tmp_path)]
    (tmp_path / "beside").write_text("as it was")
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    now = (tmp_path / "now").read_text() if (tmp_path / "now").exists() else "none"
    assert done.returncode == 0, (
        f"exit code {done.returncode} in case {now}: {done.stdout[-6000:]}{done.stderr[-2000:]}"
    )
    assert (tmp_path / "beside").read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"beside", "now", "good", "case"}
    print(done.stdout)
