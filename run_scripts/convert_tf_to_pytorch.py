"""Writes a trained model as a HuggingFace folder, as a folder for medtop's own PyTorch module, or as a TensorFlow 1
checkpoint, and says how closely the outputs agree.

Example:
  python run_scripts/convert_tf_to_pytorch.py --run_dir=checkpoints/first --output_dir=exports/first --layout=medtop
  python run_scripts/convert_tf_to_pytorch.py --run_dir=checkpoints/medbert --output_dir=exports/medbert \\
    --head=pretraining --format=both

--layout=huggingface holds what HuggingFace's `bert` and `megatron-bert` hold: codes, positions, and visit numbers or
segments as token types. Other embeddings need --layout=medtop, or --drop_extra_embeddings. docs/convert.md says more.
"""

import dataclasses
import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.options import REQUIRED, option  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is written, and in which form."""

    run_dir: str = option(REQUIRED, "Run directory of a trained model.")
    output_dir: str = option(REQUIRED, "Folder to write; it appears whole or not at all.")
    layout: str = option("huggingface", "What kind of folder is written.", choices=("huggingface", "medtop", "tf1"))
    format: str = option(
        "safetensors", "model.safetensors, pytorch_model.bin, or both.", choices=("safetensors", "bin", "both")
    )
    head: str = option(
        "",
        "What goes with the encoder: pretraining (masked codes with long_stay or sentence_order), masked_lm, encoder "
        "(nothing), or a patient-level task such as complications; with --layout=medtop also all. Default: the "
        "fullest that fits.",
    )
    drop_extra_embeddings: bool = option(
        False, "Write a model that the layout cannot hold without its misfits; the cost is measured."
    )
    valid_file: str = option("", "TFRecord files to measure that cost on; default: the run's, else made-up patients.")
    overwrite: bool = option(False, "Replace an earlier export.")


flags.define(Options)


def main(_):
    """Checks, exports, says what was written, what stayed behind and how closely it agrees."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    options = flags.read(Options)
    from medtop.convert.export_weights import export, plan_export

    plan = plan_export(
        options.run_dir,
        options.output_dir,
        layout=options.layout,
        file_format=options.format,
        head=options.head,
        drop_extra=options.drop_extra_embeddings,
        valid_file=options.valid_file,
        overwrite=options.overwrite,
        command=shlex.join(["python", *sys.argv]),
    )
    done = export(plan)
    print(f"written: {options.output_dir} ({plan.class_name}, head {plan.head}, {done.num_numbers:,} numbers)")
    for reason in dict.fromkeys(done.left_out.values()):
        print(f"left out: {reason}")
    if done.cost:
        print(f"cost: {done.cost}")
    print(done.parity)
    print(f"next: {options.output_dir}/README.md shows how to load it")


if __name__ == "__main__":
    commands.run(main)
