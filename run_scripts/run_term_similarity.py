"""Which clinical terms, or codes, a model holds for alike: neighbours, agreement with human scores or with ICD, a map.

Examples:
  python run_scripts/run_term_similarity.py --model=checkpoints/pretrained --pairs=UMNSRS_similarity.csv \\
    --corpus=n.notes.train.parquet --context=sentences --output_dir=similarity/umnsrs
  python run_scripts/run_term_similarity.py --model=checkpoints/pretrained --terms=terms.txt --output_dir=similarity/t
  python run_scripts/run_term_similarity.py --model=checkpoints/demo/run --codes --corpus=data/cohort.bencs.train \\
    --output_dir=similarity/codes

Beside the model stands PPMI-SVD, vectors by counting in --corpus. Writes similarity.html (with a map), similarity.json,
neighbours.csv and, of pairs, pairs.csv. docs/similarity.md.
"""

import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.similarity.study import SimilaritySettings, run_study  # noqa: E402

flags.define(SimilaritySettings)


def _import(folder, target):
    """A HuggingFace folder as a run directory."""
    from medtop.convert.import_weights import import_weights, plan_import

    import_weights(plan_import(folder, target, command=shlex.join(["python", *sys.argv])))


def main(_):
    """Flags in, one library call, the main numbers out."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = flags.read(SimilaritySettings)
    study = run_study(settings, _import)
    for name, value in study.about.items():
        print(f"{name}: {value}")
    for name, ways in study.results.items():
        for way, entry in ways.items():
            span = "" if entry["low"] is None else f" [{entry['low']:.3f}, {entry['high']:.3f}]"
            value = "undefined" if entry["value"] is None else f"{entry['value']:.3f}{span}"
            chance = f", by chance {entry['chance']:.3f}" if entry.get("chance") is not None else ""
            print(f"{name}, {way}: {value}{chance}")
    print(f"page: {settings.output_dir}/similarity.html")


if __name__ == "__main__":
    commands.run(main)
