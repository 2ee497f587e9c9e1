"""Tables with many targets: held-out predictions of all folds of a cross-validation, as in run_tabular_multitask.py."""

import time
from pathlib import Path

from medtop.model.balancing import BALANCERS
from medtop.synthetic.hemodialysis import write_rows
from medtop.synthetic.loss_scales import LOSS_SCALE, write_case
from medtop.tabular.cross_validation import CrossValidation
from medtop.tabular.measures import measure
from medtop.tabular.options import TabularOptions
from medtop.tabular.schema import read_schema
from medtop.tabular.table_data import load

CONFIGS = Path(__file__).resolve().parents[2] / "medtop/configs"
CONTROLS = ("single_task", "linear", "gradient_boosting")
SETTINGS = {
    "ckd": {"folds": 5, "options": {}},
    "hemodialysis": {"folds": 3, "rows": 1000, "options": {}},
    "scale": {
        "folds": 2,
        "rows": 6000,
        "options": {"hidden": (64, 32), "epochs": 30, "patience": 0, "learning_rate": 3e-3, "gradnorm_alpha": 0.12},
    },
}
"""Case -> its settings, options where they are not the defaults. The targets of `scale` are equally hard, for which
Chen et al. take a small alpha (0.12)."""


class TabularCase:
    """See `comparison.cells`. The method "fixed" has the schema's weights; in the case `scale` those that somebody who
    knows the losses' scale would fix, and "equal" sums the losses as they are.

    Args:
        name: key of `SETTINGS`.
        work_dir: where generated tables and finished folds lie.
        ckd_file: the kidney table; needed for `ckd`.
    """

    def __init__(self, name, work_dir, ckd_file=None):
        self.name, self.work_dir, self.ckd_file = name, Path(work_dir), ckd_file
        self.settings = SETTINGS[name]
        equal = ("equal",) if name == "scale" else ()
        balancers = [one for one in BALANCERS if one != "fixed"]
        self.methods = ("fixed", *equal, *balancers, *CONTROLS)

    def measured(self, seed, method):
        """Per target accuracy and macro-F1, or mean absolute error and R2; skill; and the mean skill over targets."""
        started = time.perf_counter()
        data, predictions = self._predictions(seed, method)
        constant = self._predictions(seed, "constant")[1]
        seconds = time.perf_counter() - started
        found = measure(data.targets, {"it": predictions, "constant": constant}, data.groups, 1000, int(seed))["it"]
        return {"measures": _flat(found), "seconds": seconds}

    def difference(self, seed, method, against):
        """Under the same resamples of rows (groups)."""
        data, predictions = self._predictions(seed, method)
        both = {
            "it": predictions,
            "other": self._predictions(seed, against)[1],
            "constant": self._predictions(seed, "constant")[1],
        }
        found = measure(data.targets, both, data.groups, 1000, int(seed), against="other")["it"]
        return {name: entry["difference"] for name, entry in _flat(found).items()}

    def _predictions(self, seed, method):
        """(`Data`, n arrays of held-out predictions); finished folds lie on disk."""
        folder = self.work_dir / f"{self.name}_seed{seed}"
        data = self._data(folder, int(seed), 1 / LOSS_SCALE if method == "fixed" else 1.0)
        options = TabularOptions(**self.settings["options"], seed=int(seed)).check()
        balancing = "fixed" if method == "equal" else method
        validation = CrossValidation(data, options, [balancing], self.settings["folds"], folder / method)
        return data, validation.run()[0][balancing]

    def _data(self, folder, seed, flow_weight):
        folder.mkdir(parents=True, exist_ok=True)
        if self.name == "scale":
            table, schema = write_case(folder, self.settings["rows"], seed, flow_weight)
            return load(table, read_schema(schema))
        if self.name == "ckd":
            return load(self.ckd_file, read_schema(CONFIGS / "ckd_schema.json"))
        table = folder / "hemodialysis.csv"
        write_rows(table, self.settings["rows"], seed)
        return load(table, read_schema(CONFIGS / "hemodialysis_schema.json"))


def _flat(entries):
    """dict "<target> <measure>" -> entry, the mean skill first."""
    flat = {"mean skill": entries[""]["mean_skill"]}
    for target, measures in entries.items():
        if target:
            flat |= {f"{target} {name}": entry for name, entry in measures.items() if isinstance(entry, dict)}
    return flat
