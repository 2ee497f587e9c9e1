"""How much of the generated cohort's signal do the count baselines reach, and is all of it learnable?

Example:

  python benchmarks/synthetic_calibration.py --num_patients=20000 --seeds=1,2,3

Per label, the AUROC on a fifth of the patients of the true risk (best reachable), of both count baselines, and of a
logistic regression on the true ingredients of the risk function ("ingredients"), all fitted on 70% of the patients;
then the share of the way from 0.5 to the best reachable. These are the figures in docs/synthetic_cohort.md, and the
only ones by which the constants of `medtop/synthetic/risk.py` were chosen.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.options import at_least, option  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which cohorts."""

    num_patients: int = option(20000, "Patients of each cohort.", rule=at_least(1000))
    seeds: tuple = option(("1", "2", "3"), "Seeds of the cohorts.")


flags.define(Options)


BASELINES = ("logistic_regression", "gradient_boosting")
METHODS = ("best", *BASELINES, "ingredients")


def chunk_of(block):
    """A block's histories as the `Chunk` that preprocessing would make; ids are the generator's."""
    from medtop.cohort.pickled_lists import SEXES, Chunk
    from medtop.cohort.vocabulary import SPECIAL_TOKENS
    from medtop.synthetic import cohort, risk
    from medtop.synthetic.blocks import SECONDS_PER_DAY, observed_history

    history, count, several = observed_history(block), len(block), len(risk.LABELS)
    visit_counts = np.bincount(history.visit_patients, minlength=count)
    visits = np.arange(len(history.visit_patients)) - (np.cumsum(visit_counts) - visit_counts)[history.visit_patients]
    codes_of_visit = np.bincount(history.code_visits, minlength=len(visits))
    first_codes = np.cumsum(codes_of_visit) - codes_of_visit
    ages = block.prediction_times // SECONDS_PER_DAY - block.births
    known, targets = (block.targets >= 0).astype(np.float32), (block.targets == 1).astype(np.float32)
    return Chunk(
        patient_ids=cohort.patient_ids(block).to_pylist(),
        prediction_times=block.prediction_times,
        sexes=np.array([SEXES.index(sex) for sex in block.sexes]),
        ages_at_prediction=ages,
        code_counts=np.bincount(history.visit_patients[history.code_visits], minlength=count),
        visit_counts=visit_counts,
        codes=history.codes + len(SPECIAL_TOKENS),
        visits=visits[history.code_visits] + 1,
        visit_positions=np.arange(len(history.codes)) - first_codes[history.code_visits],
        stay_days=history.stay_days,
        gaps_before=history.gaps_before,
        recencies=history.recencies,
        ages=ages[history.visit_patients] - history.recencies - history.stay_days,
        labels={"complications": targets[:, :several], "long_stay": targets[:, several:]},
        weights={"complications": known[:, :several], "long_stay": known[:, several:]},
    )


def ingredients_of(block):
    """The ingredients of the risk function, float64 [N, features]."""
    return np.concatenate([part.reshape(len(block), -1) for part in block.components.values()], 1)


def take(features, rows):
    """Some patients of `BaselineFeatures`."""
    chosen = {
        name: {task: array[rows] for task, array in getattr(features, name).items()} for name in ("targets", "weights")
    }
    return dataclasses.replace(
        features,
        counts=features.counts[rows],
        context=features.context[rows],
        patient_ids=features.patient_ids[rows],
        prediction_times=features.prediction_times[rows],
        history=features.history.take(rows),
        **chosen,
    )


def measure(num_patients, seed):
    """Dict label -> dict method -> AUROC on the test patients."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    from medtop.cohort.vocabulary import SPECIAL_TOKENS
    from medtop.evaluation import baselines, count_features
    from medtop.synthetic import risk
    from medtop.synthetic.blocks import LABEL_TASKS, generate
    from medtop.synthetic.codes import CODES

    blocks = list(generate(num_patients, seed))
    features = count_features.features_from_chunks(map(chunk_of, blocks), len(CODES) + len(SPECIAL_TOKENS))
    risks, targets = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("risks", "targets"))
    ingredients = np.concatenate([ingredients_of(block) for block in blocks])
    order = np.random.default_rng(seed).permutation(num_patients)
    train, valid, test = np.split(order, [int(0.7 * num_patients), int(0.8 * num_patients)])
    splits = {name: take(features, rows) for name, rows in (("train", train), ("valid", valid), ("test", test))}
    fitted = baselines.fit_baselines(splits, risk.TASKS, names=BASELINES, predict=("test",), seed=seed).predictions
    ingredients = StandardScaler().fit(ingredients[train]).transform(ingredients)
    result = {}
    for place, (task, label) in enumerate(LABEL_TASKS):
        column = risk.TASKS[task].index(label)
        fit, rows = train[targets[train, place] >= 0], targets[test, place] >= 0
        truth = targets[test, place][rows]
        model = LogisticRegression(max_iter=500).fit(ingredients[fit], targets[fit, place])
        scores = {"best": risks[test, place][rows], "ingredients": model.decision_function(ingredients[test][rows])}
        scores |= {name: fitted[name]["test"][task].logits[rows, column] for name in BASELINES}
        result[label] = {name: roc_auc_score(truth, scores[name]) for name in METHODS}
    return result


def main(_):
    """Prints one table of means over the seeds."""
    options = flags.read(Options)
    results = [measure(options.num_patients, int(seed)) for seed in options.seeds]
    titles = ("best", "LR", "GBM", "ingred.", "LR way", "GBM way", "ingred. way", "better way, each seed")
    print(
        f"{options.num_patients} patients, seeds {', '.join(options.seeds)}; AUROC, share of the way from 0.5 to best"
    )
    print(f"{'label':<11}" + "".join(f"{title:>12}" for title in titles[:-1]) + "  " + titles[-1])
    several = [label for label in results[0] if label != "long_stay"]
    for label in [*results[0], "macro"]:
        members = several if label == "macro" else [label]
        each = [{name: np.mean([result[member][name] for member in members]) for name in METHODS} for result in results]
        mean = {name: np.mean([values[name] for values in each]) for name in METHODS}
        ways = [(mean[name] - 0.5) / (mean["best"] - 0.5) for name in METHODS[1:]]
        better = [max(values[name] - 0.5 for name in BASELINES) / (values["best"] - 0.5) for values in each]
        print(
            f"{label:<11}"
            + "".join(f"{value:>12.4f}" for value in mean.values())
            + "".join(f"{way:>12.3f}" for way in ways)
            + "  "
            + " ".join(f"{way:.3f}" for way in better)
        )


if __name__ == "__main__":
    commands.run(main)
