"""Shared by all tests: where the repository and the open data are, how a script is run, quiet and small TensorFlow."""

import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import leaks
import pytest
from quick_cases import mark_others_slow
from script_runner import run_in_process
from shared import VARIABLE

from medtop.cli.heavy_imports import prepare_imports

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # one thread pool per core, not one per core and worker
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
    if signal.getsignal(number) == signal.SIG_IGN:  # as under `nohup ... &`: the scripts that tests start would too
        signal.signal(number, handler)

prepare_imports()
gc.disable()  # until all is collected: it would look through what stays
leaks.watch()


def pytest_configure(config):
    """A folder for what the workers share (`shared`): they inherit its name, the first process removes it; one that the
    environment names, for several calls on the same checkout, stays."""
    if VARIABLE not in os.environ:
        folder = os.environ[VARIABLE] = tempfile.mkdtemp(prefix="medtop-tests-")
        config.add_cleanup(functools.partial(shutil.rmtree, folder, ignore_errors=True))


LONG_FILES = (
    "test_chain_kills.py",
    "test_corpus_kills.py",
    "test_kills.py",
    "test_workers.py",
    "test_generated_cohort.py",
    "test_saved_model.py",
    "test_training.py",
    "test_fuzz.py",
    "test_faults.py",
    "test_distribution.py",
    "test_damages.py",
    "test_head_runs.py",
    "test_wide_run.py",
    "test_notes_model.py",
    "test_served_code_map.py",
    "test_fit.py",
    "test_pipeline.py",
    "test_tabular_script.py",
    "test_readmission_run.py",
    "test_run_scripts.py",
    "test_packing.py",
    "test_notes_pipeline.py",
    "test_grid_training.py",
    "test_balancing.py",
    "test_encoder.py",
    "test_architecture.py",
)
"""Files that take long come first: the last one decides how long the other workers wait for it. Two that share a run
(`shared`) stand apart, or one worker would wait while the other makes it."""


PASSED = os.environ.get("MEDTOP_PASSED")
"""File of the tests that passed in earlier calls on the same checkout, which `.ci/run` names: they are not run again
where the extras are installed, and only there does a test that was skipped for the lack of one run."""

_passed = []


def pytest_runtest_logreport(report):
    """Notes what passed."""
    if report.when == "call" and report.passed:
        _passed.append(report.nodeid)


def pytest_sessionfinish(session):
    """Writes what passed; the controller of several workers hears of all."""
    if PASSED and not hasattr(session.config, "workerinput"):
        with open(PASSED, "a", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name in _passed)


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(config, items):
    """Long files first, the others in their order; without what `PASSED` names; of cases, which are slow."""
    mark_others_slow(items, whole=not any("::" in word for word in config.args))
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    if PASSED and Path(PASSED).is_file():
        before = set(Path(PASSED).read_text(encoding="utf-8").splitlines())
        if again := [item for item in items if item.nodeid in before]:
            config.hook.pytest_deselected(items=again)
            items[:] = [item for item in items if item.nodeid not in before]


def pytest_collection_finish():
    """What TensorFlow and the modules are made of stays: the garbage collector need not look through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session")
def repo_root():
    """The repository's root, a `Path`."""
    return ROOT


@pytest.fixture(scope="session")
def test_data():
    """The folder of open data sets that MEDTOP_TEST_DATA names, a `Path`; skips the test where it is unset."""
    folder = os.environ.get("MEDTOP_TEST_DATA")
    if not folder:
        pytest.skip("MEDTOP_TEST_DATA is unset: it names the folder of open data sets")
    if not Path(folder).is_dir():
        pytest.fail(f"MEDTOP_TEST_DATA={folder}: expected a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def run_script():
    """Runs a script of the repository in this process (`script_runner`); a `subprocess.CompletedProcess` with text.

    `run_script("preprocessing/x.py", "--flag=value", cwd=folder, env={"NAME": "value"}, timeout=seconds)`. Quick; what
    only a new process can show (`script_runner` lists it) takes `run_process`, which has the same arguments.
    `hidden=("tensorflow",)`: packages that the script cannot import.
    """

    def run(script, *arguments, cwd=ROOT, env=None, timeout=300, hidden=()):
        return run_in_process(ROOT / script, [str(word) for word in arguments], cwd, env or {}, timeout, hidden)

    return run


@pytest.fixture(scope="session")
def run_process():
    """Runs a script of the repository in a process of its own, as a user would; as `run_script` otherwise.

    One test of each script is enough: each new process that trains costs ten CPU-seconds.
    """

    def run(script, *arguments, cwd=ROOT, env=None, timeout=300):
        command = [sys.executable, str(ROOT / script), *map(str, arguments)]
        environment = {**os.environ, **(env or {})}
        return subprocess.run(command, cwd=cwd, env=environment, timeout=timeout, capture_output=True, text=True)

    return run


@pytest.fixture(params=["here", pytest.param("own_process", marks=pytest.mark.slow)])
def run_either(request, run_script, run_process):
    """`run_script`, and in the slow tests `run_process` too: a script end to end, quickly and as users run it."""
    return run_script if request.param == "here" else run_process


@pytest.fixture(autouse=True)
def no_identifier_in_a_message(request):
    """No `DataError` of any test shows an id or a date of the tables in its `tmp_path`."""
    leaks.texts.clear()
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        told = {message: leaks.shown(message, folder) for message in leaks.texts}
        assert not (told := {message: values for message, values in told.items() if values}), f"identifiers: {told}"
