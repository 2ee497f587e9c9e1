"""top-BERT's three tasks on generated cohorts: trained together in five ways, each alone, and one after the other.

Every training stage makes the same number of passes over the training patients, with the same configuration, batches,
learning rate and seed, and keeps its best epoch on validation. So the controls are not given less: single tasks make
three networks of one training each, and pretraining with fine-tuning makes one network of two.
"""

from comparison import cohort_runs
from medtop.evaluation.metrics import paired_bootstrap, read_predictions
from medtop.evaluation.tables import share_of_way

MASKED, PATIENT_TASKS = "masked_lm", {"long_stay": "long_stay", "complications": "macro"}
"""Task -> the label whose ROC AUC counts."""

JOINT = {
    "fixed": [f"--task_weights={cohort_runs.TASK_WEIGHTS}"],
    "equal": [],
    "uncertainty": ["--loss_balancing=uncertainty"],
    "gradnorm": ["--loss_balancing=gradnorm"],
    "random": ["--loss_balancing=random"],
}
"""Method -> flags of the trainer; "fixed" has the demo's weights, chosen on validation, and "equal" 1 for each."""
SINGLE, PRETRAINED = "single_task", "pretrained"
BASELINES = ("logistic_regression", "gradient_boosting")  # on counts, fitted beside the run "fixed"
METHODS = (*JOINT, SINGLE, PRETRAINED, *BASELINES)
LARGE_METHODS = ("fixed", "uncertainty", "gradnorm", *BASELINES)
"""Where a run takes an hour."""
TEST_PATIENTS = 4000
"""However small the cohort: of 1,000 patients, 20% would test, and their ROC AUC has a standard error of 0.03."""
FINE_TUNING = ["--tasks=long_stay,complications", "--task_weights=long_stay:0.2"]


class CohortCase:
    """See `comparison.cells`.

    Args:
        work_dir: where cohorts and runs lie.
        patients: of the cohort, 70% of them in training and 10% in validation; `TEST_PATIENTS` test.
        epochs: passes over the training patients, of each training stage.
        trainer_flags: further flags of the trainer, for all runs.
    """

    def __init__(self, work_dir, patients, epochs=cohort_runs.EPOCHS, trainer_flags=()):
        self.work_dir, self.patients = work_dir, patients
        self.name = f"cohort_{patients}"
        self.methods = METHODS if patients < 20_000 else LARGE_METHODS
        self.settings = {
            "patients": patients,
            "test_patients": TEST_PATIENTS,
            "epochs": epochs,
            "trainer_flags": list(trainer_flags),
        }
        self._flags = [f"--num_train_epochs={epochs}", "--keep_checkpoints=1", *trainer_flags]
        self._prepared = set()

    def measured(self, seed, method):
        """ROC AUC of the patient-level tasks (complications: mean over labels), how far it got from 0.5 to the best
        reachable, and the loss on masked codes in nats; all on the test split."""
        if method in BASELINES:
            self._train(seed, "fixed")
            return {"measures": self._of_baseline(seed, method), "seconds": None}
        seconds = self._train(seed, method)
        measures = {}
        for task, run in self._runs(seed, method).items():
            metrics, comparison = cohort_runs.test_results(run)
            if task == MASKED:
                measures["masked_lm loss"] = metrics[MASKED][MASKED]["loss"]
            else:
                measures |= _ranking(task, metrics, comparison)
        return {"measures": dict(sorted(measures.items())), "seconds": seconds}

    def difference(self, seed, method, against):
        """Paired by patient; masked codes' losses have no interval within one test split."""
        if {method, against} & {*BASELINES}:
            return self._from_baseline(seed, method, against)
        runs, others, found = self._runs(seed, method), self._runs(seed, against), {}
        for task in sorted({*runs} & {*others}):
            metrics, comparison = cohort_runs.test_results(runs[task])
            if task == MASKED:
                other = cohort_runs.test_results(others[task])[0]
                losses = [one[MASKED][MASKED]["loss"]["value"] for one in (metrics, other)]
                found["masked_lm loss"] = {"value": losses[0] - losses[1], "low": None, "high": None}
            else:
                pair = [
                    read_predictions(run / "restricted" / "predictions.csv")[task] for run in (runs[task], others[task])
                ]
                one = paired_bootstrap(*pair[0], *pair[1], seed=int(seed))[PATIENT_TASKS[task]]
                found |= _difference(task, one, comparison)
        return found

    def _folder(self, seed):
        return cohort_runs.cohort_folder(self.work_dir, self.patients, seed)

    def _runs(self, seed, method):
        """dict task -> folder of the run whose predictions count."""
        folder = self._folder(seed)
        if method in JOINT:
            return dict.fromkeys((MASKED, *PATIENT_TASKS), folder / method)
        if method == SINGLE:
            return {task: folder / f"only_{task}" for task in (MASKED, *PATIENT_TASKS)}
        return dict.fromkeys(PATIENT_TASKS, folder / PRETRAINED)

    def _train(self, seed, method):
        """Trains what the method needs and is not there; seconds of all its trainings together, or None."""
        folder = self._folder(seed)
        if seed not in self._prepared:
            cohort_runs.prepare(folder, self.patients, seed, test_patients=TEST_PATIENTS)
            self._prepared.add(seed)
        stages = []
        if method in JOINT:
            baselines = [] if method == "fixed" else ["--nobaselines"]
            stages.append((method, [*JOINT[method], *baselines]))
        else:
            stages.append((f"only_{MASKED}", [f"--tasks={MASKED}", "--nobaselines"]))
            if method == SINGLE:
                stages += [(f"only_{task}", [f"--tasks={task}", "--nobaselines"]) for task in PATIENT_TASKS]
            else:
                start = f"--init_checkpoint={folder / f'only_{MASKED}'}"
                stages.append((PRETRAINED, [*FINE_TUNING, start, "--nobaselines"]))
        seconds = []
        for name, flags in stages:
            script = f"run_scripts/run_{'EHR' if name == f'only_{MASKED}' else 'top'}pretraining.py"
            seconds.append(cohort_runs.train(folder, name, seed, *self._flags, *flags, script=script))
        return None if None in seconds else sum(seconds)

    def _of_baseline(self, seed, method):
        _, comparison = cohort_runs.test_results(self._folder(seed) / "fixed")
        measures = {}
        for task in PATIENT_TASKS:
            measures |= _ranking(task, comparison["baselines"][method], comparison)
        return dict(sorted(measures.items()))

    def _from_baseline(self, seed, method, against):
        """The run "fixed" holds its paired differences to the baselines; others have none."""
        if {method, against} - {*BASELINES} != {"fixed"}:
            values = [self._value(seed, one) for one in (method, against)]
            return {
                name: {"value": values[0][name] - values[1][name], "low": None, "high": None}
                for name in values[0]
                if name in values[1]
            }
        _, comparison = cohort_runs.test_results(self._folder(seed) / "fixed")
        sign, baseline = (1, against) if method == "fixed" else (-1, method)
        found = {}
        for task, label in PATIENT_TASKS.items():
            one = comparison["differences"][baseline][task][label]
            ends = sorted((sign * one["low"], sign * one["high"]))
            found |= _difference(
                task, {"difference": sign * one["difference"], "low": ends[0], "high": ends[1]}, comparison
            )
        return found

    def _value(self, seed, method):
        return {name: entry["value"] for name, entry in self.measured(seed, method)["measures"].items()}


def _ranking(task, metrics, comparison):
    """The two measures of a patient-level task: dict name -> {value, low, high}."""
    label = PATIENT_TASKS[task]
    entry, best = metrics[task][label]["roc_auc"], comparison["best_reachable"][task][label]["roc_auc"]
    share = {end: share_of_way(entry[end], best) for end in ("value", "low", "high")}
    return {f"{task} ROC AUC": entry, f"{task} share of the way": share}


def _difference(task, one, comparison):
    best = comparison["best_reachable"][task][PATIENT_TASKS[task]]["roc_auc"]
    entry = {"value": one["difference"], "low": one["low"], "high": one["high"]}
    share = {end: None if value is None else value / (best - 0.5) for end, value in entry.items()}
    return {f"{task} ROC AUC": entry, f"{task} share of the way": share}
