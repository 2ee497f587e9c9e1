"""A run as a SavedModel that takes what a client has and gives named, calibrated probabilities.

`<folder>/1/` is what TensorFlow Serving loads (it looks for numbered folders); `tf.saved_model.load` needs nothing of
medtop. One signature, `serving_default`: see `ServedRun.client_inputs` and `output_names`.

Letters: B patients, T codes of the longest one, K labels of a task, U distinct unknown codes of one patient.
"""

import tensorflow as tf

from medtop.evaluation.predictions import MIN_KNOWN_CODES
from medtop.files.atomic import write_json
from medtop.files.folders import check_target, whole_folder
from medtop.reporting.export_card import write_export_card
from medtop.serve import parity
from medtop.serve.client_batch import ClientBatch
from medtop.serve.served_model import calibration_notes, load_patient_model, probabilities, table_of, withhold
from medtop.serve.served_run import DESCRIPTION_FILE, REPORTS, VOCABULARY_FILE, ServedRun, is_export

KIND = "saved_model"
MODEL_VERSION = "1"
SUMMARY = (
    "A SavedModel that takes codes as strings and gives calibrated probabilities. It needs neither medtop nor a "
    f"vocabulary: TensorFlow Serving loads this folder, `tf.saved_model.load` its `{MODEL_VERSION}/`. `model.json` "
    "names inputs, outputs, labels and decision thresholds; it is among the SavedModel's assets too."
)


class ServingModule(tf.Module):
    """What is saved: the variables, the code table, and the serving function.

    Args:
        served: `ServedRun`.
        model: `load_patient_model`'s.
        vocabulary_file, description_file: become assets.
    """

    def __init__(self, served, model, vocabulary_file, description_file):
        super().__init__()
        self.encode = ClientBatch(served, vocabulary_file)
        self.table, self.code_map = self.encode.table, self.encode.code_map
        self.description = tf.saved_model.Asset(str(description_file))
        # The plain variables, not the Keras objects: the saved file then names no class of Keras or medtop.
        self.weights = [weight.value for weight in model.weights]
        names = [entry["name"] for entry in self.encode.inputs]

        def serve(*values):
            x, report = self.encode(dict(zip(names, values, strict=True)))
            outputs = probabilities(served, model(x, training=False), tf.float64)
            outputs = withhold(served, outputs, report["known_codes"])
            alone = {
                f"{task.name}.{label}": outputs[task.name][:, place]
                for task in served.tasks
                for place, label in enumerate(task.labels)
            }
            return outputs | alone | report

        self.serve = tf.function(serve, input_signature=self.encode.signature())


def export_saved_model(run_dir, output_dir, overwrite=False, command="", min_known_codes=MIN_KNOWN_CODES):
    """Writes a run as a SavedModel, loads it back and compares it with the Keras model; whole or not at all.

    Args:
        run_dir: a finished run.
        output_dir: folder to make; `1/` in it is the SavedModel.
        overwrite: whether an earlier export there is replaced.
        command: the command line, for the model card.
        min_known_codes: see `ServedRun`.

    Returns:
        `serving_parity.ServingParity`.

    Raises:
        DataError: for a run that cannot be served, an existing folder, or probabilities that differ.
    """
    check_target(output_dir, is_export, overwrite)
    served = ServedRun.read(run_dir, min_known_codes)
    model = load_patient_model(served)
    with whole_folder(output_dir, is_export, overwrite, shared=True) as folder:
        description = served.describe(KIND, served.client_inputs(), _outputs(served))
        write_json(folder / DESCRIPTION_FILE, description)
        served.vocabulary.write_text(folder / VOCABULARY_FILE)
        module = ServingModule(served, model, folder / VOCABULARY_FILE, folder / DESCRIPTION_FILE)
        path = folder / MODEL_VERSION
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
        (folder / VOCABULARY_FILE).unlink()  # it is among the assets
        loaded = tf.saved_model.load(str(path))
        result = parity.check(served, model, lambda people: call(loaded, served, people), f"{output_dir}")
        write_export_card(
            folder,
            served.run,
            title="SavedModel",
            summary=[SUMMARY],
            usage=_usage(served),
            tasks=served.tasks,
            notes=[*calibration_notes(served), f"{result.line()}."],
            command=command,
        )
    return result


def call(loaded, served, people):
    """dict task -> float32 [N, K] of a loaded SavedModel.

    Args:
        loaded: `tf.saved_model.load`'s.
        people: list of `serving_parity.Person`.
    """
    request = parity.client_request(served, people)
    answer = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in request.items()})
    return {task.name: answer[task.name].numpy() for task in served.tasks}


def _outputs(served):
    outputs = []
    for task in served.tasks:
        meaning = f"calibrated probabilities of {', '.join(task.labels)}"
        outputs.append({"name": task.name, "dtype": "float32", "shape": ["B", len(task.labels)], "meaning": meaning})
        for label in task.labels:
            name = f"{task.name}.{label}"
            outputs.append({"name": name, "dtype": "float32", "shape": ["B"], "meaning": f"{label} alone"})
    for name, (dtype, shape, meaning) in REPORTS.items():
        outputs.append({"name": name, "dtype": dtype, "shape": shape, "meaning": meaning})
    return outputs


def _usage(served):
    lines = [
        "import tensorflow as tf",
        "",
        f'model = tf.saved_model.load("{MODEL_VERSION}")',
        'answer = model.signatures["serving_default"](codes=..., visits=..., ...)',
    ]
    return [
        {"language": "python", "code": "\n".join(lines)},
        table_of(served.client_inputs()),
        table_of(_outputs(served)),
    ]
