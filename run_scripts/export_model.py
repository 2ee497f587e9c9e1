"""Exports a finished run for serving: SavedModel (codes in, probabilities out) or ONNX (the numeric model).

Example:
  python run_scripts/export_model.py --run_dir=checkpoints/demo/run --output_dir=checkpoints/demo/serving
  python run_scripts/export_model.py --run_dir=checkpoints/demo/run --output_dir=checkpoints/demo/onnx --format=onnx

The export is loaded back and compared with the Keras model on generated patients before it appears under its name; a
difference of more than 1e-5 of a probability is an error. docs/serving.md shows how to call it.
"""

import dataclasses
import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.convert.extras import require  # noqa: E402
from medtop.files.folders import check_target  # noqa: E402
from medtop.files.options import REQUIRED, Rule, option  # noqa: E402
from medtop.serve.served_run import ServedRun, is_export  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is exported, and how."""

    run_dir: str = option(REQUIRED, "Run directory of a trained model.")
    output_dir: str = option(REQUIRED, "Folder to make.")
    format: str = option("saved_model", "What to write.", choices=("saved_model", "onnx"))
    min_known_codes: float = option(
        0.5,
        "Smallest share of a patient's codes that the model must know, and one at least, for a probability; others get "
        "NaN; 0 = none.",
        rule=Rule("a number from 0 to 1", lambda value: 0 <= value <= 1),
    )
    overwrite: bool = option(False, "Replace an earlier export.")


flags.define(Options)


def main(_):
    """Checks, exports, says what parity was reached and what to type next."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = flags.read(Options)
    check_target(options.output_dir, is_export, options.overwrite)
    served = ServedRun.read(options.run_dir)
    if options.format == "onnx":
        require(("onnx", "onnxruntime", "tf2onnx"), "onnx")
        from medtop.serve.onnx_model import export_onnx as export

        next_step = "docs/serving.md shows how to run model.onnx with ONNX Runtime"
    else:
        from medtop.serve.saved_model import export_saved_model as export

        folder = Path(options.output_dir).resolve()
        next_step = (
            "next: docker run --rm -p 8501:8501 -e MODEL_NAME=medtop "
            f"-v {folder}:/models/medtop tensorflow/serving (docs/serving.md)"
        )
    if not served.is_calibrated:
        logging.warning("%s holds no calibration: only class weights are taken back", options.run_dir)
    command = shlex.join(["python", *sys.argv])
    result = export(options.run_dir, options.output_dir, options.overwrite, command, options.min_known_codes)
    print(f"{options.output_dir}: {result.line()}")
    print(next_step)


if __name__ == "__main__":
    commands.run(main)
