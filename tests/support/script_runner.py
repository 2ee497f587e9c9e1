"""A script of the repository run inside this process: what `python script ...` does, without a new interpreter.

A new process costs seconds of imports (TensorFlow's alone seven), the call itself mostly none. What a new process would
have of its own is set up before and put back after: flags, arguments, folder, environment, standard output and error
(the file descriptors: C++ and child processes write there too), logging, signal handlers, Keras's settings.

Not the same as in a new process, so `run_process` is for it: variables that are read when Python or TensorFlow starts
(`PYTHON*`, `TF_*`, `OMP_*`, `XLA_*`), standard input, kills, what is printed when a process ends, several CPU devices.
"""

import contextlib
import io
import logging
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile

import numpy as np
from absl import flags
from absl.testing import flagsaver

READ_AT_START = ("PYTHON", "TF_", "OMP_", "XLA_", "CUDA_", "KERAS_", "JAX_")
"""Beginnings of the names of variables that come too late in a process that runs already."""


def run_in_process(script, arguments, cwd, env, timeout, hidden=()):
    """Runs a script as `__main__`.

    Args:
        script: its path.
        arguments: strings.
        cwd: the folder to be in meanwhile.
        env: dict name -> value: variables to set meanwhile.
        timeout: seconds until `subprocess.TimeoutExpired` is raised.
        hidden: packages such as "tensorflow" that cannot be imported meanwhile, whether they are loaded here or not.

    Returns:
        `subprocess.CompletedProcess` with text.

    Raises:
        ValueError: for a variable that a running process reads no more.
    """
    if late := [name for name in env if name.startswith(READ_AT_START)]:
        raise ValueError(f"{', '.join(late)}: a running process reads it no more; use the fixture run_process")
    command = [str(script), *arguments]
    with (
        _captured() as streams,
        _as_in_a_new_process(command, cwd, env),
        _time_limit(command, timeout),
        _hidden(hidden),
    ):
        try:
            runpy.run_path(str(script), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = _exit_code(end.code)
    return subprocess.CompletedProcess(command, code, streams["stdout"], streams["stderr"])


def _exit_code(code):
    """What the interpreter makes of SystemExit's argument."""
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


@contextlib.contextmanager
def _hidden(packages):
    """Makes importing the packages fail, and medtop load anew: what it imports late would be there already."""

    def loaded():
        return [name for name in sys.modules if packages and name.partition(".")[0] in {*packages, "medtop"}]

    away = {name: sys.modules.pop(name) for name in loaded()}
    sys.modules.update(dict.fromkeys(packages))
    try:
        yield
    finally:
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(away)


@contextlib.contextmanager
def _captured():
    """Takes what is written to file descriptors 1 and 2; a dict that holds both texts afterwards."""
    streams, kept, texts = {}, (sys.stdout, sys.stderr), {"stdout": "", "stderr": ""}
    for stream in kept:
        stream.flush()
    with contextlib.ExitStack() as stack:
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = streams[name] = stack.enter_context(tempfile.TemporaryFile())
            real = os.dup(number)
            stack.callback(os.close, real)
            stack.callback(os.dup2, real, number)
            os.dup2(file.fileno(), number)
        sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), encoding="utf-8", write_through=False)
        sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), encoding="utf-8", write_through=True)
        try:
            yield texts
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = kept
            for name, file in streams.items():
                file.seek(0)
                texts[name] = file.read().decode().replace("\r\n", "\n")


@contextlib.contextmanager
def _as_in_a_new_process(command, cwd, env):
    """Flags without values, no log handler, the seeds' start; all of this process comes back afterwards."""
    root, state = logging.getLogger(), random.getstate()
    saved = {
        "flags": flagsaver.save_flag_values(flags.FLAGS),
        "parsed": flags.FLAGS.is_parsed(),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "argv": sys.argv,
        "path": list(sys.path),
        "handlers": root.handlers[:],
        "level": root.level,
        "numpy": np.random.get_state(),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)},
        "policy": _keras_policy(),
    }
    modules = flags.FLAGS.flags_by_module_dict()
    others = {name: modules.pop(name) for name in [*modules] if name.partition(".")[0] != "absl"}  # not for --help
    flags.FLAGS.unparse_flags()
    root.handlers[:] = []
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = command
    try:
        yield
    finally:
        root.handlers[:] = saved["handlers"]  # first: absl would log what comes next
        root.setLevel(saved["level"])
        flagsaver.restore_flag_values(saved["flags"], flags.FLAGS)
        modules.update(others)
        (flags.FLAGS.mark_as_parsed if saved["parsed"] else flags.FLAGS.unparse_flags)()
        os.chdir(saved["folder"])
        os.environ.clear()
        os.environ.update(saved["environment"])
        sys.argv, sys.path[:] = saved["argv"], saved["path"]
        random.setstate(state)
        np.random.set_state(saved["numpy"])
        for number, handler in saved["signals"].items():
            signal.signal(number, handler)
        _set_keras_policy(saved["policy"])


def _keras_policy():
    """Keras's floating-point policy, None where Keras is not loaded."""
    return sys.modules["keras"].config.dtype_policy() if "keras" in sys.modules else None


def _set_keras_policy(policy):
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy(policy or "float32")


@contextlib.contextmanager
def _time_limit(command, seconds):
    """Raises `subprocess.TimeoutExpired` in the block when the time is over."""

    def over(*_):
        raise subprocess.TimeoutExpired(command, seconds)

    earlier = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
