"""Runs the cells of a grid as processes: one of them, or all, one after another; resumable at any moment.

A cell's folder holds `run/` (the run directory), `log.txt` (what the script printed), `status.json` and, where the grid
changes the model configuration, `bert_config.json`. `.lock` is held while the cell runs, by the script's process too,
so that several of these commands may share a grid, and one that was killed leaves no cell running twice.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError, Stopped
from medtop.files.locks import check_own_folder, hold, open_own

VERSION = 1
STOPPED = 75  # the exit code of a script that saved and stopped on SIGTERM
POLL_SECONDS = 0.1
LOCK_ATTEMPTS = 4
WAIT_SECONDS = 5
LONGEST_REASON = 300
PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP")


@dataclasses.dataclass(frozen=True)
class Status:
    """Where a cell stands.

    Attributes:
        state: `new`, `running` (another process is at it), `stopped` (begun and not ended: it goes on), `finished`,
            `failed`, or `changed` (ended well, but with other settings than the grid file's).
        exit_code: of the last attempt that ended, or None.
        reason: the line that a failed attempt ended with, or "".
        attempts: how often the cell was started.
        seconds: wall-clock time of the attempts that ended.
    """

    state: str = "new"
    exit_code: int | None = None
    reason: str = ""
    attempts: int = 0
    seconds: float = 0.0


def status_of(cell):
    """The `Status` of a cell.

    Raises:
        DataError: for a status file of another version or with another content.
    """
    running = _is_locked(cell)
    status = _unlocked_status(cell)
    return dataclasses.replace(status, state="running") if running else status


def _unlocked_status(cell):
    """The `Status` of a cell that no other process runs."""
    stored = _read(cell)
    if not stored or (stored["state"] == "finished" and not cell.run_folder.is_dir()):
        return Status()
    state = "stopped" if stored["state"] == "running" else stored["state"]  # it was killed
    if state == "finished" and stored["settings"] != cell.settings():
        state = "changed"
    return Status(state, **{name: stored[name] for name in ("exit_code", "reason", "attempts", "seconds")})


def _file(cell):
    return cell.folder / "status.json"


def _read(cell):
    try:
        stored = read_json(_file(cell))
    except FileNotFoundError:
        return {}
    if not isinstance(stored, dict) or stored.get("version") != VERSION:
        raise DataError(f"{_file(cell)}: expected a cell's status of version {VERSION}, received another content")
    return stored


@contextlib.contextmanager
def _lock(cell):
    """Yields a file that holds the cell, or None while another process does."""
    check_own_folder(cell.folder)
    cell.folder.mkdir(parents=True, exist_ok=True)
    with open_own(cell.folder / ".lock") as file:
        yield file if any(_locked(file) for _ in range(LOCK_ATTEMPTS)) else None


def _locked(file):
    if hold(file):
        return True
    time.sleep(POLL_SECONDS / 4)  # it may be `status_of`, which looks for a moment
    return False


def _is_locked(cell):
    try:
        with open_own(cell.folder / ".lock", os.O_RDWR) as file:
            return not hold(file, shared=True)
    except FileNotFoundError:
        return False


def check_flags(grid, offered):
    """Refuses a flag that the script does not have, before anything starts.

    Args:
        grid: `medtop.grid.cells.Grid`.
        offered: set of flag names, `medtop.cli.flags.of_script`'s.
    """
    for cell in grid.cells:
        for name in [*cell.flags, "output_dir", *(["bert_config_file"] if cell.config is not None else [])]:
            if name not in offered | {"flagfile"}:
                hint = ", or a {" + name + "} to fill under flags" if name in grid.axes else ""
                script = grid.script.name
                raise DataError(f"{grid.path}: {name}: expected a flag that {script} --help lists{hint}")


class Runner:
    """Runs cells of one grid.

    Args:
        grid: `medtop.grid.cells.Grid`.
        say: function that shows a line to the user.
        overwrite: start cells anew that failed, or that were run with other settings.
        restarts: how often a cell that was killed, or stopped by a signal that was not for all, is started again.
        after: function that `run_all` calls after each cell that this process ran; None: nothing.
    """

    def __init__(self, grid, *, say, overwrite=False, restarts=2, after=None):
        self.grid, self.say, self.overwrite, self.restarts = grid, say, overwrite, restarts
        self._after = after or (lambda: None)
        self._signal, self._child = None, None

    def run_one(self, cell):
        """Runs one cell; what it prints is shown as it comes.

        Returns:
            The script's exit code, 128 + the number of the signal that killed it; 0 for a finished cell.

        Raises:
            Stopped: after SIGTERM, when the script has saved, or while another process runs the cell.
        """
        with self._signals(), _lock(cell) as lock:
            if lock is None:
                raise Stopped(f"cell {cell.index} {cell.name}: another process runs it")
            if _unlocked_status(cell).state == "finished":
                self.say(f"cell {cell.index} {cell.name}: finished already")
                return 0
            code = self._run(cell, lock, echo=self.say)
            self._stop_if_asked()
            return code

    def run_all(self):
        """Runs all cells that are not finished, one after another; those that fail do not stop the others.

        Cells that another process runs are waited for, and taken over if it dies.

        Returns:
            list of (cell, `Status`) of the cells that failed.

        Raises:
            Stopped: after SIGTERM, SIGINT or SIGHUP, when the script under way has saved.
        """
        waiting, failed, told = list(self.grid.cells), [], False
        before = {cell.index: status_of(cell) for cell in waiting}
        with self._signals():
            while waiting:
                number = len(waiting)
                for cell in list(waiting):
                    self._stop_if_asked()
                    with _lock(cell) as lock:
                        if lock is None:
                            continue
                        waiting.remove(cell)
                        status, ran = _unlocked_status(cell), False
                        # What another process tried and failed at meanwhile is not tried a second time.
                        if status.state != "finished" and (status.state != "failed" or status == before[cell.index]):
                            self._run(cell, lock)
                            self._stop_if_asked()
                            status, ran = _unlocked_status(cell), True
                    if ran:  # no longer held
                        self._after()
                    if status.state != "finished":
                        failed.append((cell, status))
                if waiting and len(waiting) == number:
                    if not told:
                        self.say(f"waiting for {len(waiting)} cells that other processes run")
                        told = True
                    self._wait()
        return failed

    def _wait(self):
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end and self._signal is None:
            time.sleep(POLL_SECONDS)
        self._stop_if_asked()

    def _run(self, cell, lock, echo=None):
        """Runs a cell that this process holds, again where it was killed; gives its last exit code."""
        stored = _read(cell)
        if self.overwrite and stored and (stored["state"] == "failed" or stored["settings"] != cell.settings()):
            if cell.run_folder.exists():
                shutil.rmtree(cell.run_folder)
            _file(cell).unlink(missing_ok=True)
        for left in range(self.restarts, -1, -1):
            self.say(f"cell {cell.index} of {len(self.grid.cells)}: {cell.name}")
            code = self._attempt(cell, lock, echo)
            if not left or self._signal is not None or not (code == STOPPED or code < 0):
                break
            self.say(f"cell {cell.index}: {_ending(code)}; it goes on")
        status = _unlocked_status(cell)
        self.say(f"cell {cell.index}: {status.state}" + (f", {status.reason}" if status.reason else ""))
        return code if code >= 0 else 128 - code

    def _attempt(self, cell, lock, echo):
        stored = _read(cell)
        record = {
            "version": VERSION,
            "name": cell.name,
            "state": "running",
            "settings": stored.get("settings", cell.settings()),
            "attempts": stored.get("attempts", 0) + 1,
            "seconds": stored.get("seconds", 0.0),
            "exit_code": stored.get("exit_code"),
            "reason": "",
        }
        if cell.config is not None:
            write_json(cell.config_file, cell.config)
        write_json(_file(cell), record)
        command = [sys.executable, str(self.grid.script), *cell.arguments()]
        began = time.monotonic()
        code, last = self._process(command, cell.folder / "log.txt", lock, echo)
        record["seconds"] = round(record["seconds"] + time.monotonic() - began, 1)
        record["exit_code"] = code
        if code in (0, STOPPED):
            record["settings"] = cell.settings()  # the script took them: they are the run's
        record["state"] = "finished" if code == 0 else "failed"
        if code == STOPPED or code < 0 or (code != 0 and self._signal is not None):
            record["state"] = "stopped"  # nothing is wrong with it: it goes on where it is
        if code != 0:
            record["reason"] = last if code > 0 and last else _ending(code)
        write_json(_file(cell), record)
        return code

    def _process(self, command, log_file, lock, echo):
        """(exit code, line that tells how it ended) of a command whose output goes to the end of a log file."""
        appended = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with open_own(log_file, appended, 0o666) as log, open(log_file, "rb") as reader:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            reader.seek(0, os.SEEK_END)
            start = reader.tell()
            # Its own session: Ctrl-C reaches this process only, which asks it to save. It holds the lock as long as it
            # lives, whatever happens here.
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
            if self._signal is not None:  # it came before there was a process to pass it on to
                self._child.terminate()
            rest = b""
            while True:
                code = self._child.poll()
                *lines, rest = (rest + reader.read()).split(b"\n") if echo else (b"",)
                for line in lines:
                    echo(line.decode("utf-8", "replace"))
                if code is not None:
                    break
                time.sleep(POLL_SECONDS)
            self._child = None
            if rest:
                echo(rest.decode("utf-8", "replace"))
            reader.seek(start)
            return code, _last_line(reader.read().decode("utf-8", "replace"))

    @contextlib.contextmanager
    def _signals(self):
        """While it lasts, signals that end processes ask the script under way to save and stop."""
        earlier = {}
        for name in PASSED_ON:
            number = getattr(signal, name)
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                earlier[number] = signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _on_signal(self, number, frame):
        child, again = self._child, self._signal is not None
        self._signal = signal.Signals(number)
        if child is not None:
            if again and number == signal.SIGINT:  # the user does not want to wait
                child.kill()
            else:
                child.terminate()

    def _stop_if_asked(self):
        if self._signal is not None:
            raise Stopped(f"stopped by signal {self._signal.name}; run the same command to go on")


def _ending(code):
    if code == STOPPED:
        return "stopped after saving"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _last_line(text):
    """The line of a script's output that says how it ended: its last `error:` or `stopped:`, else its last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("error: ", "stopped: "))]
    return (told or lines or [""])[-1][:LONGEST_REASON]
