"""What a served model needs to know of its run, and what its client needs to know of the model. No framework here.

Letters: B patients in a request, T codes of the longest patient, K labels of a task.
"""

import dataclasses
from pathlib import Path

import medtop
from medtop.cohort.vocabulary import Vocabulary
from medtop.data.layouts import DEFAULT, LAYOUTS
from medtop.evaluation.calibration import Calibration, read_calibrations
from medtop.evaluation.predictions import MIN_KNOWN_CODES
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.model.config import BertConfig
from medtop.training.run_directory import RunDirectory

FORMAT, VERSION = "medtop export", 1
DESCRIPTION_FILE = "model.json"
VOCABULARY_FILE = "vocab.txt"

CODE_INPUTS = {
    # key of the batch that needs it: (name of the client's input, what it is, one value per code)
    "ages": ("ages", "age in days at the admission of the code's visit; 0 = unknown, 1 = newborn"),
    "gaps": ("gaps", "days from the previous visit's discharge to this visit's admission; 0 for the first visit"),
    "stays": ("stays", "days from admission to discharge of the code's visit"),
    "recencies": ("recencies", "days from the discharge of the code's visit to the prediction time"),
}
GAPS_AFTER = "days from this visit's discharge to the next visit's admission; 0 for the last visit"
PATIENT_INPUTS = {
    "ages": ("age_at_prediction", "int64", "age in days at the prediction time; 0 = unknown"),
    "sexes": ("sex", "string", '"F", "M" or "" where unknown'),
}
REPORTS = {
    "known_codes": ("float32", ["B"], "share of the codes that the model knows; 0 without codes"),
    "unknown_code_count": ("int32", ["B"], "codes that the model does not know"),
    "unknown_codes": ("string", ["B", "U"], 'the distinct ones, in order, padded with ""; at least one column'),
    "tokens_left_out": ("int32", ["B"], "earliest tokens left out of histories longer than max_seq_length"),
}


@dataclasses.dataclass(frozen=True)
class ServedRun:
    """A finished run, as far as serving goes.

    Attributes:
        run: `RunDirectory`.
        config, vocabulary: `BertConfig`, `Vocabulary`.
        all_tasks: list of `Task`, as trained; `tasks` are the patient-level ones, which are served.
        calibrations: dict task -> `Calibration`.
        is_calibrated: False where the run holds no calibration: only class weights are taken back then.
        max_seq_length: longest row, as in training.
        time_gap: "before" or "after".
        visit_separator: whether each visit ends with [SEP].
        min_known_codes: share of a patient's codes that the model must know, and one at least, for a probability; the
            others get NaN; 0 = none.
    """

    run: RunDirectory
    config: BertConfig
    vocabulary: Vocabulary
    all_tasks: tuple
    calibrations: dict
    is_calibrated: bool
    max_seq_length: int
    time_gap: str
    visit_separator: bool
    min_known_codes: float = MIN_KNOWN_CODES

    @property
    def tasks(self):
        """The patient-level tasks."""
        return tuple(task for task in self.all_tasks if task.level == "patient")

    @classmethod
    def read(cls, run_dir, min_known_codes=MIN_KNOWN_CODES):
        """Reads and checks a run directory; the weights are not opened.

        Args:
            run_dir: a finished run.
            min_known_codes: see the attribute.

        Raises:
            DataError: for a missing or short run directory, a run of masked codes only, or a calibration of other
                labels.
        """
        run = RunDirectory(run_dir)
        config, vocabulary, tasks = run.read()
        patient = [task for task in tasks if task.level == "patient"]
        if not patient:
            raise DataError(f"{run_dir}: expected a run with a patient-level task, received masked codes only")
        if not run.has_weights():
            raise DataError(f"{run.best_weights}: expected the weights of a finished run, found no such file")
        is_calibrated = run.calibration_file.is_file()
        if is_calibrated:
            calibrations = read_calibrations(run.calibration_file)
        else:
            calibrations = {
                task.name: Calibration.identity(task.name, task.labels, class_weights=task.positive_weights)
                for task in patient
            }
        for task in patient:
            labels = tuple(calibrations[task.name].labels) if task.name in calibrations else ()
            if labels != task.labels:
                raise DataError(
                    f"{run.calibration_file}: expected task {task.name} with labels {', '.join(task.labels)}, "
                    f"received {', '.join(labels) or 'none'}"
                )
        settings = run.settings()
        about = _records_of(run, settings, vocabulary)
        served = cls(
            run=run,
            config=config,
            vocabulary=vocabulary,
            all_tasks=tuple(tasks),
            calibrations={task.name: calibrations[task.name] for task in patient},
            is_calibrated=is_calibrated,
            max_seq_length=settings.get("max_seq_length") or config.max_position_embeddings,
            time_gap=about["time_gap"],
            visit_separator=about["visit_separator"],
            min_known_codes=min_known_codes,
        )
        served._check()
        return served

    def _check(self):
        lost = {"ages", "gaps", "stays", "recencies", "sexes", "visit_positions"} & {*self.config.inputs}
        if self.vocabulary.is_medbert and lost:
            raise DataError(
                f"{self.run.path}: expected code, position, visit and segment only with Med-BERT's vocabulary, "
                f"received {', '.join(sorted(lost))}"
            )
        names = self.output_names()
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise DataError(f"{self.run.tasks_file}: expected outputs of distinct names, received {doubled[0]!r} twice")

    def output_names(self):
        """Names of the outputs of the serving signature."""
        labels = [f"{task.name}.{label}" for task in self.tasks for label in task.labels]
        return [*(task.name for task in self.tasks), *labels, *REPORTS]

    @property
    def codes_as(self):
        """How a client writes codes, in a few words."""
        return "raw ones, as before --code_map" if self.vocabulary.code_map else "as in vocab.txt"

    def client_inputs(self):
        """What a client sends: list of dicts of `name`, `dtype`, `shape`, `meaning`, exactly what the config uses."""
        per_code = [
            ("codes", "string", f'codes in clinical order, {self.codes_as}; padded with ""'),
            ("visits", "int64", "number of the code's visit, from 1, rising with time; any number beside padding"),
        ]
        for key, (name, meaning) in CODE_INPUTS.items():
            if key in self.config.inputs:
                later = key == "gaps" and self.time_gap == "after"
                per_code.append((name, "int64", GAPS_AFTER if later else meaning))
        inputs = [{"name": n, "dtype": d, "shape": ["B", "T"], "meaning": m} for n, d, m in per_code]
        for key, (name, dtype, meaning) in PATIENT_INPUTS.items():
            if key in self.config.inputs:
                inputs.append({"name": name, "dtype": dtype, "shape": ["B"], "meaning": meaning})
        return inputs

    def describe(self, kind, inputs, outputs):
        """The content of model.json.

        Args:
            kind: "saved_model" or "onnx".
            inputs, outputs: lists of dicts of `name`, `dtype`, `shape`, `meaning`.
        """
        return {
            "format": FORMAT,
            "version": VERSION,
            "kind": kind,
            "medtop": medtop.__version__,
            "tasks": {task.name: self._labels(task) for task in self.tasks},
            "inputs": inputs,
            "outputs": outputs,
            "max_seq_length": self.max_seq_length,
            "first_code_id": self.vocabulary.first_code_id,
            "visit_separator": self.visit_separator,
            "time_gap": self.time_gap,
            "segment": self.config.segment,
            "calibrated": self.is_calibrated,
            "min_known_codes": self.min_known_codes,
            "vocabulary_hash": self.vocabulary.hash,
            "code_map": self.vocabulary.code_map and self.vocabulary.code_map.sentence,
        }

    def _labels(self, task):
        calibration = self.calibrations[task.name]
        return {
            "labels": list(task.labels),
            "thresholds": [calibration.thresholds[label] for label in task.labels],
            "not_calibrated": {
                label: entry.reason for label, entry in calibration.labels.items() if entry.reason is not None
            },
        }


def is_export(folder):
    """Whether a folder is an earlier export: the only thing that `--overwrite` replaces."""
    try:
        content = read_json(Path(folder) / DESCRIPTION_FILE)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _records_of(run, settings, vocabulary):
    """`time_gap` and `visit_separator` of the records that the run was trained on."""
    trained = (settings.get("data") or {}).get("train")
    if trained is not None and LAYOUTS.get(trained.get("layout"), DEFAULT).has_windows:
        raise DataError(
            f"{run.path}: expected a run that was trained on codes, or a run of run_readmission.py, received another "
            "one of notes; convert_tf_to_pytorch.py writes a HuggingFace folder"
        )
    if trained is None:  # weights that came from elsewhere
        return {"time_gap": "after" if vocabulary.is_medbert else "before", "visit_separator": False}
    missing = [name for name in ("time_gap", "visit_separator") if name not in trained]
    if missing:
        raise DataError(f"{run.run_file}: expected {missing[0]} of the training records, found none: an older run")
    return trained
