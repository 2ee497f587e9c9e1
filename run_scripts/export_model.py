"""Exports a finished run for serving: SavedModel (codes or notes in, probabilities out) or ONNX (the numeric model).

Example:
  python run_scripts/export_model.py --run_dir=checkpoints/demo/run --output_dir=checkpoints/demo/serving
  python run_scripts/export_model.py --run_dir=checkpoints/demo/run --output_dir=checkpoints/demo/onnx --format=onnx

The export is loaded back and compared with the Keras model on generated patients before it appears under its name; a
difference of more than 1e-5 of a probability is an error. A run of run_readmission.py becomes a SavedModel that takes
the notes of admissions as texts. docs/serving.md shows how to call them.
"""

import dataclasses
import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.convert.extras import require  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.folders import check_target  # noqa: E402
from medtop.files.options import REQUIRED, Rule, option  # noqa: E402
from medtop.serve.served_run import ServedRun, is_export  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is exported, and how."""

    run_dir: str = option(REQUIRED, "Run directory of a trained model.")
    output_dir: str = option(REQUIRED, "Folder to make.")
    format: str = option("saved_model", "What to write.", choices=("saved_model", "onnx"))
    min_known_codes: float = option(
        0.5,
        "Smallest share of a patient's codes that the model must know, and one at least, for a probability; others get "
        "NaN; 0 = none. Runs on codes only.",
        rule=Rule("a number from 0 to 1", lambda value: 0 <= value <= 1),
    )
    overwrite: bool = option(False, "Replace an earlier export.")


flags.define(Options)


def main(_):
    """Checks, exports, says what parity was reached and what to type next."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = flags.read(Options)
    check_target(options.output_dir, is_export, options.overwrite)
    command = shlex.join(["python", *sys.argv])
    if RunDirectory(options.run_dir).notes_file.is_file():
        _export_notes(options, command)
        return
    served = ServedRun.read(options.run_dir)
    if options.format == "onnx":
        require(("onnx", "onnxruntime", "tf2onnx"), "onnx")
        from medtop.serve.onnx_model import export_onnx as export

        next_step = "docs/serving.md shows how to run model.onnx with ONNX Runtime"
    else:
        from medtop.serve.saved_model import export_saved_model as export

        next_step = _serving_command(options)
    if not served.is_calibrated:
        logging.warning("%s holds no calibration: only class weights are taken back", options.run_dir)
    result = export(options.run_dir, options.output_dir, options.overwrite, command, options.min_known_codes)
    print(f"{options.output_dir}: {result.line()}")
    print(next_step)


def _export_notes(options, command):
    """A run on notes: texts in, risks of admissions out."""
    if options.format != "saved_model":
        raise DataError(
            f"--format: expected saved_model for a run on notes, received {options.format}: ONNX has no word pieces; "
            "convert_tf_to_pytorch.py writes a HuggingFace folder"
        )
    from medtop.readmission.score import NoteScorer
    from medtop.serve.notes_model import export_notes_model

    run = RunDirectory(options.run_dir)
    if not run.calibration_file.is_file():
        logging.warning("%s holds no calibration: only class weights are taken back", options.run_dir)
    result = export_notes_model(NoteScorer, options.run_dir, options.output_dir, options.overwrite, command)
    print(f"{options.output_dir}: {result.line()}")
    print(_serving_command(options))


def _serving_command(options):
    folder = Path(options.output_dir).resolve()
    return (
        "next: docker run --rm -p 8501:8501 -e MODEL_NAME=medtop "
        f"-v {folder}:/models/medtop tensorflow/serving (docs/serving.md)"
    )


if __name__ == "__main__":
    commands.run(main)
