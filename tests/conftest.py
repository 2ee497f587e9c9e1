"""Shared by all tests: where the repository and the open data are, how a script is run, quiet and small TensorFlow."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from script_runner import run_in_process

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # one thread pool per core, not one per core and worker
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
    if signal.getsignal(number) == signal.SIG_IGN:  # as under `nohup ... &`: the scripts that tests start would too
        signal.signal(number, handler)


LONG_FILES = (
    "test_training.py",
    "test_faults.py",
    "test_run_scripts.py",
    "test_readmission_run.py",
    "test_grid_training.py",
    "test_notes_pretraining.py",
    "test_saved_model.py",
    "test_note_scoring.py",
    "test_notes_pipeline.py",
    "test_distribution.py",
    "test_packing.py",
    "test_tabular_script.py",
    "test_sources.py",
    "test_deploy.py",
)
"""Files that take long come first: the last one decides how long the other workers wait for it."""


def pytest_collection_modifyitems(items):
    """Long files first, the others in their order."""
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


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
