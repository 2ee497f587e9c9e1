"""Runs a learning curve, and writes its tables and its page after each run that ended."""

from medtop.files.errors import DataError
from medtop.grid.curve_files import leaders, write_curve, write_curve_page
from medtop.grid.learning_curve import check_curve, collect, curve_grid
from medtop.grid.runner import Runner, check_flags, status_of


def run_curve(options, how, info, trainer, offered, say):
    """Runs what is not finished, then tells who leads at each size.

    Args:
        options: `medtop.grid.learning_curve.CurveOptions`.
        how: has `metric`, `dry_run`, `collect`, `overwrite`, `restarts` and `quote_formulas`.
        info: `DatasetInfo` of the training data.
        trainer: `Path` of the trainer's script.
        offered: set of its flags.
        say: function that shows a line to the user.

    Raises:
        DataError: for bad flags or input; where runs failed, after all others have ended.
    """
    patients = info.counts["patients"]
    tasks = [name for name in info.tasks if info.levels.get(name, "patient") == "patient"]
    check_curve(options, patients, tasks)
    grid = curve_grid(options, patients, tasks, trainer)
    check_flags(grid, offered)
    if how.dry_run:
        for cell in grid.cells:
            say(f"run {cell.index}: {cell.name}, {status_of(cell).state}")
        return say(f"{len(grid.cells)} runs")
    failed = []
    if not how.collect:
        grid.output_dir.mkdir(parents=True, exist_ok=True)
        runner = Runner(
            grid,
            say=say,
            overwrite=how.overwrite,
            restarts=how.restarts,
            after=lambda: _write(grid, options, how),
        )
        failed = runner.run_all()
    points, missing = _write(grid, options, how)
    _tell(points, how.metric, say)
    for cell, state in missing:
        say(f"missing: {cell.name} ({state})")
    say(f"{len(grid.cells) - len(missing)} of {len(grid.cells)} runs: {grid.output_dir / 'learning_curve.html'}")
    if failed:
        raise DataError(f"{grid.output_dir}: expected all {len(grid.cells)} runs to end well, {len(failed)} did not")
    return None


def _write(grid, options, how):
    """(points, missing cells); tables and page are written where anything was measured."""
    metric = how.metric
    points, missing = collect(grid, list(options.models), metric)
    if points:
        write_curve(grid.output_dir, points, metric, how.quote_formulas)
        facts = {
            "models": ", ".join(options.models),
            "training data": options.input_file,
            "validation data": options.valid_file,
            "test data": options.test_file,
            "configuration": options.bert_config_file,
            "repeats": options.repeats,
            "further flags": " ".join(options.trainer_flag) or "none",
        }
        write_curve_page(grid.output_dir / "learning_curve.html", points, metric, facts, len(missing))
    return points, missing


def _tell(points, metric, say):
    for task, label in dict.fromkeys((point.task, point.label) for point in points):
        mine = [point for point in points if (point.task, point.label) == (task, label)]
        for size, first, mean, second, gap, deviation, count in leaders(mine):
            ahead = f"; next {second}" if second else ""
            if gap is not None:
                ahead += f", {gap:+.4f} (SD {deviation:.4f}, {count} repeats)"
            say(f"{task} {label}, {size:,} patients: {first} {metric} {mean:.4f}{ahead}")
