"""The run directory: everything that a trained model is, in named files (docs/contract.md, "Run directory")."""

import contextlib
import csv
import os
import shutil
from pathlib import Path

import medtop
from medtop.cohort.vocabulary import Vocabulary
from medtop.cohort.vocabulary_map import FILE as CODE_MAP_FILE
from medtop.cohort.vocabulary_map import read_beside
from medtop.data.description import SUFFIX
from medtop.files.atomic import write_json, write_text
from medtop.files.bounded import read_json, reading_csv
from medtop.files.errors import DataError
from medtop.files.folders import RESTRICTED
from medtop.files.locks import PRIVATE_FILE, PRIVATE_FOLDER, check_own_folder, hold, open_own
from medtop.files.temporary import clear_left
from medtop.model.config import BertConfig
from medtop.model.tasks import Task

VERSION = 1


class RunDirectory:
    """Paths and small files of one run.

    Args:
        path: the folder; `create` makes it.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.vocabulary_file = self.path / "vocab.txt"
        self.code_map_file = self.path / CODE_MAP_FILE
        self.tasks_file = self.path / "tasks.json"
        self.restricted = self.path / RESTRICTED
        self.splits_file = self.restricted / "splits.csv"
        self.subset_file = self.restricted / "train_subset.tfrecord"
        self.subset_description = self.restricted / f"train_subset.tfrecord{SUFFIX}"
        self.run_file = self.path / "run.json"
        self.checkpoints = self.path / "checkpoints"
        self.best_weights = self.path / "best" / "weights.npz"
        self.wide_file = self.path / "wide.npz"
        self.stack_file = self.path / "stack.json"
        self.coefficients_file = self.path / "wide_coefficients.csv"
        self.log_file = self.path / "train_log.jsonl"
        self.eval_log_file = self.path / "eval_log.jsonl"
        self.notes_file = self.path / "notes.json"
        self.aggregation_file = self.path / "aggregation.json"
        self.calibration_file = self.path / "calibration.json"
        self.metrics_file = self.path / "metrics.json"
        self.comparison_file = self.path / "comparison.json"
        self.predictions_file = self.restricted / "predictions.csv"
        self.readmission_predictions_file = self.restricted / "readmission_predictions.csv"
        self.roc_plot = self.path / "roc.png"
        self.precision_recall_plot = self.path / "precision_recall.png"
        self.calibration_plot = self.path / "calibration.png"
        self.eval_results_file = self.path / "eval_results.txt"
        self.report_file = self.path / "report.html"
        self.training_page = self.path / "training.html"
        self.profile_file = self.path / "profile.json"
        self.card_file = self.path / "card.json"
        self.card_text_file = self.path / "README.md"
        self.tripod_file = self.path / "tripod.md"
        self.table_one_file = self.path / "table_one.csv"

    @property
    def evaluations(self):
        """Folder of named evaluations (`EvaluationDirectory`)."""
        return self.path / "evaluations"

    @contextlib.contextmanager
    def locked(self):
        """Holds the folder for one process; the lock ends with the process, however it ends.

        Folders inside it that others cannot read are made, and what a killed process left is removed.

        Raises:
            DataError: when another process holds it, or the lock or a folder inside is a link.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open_own(self.path / ".lock") as file:
            if not hold(file):
                holder = file.read().decode(errors="replace").strip()
                raise DataError(
                    f"{self.path}: expected to be the only run here, found another one (process {holder or 'unknown'})"
                )
            file.truncate()
            file.write(str(os.getpid()).encode())
            inside = (self.restricted, self.checkpoints, self.best_weights.parent)
            for folder in inside:
                check_own_folder(folder)
            self.restricted.mkdir(PRIVATE_FOLDER, exist_ok=True)
            for folder in (self.path, *inside):
                clear_left(folder)
            self._move_older()
            yield self

    def _move_older(self):
        """Files that name patients, of runs from before December 2026, to where nobody else reads them."""
        for file in (self.splits_file, self.predictions_file, self.readmission_predictions_file):
            older = self.path / file.name
            if older.is_file() and not older.is_symlink():
                older.chmod(PRIVATE_FILE)
                older.unlink() if file.exists() else older.rename(file)

    def exists(self):
        """Whether a run was begun here."""
        return self.run_file.is_file()

    def start(self, settings, config, vocabulary, tasks, vocabulary_origin=None):
        """Writes what describes the run, `run.json` last.

        Args:
            settings: dict, compared when the run is continued.
            config: `BertConfig`.
            vocabulary: `Vocabulary`.
            tasks: list of `Task`.
            vocabulary_origin: what the preprocessing manifest says of the vocabulary, a dict; None where unknown.
        """
        write_json(self.config_file, config.to_dict(), shared=True)
        vocabulary.write_text(self.vocabulary_file, shared=True)
        content = {"version": VERSION, "tasks": [task.to_dict() for task in tasks]}
        write_json(self.tasks_file, content, shared=True)
        content = {"version": VERSION, "medtop": medtop.__version__, "settings": settings}
        content |= {"vocabulary": vocabulary_origin or {}}
        write_json(self.run_file, content, shared=True)

    def has_weights(self):
        """Whether a model can be read: the encoder's best weights, or a wide part that stands alone."""
        return self.best_weights.is_file() or (self.wide_file.is_file() and self.stack_file.is_file())

    def settings(self):
        """The settings that the run was started with."""
        settings = _read_json(self.run_file, "run").get("settings")
        if not isinstance(settings, dict):
            raise DataError(f"{self.run_file}: expected the settings of a run, received none")
        return settings

    def vocabulary_origin(self):
        """dict of what preprocessing said of the vocabulary; {} for a given one, word pieces and older runs."""
        return _read_json(self.run_file, "run").get("vocabulary") or {}

    def differences(self, settings, defaults):
        """Lines that say which settings differ from those that the run was started with.

        Args:
            settings: dict name -> plain value.
            defaults: dict name -> plain value that counts where one of the two has none: the default of a setting that
                came in a later version is what was done before it came.
        """
        earlier, now = defaults | self.settings(), defaults | settings
        return [
            f"{name}: {earlier.get(name)!r} then, {now.get(name)!r} now"
            for name in sorted({*self.settings(), *settings})
            if earlier.get(name) != now.get(name)
        ]

    def check_records(self, info):
        """Refuses records that mean something else than those that the run was trained on, though they look alike.

        Args:
            info: `DatasetInfo`.
        """
        trained, kept = self.settings()["data"]["train"], read_beside(self.vocabulary_file)
        given = info.vocabulary.code_map
        if kept is not None and given is not None and kept != given:
            raise DataError(f"{info.names[0]}: expected the map of codes of {self.path}, received another one")
        given = {name: getattr(info, name) for name in ("time_gap", "visit_separator", "tokenizer")}
        for name, value in {"layout": info.layout.name, **given}.items():
            if value != trained.get(name):
                raise DataError(
                    f"{info.names[0]}: expected {name}={trained.get(name)!r} as in training, received {value!r}"
                )

    def clear(self):
        """Removes what an earlier run wrote here (`--overwrite`); other files stay."""
        mine = [
            value
            for value in vars(self).values()
            if isinstance(value, Path) and value not in (self.path, self.restricted, self.checkpoints)
        ]
        # Checkpoints first, then what makes it a run: a kill between must not leave checkpoints to the next run.
        for file in [
            *self.checkpoints.glob("step-*.npz"),
            self.run_file,
            *mine,
            *self.path.glob("events.out.tfevents.*"),
        ]:
            file.unlink(missing_ok=True)
        shutil.rmtree(self.evaluations, ignore_errors=True)

    def read(self):
        """(`BertConfig`, `Vocabulary`, list of `Task`) of a run.

        Raises:
            DataError: naming the file, for a missing or foreign one, or a vocabulary that does not fit the config.
        """
        if not self.exists():
            raise DataError(f"{self.path}: expected a run directory (with {self.run_file.name}), found none")
        config = BertConfig.from_file(self.config_file)
        vocabulary = Vocabulary.read(self.vocabulary_file, text_model=True)
        content = _read_json(self.tasks_file, "tasks")
        if not isinstance(content.get("tasks"), list):
            raise DataError(f"{self.tasks_file}: expected a list of tasks, received none")
        try:
            tasks = [Task.from_dict(values) for values in content["tasks"]]
        except DataError as error:
            raise DataError(f"{self.tasks_file}: {error}") from None
        if len(vocabulary) != config.vocab_size:
            raise DataError(
                f"{self.vocabulary_file}: expected {config.vocab_size} tokens ({self.config_file.name}), "
                f"received {len(vocabulary)}"
            )
        return config, vocabulary, tasks

    def write_splits(self, patients):
        """Writes `patient_id,split` of the patients that took part.

        Args:
            patients: dict split -> sorted list of patient ids.
        """
        lines = ["patient_id,split\n"]
        for split, ids in patients.items():
            lines += [f"{_csv(name)},{split}\n" for name in ids]
        write_text(self.splits_file, "".join(lines))

    def has_splits(self):
        """Whether the run says which patients took part; exports do not."""
        return self.splits_file.is_file() or (self.path / self.splits_file.name).is_file()

    def read_splits(self):
        """dict split -> list of patient ids, as written; empty for Med-BERT's layout, which names no patients."""
        splits = {}
        older = self.path / self.splits_file.name  # before December 2026
        path = self.splits_file if self.splits_file.is_file() else older
        with reading_csv(path), open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if not {"patient_id", "split"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path}: line 1: expected columns patient_id and split, received others")
            for row in reader:
                if not row["split"] or row["patient_id"] is None:
                    raise DataError(f"{path}: line {reader.line_num}: expected a patient_id and a split")
                splits.setdefault(row["split"], []).append(row["patient_id"])
        return splits


class EvaluationDirectory(RunDirectory):
    """A named evaluation of a finished run: its results in a folder of their own, all else the run's.

    The run's weights, calibration, aggregation and earlier results stay as they are.

    Args:
        run: `RunDirectory`.
        name: of the evaluation.
    """

    RESULTS = (
        "restricted",
        "metrics_file",
        "comparison_file",
        "predictions_file",
        "readmission_predictions_file",
        "roc_plot",
        "precision_recall_plot",
        "calibration_plot",
        "eval_results_file",
        "report_file",
        "coefficients_file",
        "card_file",
        "card_text_file",
        "tripod_file",
        "table_one_file",
    )

    def __init__(self, run, name):
        super().__init__(run.evaluations / name)
        self.name = name
        for attribute, path in vars(run).items():
            if attribute != "path" and attribute not in self.RESULTS:
                setattr(self, attribute, path)

    def clear(self):
        """Refused: the files that describe the run are not this evaluation's."""
        raise TypeError("an evaluation's folder is not cleared: its files are in part the run's")


def results_directory(options):
    """Where a run with these `TrainingOptions` writes its results: its own directory, or a named evaluation's."""
    run = RunDirectory(options.output_dir)
    return EvaluationDirectory(run, options.eval_name) if options.eval_name else run


def _csv(text):
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


def _read_json(path, what):
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a {what} file, found no such file") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        version = content.get("version") if isinstance(content, dict) else None
        raise DataError(f"{path}: expected version {VERSION}, received version {version!r}")
    return content
