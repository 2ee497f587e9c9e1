"""A run on notes as a SavedModel that takes the notes of admissions as texts and gives their calibrated risks.

Everything between raw notes and a risk happens inside: cleaning, word pieces (tensorflow-text), windows, the model, the
aggregation over windows, class weights taken back and calibration, by the rules of `score_notes.py`.

Letters: B admissions, N notes of the one with most, R notes of all of them that hold a word, S windows, T tokens of the
longest window of a batch, K labels.
"""

import numpy as np
import tensorflow as tf

import medtop
from medtop.evaluation.aggregation import MAX, MEAN
from medtop.files.atomic import write_json
from medtop.files.folders import check_target, whole_folder
from medtop.reporting.export_card import write_export_card
from medtop.serve import notes_parity
from medtop.serve.note_cleaning import NoteCleaning, check_notes
from medtop.serve.note_pieces import NotePieces, windows_of
from medtop.serve.served_model import calibration_constants, float32_model, table_of
from medtop.serve.served_run import DESCRIPTION_FILE, FORMAT, VERSION, is_export
from medtop.training.run_directory import RunDirectory

KIND = "saved_model_of_notes"
MODEL_VERSION = "1"
SUMMARY = (
    "A SavedModel that takes the notes of admissions as texts and gives a calibrated risk for each admission. It needs "
    "TensorFlow and tensorflow-text (TensorFlow Serving holds both), no medtop: cleaning, word pieces, windows, "
    "aggregation and calibration are inside. `model.json` names inputs, outputs, labels and decision thresholds."
)
INPUTS = [
    {
        "name": "texts",
        "dtype": "string",
        "shape": ["B", "N"],
        "meaning": 'raw notes of an admission in order of time, UTF-8; padded with ""',
    }
]
REPORTS = {
    "windows": ("int32", ["B"], "windows that the notes fill; 0 where no note holds a word, and the risk is NaN"),
    "notes_used": ("int32", ["B"], "notes that hold a word"),
    "unknown_pieces": ("float32", ["B"], "share of the word pieces that the vocabulary does not know ([UNK])"),
}
_BATCH = 32  # windows that are scored at a time: memory stays bounded, whatever a request holds
_LIMIT = 1e-12  # of a probability before its logit, as `evaluation.predictions.logit`


class NotesModule(tf.Module):
    """What is saved: the variables and the serving function.

    Args:
        scorer: `medtop.readmission.score.NoteScorer` of the run.
        description_file: becomes an asset.
    """

    def __init__(self, scorer, description_file):
        super().__init__()
        self.description = tf.saved_model.Asset(str(description_file))
        self.weights = [weight.value for weight in scorer.model.weights]  # plain: the file names no class of Keras
        self._scorer, settings = scorer, scorer.settings
        self._clean = NoteCleaning(settings["cleaning"], settings["lower_case"])
        self._pieces = NotePieces(scorer.tokenizer)
        self.serve = tf.function(
            self._serve, input_signature=[tf.TensorSpec([None, None], tf.string, "texts")], autograph=False
        )

    def _serve(self, texts):
        admissions = tf.shape(texts, out_type=tf.int64)[0]
        joined, notes_used = self._joined(texts, admissions)
        ids, owners = self._pieces(joined)
        counts = tf.math.bincount(tf.cast(owners, tf.int32), minlength=tf.cast(admissions, tf.int32), dtype=tf.int64)
        settings = self._scorer.settings
        groups, first, sizes = windows_of(
            counts, self._scorer.max_seq_length, settings["window_overlap"], settings["legacy"]
        )
        logits = self._window_logits(ids, first, sizes)
        windows = tf.math.unsorted_segment_sum(tf.ones_like(groups, tf.int32), groups, admissions)
        p = tf.sigmoid(tf.cast(logits, tf.float64))
        values = self._calibrated(aggregated(p, groups, admissions, self._scorer.aggregation))
        values = tf.where(windows[:, None] > 0, values, tf.constant(np.nan, tf.float64))
        task = self._scorer.task
        values = tf.cast(values, tf.float32)
        unknown = tf.cast(tf.equal(ids, self._pieces.unk_id), tf.float32)
        unknown = tf.math.divide_no_nan(
            tf.math.unsorted_segment_sum(unknown, owners, admissions), tf.cast(counts, tf.float32)
        )
        alone = {f"{task.name}.{label}": values[:, place] for place, label in enumerate(task.labels)}
        report = {"windows": windows, "notes_used": notes_used, "unknown_pieces": unknown}
        return {task.name: values} | alone | report

    def _joined(self, texts, admissions):
        """(the cleaned notes of each admission joined by a blank, string [B]; notes that hold a word, int32 [B])."""
        given = tf.where(tf.not_equal(texts, ""))
        notes = self._clean(check_notes(tf.gather_nd(texts, given)))
        worded = self._clean.has_word(notes)
        notes, rows = tf.boolean_mask(notes, worded), tf.boolean_mask(given[:, 0], worded)
        ragged = tf.RaggedTensor.from_value_rowids(notes, rows, admissions)
        joined = tf.strings.reduce_join(ragged, axis=-1, separator=" ")
        return tf.ensure_shape(joined, [None]), tf.cast(ragged.row_lengths(), tf.int32)

    def _window_logits(self, ids, first, sizes):
        """float32 [S, K]: windows of like length share a batch, as in `NoteScorer`."""
        order = tf.cast(tf.argsort(sizes, stable=True), tf.int64)
        outputs = tf.TensorArray(tf.float32, 0, True, element_shape=[None, len(self._scorer.task.labels)])

        def some(number, outputs):
            rows = order[number * _BATCH : (number + 1) * _BATCH]
            x = self._batch(ids, tf.gather(first, rows), tf.gather(sizes, rows))
            return number + 1, outputs.write(number, self._scorer.logits(x)[:, 0])

        batches = -(-tf.size(order) // _BATCH)
        _, outputs = tf.while_loop(lambda number, _: number < batches, some, (0, outputs), parallel_iterations=1)
        logits = tf.cond(batches > 0, outputs.concat, lambda: tf.zeros([0, len(self._scorer.task.labels)], tf.float32))
        return tf.scatter_nd(order[:, None], logits, tf.shape(logits, out_type=tf.int64))

    def _batch(self, ids, first, sizes):
        """dict of int32 [b, T]: `[CLS] pieces [SEP]`, padded with 0, and its places."""
        width = tf.reduce_max(sizes) + 2
        places = tf.range(width)[None, :]
        there = places < sizes[:, None] + 2
        inside = (places > 0) & (places <= sizes[:, None])
        pieces = tf.gather(ids, tf.where(inside, first[:, None] + places - 1, 0))
        tokenizer = self._scorer.tokenizer
        tokens = tf.where(inside, pieces, tokenizer.sep_id)
        tokens = tf.where(places == 0, tf.constant(tokenizer.cls_id, tf.int64), tokens)
        zeros = tf.zeros_like(tokens)
        x = {
            "token_ids": tf.where(there, tokens, zeros),
            "patient_slots": there,
            "positions": tf.where(there, places + zeros, zeros),
            "segments": zeros,
            "cls_positions": zeros[:, :1],
        }
        return {name: tf.cast(values, tf.int32) for name, values in x.items()}

    def _calibrated(self, p):
        """float64 [B, K]: `Calibration.apply` of joint probabilities."""
        slope, intercept = (
            tf.constant(values, tf.float64) for values in calibration_constants(self._scorer.calibration)
        )
        p = tf.clip_by_value(p, _LIMIT, 1 - _LIMIT)
        return tf.sigmoid(slope * (tf.math.log(p) - tf.math.log1p(-p)) + intercept)


def aggregated(p, groups, count, aggregation):
    """`aggregation.combine` in the graph: float64 [B, K]; 0 for an admission without windows.

    Args:
        p: float64 [S, K].
        groups: int64 [S], the admission of each window.
        count: B.
        aggregation: `medtop.evaluation.aggregation.Aggregation`.
    """
    counts = tf.math.unsorted_segment_sum(tf.ones_like(groups, tf.float64), groups, count)[:, None]
    highest = tf.where(counts > 0, tf.math.unsorted_segment_max(p, groups, count), 0)
    mean = tf.minimum(tf.math.divide_no_nan(tf.math.unsorted_segment_sum(p, groups, count), counts), highest)
    if aggregation.method in (MEAN, MAX):
        return mean if aggregation.method == MEAN else highest
    weight = counts / aggregation.c
    return (highest + mean * weight) / (1 + weight)


def export_notes_model(open_run, run_dir, output_dir, overwrite=False, command=""):
    """Writes a run on notes as a SavedModel, loads it back and compares it with its scorer; whole or not at all.

    Args:
        open_run: function (run directory, windows in a batch) -> `medtop.readmission.score.NoteScorer`, handed in.
        run_dir: a finished run of `run_readmission.py`.
        output_dir: folder to make; `1/` in it is the SavedModel.
        overwrite: whether an earlier export there is replaced.
        command: the command line, for the model card.

    Returns:
        `notes_parity.NotesParity`.

    Raises:
        DataError: for a run that cannot be served, an existing folder, or risks that differ.
    """
    check_target(output_dir, is_export, overwrite)
    with float32_model():
        scorer = open_run(run_dir, _BATCH)
    with whole_folder(output_dir, is_export, overwrite, shared=True) as folder:
        write_json(folder / DESCRIPTION_FILE, describe(scorer))
        module = NotesModule(scorer, folder / DESCRIPTION_FILE)
        path = folder / MODEL_VERSION
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
        loaded = tf.saved_model.load(str(path)).signatures["serving_default"]
        result = notes_parity.check(scorer, lambda notes: loaded(texts=notes)[scorer.task.name].numpy(), output_dir)
        entry = scorer.calibration
        reasons = [
            f"`{label}`: {calibration.reason}"
            for label, calibration in entry.labels.items()
            if calibration.reason is not None
        ]
        write_export_card(
            folder,
            RunDirectory(run_dir),
            title="SavedModel of notes",
            summary=[SUMMARY],
            usage=_usage(scorer),
            tasks=[scorer.task],
            notes=["Probabilities are calibrated inside the model.", *reasons, f"{result.line()}."],
            command=command,
        )
    return result


def describe(scorer):
    """The content of model.json."""
    calibration = scorer.calibration
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": KIND,
        "medtop": medtop.__version__,
        "tasks": {
            scorer.task.name: {
                "labels": list(scorer.task.labels),
                "thresholds": [calibration.thresholds[label] for label in scorer.task.labels],
                "not_calibrated": {
                    label: entry.reason for label, entry in calibration.labels.items() if entry.reason is not None
                },
            }
        },
        "inputs": INPUTS,
        "outputs": _outputs(scorer),
        "max_seq_length": scorer.max_seq_length,
        "notes": scorer.settings | scorer.tokenizer.settings,
        "aggregation": {"method": scorer.aggregation.method, "c": scorer.aggregation.c},
        "vocabulary_hash": scorer.tokenizer.vocabulary.hash,
    }


def _outputs(scorer):
    task = scorer.task
    meaning = f"calibrated probabilities of {', '.join(task.labels)}; NaN where no note holds a word"
    outputs = [{"name": task.name, "dtype": "float32", "shape": ["B", len(task.labels)], "meaning": meaning}]
    for label in task.labels:
        outputs.append(
            {"name": f"{task.name}.{label}", "dtype": "float32", "shape": ["B"], "meaning": f"{label} alone"}
        )
    for name, (dtype, shape, meaning) in REPORTS.items():
        outputs.append({"name": name, "dtype": dtype, "shape": shape, "meaning": meaning})
    return outputs


def _usage(scorer):
    lines = [
        "import tensorflow as tf",
        "import tensorflow_text  # the SavedModel needs its operations",
        "",
        f'model = tf.saved_model.load("{MODEL_VERSION}").signatures["serving_default"]',
        'answer = model(texts=tf.constant([["first note of a stay", "second note"], ["the only note", ""]]))',
    ]
    return [{"language": "python", "code": "\n".join(lines)}, table_of(INPUTS), table_of(_outputs(scorer))]
