"""Optional packages: whether they are there, in one line where they are not."""

import importlib.util

from medtop.files.errors import DataError


def require(packages, extra):
    """Refuses to go on without optional packages; loads none of them.

    Args:
        packages: names as they are imported.
        extra: medtop's extra that installs them.

    Raises:
        DataError: naming the first that is missing and the command that installs it.
    """
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise DataError(f'{name}: expected this package, found none; pip install "medtop[{extra}]" installs it')
