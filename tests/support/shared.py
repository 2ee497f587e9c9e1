"""Folders that are made once for all workers of a test run, by whichever asks first; the others wait for it."""

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "MEDTOP_TESTS_SHARED"
"""Environment variable with the folder of a test run; conftest sets it, the workers inherit it."""


def shared_folder(name, fill):
    """The folder `name` of this test run; its readers leave it as it is.

    Args:
        name: of a new folder.
        fill: function of the folder that makes what is in it; called once, in one worker.

    Returns:
        `Path`.
    """
    if VARIABLE not in os.environ:  # outside pytest
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="medtop-tests-")
        atexit.register(shutil.rmtree, os.environ[VARIABLE], ignore_errors=True)
    folder = Path(os.environ[VARIABLE]) / name
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = Path(f"{folder}.done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            fill(folder)
            done.touch()
    return folder
