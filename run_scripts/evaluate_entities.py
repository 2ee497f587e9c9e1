"""Scores a system's entities against gold ones: any two folders, files or tables, in any format.

Example:

  python run_scripts/evaluate_entities.py --gold=data/gold --system=data/system --output_dir=checkpoints/scores

It prints precision, recall and F1 (strict, exact boundary, overlap, type) with 95% intervals, the table of types and
the commonest misses; with --output_dir it writes scores.json and entities.html, a page to read and step through them.
--flavour counts as CoNLL and seqeval's strict mode, nervaluate, or i2b2's tools do. --second compares another system.
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.entities import evaluate
from medtop.entities.flavours import FLAVOURS
from medtop.entities.formats import FORMATS
from medtop.entities.reader_page import write_page
from medtop.files.atomic import write_json
from medtop.files.folders import has_json_key, whole_folder

FLAGS = flags.FLAGS

_FORMATS = [*FORMATS, "parquet"]
flags.DEFINE_string("gold", None, "File, folder, or prefix of convert_entities.py's tables.")
flags.DEFINE_string("system", None, "The same, of the system that is scored.")
flags.DEFINE_string("second", None, "The same, of a second system, to be compared.")
flags.DEFINE_enum("gold_format", None, _FORMATS, "Default: recognised.")
flags.DEFINE_enum("system_format", None, _FORMATS, "Default: recognised.")
flags.DEFINE_enum("flavour", "conll", list(FLAVOURS), "How hits are counted.")
flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "Of tables, which split.")
flags.DEFINE_enum("missing", "refuse", ["refuse", "empty"], "empty: a document that the system lacks holds no span.")
flags.DEFINE_bool("allow_rejects", False, "Score without spans and documents that cannot be used, and say how many.")
flags.DEFINE_integer("num_bootstrap", 1000, "Resamples of patients (or documents).", lower_bound=0)
flags.DEFINE_integer("seed", 0, "Seed of the resamples.", lower_bound=0)
flags.DEFINE_string("output_dir", None, "New folder for scores.json and entities.html.")
flags.DEFINE_bool("page", True, "Write entities.html, which holds the documents' texts.")
flags.DEFINE_integer("page_documents", 500, "Most documents in the page, those with most misses.", lower_bound=1)
flags.DEFINE_bool("overwrite", False, "Replace an earlier --output_dir.")


def main(_):
    """Flags in, library calls, a table out."""
    sides, left_out = {}, {}
    for side in ("gold", "system", "second"):
        path = FLAGS[side].value
        if path is None:
            sides[side] = None
            continue
        name = FLAGS.gold_format if side == "gold" else FLAGS.system_format
        sides[side], tally = evaluate.load(path, name, FLAGS.split, side, FLAGS.allow_rejects)
        left_out[side] = dict(tally.reasons)
    options = {"flavour": FLAGS.flavour, "missing": FLAGS.missing, "num_bootstrap": FLAGS.num_bootstrap}
    evaluation = evaluate.evaluate(sides["gold"], sides["system"], sides["second"], seed=FLAGS.seed, **options)
    print("\n".join(evaluate.report_lines(evaluation)))
    notes = [f"{side}: {reason}: {n}" for side, reasons in left_out.items() for reason, n in reasons.items()]
    for note in notes:
        print(f"left out: {note}")
    if FLAGS.output_dir:
        with whole_folder(FLAGS.output_dir, has_json_key("scores.json", "flavour"), FLAGS.overwrite) as work:
            write_json(work / "scores.json", evaluation.result | {"left_out": left_out})
            if FLAGS.page:
                write_page(work / "entities.html", evaluation.pairs, most=FLAGS.page_documents, notes=notes)
        print(
            f"written: {FLAGS.output_dir}/scores.json" + (f", {FLAGS.output_dir}/entities.html" if FLAGS.page else "")
        )


if __name__ == "__main__":
    flags.mark_flags_as_required(["gold", "system"])
    commands.run(main)
