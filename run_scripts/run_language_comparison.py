"""Several models on the tasks that they were pretrained on, over the same held-out notes: BERT against ClinicalBERT.

Example:
  python run_scripts/run_language_comparison.py --models=model/bert,model/clinicalbert,checkpoints/pretrained \\
    --input_file=n.notes.test.parquet --output_dir=checkpoints/language

The same words are hidden from all models, so that those of different vocabularies can be compared; heads of next
sentences and of sentence order are asked where a model has them. Writes language.html, .md, .csv and .json.
docs/notes_pretraining.md.
"""

import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.language.study import LanguageSettings, run_study  # noqa: E402

flags.define(LanguageSettings)


def _import(folder, target):
    """A HuggingFace folder as a run directory, its two-way head that of next sentences."""
    from medtop.convert.import_weights import import_weights, plan_import

    command = shlex.join(["python", *sys.argv])
    plan = plan_import(folder, target, command=command)
    if plan.seq_relationship == "drop":  # BERT's own: the folder does not say that it is another one
        plan = plan_import(folder, target, seq_relationship="next_sentence", command=command)
    import_weights(plan)


def main(_):
    """Flags in, one library call, the table out."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = flags.read(LanguageSettings)
    content = run_study(settings, _import)
    for name, value in content["about"].items():
        print(f"{name}: {value}")
    print((Path(settings.output_dir) / "language.md").read_text(encoding="utf-8"))
    for note in content["notes"]:
        print(note)
    print(f"page: {settings.output_dir}/language.html")


if __name__ == "__main__":
    commands.run(main)
