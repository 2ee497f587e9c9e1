"""Optional packages: whether they are there, and new enough to be safe, in one line where they are not."""

import importlib.metadata
import importlib.util
import re

from medtop.files.errors import DataError

LEAST = {"torch": ((2, 6), "before it `weights_only=True` could run code from a file, CVE-2025-32434")}
"""Package -> least (major, minor), and why: checked where it is used, for environments that were made by hand."""


def require(packages, extra):
    """Refuses to go on without optional packages, or with one that is too old; loads none of them.

    Args:
        packages: names as they are imported.
        extra: medtop's extra that installs them.

    Raises:
        DataError: naming the first that is missing or too old, and the command that installs it.
    """
    for name in packages:
        command = f'pip install "medtop[{extra}]" installs it'
        if importlib.util.find_spec(name) is None:
            raise DataError(f"{name}: expected this package, found none; {command}")
        least, reason = LEAST.get(name, ((0, 0), ""))
        version = importlib.metadata.version(name)
        if release(version) < least:
            wanted = ".".join(map(str, least))
            raise DataError(f"{name}: expected version {wanted} or newer, received {version} ({reason}); {command}")


def release(version):
    """(major, minor) of a version.

    >>> release("2.13.0+cpu"), release("2.6rc1"), release("nightly")
    ((2, 13), (2, 6), (0, 0))
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
