"""The windows of finished runs of `notes_quality.py`: vectors and logits by the run's frozen weights, kept on disk.

Letters: B windows in a batch, T tokens in a row, H width of the encoder, S windows.
"""

import dataclasses

import numpy as np

from comparison.attention import Windows
from medtop.evaluation.aggregation import Admissions
from medtop.evaluation.predictions import Predictions, logit, sigmoid
from medtop.files.atomic import atomic_path, sha256
from medtop.files.bounded import read_npz
from medtop.files.options import REQUIRED, at_least, option

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which runs, and how intervals are made: flags of every benchmark on windows of finished runs."""

    runs: tuple = option(
        REQUIRED, "Folders that notes_quality.py made, each with `run/` and `texts.notes.<split>.parquet`."
    )
    num_bootstrap: int = option(1000, "Resamples of patients.", rule=at_least(0))


def encoder_of(scorer):
    """(function: dict of int32 tensors [B, T] -> float32 [B, H + 1], the windows' vectors with their logit; H + 1)."""
    import keras
    import tensorflow as tf

    from medtop.model.encoder import build_reading_encoder

    pooled = build_reading_encoder(scorer.model.encoder, {"pooled_output"})
    pooled = keras.Model(pooled.input, pooled.output["pooled_output"])
    signature = {name: tf.TensorSpec([None, *value.shape[1:]], tf.int32) for name, value in pooled.input.items()}

    @tf.function(input_signature=[signature], autograph=False)
    def together(inputs):
        return tf.concat([pooled(inputs, training=False)[:, 0], scorer.logits(inputs)[:, 0]], axis=1)

    def vectors_and_logits(inputs):
        return together({name: inputs[name] for name in signature})

    return vectors_and_logits, pooled.output.shape[-1] + 1


def vectors_of(scorer, vectors_and_logits, width, path):
    """dict of arrays: the windows' vectors with their logit last, and their admissions; unknown labels are left out."""
    from medtop.notes.texts import read_texts
    from medtop.text.windows import make_windows

    x, groups, targets, patients = [], [], [], []
    for batch in read_texts(path):
        kept = np.flatnonzero(~np.isnan(batch.labels)).tolist()
        pieces = scorer.tokenizer.tokenize([batch.texts[place] for place in kept])
        size, overlap = scorer.max_seq_length, scorer.settings["window_overlap"]
        windows = make_windows(pieces, size, scorer.tokenizer.cls_id, scorer.tokenizer.sep_id, overlap)
        vectors = np.empty((len(windows), width), np.float32)
        for rows, inputs in scorer.batches(windows.token_ids, windows.counts):
            vectors[rows] = vectors_and_logits(inputs).numpy()
        x.append(vectors)
        groups.append(windows.texts + len(targets))
        targets += batch.labels[kept].tolist()
        patients += [batch.patient_ids[place] for place in kept]
    return {
        "x": np.concatenate(x),
        "groups": np.concatenate(groups),
        "targets": np.array(targets),
        "patients": np.unique(patients, return_inverse=True)[1],
    }


def extracted(folder):
    """dict split -> `Windows` of a run; computed once for its weights."""
    path = folder / "window_vectors.npz"
    weights = sorted((folder / "run/best").rglob("*"))
    mark = np.frombuffer("".join(sha256(file) for file in weights if file.is_file()).encode(), np.uint8)
    arrays = read_npz(path) if path.is_file() else {}
    if not np.array_equal(arrays.get("weights"), mark):
        from medtop.readmission.score import NoteScorer

        scorer = NoteScorer(folder / "run", 64)
        vectors_and_logits, width = encoder_of(scorer)
        arrays = {"weights": mark}
        for split in SPLITS:
            made = vectors_of(scorer, vectors_and_logits, width, f"{folder}/texts.notes.{split}.parquet")
            arrays |= {f"{split}_{name}": values for name, values in made.items()}
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)
    names = [field.name for field in dataclasses.fields(Windows)]
    return {split: Windows(*(arrays[f"{split}_{name}"] for name in names)) for split in SPLITS}


def joined(windows, aggregation):
    """float [N]: logits of the admissions, by an `Aggregation` of the run's own probabilities of their windows."""
    probabilities = sigmoid(windows.x[:, -1:])
    return logit(aggregation.combine(probabilities, windows.groups, len(windows.targets)))[:, 0]


def predictions_of(windows):
    """(`Predictions` of the windows by the run's own head, their `Admissions`)."""
    ids, times = windows.groups.astype(str), np.zeros(len(windows.groups), np.int64)
    targets = windows.targets[windows.groups][:, None].astype(np.float32)
    logits = windows.x[:, -1:].astype(np.float64)
    made = Predictions("readmission", ("readmission",), ids, times, targets, np.ones_like(targets), logits)
    return made, Admissions.of(ids, ids, times)
