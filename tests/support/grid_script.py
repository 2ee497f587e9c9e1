"""A script that stands for the trainer in the tests of the grid: resumable steps, SIGTERM saves, and faults on demand.

It obeys `<output_dir>/../../faults.json`: cell name -> list of what happens at its starts, the first of them at the
first start: "error", "crash", "kill" (after two steps) or "early" (killed before it has looked at anything).
"""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from grid_metrics import metrics  # noqa: E402

from medtop.cli import flags as cli_flags  # noqa: E402
from medtop.files.options import option  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Options:
    """What a grid may ask of it; it reads its words by itself."""

    output_dir: str = option("", "Folder.")
    seed: int = option(0, "Seed.")
    lr: float = option(0.0, "Adds to what is found.")
    tasks: str = option("", "Not read.")
    steps: int = option(1, "Steps to take.")
    data: str = option("", "Not read.")
    bert_config_file: str = option("", "Not read.")
    deterministic: bool = option(False, "Not read.")


cli_flags.define(Options)


def main():
    words = [word[2:] for word in sys.argv[1:]]
    flags = dict(word.partition("=")[::2] for word in words)
    folder = Path(flags["output_dir"])
    folder.mkdir(exist_ok=True)
    with open(folder / "starts.txt", "a") as file:
        file.write(f"{os.getpid()} {' '.join(sys.argv[1:])}\n")
    starts = len((folder / "starts.txt").read_text().splitlines())
    faults_file = folder.parent.parent / "faults.json"
    faults = json.loads(faults_file.read_text()).get(folder.parent.name, []) if faults_file.exists() else []
    fault = faults[starts - 1] if starts <= len(faults) else None
    if fault == "early":
        os.kill(os.getpid(), signal.SIGKILL)
    settings = folder / "settings.json"
    mine = {name: value for name, value in flags.items() if name not in ("output_dir", "bert_config_file")}
    if settings.exists() and json.loads(settings.read_text()) != mine:
        print("error: expected the settings of the run that is there, received others", file=sys.stderr)
        return 1
    settings.write_text(json.dumps(mine))
    if fault == "error":
        print("reading\nerror: flags: expected a better one\n", file=sys.stderr)
        return 1
    if fault == "crash":
        print("Traceback: something unforeseen", file=sys.stderr)
        return 70
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    place = folder / "step"
    first = int(place.read_text()) if place.exists() else 0
    print(f"from step {first}", flush=True)
    for step in range(first, int(flags.get("steps", 1))):
        time.sleep(0.05)
        place.write_text(str(step + 1))
        if fault == "kill" and step == first + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if asked:
            print(f"stopped: after step {step + 1}", file=sys.stderr)
            return 75
    measured = metrics(flags)
    rivals = {"logistic_regression": measured["test"]} if "baselines" in flags else {}
    (folder / "comparison.json").write_text(json.dumps({"test": {"baselines": rivals}}))
    (folder / "metrics.json").write_text(json.dumps(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
