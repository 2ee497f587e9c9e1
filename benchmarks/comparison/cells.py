"""Finished results on disk, one JSON file each, so that a second run computes only what is missing.

A case is an object with
    name       of the case;
    methods    names of its methods;
    settings   dict of what its results depend on besides seed and method;
    measured(seed, method)             -> {"measures": {measure: {value, low, high}}, "seconds": number or None};
    difference(seed, method, against)  -> {measure: {value, low, high}}, method minus against on the same held-out rows.
low and high are the ends of a 95% bootstrap interval over patients (rows); None where there is none.
"""

import json
import logging
from pathlib import Path

from medtop.files.atomic import write_json
from medtop.files.errors import DataError

logger = logging.getLogger(__name__)


class Cells:
    """The cells of all cases in one folder: `cells/<case>/seed<seed>/<method>[-minus-<other>].json`.

    Args:
        work_dir: the folder.
    """

    def __init__(self, work_dir):
        self.folder = Path(work_dir) / "cells"

    def measured(self, case, seed, method, missing=True):
        """`case.measured`, computed once; with `missing` False None where it was not computed."""
        return self._cell(case, seed, method, lambda: case.measured(seed, method), missing)

    def difference(self, case, seed, method, against, missing=True):
        """`case.difference`, computed once, where both methods are finished; else None."""
        if any(self.measured(case, seed, one, missing=False) is None for one in (method, against)):
            return None
        name = f"{method}-minus-{against}"
        found = self._cell(case, seed, name, lambda: {"measures": case.difference(seed, method, against)}, missing)
        return found and found["measures"]

    def _cell(self, case, seed, name, compute, missing):
        path = self.folder / case.name / f"seed{seed}" / f"{name}.json"
        settings = json.loads(json.dumps(case.settings))
        if path.is_file():
            cell = json.loads(path.read_text(encoding="utf-8"))
            differ = sorted(
                key for key in {*settings, *cell["settings"]} if settings.get(key) != cell["settings"].get(key)
            )
            if differ:
                raise DataError(
                    f"{path}: expected a cell of the same settings, received another "
                    f"{', '.join(differ)}; take another --work_dir"
                )
            return cell
        if not missing:
            return None
        logger.info("%s, seed %s: %s", case.name, seed, name)
        cell = compute() | {"case": case.name, "seed": seed, "name": name, "settings": settings}
        write_json(path, cell)
        return cell
