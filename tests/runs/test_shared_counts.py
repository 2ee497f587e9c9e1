"""A run with --min_cell: every file that others may read is searched for the counts of few people."""

import json
import re
import shutil

import pytest

pytest.importorskip("tensorflow", reason="a run is TensorFlow's")

from small_data import finished_run, replaced  # noqa: E402

from medtop.evaluation.calibration import read_calibrations  # noqa: E402
from medtop.evaluation.predictions import read_predictions  # noqa: E402
from medtop.files.bounded import read_json  # noqa: E402
from medtop.runs.execute import execute  # noqa: E402

LEAST = 80
BINARY = (".npz", ".png")


def shared_texts(folder):
    """dict name -> text for people, of each file that others than its owner may read."""
    texts = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.endswith("_log.jsonl"):
            continue  # steps and losses
        if path.is_file() and path.stat().st_mode & 0o044 and path.suffix not in BINARY and "tfevents" not in name:
            text = path.read_text(encoding="utf-8")
            text = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]*>", " ", text, flags=re.DOTALL)
            texts[name] = text
    return texts


def counts(run):
    """Positives and negatives of each label, validation and test: as many digits as nothing else has by chance."""
    tested = read_predictions(run / "restricted" / "predictions.csv")
    found = set()
    for predictions, _ in tested.values():
        for place in range(len(predictions.labels)):
            positives = int((predictions.targets[:, place] * predictions.known[:, place]).sum())
            found |= {positives, int(predictions.known[:, place].sum()) - positives}
    return found


def holding(texts, numbers):
    """set of (file, number) that stand in them, as whole numbers."""
    return {
        (name, number) for name, text in texts.items() for number in numbers
        if re.search(rf"(?<![\w.,:#-]){number}(?![\d:]|[.,]\d)", text)
    }  # fmt: skip


@pytest.mark.slow
def test_no_file_that_others_may_read_shows_a_small_count(tmp_path):
    run = finished_run()
    shutil.copytree(run.folder / "run", tmp_path / "run")
    options = replaced(run.options, output_dir=str(tmp_path / "run"), do_train=False, num_bootstrap=20)
    numbers = counts(tmp_path / "run")
    step = int(re.search(r"global_step = (\d+)", (tmp_path / "run" / "eval_results.txt").read_text())[1])
    for calibration in read_calibrations(tmp_path / "run" / "calibration.json").values():
        for entry in calibration.labels.values():
            numbers |= {entry.positives, entry.n - entry.positives}
    numbers = {number for number in numbers if 20 < number < LEAST and number != step}
    execute(options)
    settings = ("config.json", "run.json", "tasks.json")  # hold no count of people: chance
    numbers -= {number for name, number in holding(shared_texts(tmp_path / "run"), numbers) if name in settings}
    assert len(numbers) > 4, numbers
    before = holding(shared_texts(tmp_path / "run"), numbers)
    files = {name for name, _ in before}
    assert files >= {"metrics.json", "report.html", "README.md", "card.json", "calibration.json"}
    weights = (tmp_path / "run" / "restricted" / "predictions.csv").read_bytes()
    execute(replaced(options, min_cell=LEAST))
    assert (tmp_path / "run" / "restricted" / "predictions.csv").read_bytes() == weights
    after = holding(shared_texts(tmp_path / "run"), numbers)
    assert not after, sorted(after)
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert json.dumps(metrics).count('"positives": null') and "long_stay" not in metrics["test"]["long_stay"]
    report = (tmp_path / "run" / "report.html").read_text()
    assert "withheld" in report and ">None<" not in report
