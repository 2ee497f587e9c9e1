r"""Learns a WordPiece vocabulary from the texts of the training split.

Example:

  python preprocessing/learn_wordpiece_vocab.py --input_file=notes.notes.train.parquet --output_file=vocab.txt \
      --vocab_size=30000

A vocabulary of one's own suits notes better than that of a general model (fewer pieces a word), but weights from
elsewhere need the vocabulary that they were trained with. Texts of the validation and test splits are refused.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.notes.learn_vocabulary import VocabularySettings, learn

flags.define(VocabularySettings)


def main(_):
    """Flags in, library calls, files out."""
    settings = flags.read(VocabularySettings)
    vocabulary, counted = learn(settings)
    print(
        f"{settings.output_file}: {len(vocabulary)} pieces from {counted.texts} texts with {len(counted.counts)} "
        f"distinct words; {counted.of_few_patients} of fewer than {settings.min_word_patients} patients are left out"
    )
    print(
        "next: python preprocessing/create_notes_features.py --input_file=<texts> --output_file=<TFRecord> "
        f"--vocab_file={settings.output_file}"
    )


if __name__ == "__main__":
    commands.run(main)
