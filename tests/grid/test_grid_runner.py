"""run_grid.py with a small script in the trainer's place: each cell once, kills, signals, faults, shared grids."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from medtop.cli.flags import of_script
from medtop.files.errors import DataError, Stopped
from medtop.grid import runner as grid_runner
from medtop.grid.cells import read_grid
from medtop.grid.runner import Runner, check_flags, status_of

SCRIPT = ROOT / "tests/support/grid_script.py"
COMMAND = [sys.executable, str(ROOT / "run_scripts" / "run_grid.py")]
SECONDS = 300  # of waiting, on a machine that is busy with other work


def write_grid(folder, seeds=(1, 2), name="grid.json", **flags):
    content = {"script": str(SCRIPT), "output_dir": str(folder / "out"), "flags": flags, "grid": {"seed": list(seeds)}}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def grid_in(folder, *arguments, **flags):
    return read_grid(write_grid(folder, *arguments, **flags), ROOT)


def faults(folder, **by_seed):
    """`faults(folder, seed2=["kill"])`: what happens at the starts of a cell."""
    (folder / "out").mkdir(exist_ok=True)
    by_name = {name.replace("seed", "seed-"): value for name, value in by_seed.items()}
    (folder / "out" / "faults.json").write_text(json.dumps(by_name))


def runner(grid, **options):
    said = []
    return Runner(grid, say=said.append, **options), said


def starts(cell):
    """How often the cell's script was started."""
    path = cell.run_folder / "starts.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def states(grid):
    return [status_of(cell).state for cell in grid.cells]


def wait_for(done, what):
    end = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < end, f"waited {SECONDS} s for {what}"
        time.sleep(0.02)


def start(grid, *flags, **more):
    return subprocess.Popen(
        [*COMMAND, f"--grid_file={grid.path}", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@contextlib.contextmanager
def begun(grid, cell, *flags, group=False):
    """A run_grid.py, in a process group of its own or not, whose `cell` has taken a step; no process is left behind."""
    process = start(grid, *flags, start_new_session=group)
    try:
        wait_for(lambda: (cell.run_folder / "step").exists(), "the first step")
        yield process
    finally:
        process.kill()
        process.wait()
        for other in grid.cells:
            if (other.run_folder / "starts.txt").exists():
                for line in (other.run_folder / "starts.txt").read_text().splitlines():
                    with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended
                        if b"grid_script" in Path(f"/proc/{line.split()[0]}/cmdline").read_bytes():
                            os.kill(int(line.split()[0]), signal.SIGKILL)


def script_process_of(cell):
    """Number of the process that a cell's script, whatever it is, runs in."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if str(cell.run_folder).encode() in (folder / "cmdline").read_bytes():
                return int(folder.name)
    raise AssertionError(f"nobody runs {cell.name}")


def script_process(cell):
    """Number of the process that the cell's script was started as last."""
    return int((cell.run_folder / "starts.txt").read_text().splitlines()[-1].split()[0])


def test_all_cells_run_once_in_order_and_are_skipped_when_finished(tmp_path):
    grid = grid_in(tmp_path, (3, 1, 2), lr=0.5, deterministic=True)
    assert states(grid) == ["new"] * 3
    first, said = runner(grid)
    assert first.run_all() == []
    assert states(grid) == ["finished"] * 3 and [starts(cell) for cell in grid.cells] == [1, 1, 1]
    assert said[0] == "cell 0 of 3: seed-3" and said[1] == "cell 0: finished" and len(said) == 6
    for cell in grid.cells:
        (line,) = (cell.run_folder / "starts.txt").read_text().splitlines()
        assert line.partition(" ")[2] == " ".join(cell.arguments())
        assert (cell.folder / "log.txt").read_text().splitlines()[1] == "from step 0"
    again, said = runner(grid)
    assert again.run_all() == [] and said == [] and [starts(cell) for cell in grid.cells] == [1, 1, 1]


def test_a_new_value_in_a_list_runs_alone(tmp_path):
    runner(grid_in(tmp_path, (1, 2)))[0].run_all()
    grid = grid_in(tmp_path, (1, 3, 2))
    assert states(grid) == ["finished", "new", "finished"]
    runner(grid)[0].run_all()
    assert [starts(cell) for cell in grid.cells] == [1, 1, 1]


def test_a_failed_cell_is_told_and_the_others_run(tmp_path):
    grid = grid_in(tmp_path, (1, 2, 3))
    faults(tmp_path, seed1=["error"], seed2=["crash"])
    failed = runner(grid)[0].run_all()
    assert [(cell.index, status.state, status.exit_code, status.reason) for cell, status in failed] == [
        (0, "failed", 1, "error: flags: expected a better one"),
        (1, "failed", 70, "Traceback: something unforeseen"),
    ]
    assert states(grid) == ["failed", "failed", "finished"]
    assert runner(grid)[0].run_all() == [], "tried again by the next command"
    assert [starts(cell) for cell in grid.cells] == [2, 2, 1]
    assert [status_of(cell).attempts for cell in grid.cells] == [2, 2, 1]


@pytest.mark.quick(first=1)
@pytest.mark.parametrize(
    "kills, restarts, state", [(1, 2, "finished"), (2, 2, "finished"), (3, 2, "stopped"), (1, 0, "stopped")]
)
def test_a_killed_cell_goes_on_where_it_was(tmp_path, kills, restarts, state):
    grid = grid_in(tmp_path, (1, 2), steps=12)
    faults(tmp_path, seed1=["kill"] * kills)
    failed = runner(grid, restarts=restarts)[0].run_all()
    assert states(grid) == [state, "finished"]
    assert [status.reason for _, status in failed] == (["killed by SIGKILL"] if state == "stopped" else [])
    assert starts(grid.cells[0]) == min(kills, restarts) + 1
    begins = [line for line in (grid.cells[0].folder / "log.txt").read_text().splitlines() if line.startswith("from")]
    assert begins == [f"from step {2 * number}" for number in range(min(kills, restarts) + 1)]
    if state == "stopped":
        assert runner(grid)[0].run_all() == [] and states(grid) == ["finished"] * 2


def test_other_settings_are_the_scripts_to_judge(tmp_path):
    """The grid runs the cell again; the script refuses settings that its run was not started with, or takes them."""
    runner(grid_in(tmp_path, (1,), lr=0.1))[0].run_all()
    grid = grid_in(tmp_path, (1,), lr=0.2)
    assert states(grid) == ["changed"]
    ((_, status),) = runner(grid)[0].run_all()
    assert "expected the settings of the run that is there" in status.reason
    assert states(grid_in(tmp_path, (1,), lr=0.1)) == ["failed"]
    assert runner(grid_in(tmp_path, (1,), lr=0.1))[0].run_all() == [], "the run itself was left as it was"
    grid = grid_in(tmp_path, (1,), lr=0.1, flagfile="empty")  # taken by a script that does not compare it
    settings = grid.cells[0].run_folder / "settings.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"flagfile": "empty"}))
    assert runner(grid)[0].run_all() == [] and states(grid) == ["finished"]


def test_overwrite_starts_anew_what_failed_or_changed_and_nothing_else(tmp_path):
    runner(grid_in(tmp_path, (1, 2), lr=0.1))[0].run_all()
    grid = grid_in(tmp_path, (1, 2), lr=0.2)
    runner(grid)[0].run_all()
    assert states(grid) == ["failed", "failed"]
    assert runner(grid, overwrite=True)[0].run_all() == []
    assert states(grid) == ["finished", "finished"]
    assert [starts(cell) for cell in grid.cells] == [1, 1], "of the new runs"
    runner(grid, overwrite=True)[0].run_all()
    assert [starts(cell) for cell in grid.cells] == [1, 1], "finished ones stay"


def test_a_killed_cell_is_not_begun_anew_by_overwrite(tmp_path):
    """A cluster repeats the very same command, --overwrite included, after each preemption."""
    grid = grid_in(tmp_path, (1,), steps=9)
    faults(tmp_path, seed1=["kill"])
    runner(grid, overwrite=True, restarts=0)[0].run_all()
    assert states(grid) == ["stopped"]
    runner(grid, overwrite=True)[0].run_all()
    assert states(grid) == ["finished"] and starts(grid.cells[0]) == 2


def test_a_run_that_was_removed_is_run_again(tmp_path):
    grid = grid_in(tmp_path, (1,))
    runner(grid)[0].run_all()
    shutil.rmtree(grid.cells[0].run_folder)
    assert states(grid) == ["new"]
    runner(grid)[0].run_all()
    assert states(grid) == ["finished"] and starts(grid.cells[0]) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}'])
def test_a_damaged_status_is_named(tmp_path, text):
    grid = grid_in(tmp_path, (1,))
    grid.cells[0].folder.mkdir(parents=True)
    (grid.cells[0].folder / "status.json").write_text(text)
    with pytest.raises(DataError, match=r"status.json: (line 1: )?expected"):
        states(grid)


def test_flags_that_the_script_lacks_are_refused_before_anything_starts(tmp_path):
    offered = of_script(SCRIPT)
    assert offered == {
        "output_dir",
        "seed",
        "lr",
        "tasks",
        "steps",
        "data",
        "bert_config_file",
        "deterministic",
    }
    check_flags(grid_in(tmp_path, lr=1, flagfile="x"), offered)
    with pytest.raises(DataError, match=r"grid.json: lerning: expected a flag that grid_script.py --help lists$"):
        check_flags(grid_in(tmp_path, lerning=1), offered)
    with pytest.raises(DataError, match=r"seed: expected a flag .*, or a \{seed\} to fill under flags"):
        check_flags(grid_in(tmp_path), {"output_dir"})
    (tmp_path / "silent.py").write_text("")
    with pytest.raises(DataError, match="silent.py: expected a script that defines flags"):
        of_script(tmp_path / "silent.py")
    (tmp_path / "broken.py").write_text("import no_such_module")
    with pytest.raises(
        DataError, match="broken.py: expected a script that can be loaded, received ModuleNotFoundError"
    ):
        of_script(tmp_path / "broken.py")


def test_the_shipped_grid_uses_flags_that_the_trainer_has(monkeypatch):
    monkeypatch.chdir(ROOT)
    grid = read_grid("deploy/grid.yaml", ROOT / "run_scripts")
    check_flags(grid, of_script(grid.script))


def test_one_cell_shows_its_output_and_hands_on_its_exit_code(tmp_path):
    grid = grid_in(tmp_path, (1, 2), steps=5)
    faults(tmp_path, seed2=["error", "crash", "kill", "kill"])
    one, said = runner(grid, restarts=0)
    assert one.run_one(grid.cells[0]) == 0
    assert said == ["cell 0 of 2: seed-1", "from step 0", "cell 0: finished"]
    assert one.run_one(grid.cells[0]) == 0 and said[-1] == "cell 0 seed-1: finished already"
    assert [one.run_one(grid.cells[1]) for _ in range(3)] == [1, 70, 128 + 9]
    assert runner(grid, restarts=1)[0].run_one(grid.cells[1]) == 0
    assert starts(grid.cells[0]) == 1 and starts(grid.cells[1]) == 5


def test_overwrite_knows_whose_run_is_there_after_a_kill(tmp_path):
    """The killed attempt had not yet looked at the run, which is still the earlier settings'."""
    runner(grid_in(tmp_path, (1,), lr=0.1))[0].run_all()
    grid = grid_in(tmp_path, (1,), lr=0.2)
    faults(tmp_path, seed1=["", "early"])
    runner(grid, restarts=0)[0].run_all()
    assert states(grid) == ["stopped"] and starts(grid.cells[0]) == 2
    faults(tmp_path, seed1=[])
    assert runner(grid, overwrite=True)[0].run_all() == [] and starts(grid.cells[0]) == 1


def test_ctrl_c_reaches_the_grid_alone(tmp_path):
    """A terminal sends SIGINT to every process of the group; the script must be asked to save instead."""
    grid = grid_in(tmp_path, (1,), steps=400)
    with begun(grid, grid.cells[0], group=True) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 75, errors
    assert status_of(grid.cells[0]).exit_code == 75
    assert "Traceback" not in (grid.cells[0].folder / "log.txt").read_text()


def test_nohup_keeps_the_grid_running(tmp_path):
    """SIGHUP stays ignored where it was ignored."""
    grid = grid_in(tmp_path, (1,), steps=30)
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the new process inherits it
    try:
        with begun(grid, grid.cells[0]) as process:
            process.send_signal(signal.SIGHUP)
            process.communicate(timeout=SECONDS)
            assert process.returncode == 0
    finally:
        signal.signal(signal.SIGHUP, earlier)
    assert states(grid) == ["finished"]


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("flags", [(), ("--index=0",)])
def test_signals_are_passed_on_and_the_same_command_goes_on(tmp_path, number, flags):
    grid = grid_in(tmp_path, (1, 2), steps=400)
    with begun(grid, grid.cells[0], *flags) as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 75, errors
        assert errors.splitlines()[-1] == f"stopped: stopped by signal {number.name}; run the same command to go on"
        taken = int((grid.cells[0].run_folder / "step").read_text())
        assert f"cell 0: stopped, stopped: after step {taken}" in output, "the script saved"
        assert states(grid) == ["stopped", "new"] and status_of(grid.cells[0]).exit_code == 75
    with begun(grid, grid.cells[0], *flags) as process:
        wait_for(lambda: int((grid.cells[0].run_folder / "step").read_text() or 0) > taken, "a further step")
        assert f"from step {taken}" in (grid.cells[0].folder / "log.txt").read_text()


def test_a_script_that_saves_and_stops_on_its_own_goes_on(tmp_path):
    grid = grid_in(tmp_path, (1,), steps=30)
    with begun(grid, grid.cells[0]) as process:
        os.kill(script_process(grid.cells[0]), signal.SIGTERM)  # to the script alone
        output, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, errors
    assert "cell 0: stopped after saving; it goes on" in output
    assert states(grid) == ["finished"] and starts(grid.cells[0]) == 2


def test_nothing_runs_twice_after_kill_9_of_the_grid(tmp_path, monkeypatch):
    """The script of a killed grid lives on and holds its cell; the next command waits for it, then takes over."""
    monkeypatch.setattr(grid_runner, "WAIT_SECONDS", 0.2)
    grid = grid_in(tmp_path, (1,), steps=60)
    with begun(grid, grid.cells[0]) as process:
        process.kill()
        process.wait()
        assert states(grid) == ["running"]
        with pytest.raises(Stopped, match="cell 0 seed-1: another process runs it"):
            runner(grid)[0].run_one(grid.cells[0])
        again, said = runner(grid)
        assert again.run_all() == []
    assert states(grid) == ["finished"]
    log = (grid.cells[0].folder / "log.txt").read_text()
    begins = [line for line in log.splitlines() if line.startswith("from")]
    assert begins == ["from step 0", "from step 60"], "first to its end, then the next command finds it finished"
    assert said[0] == "waiting for 1 cells that other processes run"


@pytest.mark.slow
def test_several_commands_share_a_grid(tmp_path):
    grid = grid_in(tmp_path, range(6), steps=6)
    faults(tmp_path, seed3=["error"])
    processes = [start(grid) for _ in range(3)]
    results = [(*process.communicate(timeout=SECONDS), process.returncode) for process in processes]
    assert [starts(cell) for cell in grid.cells] == [1] * 6, "each cell once, the failed one too"
    assert [code for *_, code in results] == [1, 1, 1]
    for _, errors, _ in results:
        assert "cell 3 seed-3: error: flags: expected a better one" in errors
        assert errors.splitlines()[-1].startswith("error: ") and "expected all 6 cells to end well, 1 did not" in errors
    assert states(grid).count("finished") == 5


def finish(grid, *flags, **more):
    process = start(grid, *flags, **more)
    output, errors = process.communicate(timeout=SECONDS)
    return process.returncode, output, errors


@pytest.mark.slow
def test_index_from_the_environment_of_an_indexed_job(tmp_path):
    grid = grid_in(tmp_path, (1, 2))
    faults(tmp_path, seed2=["error"])
    environment = {**os.environ, "JOB_COMPLETION_INDEX": "1"}
    code, output, errors = finish(grid, "--index=env", env=environment)
    assert code == 1 and "cell 1 of 2: seed-2" in output and states(grid) == ["new", "failed"]
    code, output, errors = finish(grid, "--index=env", env=environment)
    assert code == 0 and "cell 1: finished" in output, errors
    code, _, errors = finish(grid, "--index=env", env={**environment, "JOB_COMPLETION_INDEX": "2"})
    assert code == 1 and "--index: expected a number from 0 to 1" in errors and errors.count("\n") == 1


@pytest.mark.quick(first=2)
@pytest.mark.parametrize(
    "flags, message",
    [
        (["--index=env"], "--index=env: expected JOB_COMPLETION_INDEX in the environment"),
        (["--index=one"], "--index: expected a number from 0, or env, received 'one'"),
        (
            ["--index=0", "--collect"],
            "--collect and --index exclude each other",
        ),
        (["--split=test"], "--split needs --collect"),
        (["--collect", "--metric=brier"], "--metric needs --mean_over"),
        (["--collect", "--overwrite"], "--overwrite has no effect with --collect"),
    ],
)
def test_flags_without_effect_are_refused(tmp_path, flags, message):
    environment = {name: value for name, value in os.environ.items() if name != "JOB_COMPLETION_INDEX"}
    code, output, errors = finish(grid_in(tmp_path), *flags, env=environment)
    assert code == 1 and output == "" and errors.count("\n") == 1 and message in errors
    assert not (tmp_path / "out").exists()


def test_dry_run_lists_commands_and_writes_nothing(tmp_path):
    grid = grid_in(tmp_path, (1, 2), data="a b")
    code, output, errors = finish(grid, "--dry_run", cwd=tmp_path)
    assert code == 0, errors
    lines = output.splitlines()
    assert lines[0] == "cell 0: seed-1, new" and lines[-1] == "2 cells, numbers 0 to 1 (completions: 2)"
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "seed-1").mkdir(parents=True)
    assert subprocess.run(lines[1].replace("python", sys.executable, 1), shell=True, cwd=tmp_path).returncode == 0
    assert starts(grid.cells[0]) == 1, "the command that is shown can be typed"
