r"""Finds identifiers in notes, removes them, and says what is known of what remained.

Example:

  python run_scripts/deidentify_notes.py --input=data/notes.parquet --output=data/safe --roster=data/roster.csv --verify

The output folder holds the notes in the input's form, audit.jsonl (where what was removed, never the text), and
deidentification.html and .json. --replace=surrogate puts other names, numbers and moved dates in their place and needs
--key_file; --make_key writes one. --gold= measures recall and leaks on notes with true spans. It measures: whether
notes may be shared is a person's decision. docs/deidentification.md gives every rule.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.deidentification import plan, report, run, thresholds
from medtop.files.errors import DataError
from medtop.files.keys import make_key
from medtop.files.options import option, share

LEAK = 3
"""Exit code where --verify finds an identifier that is left."""
_SHOWN = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """What this script does beside."""

    make_key: bool = option(False, "Write a new key to --key_file and nothing else.")
    overwrite: bool = option(False, "Replace an earlier output of other flags or other input.")
    choose_thresholds: str = option(
        "", "Choose --model's thresholds on --gold, write them to this JSON file, and nothing else."
    )
    recall: float = option(0.99, "With --choose_thresholds: lower bound of recall of each type.", rule=share())


flags.define(plan.DeidentifyOptions, ScriptOptions, input="", output="")


def _progress(what, count):
    print(f"{count:,} {what}", file=sys.stderr, flush=True)


def main(_):
    """Flags in, library calls, a table out; exit code 3 where something is left."""
    script, options = flags.read(ScriptOptions), flags.read(plan.DeidentifyOptions)
    if script.make_key:
        if not options.key_file:
            raise DataError("--make_key needs --key_file")
        make_key(options.key_file)
        print(f"{options.key_file}: written; keep it apart from the notes: who has it can undo the shift of dates")
        return commands.DONE
    if script.choose_thresholds:
        chosen = plan.choose_thresholds(options, script.recall, script.choose_thresholds)
        print("\n".join(thresholds.lines(chosen)))
        print(f"written: {script.choose_thresholds}")
        return commands.DONE
    for name in ("input", "output"):
        if not getattr(options, name):
            raise DataError(f"--{name}: expected a value, received ''")
    about, leaks = run.deidentify(options, script.overwrite, _progress)
    print("\n".join(report.lines(about)))
    print(f"written: {options.output}/{about['notes']}, audit.jsonl, deidentification.json, deidentification.html")
    if leaks is None:
        return commands.DONE
    for leak in leaks[:_SHOWN]:
        print(f"left: {leak}", file=sys.stderr)
    print(f"verify: {len(leaks):,} left" if leaks else "verify: nothing found that is left")
    return LEAK if leaks else commands.DONE


if __name__ == "__main__":
    commands.run(main)
