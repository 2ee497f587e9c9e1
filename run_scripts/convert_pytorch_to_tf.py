"""Makes a run directory, ready for --init_checkpoint, out of a HuggingFace folder (bert or megatron-bert) or a
TensorFlow 1 checkpoint with google-research/bert's names (Med-BERT's own output).

Example:
  python run_scripts/convert_pytorch_to_tf.py --input_dir=Bio_ClinicalBERT --output_dir=checkpoints/clinicalbert
  python run_scripts/convert_pytorch_to_tf.py --tf_checkpoint_path=medbert/model.ckpt-1000 \\
    --bert_config_file=medbert/config.json --vocab_file=medbert/out.types --output_dir=checkpoints/medbert

Nothing in the files is run: weights are read as safetensors, as .bin with tensors only, or as a checkpoint.
"""

import logging
import shlex
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands  # noqa: E402

flags.DEFINE_string("input_dir", "", "HuggingFace folder: config.json, weights, tokenizer files.")
flags.DEFINE_string("tf_checkpoint_path", "", "Prefix of a TensorFlow 1 checkpoint (without .index), or its folder.")
flags.DEFINE_string(
    "bert_config_file", "", "With a checkpoint: its configuration; default: bert_config.json beside it."
)
flags.DEFINE_string("vocab_file", "", "Vocabulary (.types, or one token a line); default: the folder's tokenizer.")
flags.DEFINE_string("output_dir", None, "Run directory to write; it appears whole or not at all.", required=True)
flags.DEFINE_enum(
    "segment",
    "",
    ["", "zero", "alternating", "visit"],
    "What the token types are; default: visit where there are more than two of them, else zero.",
)
flags.DEFINE_enum(
    "seq_relationship",
    "auto",
    ["auto", "long_stay", "drop"],
    "What the two-way head is: long_stay (Med-BERT) or next sentence, which is dropped; auto: long_stay where the "
    "folder or its vocabulary is Med-BERT's or ours.",
)
flags.DEFINE_string("task_name", "", "Name of the task of a sequence classifier; default: classification.")
flags.DEFINE_bool("overwrite", False, "Replace an earlier import.")


def main(_):
    """Checks, imports, says what was taken and how closely it agrees."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    values = flags.FLAGS
    from medtop.convert.import_weights import describe, import_weights, plan_import

    plan = plan_import(
        values.input_dir,
        values.output_dir,
        tf_checkpoint_path=values.tf_checkpoint_path,
        bert_config_file=values.bert_config_file,
        vocab_file=values.vocab_file,
        segment=values.segment,
        seq_relationship=values.seq_relationship,
        task_name=values.task_name,
        overwrite=values.overwrite,
        command=shlex.join(["python", *sys.argv]),
    )
    model = import_weights(plan)
    print(f"written: {values.output_dir} ({len(model.arrays)} weights, {len(model.vocabulary)} tokens)")
    for line in describe(plan, model):
        print(line)
    print(model.parity)
    print(
        f"next: python run_scripts/run_toppretraining.py --init_checkpoint={values.output_dir} "
        f"--bert_config_file={values.output_dir}/config.json --do_train --input_file=... --output_dir=..."
    )


if __name__ == "__main__":
    commands.run(main)
