"""Writes a trained model as a HuggingFace folder, as a folder for medtop's own PyTorch module, or as a TensorFlow 1
checkpoint, and says how closely the outputs agree.

Example:
  python run_scripts/convert_tf_to_pytorch.py --run_dir=checkpoints/first --output_dir=exports/first --layout=medtop
  python run_scripts/convert_tf_to_pytorch.py --run_dir=checkpoints/medbert --output_dir=exports/medbert \\
    --head=pretraining --format=both

--layout=huggingface holds what HuggingFace's `bert` and `megatron-bert` hold: codes, positions, and visit numbers or
segments as token types. Other embeddings need --layout=medtop, or --drop_extra_embeddings. docs/convert.md says more.
"""

import logging
import shlex
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands  # noqa: E402

flags.DEFINE_string("run_dir", None, "Run directory of a trained model.", required=True)
flags.DEFINE_string("output_dir", None, "Folder to write; it appears whole or not at all.", required=True)
flags.DEFINE_enum("layout", "huggingface", ["huggingface", "medtop", "tf1"], "What kind of folder is written.")
flags.DEFINE_enum(
    "format", "safetensors", ["safetensors", "bin", "both"], "model.safetensors, pytorch_model.bin, or both."
)
flags.DEFINE_string(
    "head",
    "",
    "What goes with the encoder: pretraining (masked codes and long_stay), masked_lm, encoder (nothing), or a "
    "patient-level task such as complications; with --layout=medtop also all. Default: the fullest that fits.",
)
flags.DEFINE_bool(
    "drop_extra_embeddings",
    False,
    "Write a model that the layout cannot hold without its misfits; the cost is measured.",
)
flags.DEFINE_string(
    "valid_file", "", "TFRecord files to measure that cost on; default: the run's, else made-up patients."
)
flags.DEFINE_bool("overwrite", False, "Replace an earlier export.")


def main(_):
    """Checks, exports, says what was written, what stayed behind and how closely it agrees."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    values = flags.FLAGS
    from medtop.convert.export_weights import export, plan_export

    plan = plan_export(
        values.run_dir,
        values.output_dir,
        layout=values.layout,
        file_format=values.format,
        head=values.head,
        drop_extra=values.drop_extra_embeddings,
        valid_file=values.valid_file,
        overwrite=values.overwrite,
        command=shlex.join(["python", *sys.argv]),
    )
    done = export(plan)
    print(f"written: {values.output_dir} ({plan.class_name}, head {plan.head}, {done.num_numbers:,} numbers)")
    for reason in dict.fromkeys(done.left_out.values()):
        print(f"left out: {reason}")
    if done.cost:
        print(f"cost: {done.cost}")
    print(done.parity)
    print(f"next: {values.output_dir}/README.md shows how to load it")


if __name__ == "__main__":
    commands.run(main)
