"""Scores a system's entities against gold ones: any two folders, files or tables, in any format.

Example:

  python run_scripts/evaluate_entities.py --gold=data/gold --system=data/system --output_dir=checkpoints/scores

It prints precision, recall and F1 (strict, exact boundary, overlap, type) with 95% intervals, the table of types and
the commonest misses; with --output_dir it writes scores.json and entities.html, a page to read and step through them.
--flavour counts as CoNLL and seqeval's strict mode, nervaluate, or i2b2's tools do. --second compares another system.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.entities import evaluate
from medtop.entities.flavours import FLAVOURS
from medtop.entities.formats import FORMATS
from medtop.entities.reader_page import write_page
from medtop.files.atomic import write_json
from medtop.files.folders import has_json_key, whole_folder
from medtop.files.options import REQUIRED, at_least, option

_FORMATS = (*FORMATS, "parquet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is held against what, and how it is counted."""

    gold: str = option(REQUIRED, "File, folder, or prefix of convert_entities.py's tables.")
    system: str = option(REQUIRED, "The same, of the system that is scored.")
    second: str | None = option(None, "The same, of a second system, to be compared.")
    gold_format: str | None = option(None, "Default: recognised.", choices=_FORMATS)
    system_format: str | None = option(None, "Default: recognised.", choices=_FORMATS)
    flavour: str = option("conll", "How hits are counted.", choices=FLAVOURS)
    split: str = option("test", "Of tables, which split.", choices=("train", "valid", "test"))
    missing: str = option(
        "refuse", "empty: a document that the system lacks holds no span.", choices=("refuse", "empty")
    )
    allow_rejects: bool = option(False, "Score without spans and documents that cannot be used, and say how many.")
    num_bootstrap: int = option(1000, "Resamples of patients (or documents).", rule=at_least(0))
    seed: int = option(0, "Seed of the resamples.", rule=at_least(0))
    output_dir: str | None = option(None, "New folder for scores.json and entities.html.")
    page: bool = option(True, "Write entities.html, which holds the documents' texts.")
    page_documents: int = option(500, "Most documents in the page, those with most misses.", rule=at_least(1))
    overwrite: bool = option(False, "Replace an earlier --output_dir.")


flags.define(Options)


def main(_):
    """Flags in, library calls, a table out."""
    options = flags.read(Options)
    sides, left_out = {}, {}
    for side in ("gold", "system", "second"):
        path = getattr(options, side)
        if path is None:
            sides[side] = None
            continue
        name = options.gold_format if side == "gold" else options.system_format
        sides[side], tally = evaluate.load(path, name, options.split, side, options.allow_rejects)
        left_out[side] = dict(tally.reasons)
    evaluation = evaluate.evaluate(
        sides["gold"],
        sides["system"],
        sides["second"],
        flavour=options.flavour,
        missing=options.missing,
        num_bootstrap=options.num_bootstrap,
        seed=options.seed,
    )
    print("\n".join(evaluate.report_lines(evaluation)))
    notes = [f"{side}: {reason}: {n}" for side, reasons in left_out.items() for reason, n in reasons.items()]
    for note in notes:
        print(f"left out: {note}")
    if options.output_dir:
        with whole_folder(options.output_dir, has_json_key("scores.json", "flavour"), options.overwrite) as work:
            write_json(work / "scores.json", evaluation.result | {"left_out": left_out})
            if options.page:
                write_page(work / "entities.html", evaluation.pairs, most=options.page_documents, notes=notes)
        print(
            f"written: {options.output_dir}/scores.json"
            + (f", {options.output_dir}/entities.html" if options.page else "")
        )


if __name__ == "__main__":
    commands.run(main)
