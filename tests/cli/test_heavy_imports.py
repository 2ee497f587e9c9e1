"""TensorFlow's greetings stay away from standard error and nothing else does; loading takes no detours."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

HEAD = "import os, sys\nfrom medtop.cli.heavy_imports import lighten_imports\n"


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


def fake_package(folder, body, name="tensorflow"):
    """A folder that holds a package called `tensorflow`, so that these tests need not load the real one."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("import os, sys\n" + body)
    return {"PYTHONPATH": str(folder)}


def test_greetings_are_held_back_wherever_the_import_stands(tmp_path):
    (tmp_path / "keras_like.py").write_text("import tensorflow\n")
    environment = fake_package(tmp_path, "os.write(2, b'I0000 hello\\n')\nsys.stderr.write('again')\nvalue = 3\n")
    code = "lighten_imports()\nimport keras_like, tensorflow\nprint(tensorflow.value)\nsys.stderr.write('after')"
    process = run(code, **environment)
    assert (process.returncode, process.stdout, process.stderr) == (0, "3\n", "after")
    assert "hello" in run(code.removeprefix("lighten_imports()\n"), **environment).stderr  # the check of the check


def test_failed_import_shows_them(tmp_path):
    environment = fake_package(tmp_path, "os.write(2, b'libcuda is broken\\n')\nraise ImportError('reason')\n")
    process = run("lighten_imports()\nimport tensorflow", **environment)
    assert process.returncode == 1
    assert "libcuda is broken\n" in process.stderr and "ImportError: reason" in process.stderr


def test_absent_tensorflow_is_an_import_error():
    process = run("lighten_imports()\nsys.path[:] = []\nsys.modules.pop('tensorflow', None)\nimport tensorflow")
    assert "ModuleNotFoundError: No module named 'tensorflow'" in process.stderr


def test_twice_is_once_and_other_imports_are_untouched():
    code = "for _ in range(3): lighten_imports()\nprint(sum('_Finder' in repr(f) for f in sys.meta_path))\nimport json"
    assert run(code).stdout == "1\n"


@pytest.mark.parametrize("given", ["0", None])
def test_the_users_own_log_level_wins(given):
    process = run(
        "lighten_imports(); print(os.environ['TF_CPP_MIN_LOG_LEVEL'])",
        **({} if given is None else {"TF_CPP_MIN_LOG_LEVEL": given}),
    )
    assert process.stdout.strip() in ({given} if given else {"2", "3"})


LOOK = """
import gc
def look():
    absent = []
    for name in ("matplotlib", "pandas", "sklearn", "other"):
        try:
            __import__(name)
        except ImportError:
            absent.append(name)
    return gc.isenabled(), absent
"""


@pytest.mark.parametrize("first", ["tensorflow", "keras"])
def test_loading_takes_no_detours(tmp_path, first):
    """No search for garbage, nothing that Keras can do without; afterwards, and for what was loaded, all is as ever."""
    for name in ("matplotlib", "pandas", "sklearn", "other"):
        fake_package(tmp_path, "", name)
    (tmp_path / "looking.py").write_text(LOOK)
    second = {"tensorflow": "keras", "keras": "tensorflow"}[first]
    environment = fake_package(tmp_path, "from looking import look\nbefore = look()\n", second)
    fake_package(tmp_path, f"import {second}\nfrom looking import look\nafter = look()\n", first)
    code = (
        "import gc, pandas\nlighten_imports()\n"
        f"import {first}, {second}\nfrom looking import look\n"
        f"print({second}.before, {first}.after, look(), gc.get_freeze_count() > 0)\n"
        "assert not any('_Finder' in repr(finder) for finder in sys.meta_path)"
    )
    process = run(code, **environment)
    loading = (False, ["matplotlib", "sklearn"])
    assert (process.stdout, process.stderr) == (f"{loading} {loading} {(True, [])} True\n", "")


def test_a_collector_that_is_off_stays_off(tmp_path):
    environment = fake_package(tmp_path, "raise ImportError('reason')\n")
    code = "import gc\nlighten_imports()\n{}try:\n    import tensorflow\nexcept ImportError:\n    print(gc.isenabled())"
    assert run(code.format("gc.disable()\n"), **environment).stdout == "False\n"
    assert run(code.format(""), **environment).stdout == "True\n"


@pytest.mark.slow
def test_real_tensorflow_says_nothing():
    process = run("lighten_imports()\nimport tensorflow as tf\nprint(int(tf.constant(1) + 1))")
    assert (process.returncode, process.stdout) == (0, "2\n")
    assert process.stderr == ""


@pytest.mark.slow
def test_real_keras_does_without():
    """It loads none of the three, and each can be imported behind it."""
    names = "('matplotlib', 'pandas', 'sklearn')"
    code = f"lighten_imports()\nimport keras\nprint([name for name in {names} if name in sys.modules])\n"
    code += "import matplotlib.pyplot, pandas, sklearn.linear_model\n"
    code += "print(keras.layers.Dense(3)(keras.ops.ones((2, 4))).shape)"
    process = run(code)
    assert process.stdout == "[]\n(2, 3)\n", process.stderr
