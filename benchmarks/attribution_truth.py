"""Do explanations find what is true? On a generated cohort the effect of taking each code out is known.

For patients of a finished run on a generated cohort: rank correlation, within a patient, of the true effect of each
code (the risk function computed anew without it) with integrated gradients, with the deletion effect, with gradient x
input and with random numbers; means over patients with 95% bootstrap intervals. Codes that the vocabulary does not hold
take no part.

Example (after `make demo`):
  python benchmarks/attribution_truth.py --run_dir=checkpoints/demo/run --prefix=checkpoints/demo/raw \\
    --input_file=checkpoints/demo/cohort.test.tfrecord --labels=MACE_1095,CKD_1095,long_stay --max_patients=200
"""

import dataclasses
import json
import logging
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.evaluation.bootstrap import interval  # noqa: E402
from medtop.files.atomic import write_json  # noqa: E402
from medtop.files.options import REQUIRED, at_least, option  # noqa: E402
from medtop.runs.explain import Explainer, ExplainSettings  # noqa: E402
from medtop.synthetic import blocks  # noqa: E402
from medtop.synthetic.code_effects import effects_of_codes  # noqa: E402

METHODS = ("integrated_gradients", "deletion", "gradient_x_input", "random")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which run on which generated cohort."""

    prefix: str = option(REQUIRED, "The generated cohort's prefix (<prefix>.generator.json).")
    run_dir: str = option(REQUIRED, "A run trained on it.")
    input_file: str = option(REQUIRED, "Records of its test split.")
    labels: tuple = option(("MACE_1095", "CKD_1095", "RET_1095", "NEUR_1095", "long_stay"), "Labels.")
    max_patients: int = option(200, "Patients.", rule=at_least(1))
    steps: int = option(32, "Steps of the integral.", rule=at_least(2))
    output_file: str = option("", "JSON file for the table.")


flags.define(Options)


def true_effects(prefix, wanted):
    """dict patient id -> dict code -> float [K], of the wanted ids."""
    settings = json.loads(Path(f"{prefix}.generator.json").read_text(encoding="utf-8"))["settings"]
    effects = {}
    for block in blocks.generate(settings["num_patients"], settings["seed"]):
        history = blocks.observed_history(block)
        for place in range(len(block)):
            name = f"P{block.first + place:08d}"
            if name in wanted:
                effects[name] = effects_of_codes(history, place)
    return effects


def correlation(first, second):
    """Spearman's, NaN where one of them is constant."""
    from scipy import stats

    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return stats.spearmanr(first, second).statistic


def main(_):
    """Explains, compares with the truth, prints one line per label and method."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = flags.read(Options)
    explainer = Explainer(
        ExplainSettings(
            run_dir=options.run_dir,
            input_file=options.input_file,
            output_dir="",
            labels=options.labels,
            steps=options.steps,
            max_patients=options.max_patients,
        )
    )
    patients = explainer.patients()
    attributor = getattr(explainer.attributor, "encoder", explainer.attributor)
    attributor.places, attributor.weights = np.array([1.0]), np.array([1.0])  # the gradient at the patient alone
    slopes = explainer.patients()
    effects = true_effects(options.prefix, {patient.patient_id for patient in patients})
    generator, tokens = np.random.default_rng(0), explainer.vocabulary.tokens
    places = [blocks.LABEL_TASKS.index((task, explainer.names[task][number])) for task, number in explainer.labels]
    table = []
    for column, (task, number) in enumerate(explainer.labels):
        values = {method: [] for method in METHODS}
        for patient, slope in zip(patients, slopes, strict=True):
            true = effects[patient.patient_id]
            known = [place for place, code in enumerate(patient.codes) if tokens[code] in true]
            truth = np.array([true[tokens[patient.codes[place]]][places[column]] for place in known])
            scores = [part[known, column] for part in (patient.attribution, patient.deletion, slope.attribution)]
            for method, score in zip(METHODS, (*scores, generator.random(len(truth))), strict=True):
                values[method].append(correlation(score, truth))
        label = explainer.names[task][number]
        for method, each in values.items():
            each = np.array(each)[np.isfinite(each)]
            drawn = np.array([generator.choice(each, len(each)).mean() for _ in range(1000)])
            low, high = interval(each.mean(), drawn)
            about = {"label": label, "method": method, "patients": len(each)}
            table.append(about | {"value": float(each.mean()), "low": low, "high": high})
            print(f"{label:<12} {method:<22} {each.mean():+.3f} [{low:+.3f}, {high:+.3f}] over {len(each)} patients")
    if options.output_file:
        write_json(options.output_file, table)


if __name__ == "__main__":
    commands.run(main)
