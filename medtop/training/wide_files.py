"""The small files of a run's wide part: how the two parts are put together, and its coefficients as a table."""

import csv
import io

import numpy as np

from medtop.files.atomic import write_text
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.formulas import quoting
from medtop.sources.code_titles import code_titles
from medtop.training.checkpoints import read_arrays

VERSION = 1


def read_stack(run):
    """The content of `stack.json`, or None where the run has no wide part.

    Raises:
        DataError: for a file of another kind.
    """
    if not run.stack_file.is_file():
        return None
    try:
        content = read_json(run.stack_file)
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r}")
        return {"only": bool(content["only"]), "tasks": dict(content["tasks"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{run.stack_file}: expected how two parts are put together, received {error}") from error


def stack_lines(run):
    """What the report and the model card say of the two parts: dict "logit of <task>" -> sentence; {} without."""
    stack, lines = read_stack(run), {}
    for name, scales in (stack or {"tasks": {}})["tasks"].items():
        sizes = f"{scales['wide_scale'][0]:.2f} wide + {scales['deep_scale'][0]:.2f} encoder"
        lines[f"logit of {name}"] = f"{sizes}: {scales['reason']}"
    return lines


def write_coefficients(run, vocabulary, quote_formulas=False):
    """Writes `wide_coefficients.csv`: what each code and figure adds to each label's logit, the largest first.

    A code's coefficient holds for the window of its latest occurrence: leaving the code out of a history changes the
    logit by exactly this number. Those of figures are per unit (`context_names`). Titles are those of
    `medtop.sources.code_titles`, empty where there is none. `quote_formulas`: see `files.formulas`.
    """
    arrays, state = read_arrays(run.wide_file)
    stack, days = read_stack(run)["tasks"], state["days"]
    windows = [*(f"within_{day}_days" for day in days), "earlier"]
    lines = io.StringIO()
    writer = quoting(csv.writer(lines, lineterminator="\n"), quote_formulas)
    writer.writerow(["task", "label", "feature", "last_seen", "coefficient", "title"])
    titles, _ = code_titles(vocabulary.tokens)
    tokens, width, seen = vocabulary.tokens, len(windows), {}
    for column, (task, label) in enumerate(state["labels"]):
        place = seen[task] = seen.get(task, -1) + 1
        scale = stack[task]["wide_scale"][place]
        table = scale * arrays["tables"][:, column]
        rows = [(tokens[row // width], windows[row % width], table[row]) for row in np.flatnonzero(table)]
        rows += [
            (name, "", scale * value)
            for name, value in zip(state["context"], arrays["context"][:, column], strict=True)
        ]
        for name, window, value in sorted(rows, key=lambda row: (-abs(row[2]), row[:2])):
            writer.writerow([task, label, name, window, f"{value:.6f}", titles.get(name, "")])
    write_text(run.coefficients_file, lines.getvalue(), shared=True)
