"""Runs a grid of runs (horizons x embeddings x seeds, ...): all of them here, or one of them in a cluster's job.

Example:
  python run_scripts/run_grid.py --grid_file=deploy/grid.yaml --dry_run
  python run_scripts/run_grid.py --grid_file=deploy/grid.yaml
  python run_scripts/run_grid.py --grid_file=deploy/grid.yaml --index=3
  python run_scripts/run_grid.py --grid_file=deploy/grid.yaml --collect --mean_over=seed

Without --index all cells run here, one after another; the same command goes on after a stop, skips what is finished,
and may run several times at once to share the work. --index=N runs one cell, --index=env the one that Kubernetes names
in JOB_COMPLETION_INDEX. --collect puts the results of all cells into one table. docs/scaling.md describes the file.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.files.bounded import whole_number
from medtop.files.errors import DataError
from medtop.files.formulas import quote_option
from medtop.files.options import REQUIRED, at_least, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which grid, and what is done with it."""

    grid_file: str = option(REQUIRED, "Grid file, YAML or JSON.")
    index: str | None = option(None, "Run one cell: its number from 0, or env for the one in JOB_COMPLETION_INDEX.")
    dry_run: bool = option(False, "List the cells with their state and command; run nothing.")
    collect: bool = option(False, "Put the cells' results into one table; run nothing.")
    output_file: str | None = option(None, "With --collect: CSV of every value; default grid.csv in the grid's folder.")
    split: str | None = option(None, "With --collect: the split to print; default test.")
    mean_over: str | None = option(None, "With --collect: also print mean and SD over this list, such as seed.")
    metric: str = option("roc_auc", "With --mean_over: a metric's name in metrics.json.")
    overwrite: bool = option(False, "Start cells anew that failed, or that were run with other settings.")
    quote_formulas: bool = quote_option()
    restarts: int = option(2, "How often a cell that was killed is started again at once.", rule=at_least(0))


flags.define(Options)


def _check(options):
    """Refuses flags that would have no effect."""
    modes = [name for name in ("dry_run", "collect") if getattr(options, name)] + (["index"] if options.index else [])
    if len(modes) > 1:
        raise DataError(f"--{' and --'.join(modes)} exclude each other: give one of them")
    for name in ("output_file", "split", "mean_over"):
        if getattr(options, name) is not None and not options.collect:
            raise DataError(f"--{name} needs --collect")
    if flags.given("metric") and not options.mean_over:
        raise DataError("--metric needs --mean_over")
    if options.quote_formulas and not options.collect:
        raise DataError("--quote_formulas needs --collect")
    for name in flags.given("overwrite", "restarts"):
        if options.collect or options.dry_run:
            raise DataError(f"--{name} has no effect with --{modes[0]}, which runs no cells: leave it out")


def _index(text):
    if text == "env":
        if "JOB_COMPLETION_INDEX" not in os.environ:
            raise DataError("--index=env: expected JOB_COMPLETION_INDEX in the environment (an Indexed Job sets it)")
        text = os.environ["JOB_COMPLETION_INDEX"]
    number = whole_number(text)
    if number is None or number < 0:
        raise DataError(f"--index: expected a number from 0, or env, received {text!r}")
    return number


def _say(line):
    print(line, flush=True)


def _list_cells(grid):
    from medtop.grid.runner import status_of

    for cell in grid.cells:
        _say(f"cell {cell.index}: {cell.name}, {status_of(cell).state}")
        _say("  " + shlex.join(["python", os.path.relpath(grid.script), *cell.arguments()]))
    _say(f"{len(grid.cells)} cells, numbers 0 to {len(grid.cells) - 1} (completions: {len(grid.cells)})")


def _collect(grid, options):
    from medtop.grid.results import Collection

    found = Collection(grid)
    split = found.split(options.split)
    output_file = options.output_file or str(grid.output_dir / "grid.csv")
    found.write_csv(output_file, options.quote_formulas)
    if table := found.table(split):
        _say(f"split {split}")
        _say(table)
    if options.mean_over and (means := found.means(split, options.mean_over, options.metric)):
        _say(f"\nover {options.mean_over}")
        _say(means)
    for cell, what in found.missing:
        _say(f"missing: cell {cell.index} {cell.name} ({what})")
    _say(f"{len(grid.cells) - len(found.missing)} of {len(grid.cells)} cells: {output_file}")


def _run_all(grid, runner):
    failed = runner.run_all()
    for cell, status in failed:
        print(f"cell {cell.index} {cell.name}: {status.reason} ({cell.folder / 'log.txt'})", file=sys.stderr)
    if failed:
        raise DataError(f"{grid.path}: expected all {len(grid.cells)} cells to end well, {len(failed)} did not")
    _say(f"next: python run_scripts/run_grid.py --grid_file={grid.path} --collect")


def main(_):
    """Flags in, library calls, cells out."""
    from medtop.grid.cells import read_grid

    options = flags.read(Options)
    _check(options)
    index = None if options.index is None else _index(options.index)
    grid = read_grid(options.grid_file, Path(__file__).resolve().parent)
    cell = None if index is None else grid.cell(index)
    if options.collect:
        return _collect(grid, options)

    from medtop.grid.runner import Runner, check_flags

    check_flags(grid, flags.of_script(grid.script))
    if options.dry_run:
        return _list_cells(grid)
    runner = Runner(grid, say=_say, overwrite=options.overwrite, restarts=options.restarts)
    return _run_all(grid, runner) if cell is None else runner.run_one(cell)


if __name__ == "__main__":
    commands.run(main)
