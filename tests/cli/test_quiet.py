"""TensorFlow's greetings stay away from standard error, and nothing else does."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

HEAD = "import os, sys\nfrom medtop.cli.quiet import quiet_tensorflow, stderr_held_back\n"


def run(code, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", HEAD + code],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def fake_tensorflow(folder, body):
    """A folder that holds a package called `tensorflow`, so that these tests need not load the real one."""
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow" / "__init__.py").write_text("import os, sys\n" + body)
    return {"PYTHONPATH": str(folder)}


def test_greetings_are_held_back_wherever_the_import_stands(tmp_path):
    (tmp_path / "keras_like.py").write_text("import tensorflow\n")
    environment = fake_tensorflow(tmp_path, "os.write(2, b'I0000 hello\\n')\nsys.stderr.write('again')\nvalue = 3\n")
    code = "quiet_tensorflow()\nimport keras_like, tensorflow\nprint(tensorflow.value)\nsys.stderr.write('after')"
    process = run(code, **environment)
    assert (process.returncode, process.stdout, process.stderr) == (0, "3\n", "after")
    assert "hello" in run(code.removeprefix("quiet_tensorflow()\n"), **environment).stderr  # the check of the check


def test_failed_import_shows_them(tmp_path):
    environment = fake_tensorflow(tmp_path, "os.write(2, b'libcuda is broken\\n')\nraise ImportError('reason')\n")
    process = run("quiet_tensorflow()\nimport tensorflow", **environment)
    assert process.returncode == 1
    assert "libcuda is broken\n" in process.stderr and "ImportError: reason" in process.stderr


def test_absent_tensorflow_is_an_import_error():
    process = run("quiet_tensorflow()\nsys.path[:] = []\nsys.modules.pop('tensorflow', None)\nimport tensorflow")
    assert "ModuleNotFoundError: No module named 'tensorflow'" in process.stderr


def test_twice_is_once_and_other_imports_are_untouched():
    code = "for _ in range(3): quiet_tensorflow()\nprint(sum('_Finder' in repr(f) for f in sys.meta_path))\nimport json"
    assert run(code).stdout == "1\n"


@pytest.mark.parametrize("given", ["0", None])
def test_the_users_own_log_level_wins(given):
    process = run(
        "quiet_tensorflow(); print(os.environ['TF_CPP_MIN_LOG_LEVEL'])",
        **({} if given is None else {"TF_CPP_MIN_LOG_LEVEL": given}),
    )
    assert process.stdout.strip() in ({given} if given else {"2", "3"})


@pytest.mark.slow
def test_real_tensorflow_says_nothing():
    process = run("quiet_tensorflow()\nimport tensorflow as tf\nprint(int(tf.constant(1) + 1))")
    assert (process.returncode, process.stdout) == (0, "2\n")
    assert process.stderr == ""
