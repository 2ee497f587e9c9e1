"""What a script meets before its flags: a foreign backend of Keras, a locale that cannot read or write a letter."""

import subprocess
import sys

import pytest
from hostile import ROOT

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(program, arguments, env, cwd):
    """A process whose environment is `env` alone; bytes, because the locale is what is tested."""
    command = [sys.executable, str(ROOT / program), *arguments]
    return subprocess.run(command, env={"PYTHONPATH": str(ROOT), **env}, cwd=cwd, capture_output=True)


@pytest.mark.parametrize("backend", ["jax", "torch", "nonsense"])
def test_a_foreign_backend_is_one_line(run_script, tmp_path, backend):
    done = run_script("run_scripts/run_prediction.py", "--run_dir=x", "--input_file=y", "--output_file=z", cwd=tmp_path)
    assert "KERAS_BACKEND" not in done.stderr
    environment = {"KERAS_BACKEND": backend, "PATH": "/usr/bin:/bin"}
    done = run("run_scripts/run_prediction.py", ["--run_dir=x", "--input_file=y"], environment, tmp_path)
    assert done.returncode == 1 and done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        f"error: KERAS_BACKEND: expected tensorflow, or the variable unset, received {backend!r}"
    ]


@pytest.mark.slow
def test_the_c_locale(tmp_path):
    """Names that it cannot read are refused; letters of a file that it cannot write are shown by their numbers."""
    script = "preprocessing/preprocess_pretrain_data.py"
    (tmp_path / "a.csv").write_text("patient_id,admit,discharge,code,\u00e9\nP1,2010-01-01,2010-01-03,I10,x\n", "utf-8")
    (tmp_path / "b.csv").write_text(
        "patient_id,admit,discharge,d\u00e9x,d\u00e9x\nP1,2010-01-01,2010-01-03,I10,\n", "utf-8"
    )
    done = run(script, ["caf\u00e9.csv".encode(), "NA", "out", "0"], C_LOCALE, tmp_path)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and done.stderr.isascii()
    assert b"expected a name in UTF-8" in done.stderr and b"LC_ALL=C.UTF-8" in done.stderr
    done = run(script, ["b.csv", "NA", "out", "0"], C_LOCALE, tmp_path)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and done.stderr.isascii() and b"\\xe9" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


class OutOfMemoryException(Exception):
    """Named as DuckDB's."""


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryException("a\nb"), ResourceExhaustedError("OOM")])
def test_too_little_memory_is_one_line(capsys, error):
    from absl import flags

    from medtop.cli import commands

    def main(_):
        raise error

    with pytest.raises(SystemExit) as end:
        commands.run(main, argv=["script"], flag_values=flags.FlagValues())
    printed = capsys.readouterr().err
    assert end.value.code == 1 and printed.count("\n") == 1
    assert printed.startswith("error: memory: expected more than this process may have, received: ")


def test_preprocessing_with_too_little_memory(run_script, tmp_path):
    (tmp_path / "a.csv").write_text("patient_id,admit,discharge,code\n" + "P1,2010-01-01,2010-01-03,I10\n" * 2000)
    (tmp_path / "t.csv").write_text("patient_id,prediction_time\n" + "P1,2010-02-01\n" * 2000)
    arguments = ["a.csv", "NA", "out", "0", "--prediction_times=t.csv", "--memory_limit=1MB"]
    done = run_script("preprocessing/preprocess_pretrain_data.py", *arguments, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "memory" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "t.csv"]
