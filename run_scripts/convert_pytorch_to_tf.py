"""Makes a run directory, ready for --init_checkpoint, out of a HuggingFace folder (bert or megatron-bert) or a
TensorFlow 1 checkpoint with google-research/bert's names (Med-BERT's own output).

Example:
  python run_scripts/convert_pytorch_to_tf.py --input_dir=Bio_ClinicalBERT --output_dir=checkpoints/clinicalbert
  python run_scripts/convert_pytorch_to_tf.py --tf_checkpoint_path=medbert/model.ckpt-1000 \\
    --bert_config_file=medbert/config.json --vocab_file=medbert/out.types --output_dir=checkpoints/medbert

Nothing in the files is run: weights are read as safetensors, as .bin with tensors only, or as a checkpoint.
"""

import dataclasses
import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, hints  # noqa: E402
from medtop.convert.tokenizer import is_subword  # noqa: E402
from medtop.files.options import REQUIRED, option  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is read, and what it means."""

    input_dir: str = option("", "HuggingFace folder: config.json, weights, tokenizer files.")
    tf_checkpoint_path: str = option("", "Prefix of a TensorFlow 1 checkpoint (without .index), or its folder.")
    bert_config_file: str = option("", "With a checkpoint: its configuration; default: bert_config.json beside it.")
    vocab_file: str = option("", "Vocabulary (.types, or one token a line); default: the folder's tokenizer.")
    output_dir: str = option(REQUIRED, "Run directory to write; it appears whole or not at all.")
    segment: str = option(
        "",
        "What the token types are; default: visit where there are more than two of them, else zero. sentence: 0 in the "
        "first text, 1 in the second.",
        choices=("", "zero", "sentence", "alternating", "visit"),
    )
    seq_relationship: str = option(
        "auto",
        "What the two-way head is: long_stay (Med-BERT), sentence_order (GatorTron), next_sentence (BERT), or drop; "
        "auto: what a folder of ours says, long_stay where the vocabulary is Med-BERT's, else drop.",
        choices=("auto", "long_stay", "sentence_order", "next_sentence", "drop"),
    )
    task_name: str = option("", "Name of the task of a sequence classifier; default: classification.")
    overwrite: bool = option(False, "Replace an earlier import.")


flags.define(Options)


def main(_):
    """Checks, imports, says what was taken and how closely it agrees."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    options = flags.read(Options)
    from medtop.convert.import_weights import describe, import_weights, plan_import

    plan = plan_import(
        options.input_dir,
        options.output_dir,
        tf_checkpoint_path=options.tf_checkpoint_path,
        bert_config_file=options.bert_config_file,
        vocab_file=options.vocab_file,
        segment=options.segment,
        seq_relationship=options.seq_relationship,
        task_name=options.task_name,
        overwrite=options.overwrite,
        command=shlex.join(["python", *sys.argv]),
    )
    model = import_weights(plan)
    print(f"written: {options.output_dir} ({len(model.arrays)} weights, {len(model.vocabulary)} tokens)")
    for line in describe(plan, model):
        print(line)
    print(model.parity)
    print(f"next: {hints.after_import(options.output_dir, is_subword(plan.tokens, plan.tokenizer_dir))}")


if __name__ == "__main__":
    commands.run(main)
