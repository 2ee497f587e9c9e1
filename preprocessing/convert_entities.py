"""Reads entities in any format of the field and writes tables for training, or any other format.

Example (BC5CDR in PubTator's format, to <output_prefix>.documents.train.parquet, .spans.train.parquet, ...):

  python preprocessing/convert_entities.py --from=pubtator --output_prefix=data/cdr \
      --input=train=CDR_TrainingSet.PubTator.txt,valid=CDR_DevelopmentSet.PubTator.txt,test=CDR_TestSet.PubTator.txt

Each span's text is held against the document; what does not agree goes to <output_prefix>.rejects.csv with its place
and reason. With --to=brat (or another format) --output_prefix is a folder. docs/entities.md gives every rule.
"""

import shlex
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.entities import convert
from medtop.entities.formats import FORMATS
from medtop.entities.spans import RULES

FLAGS = flags.FLAGS

flags.DEFINE_string("input", None, "File, folder or comma list; or train=...,valid=...,test=... for given splits.")
flags.DEFINE_enum("from", None, [*FORMATS, convert.TABLES], "Format of the input; parquet: --input is a prefix.")
flags.DEFINE_string("output_prefix", None, "Beginning of the tables' names, with their folder; with --to a folder.")
flags.DEFINE_enum("to", convert.TABLES, [*FORMATS, convert.TABLES], "What is written.")
flags.DEFINE_string(
    "splits",
    None,
    "File document_id,split or patient_id,split, or the name of one split for all; default 7:1:2 by a seeded hash, "
    "documents of one patient, one text or one group together.",
)
flags.DEFINE_string("documents", None, "CSV document_id,patient_id[,other columns]: whose the documents are.")
flags.DEFINE_list("groups", [], "Columns of --documents or of JSONL whose equal values stay in one split.")
flags.DEFINE_string("types", None, "Types to use, NAME or NAME=NEW_NAME; others go to the rejects. Default all.")
flags.DEFINE_enum("fragments", None, RULES, "Make one piece of spans in fragments. Default: as they are.")
flags.DEFINE_integer("seed", 0, "Seed of the split.", lower_bound=0)
flags.DEFINE_bool("strict", False, "Stop at the first thing that would go to the rejects.")
flags.DEFINE_bool("overwrite", False, "Replace outputs that other flags or other input have made.")


def main(_):
    """Flags in, one library call, files out."""
    options = convert.ConvertOptions(
        inputs=convert.parse_inputs(FLAGS.input),
        source=FLAGS["from"].value,
        target=FLAGS.to,
        splits=FLAGS.splits,
        documents=FLAGS.documents,
        groups=tuple(FLAGS.groups),
        types=convert.parse_types(FLAGS.types),
        fragments=FLAGS.fragments,
        seed=FLAGS.seed,
        strict=FLAGS.strict,
    )
    manifest, done_before = convert.convert(options, FLAGS.output_prefix, FLAGS.overwrite)
    print("\n".join(convert.summary_lines(manifest)))
    prefix = shlex.quote(FLAGS.output_prefix)
    if FLAGS.to != convert.TABLES:
        print(f"written: {prefix}/ ({FLAGS.to})")
        return
    print(
        f"{prefix}.manifest.json: " + ("the same run has been done before, nothing to do" if done_before else "written")
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["input", "from", "output_prefix"])
    commands.run(main)
