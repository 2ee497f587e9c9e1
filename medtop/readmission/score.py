"""Risk of new notes with a finished run: of a text, with the windows that drove it, and after each note of a stay.

Letters: N texts, S windows of all texts, K labels, B windows in a batch, T tokens in a row.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from medtop.evaluation.aggregation import Admissions, read_aggregation
from medtop.evaluation.calibration import Calibration, read_calibrations
from medtop.evaluation.forward import forward
from medtop.evaluation.predictions import Predictions, sigmoid
from medtop.evaluation.scoring import patient_model
from medtop.files.errors import DataError
from medtop.model.multitask import build_model
from medtop.notes.create_features import open_tokenizer
from medtop.readmission.prepare import read_text_settings
from medtop.text.cleaning import clean, has_word
from medtop.text.windows import first_windows, make_windows
from medtop.training.run_directory import RunDirectory
from medtop.training.trainer import load_best


@dataclasses.dataclass
class ScoredTexts:
    """Risks of N texts and of their S windows.

    Attributes:
        labels: K names.
        probabilities: float64 [N, K], calibrated.
        texts: int64 [S], which text each window is of.
        numbers: int64 [S], its number within the text, from 0.
        starts, ends: int64 [S], which characters of the text it covers.
        window_probabilities: float64 [S, K], not calibrated: calibration is of whole texts.
        shares: float64 [S, K], what part of its text's uncalibrated probability comes from it; 1 in all per text.
    """

    labels: tuple
    probabilities: np.ndarray
    texts: np.ndarray
    numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    window_probabilities: np.ndarray
    shares: np.ndarray

    def drivers(self, text, label=0, most=3):
        """Windows of a text by falling share: int [up to `most`], places among the S windows."""
        mine = np.flatnonzero(self.texts == text)
        return mine[np.argsort(-self.shares[mine, label], kind="stable")][:most]


class NoteScorer:
    """A finished run of `run_readmission.py`, ready to score texts.

    Args:
        run_dir: run directory.
        batch_size: windows in a batch.

    Raises:
        DataError: for a run without notes, or with several patient-level tasks.
    """

    def __init__(self, run_dir, batch_size=32):
        run = RunDirectory(run_dir)
        config, _, tasks = run.read()
        patient = [task for task in tasks if task.level == "patient"]
        if len(patient) != 1:
            raise DataError(f"{run_dir}: expected a run with one patient-level task, received {len(patient)}")
        self.task, self.batch_size = patient[0], batch_size
        self.settings, self.aggregation = read_text_settings(run), read_aggregation(run.aggregation_file)
        self.max_seq_length = run.settings()["max_seq_length"]
        self.tokenizer = open_tokenizer(run.vocabulary_file)
        if run.calibration_file.is_file():
            self.calibration = read_calibrations(run.calibration_file)[self.task.name]
        else:
            weights = self.task.positive_weights
            self.calibration = Calibration.identity(self.task.name, self.task.labels, class_weights=weights)
        self.config, self.model = config, build_model(config, tasks)
        load_best(self.model, run)
        self._model = patient_model(self.model, patient)
        self._outputs = forward(self._model)
        # one signature for all lengths: a trace for each would take longer than the scoring
        inputs = self._model.input.items()
        signature = {name: tf.TensorSpec([None, *value.shape[1:]], tf.int32) for name, value in inputs}
        self._logits = tf.function(self.logits, input_signature=[signature], autograph=False)

    def logits(self, x):
        """float32 [B, 1, K] of a batch of windows: dict of int32 tensors, of which the model reads its own."""
        return self._outputs({name: x[name] for name in self._model.input})[self.task.name]

    def clean(self, texts):
        """Raw notes -> texts as the run was trained on."""
        return clean(texts, self.settings["cleaning"], self.settings["lower_case"])

    def score(self, texts):
        """Scores texts that are cleaned already.

        Args:
            texts: list of N str.

        Returns:
            `ScoredTexts`.

        Raises:
            DataError: for a text without a word; names its number, never its content.
        """
        return self.score_windows(texts)[0]

    def score_windows(self, texts):
        """(`ScoredTexts`, `medtop.text.windows.Windows`) of some texts; as `score`."""
        pieces = self.tokenizer.tokenize(texts)
        worded = np.array([has_word(text) for text in texts], bool) & (pieces.counts > 0)
        if len(texts) == 0 or not worded.all():
            bad = f"text {int(np.argmin(worded)) + 1} of {len(texts)} without any" if len(texts) else "no text"
            raise DataError(f"notes: expected texts with words, received {bad}")
        make = first_windows if self.settings["legacy"] else make_windows
        windows = make(
            pieces, self.max_seq_length, self.tokenizer.cls_id, self.tokenizer.sep_id, self.settings["window_overlap"]
        )
        logits = self._window_logits(windows.token_ids, windows.counts)
        ids, none = np.arange(len(texts)).astype(str), np.zeros_like(logits)
        admissions = Admissions.of(ids[windows.texts], ids[windows.texts], np.zeros(len(windows)))
        of_windows = Predictions(
            self.task.name, self.task.labels, ids[windows.texts], np.zeros(len(windows)), none, none, logits
        )
        joint = admissions.aggregate(of_windows, self.aggregation)
        parts = self.aggregation.shares(sigmoid(logits), admissions.groups, len(admissions))
        whole = self.aggregation.combine(sigmoid(logits), admissions.groups, len(admissions))
        scored = ScoredTexts(
            tuple(self.task.labels),
            self.calibration.apply(joint),
            windows.texts,
            windows.numbers,
            windows.starts,
            windows.ends,
            sigmoid(logits),
            parts / whole[admissions.groups],
        )
        return scored, windows

    def _window_logits(self, token_ids, counts):
        """Logits of windows laid end to end: float32 [S, K]."""
        logits = np.empty((len(counts), len(self.task.labels)), np.float32)
        for rows, x in self.batches(token_ids, counts):
            outputs = self._logits({name: x[name] for name in self._model.input})
            logits[rows] = outputs.numpy()[:, 0]
        return logits

    def batches(self, token_ids, counts):
        """Yields (places of up to `batch_size` windows, dict of int32 tensors [B, T]); windows of like length share a
        batch.

        Args:
            token_ids: int [sum of counts], windows laid end to end.
            counts: int [S].
        """
        starts, order = np.cumsum(counts) - counts, np.argsort(counts, kind="stable")
        for first in range(0, len(order), self.batch_size):
            rows = order[first : first + self.batch_size]
            width = int(counts[rows].max())
            there = np.arange(width) < counts[rows][:, None]  # [B, T]
            tokens = np.zeros((len(rows), width), np.int32)
            tokens[there] = np.concatenate([token_ids[starts[row] : starts[row] + counts[row]] for row in rows])
            place = np.where(there, np.arange(width), 0)
            x = {
                "token_ids": tokens,
                "patient_slots": there.astype(np.int32),
                "positions": place.astype(np.int32),
                "segments": np.zeros_like(tokens),
                "cls_positions": np.zeros((len(rows), 1), np.int32),
            }
            yield rows, {name: tf.constant(values) for name, values in x.items()}

    def timeline(self, stays):
        """The risk after each note of some stays, from all notes until then.

        Args:
            stays: list of `Stay`.

        Returns:
            list of `Moment`, in order of stays and notes; notes before a stay's first word give none.
        """
        prefixes, about = [], []
        for stay in stays:
            ends = [*(start - 1 for start in stay.starts[1:]), len(stay.text)]
            for note, end in enumerate(ends):
                if has_word(stay.text[:end]):
                    prefixes.append(stay.text[:end])
                    about.append((stay, note))
        if not prefixes:
            raise DataError("notes: expected texts with words, received none")
        scored = self.score(prefixes)
        windows = np.bincount(scored.texts, minlength=len(prefixes))
        return [
            Moment(
                stay.patient_id,
                stay.admission_id,
                stay.times[note],
                note + 1,
                int(windows[place]),
                scored.probabilities[place],
            )
            for place, (stay, note) in enumerate(about)
        ]


@dataclasses.dataclass
class Stay:
    """The notes of an admission, cleaned and joined by a blank, in order of time.

    Attributes:
        patient_id, admission_id: str.
        text: the joined notes.
        starts: where each note begins, in characters.
        times: when each is known, seconds since 1970-01-01.
    """

    patient_id: str
    admission_id: str
    text: str
    starts: list
    times: list


@dataclasses.dataclass
class Moment:
    """The risk after a note.

    Attributes:
        patient_id, admission_id: str.
        time: seconds since 1970-01-01.
        notes: number of notes until then.
        windows: number of windows that they fill.
        probabilities: float64 [K], calibrated.
    """

    patient_id: str
    admission_id: str
    time: int
    notes: int
    windows: int
    probabilities: np.ndarray
