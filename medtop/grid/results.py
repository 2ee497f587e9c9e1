"""One table of all results of a grid, by the cells' settings."""

import csv
import statistics

from medtop.evaluation.tables import masked_lines, result_rows
from medtop.files.atomic import atomic_path
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.formulas import quoting
from medtop.grid.runner import status_of

VALUES = ("split", "task", "label", "metric", "value", "low", "high", "n", "positives", "unknown", "reason")


class Collection:
    """What the cells of a grid have found so far.

    Args:
        grid: `medtop.grid.cells.Grid`.

    Attributes:
        states: list of `medtop.grid.runner.Status`, one per cell.
        metrics: list of the cells' metrics.json (split -> task -> label -> entry), None where there is none; only
            finished cells count: others may hold an earlier attempt's.
    """

    def __init__(self, grid):
        self.grid = grid
        self.states = [status_of(cell) for cell in grid.cells]
        self.metrics = [
            _read_metrics(cell) if status.state == "finished" else None
            for cell, status in zip(grid.cells, self.states, strict=True)
        ]

    @property
    def missing(self):
        """list of (cell, what is missing as text) of cells without results."""
        return [
            (cell, "finished without metrics.json" if status.state == "finished" else _why(status))
            for cell, status, metrics in zip(self.grid.cells, self.states, self.metrics, strict=True)
            if metrics is None
        ]

    def split(self, wanted=None):
        """The split to report on: the wanted one, else test where a cell has it.

        Raises:
            DataError: when no cell has the wanted split.
        """
        offered = sorted({split for metrics in self.metrics if metrics for split in metrics})
        if wanted and wanted not in offered:
            raise DataError(f"--split: expected one of {', '.join(offered) or 'none'}, received {wanted!r}")
        return wanted or ("test" if "test" in offered or not offered else offered[-1])

    def write_csv(self, path, quote_formulas=False):
        """Writes every value of every cell: one row per cell, split, task, label and metric; one for a missing cell.

        `quote_formulas`: see `files.formulas`.
        """
        with atomic_path(path, shared=True) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            columns = ["cell", "name", *self.grid.axes, "state", *VALUES]
            writer = quoting(csv.DictWriter(file, columns, lineterminator="\n"), quote_formulas)
            writer.writeheader()
            for cell, status, metrics in zip(self.grid.cells, self.states, self.metrics, strict=True):
                common = {"cell": cell.index, "name": cell.name, **cell.labels, "state": status.state}
                if metrics is None:
                    writer.writerow(common)
                for values in _values(metrics or {}):
                    writer.writerow(common | values)

    def table(self, split):
        """The cells' results on one split as aligned text: of a task with several labels, their macro mean."""
        header, rows, lines = [], [], []
        for cell, metrics in zip(self.grid.cells, self.metrics, strict=True):
            tasks = (metrics or {}).get(split, {})
            for task, labels in tasks.items():
                header, of_task = result_rows({task: labels})
                pooled = [row for row in of_task if row[1] == "macro"]  # of a single label there is none
                rows += [[str(cell.index), *cell.labels.values(), *row] for row in pooled or of_task]
            lines += [f"cell {cell.index}: {line}" for line in masked_lines(tasks)]
        text = aligned(["cell", *self.grid.axes, *header], rows, 3 + len(self.grid.axes)) if rows else ""
        return "\n".join([*([text] if text else []), *lines])

    def means(self, split, over, metric="roc_auc"):
        """Mean and standard deviation of a metric over the cells that differ in one axis only, as aligned text.

        Args:
            split: as `split` gives.
            over: axis, such as `seed`.
            metric: name in metrics.json.

        Raises:
            DataError: for an axis that the grid does not have.
        """
        if over not in self.grid.axes:
            raise DataError(f"--mean_over: expected one of {', '.join(self.grid.axes)}, received {over!r}")
        others = [axis for axis in self.grid.axes if axis != over]
        groups, sizes = {}, {}
        for cell, metrics in zip(self.grid.cells, self.metrics, strict=True):
            key = tuple(cell.labels[axis] for axis in others)
            sizes[key] = sizes.get(key, 0) + 1
            for values in _values({split: (metrics or {}).get(split, {})}):
                if values["metric"] == metric and values["value"] is not None:
                    groups.setdefault((key, values["task"], values["label"]), []).append(values["value"])
        rows = [
            [
                *key,
                task,
                label,
                f"{len(values)} of {sizes[key]}",
                f"{statistics.fmean(values):.3f}",
                f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-",
                f"{min(values):.3f}",
                f"{max(values):.3f}",
            ]
            for (key, task, label), values in groups.items()
        ]
        if not rows:
            return ""
        return aligned(
            [*others, "task", "label", f"{over}s", f"mean {metric}", "SD", "lowest", "highest"], rows, 2 + len(others)
        )


def _read_metrics(cell):
    path = cell.run_folder / "metrics.json"
    try:
        return read_json(path)
    except FileNotFoundError:
        return None


def _why(status):
    state = "run with other settings than the grid file's" if status.state == "changed" else status.state
    return state + (f": {status.reason}" if status.reason else "")


def _values(metrics):
    """dicts of `VALUES`, one per value in a metrics.json."""
    for split, tasks in metrics.items():
        for task, labels in tasks.items():
            for label, entry in labels.items():
                counts = {name: entry.get(name) for name in ("n", "positives", "unknown", "reason")}
                for metric, entry_value in entry.items():
                    if isinstance(entry_value, dict):
                        place = {"split": split, "task": task, "label": label, "metric": metric}
                        yield place | {name: entry_value.get(name) for name in ("value", "low", "high")} | counts


def aligned(header, rows, texts):
    """A table as text; the first `texts` columns are flush left, the others flush right.

    >>> print(aligned(["task", "n"], [["long_stay", "12"]], 1))
    task        n
    ---------  --
    long_stay  12
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, ["-" * width for width in widths], *rows)
    )
