"""What a hostile input costs: the peak memory of a call in a process of its own, under limits."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
from medtop.files.errors import DataError
try:
    {code}
    print("no error")
except DataError as error:
    print(f"DataError: {{error}}")
# Not ru_maxrss: Linux hands the parent's on.
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024)
"""


def most_memory(code, *, limit=6 << 30, seconds=20, env=None):
    """Runs one line of Python in a new process.

    Args:
        code: a line of Python; a `DataError` is what it should end with.
        limit: bytes of address space; far above what is expected, so that the test says how much it was.
        seconds: CPU-seconds after which the process is killed.

    Returns:
        (last line before the memory: "DataError: ..." or "no error"; peak resident memory in MiB).
    """
    program = _LIMITED.format(limit=limit, seconds=seconds, code=code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    *_, result, megabytes = done.stdout.strip().splitlines()
    return result, int(megabytes)
