"""A script in a process of its own, forked from one that has loaded TensorFlow and medtop and done nothing else.

For tests that kill, since the work that a kill interrupts is what counts, and many kills would come in the seconds of
imports before it; and for those that need several processes, each of which would load TensorFlow. What only a new
interpreter shows is for `run_process`.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path

KILLED = -signal.SIGKILL

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["sklearn.linear_model", "medtop.evaluation.patients", "medtop.readmission.evaluation", "medtop.runs.execute"]
)


def load():
    """Returns when the process that others are forked from has loaded everything: the first one waits for that."""
    first = _context.Process(target=int)
    first.start()
    first.join()


class Forked:
    """Starts a script.

    Args:
        command: path of the script and its arguments, strings.
        environment: further variables; those that are read when Python or TensorFlow is loaded come too late.
    """

    def __init__(self, command, environment=None):
        number, name = tempfile.mkstemp(prefix="errors-")
        os.close(number)
        self._errors = Path(name)
        self._process = _context.Process(target=_run, args=(command, environment or {}, name))
        self._process.start()

    @property
    def returncode(self):
        """As of `subprocess.Popen`."""
        return self._process.exitcode

    def kill(self):
        """kill -9."""
        self._process.kill()

    def send_signal(self, number):
        """As of `subprocess.Popen`."""
        os.kill(self._process.pid, number)

    def wait(self, seconds):
        """Waits until it ends, and returns what it wrote to standard error; kills it where that takes longer."""
        self._process.join(seconds)
        late = self._process.is_alive()
        if late:
            self.kill()
            self._process.join()
        errors = self._errors.read_text("utf-8", "replace")
        self._errors.unlink()
        assert not late, f"not done after {seconds} s: {errors[-3000:]}"
        return errors


def _run(command, environment, errors):
    for path, number in ((os.devnull, 1), (errors, 2)):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.update(environment)
    tempfile.tempdir = None  # read TMPDIR again
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).parent))
    runpy.run_path(command[0], run_name="__main__")
