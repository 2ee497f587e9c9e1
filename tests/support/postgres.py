"""A PostgreSQL server of our own for as long as a test runs: Debian's binaries, a private folder and port."""

import contextlib
import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

PASSWORD = "s3cr/t:w@rd%"
"""With every character that an address must write differently."""
ESCAPED = "s3cr%2Ft%3Aw%40rd%25"


def missing():
    """Why no server can be started here, or None."""
    if not _binaries():
        return "PostgreSQL is not installed (Debian's package postgresql)"
    if os.geteuid() == 0 and not _account():
        return "PostgreSQL refuses to run as root, and there is no account postgres or nobody"
    return None


def _binaries():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(path.split("/")[4]))
    own = shutil.which("initdb")
    return Path(found[-1]).parent if found else Path(own).parent if own else None


def _account():
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


@contextlib.contextmanager
def server():
    """Yields the port of a server on 127.0.0.1 whose user `anna` has the password `PASSWORD`."""
    binaries, folder = _binaries(), Path(tempfile.mkdtemp(prefix="medtop-postgres-"))
    who = {"user": _account().pw_uid, "group": _account().pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        os.chown(folder, who["user"], who["group"])
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **who}
    word = folder / "word"
    word.write_text(PASSWORD)
    word.chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        options = ["-U", "anna", "-A", "scram-sha-256", f"--pwfile={word}", "-E", "UTF8", "--no-sync"]
        subprocess.run([binaries / "initdb", "-D", folder / "data", *options], check=True, **quiet)
        own = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        control = [binaries / "pg_ctl", "-D", folder / "data", "-w", "-t", "120"]
        subprocess.run([*control, "-o", own, "start"], check=True, **quiet)
        try:
            yield port
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)
    finally:
        shutil.rmtree(folder)
