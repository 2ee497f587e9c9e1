"""TensorFlow's greetings stay away from standard error and nothing else does; loading takes no detours."""

import importlib.util
import os
import platform
import subprocess
import sys

import pytest
from conftest import ROOT

HEAD = "import os, sys\nfrom medtop.cli.heavy_imports import prepare_imports\n"
SET = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")


def run(code, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in SET}
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
    code = "prepare_imports()\nimport keras_like, tensorflow\nprint(tensorflow.value)\nsys.stderr.write('after')"
    process = run(code, **environment)
    assert (process.returncode, process.stdout, process.stderr) == (0, "3\n", "after")
    assert "hello" in run(code.removeprefix("prepare_imports()\n"), **environment).stderr  # the check of the check


def test_failed_import_shows_them(tmp_path):
    environment = fake_package(tmp_path, "os.write(2, b'libcuda is broken\\n')\nraise ImportError('reason')\n")
    process = run("prepare_imports()\nimport tensorflow", **environment)
    assert process.returncode == 1
    assert "libcuda is broken\n" in process.stderr and "ImportError: reason" in process.stderr


def test_absent_tensorflow_is_an_import_error():
    process = run("prepare_imports()\nsys.path[:] = []\nsys.modules.pop('tensorflow', None)\nimport tensorflow")
    assert "ModuleNotFoundError: No module named 'tensorflow'" in process.stderr


def test_twice_is_once_and_other_imports_are_untouched():
    code = "for _ in range(3): prepare_imports()\nprint(sum('_Finder' in repr(f) for f in sys.meta_path))\nimport json"
    assert run(code).stdout == "1\n"


@pytest.mark.parametrize("given", ["0", None])
def test_the_users_own_log_level_wins(given):
    process = run(
        "prepare_imports(); print(os.environ['TF_CPP_MIN_LOG_LEVEL'])",
        **({} if given is None else {"TF_CPP_MIN_LOG_LEVEL": given}),
    )
    assert process.stdout.strip() in ({given} if given else {"2", "3"})


@pytest.mark.parametrize(
    ("machine", "given", "then"),
    [("x86_64", None, "1"), ("AMD64", None, "1"), ("aarch64", None, None), ("x86_64", "0", "0")],
)
def test_onednn_is_on_where_the_user_does_not_say_otherwise(machine, given, then):
    code = f"import platform\nplatform.machine = lambda: {machine!r}\nprepare_imports()\n"
    process = run(code + f"print(os.environ.get({SET[1]!r}))", **({} if given is None else {SET[1]: given}))
    assert process.stdout == f"{then}\n"


@pytest.mark.slow
def test_tensorflow_itself_computes_with_onednn():
    """The setting reached TensorFlow before it was loaded."""
    if importlib.util.find_spec("tensorflow") is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("TensorFlow on x86 only")
    code = "prepare_imports()\nfrom tensorflow.python.util import _pywrap_util_port as port\nprint(port.IsMklEnabled())"
    assert run(code).stdout == "True\n"
    assert run(code, TF_ENABLE_ONEDNN_OPTS="0").stdout == "False\n"  # the check of the check


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
        "import gc, pandas\nprepare_imports()\n"
        f"import {first}, {second}\nfrom looking import look\n"
        f"print({second}.before, {first}.after, look(), gc.get_freeze_count() > 0)\n"
        "assert not any('_Finder' in repr(finder) for finder in sys.meta_path)"
    )
    process = run(code, **environment)
    loading = (False, ["matplotlib", "sklearn"])
    assert (process.stdout, process.stderr) == (f"{loading} {loading} {(True, [])} True\n", "")


def test_a_collector_that_is_off_stays_off(tmp_path):
    environment = fake_package(tmp_path, "raise ImportError('reason')\n")
    code = "import gc\nprepare_imports()\n{}try:\n    import tensorflow\nexcept ImportError:\n    print(gc.isenabled())"
    assert run(code.format("gc.disable()\n"), **environment).stdout == "False\n"
    assert run(code.format(""), **environment).stdout == "True\n"


@pytest.mark.slow
def test_real_tensorflow_says_nothing():
    process = run("prepare_imports()\nimport tensorflow as tf\nprint(int(tf.constant(1) + 1))")
    assert (process.returncode, process.stdout) == (0, "2\n")
    assert process.stderr == ""


@pytest.mark.slow
def test_real_keras_does_without():
    """It loads none of the three, and each can be imported behind it."""
    names = "('matplotlib', 'pandas', 'sklearn')"
    code = f"prepare_imports()\nimport keras\nprint([name for name in {names} if name in sys.modules])\n"
    code += "import matplotlib.pyplot, pandas, sklearn.linear_model\n"
    code += "print(keras.layers.Dense(3)(keras.ops.ones((2, 4))).shape)"
    process = run(code)
    assert process.stdout == "[]\n(2, 3)\n", process.stderr
