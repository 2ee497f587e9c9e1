r"""Learns a WordPiece vocabulary from the texts of the training split.

Example:

  python preprocessing/learn_wordpiece_vocab.py --input_file=notes.notes.train.parquet --output_file=vocab.txt \
      --vocab_size=30000

A vocabulary of one's own suits notes better than that of a general model (fewer pieces a word), but weights from
elsewhere need the vocabulary that they were trained with. Texts of the validation and test splits are refused.
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.notes import learn_vocabulary

FLAGS = flags.FLAGS

flags.DEFINE_string("input_file", None, "Texts (.parquet, or .csv with TEXT, ID, Label): a file, a glob, a comma list.")
flags.DEFINE_string("output_file", None, "The vocabulary, one piece a line.")
flags.DEFINE_integer("vocab_size", 30000, "Most pieces, the five special tokens included.")
flags.DEFINE_bool("lower_case", True, "Lower-case and take accents off; --nolower_case for a cased vocabulary.")
flags.DEFINE_integer("min_count", 2, "Pieces that stand together less often are not joined.")
flags.DEFINE_integer("alphabet", 1000, "Most characters; words with rarer ones take no part.")


def main(_):
    """Flags in, library calls, files out."""
    names = [field.name for field in learn_vocabulary.dataclasses.fields(learn_vocabulary.VocabularySettings)]
    settings = learn_vocabulary.VocabularySettings(**{name: FLAGS[name].value for name in names})
    vocabulary, texts, words = learn_vocabulary.learn(settings)
    print(f"{FLAGS.output_file}: {len(vocabulary)} pieces from {texts} texts with {words} distinct words")
    print(
        "next: python preprocessing/create_notes_features.py --input_file=<texts> --output_file=<TFRecord> "
        f"--vocab_file={FLAGS.output_file}"
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["input_file", "output_file"])
    commands.run(main)
