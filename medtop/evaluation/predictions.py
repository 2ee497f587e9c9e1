"""Predictions of one patient-level task on one split, and the file predictions.csv.

Letters: N examples, K labels of the task.
"""

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from scipy import special

from medtop.files.atomic import atomic_path
from medtop.files.errors import DataError
from medtop.files.formulas import quoted

COLUMNS = ("patient_id", "prediction_time", "task", "label", "target", "probability")
"""Columns of predictions.csv, in this order."""

POOLED = ("micro", "macro")
"""Names that stand among a task's labels in metrics.json; no label may have them."""

_EXAMPLES_PER_BLOCK = 65_536

_ZONE = re.compile(r"[Zz+]|[T ].*-")
"""What a time with a zone holds behind its date."""

MIN_KNOWN_CODES = 0.5
"""Share of a patient's codes that a model must know, at least one of them, for a probability: one that knows nothing of
a patient gives an ordinary risk, which looks like a prediction."""


@dataclasses.dataclass
class Predictions:
    """What a model says about one patient-level task on one split, beside the truth.

    Attributes:
        task: name of the task.
        labels: K label names.
        patient_ids: str [N]; a patient may have several examples.
        prediction_times: int64 [N], seconds since 1970-01-01.
        targets: float32 [N, K], 1 or 0; any finite value where unknown.
        weights: float32 [N, K]; 0 = unknown. Any other value means known and counts as one: metrics are by example.
        logits: float32 [N, K].
        admission_ids: str [N], or None: which admission each example is of, where examples are admissions.

    Raises:
        DataError: for another shape, a target other than 0 and 1 where known, or a logit that is not finite.
    """

    task: str
    labels: tuple
    patient_ids: np.ndarray
    prediction_times: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    logits: np.ndarray
    admission_ids: np.ndarray | None = None

    def __post_init__(self):
        self.labels = tuple(self.labels)
        self.patient_ids = np.asarray(self.patient_ids, dtype=object if len(self.patient_ids) == 0 else None)
        self.prediction_times = np.asarray(self.prediction_times, np.int64)
        for name in ("targets", "weights", "logits"):
            setattr(self, name, np.asarray(getattr(self, name), np.float32))
        where = f"predictions of {self.task}"
        for name in self.labels:
            if name in POOLED:
                raise DataError(f"{where}: expected labels other than micro and macro, received a label named {name!r}")
        count = len(self.patient_ids)
        if self.prediction_times.shape != (count,):
            raise DataError(f"{where}: expected {count} prediction times, received {self.prediction_times.shape}")
        if self.admission_ids is not None:
            self.admission_ids = np.asarray(self.admission_ids, str)
            if self.admission_ids.shape != (count,):
                raise DataError(f"{where}: expected {count} admission ids, received {self.admission_ids.shape}")
        for name in ("targets", "weights", "logits"):
            shape = getattr(self, name).shape
            if shape != (count, len(self.labels)):
                raise DataError(f"{where}: expected {name} of shape {(count, len(self.labels))}, received {shape}")
        if not np.isfinite(self.logits).all():
            bad = int(np.argmax(~np.isfinite(self.logits).all(axis=1)))
            raise DataError(f"{where}: expected finite logits, received {self.logits[bad].tolist()} for example {bad}")
        targets = self.targets[self.known]
        if not np.isin(targets, (0, 1)).all():
            bad = targets[~np.isin(targets, (0, 1))][0]
            raise DataError(f"{where}: expected targets 0 or 1 where known, received {bad}")

    def __len__(self):
        return len(self.patient_ids)

    @property
    def known(self):
        """bool [N, K]: where the target is known."""
        return self.weights > 0

    @property
    def probabilities(self):
        """float64 [N, K]: sigmoid of the logits, uncalibrated."""
        return sigmoid(self.logits)

    def patient_counts(self, columns):
        """How many patients have an element of each kind among the labels at `columns`.

        Returns:
            dict positive_patients, negative_patients, unknown_patients -> int; {} where each example is another
            patient's: counts of examples are counts of people then.
        """
        if len(set(self.patient_ids.tolist())) == len(self):
            return {}
        owners = np.unique(np.asarray(self.patient_ids, str), return_inverse=True)[1].reshape(-1)
        known, positive = self.known[:, columns], self.targets[:, columns] > 0
        kinds = {"positive": known & positive, "negative": known & ~positive, "unknown": ~known}
        return {f"{kind}_patients": len(np.unique(owners[chosen.any(axis=1)])) for kind, chosen in kinds.items()}

    def take(self, index):
        """The examples at `index` (integers or bool [N])."""
        parts = {
            name: getattr(self, name)[index]
            for name in ("patient_ids", "prediction_times", "targets", "weights", "logits")
        }
        parts["admission_ids"] = None if self.admission_ids is None else self.admission_ids[index]
        return dataclasses.replace(self, **parts)

    def of_labels(self, places):
        """The labels at `places` (list of int)."""
        parts = {name: getattr(self, name)[:, places] for name in ("targets", "weights", "logits")}
        return dataclasses.replace(self, labels=tuple(self.labels[place] for place in places), **parts)


def sigmoid(logits):
    """1 / (1 + exp(-x)) in float64, without overflow.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return special.expit(np.asarray(logits, np.float64))


def logit(probabilities, limit=1e-12):
    """log(p / (1 - p)) in float64; probabilities are first clipped to [limit, 1 - limit].

    >>> logit(np.array([0.5])).tolist()
    [0.0]
    """
    probabilities = np.clip(np.asarray(probabilities, np.float64), limit, 1 - limit)
    return np.log(probabilities) - np.log1p(-probabilities)


def check_probabilities(predictions, probabilities, may_miss=False):
    """`probabilities` as float64 [N, K], or a DataError when the shape or a value is wrong; NaN only if `may_miss`."""
    probabilities = np.asarray(probabilities, np.float64)
    where = f"probabilities of {predictions.task}"
    if probabilities.shape != predictions.logits.shape:
        raise DataError(f"{where}: expected shape {predictions.logits.shape}, received {probabilities.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1) | may_miss & np.isnan(probabilities)).all():
        raise DataError(f"{where}: expected values from 0 to 1, received another value")
    return probabilities


def match_examples(patient_ids, prediction_times, other_ids, other_times, where="examples"):
    """For each example its place among the others, by (patient_id, prediction_time); -1 where it is not among them.

    Args:
        patient_ids, prediction_times: str [N], int64 [N].
        other_ids, other_times: str [M], int64 [M]; each pair at most once.
        where: names the other examples in the error.

    Returns:
        int64 [N].

    Raises:
        DataError: when a pair stands twice among the others.

    >>> match_examples(["a", "b", "b"], [1, 1, 2], ["b", "a"], [2, 1]).tolist()
    [1, -1, 0]
    """
    count = len(patient_ids)
    ids = pa.concat_arrays([pa.array(np.asarray(values, object), pa.string()) for values in (patient_ids, other_ids)])
    id_codes = ids.dictionary_encode().indices.to_numpy().astype(np.int64)
    times = np.concatenate([np.asarray(prediction_times, np.int64), np.asarray(other_times, np.int64)])
    distinct, time_codes = np.unique(times, return_inverse=True)
    keys = id_codes * max(len(distinct), 1) + time_codes
    others = keys[count:]
    order = np.argsort(others, kind="stable")
    others = others[order]
    if (others[1:] == others[:-1]).any():
        raise DataError(f"{where}: expected each patient_id and prediction_time once, received a pair twice")
    if not len(others):
        return np.full(count, -1, np.int64)
    place = np.minimum(np.searchsorted(others, keys[:count]), len(others) - 1)
    return np.where(others[place] == keys[:count], order[place], -1)


KNOWN_CODES = "known_codes"
"""Further column of predictions of new patients: the share of their codes that the model's vocabulary knows."""


def write_predictions(path, results, known_codes=None, quote_formulas=False):
    """Writes predictions.csv, whole or not at all; one row per example and label, in blocks of bounded memory.

    Columns are `COLUMNS`; an unknown target is empty; prediction_time is ISO 8601 (`2010-05-01T00:00:00`).
    Reading a probability back gives the same float64: metrics can be computed again from the file.

    Args:
        path: the file.
        results: iterable of (Predictions, probabilities float64 [N, K]).
        known_codes: None, or float64 [N] for a further column `KNOWN_CODES`, empty where NaN; probabilities may then be
            NaN, which is written as an empty field.
        quote_formulas: see `medtop.files.formulas`.
    """
    header = COLUMNS if known_codes is None else (*COLUMNS, KNOWN_CODES)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write((",".join(header) + "\n").encode())
        for predictions, probabilities in results:
            probabilities = check_probabilities(predictions, probabilities, known_codes is not None)
            if quote_formulas:
                ids = np.array([quoted(name) for name in predictions.patient_ids], object)
                labels = tuple(quoted(name) for name in predictions.labels)
                predictions = dataclasses.replace(predictions, patient_ids=ids, labels=labels)
            for start in range(0, len(predictions), _EXAMPLES_PER_BLOCK):
                block = slice(start, start + _EXAMPLES_PER_BLOCK)
                shares = None if known_codes is None else known_codes[block]
                table = _table(predictions.take(block), probabilities[block], shares)
                # quoted only where a value needs it: arrow itself quotes every string or none
                style = "needed" if _needs_quotes(table) else "none"
                csv.write_csv(table, file, csv.WriteOptions(include_header=False, quoting_style=style))


def _table(predictions, probabilities, known_codes=None):
    count, labels = predictions.targets.shape
    example = pa.array(np.repeat(np.arange(count), labels))
    label = pa.array(np.tile(np.arange(labels, dtype=np.int32), count))
    ids = pa.array(np.asarray(predictions.patient_ids, object), pa.string())
    times = pa.array(np.datetime_as_string(predictions.prediction_times.astype("datetime64[s]")))
    columns = [
        ids.take(example),
        times.take(example),
        pa.array([predictions.task]).take(pa.array(np.zeros(count * labels, np.int32))),
        pa.array(list(predictions.labels), pa.string()).take(label),
        pa.array(predictions.targets.ravel().astype(np.int8), mask=~predictions.known.ravel()),
        pa.array(probabilities.ravel(), mask=np.isnan(probabilities.ravel())),
    ]
    if known_codes is None:
        return pa.table(columns, names=list(COLUMNS))
    shares = pa.array(np.round(known_codes, 4), mask=np.isnan(known_codes)).take(example)
    return pa.table([*columns, shares], names=[*COLUMNS, KNOWN_CODES])


def _needs_quotes(table):
    return any(
        pc.any(pc.match_substring_regex(table[name], '[",\r\n]')).as_py() for name in ("patient_id", "task", "label")
    )


def read_predictions(path):
    """Reads predictions.csv back, for comparing runs.

    Returns:
        dict task -> (Predictions, probabilities float64 [N, K]); the logits are those of the written probabilities.

    Raises:
        DataError: for a missing column, a value of another kind, or an example that lacks one of its task's labels.
    """
    table = read_columns(path, COLUMNS)
    times = parse_times(table["prediction_time"], f"{path}: column prediction_time")
    results = {}
    tasks = table["task"].combine_chunks().dictionary_encode()
    codes = tasks.indices.to_numpy()
    for number, task in enumerate(tasks.dictionary.to_pylist()):
        rows = np.flatnonzero(codes == number)
        part = table.take(pa.array(rows))
        encoded = part["label"].combine_chunks().dictionary_encode()
        labels = tuple(encoded.dictionary.to_pylist())
        width, place = len(labels), encoded.indices.to_numpy()
        where = f"{path}: task {task}"
        if len(rows) % width or not (place.reshape(-1, width) == np.arange(width)).all():
            raise DataError(
                f"{where}: expected for each example the labels {', '.join(labels)} in this order, "
                "received another order or a missing row"
            )
        targets = _numbers(part["target"], f"{where}: column target").reshape(-1, width)
        probabilities = _numbers(part["probability"], f"{where}: column probability").reshape(-1, width)
        ids = np.asarray(part["patient_id"].to_pylist(), object).reshape(-1, width)[:, 0]
        if np.isnan(probabilities).any():
            raise DataError(
                f"{where}: column probability: expected a number in every row, received "
                f"{np.isnan(probabilities).sum()} empty ones (patients below --min_known_codes have none)"
            )
        known = ~np.isnan(targets)
        predictions = Predictions(
            task,
            labels,
            ids,
            times[rows].reshape(-1, width)[:, 0],
            np.where(known, targets, 0),
            known,
            logit(probabilities),
        )
        results[task] = predictions, check_probabilities(predictions, probabilities)
    return results


def read_columns(path, columns):
    """The named columns of a CSV file as strings (a pyarrow Table); a DataError for a missing file or column."""
    options = csv.ConvertOptions(include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()))
    try:
        return csv.read_csv(path, convert_options=options)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a CSV file, received no such file") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(
            f"{path}: expected CSV with columns {', '.join(columns)}, received another content ({type(error).__name__})"
        ) from None


def parse_times(strings, where):
    """ISO 8601 dates or times without a zone, or whole seconds since 1970, to int64 seconds since 1970-01-01."""
    strings = pc.utf8_trim_whitespace(strings)
    strings = strings.combine_chunks() if isinstance(strings, pa.ChunkedArray) else strings
    encoded = strings.dictionary_encode()
    values = np.asarray(encoded.dictionary.to_pylist(), str)
    if encoded.indices.null_count:
        raise DataError(f"{where}: expected a time in every row, received an empty one")
    try:
        if any(_ZONE.search(value) for value in values):
            raise ValueError  # NumPy would move it to another zone and only warn
        numeric = len(values) and all(value.lstrip("-").isdigit() and "-" not in value[1:] for value in values)
        seconds = values.astype(np.int64) if numeric else values.astype("datetime64[s]").astype(np.int64)
    except ValueError:
        raise DataError(f"{where}: expected ISO 8601 times (2010-05-01T00:00:00), received another form") from None
    return seconds[encoded.indices.to_numpy()]


def _numbers(column, where):
    """Strings to float64; empty is NaN."""
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    try:
        values = pc.cast(column, pa.float64())
    except pa.ArrowInvalid:
        raise DataError(f"{where}: expected numbers, received another value") from None
    return pc.fill_null(values, float("nan")).to_numpy()
