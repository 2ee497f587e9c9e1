"""Cells of several seeds -> lines of a table.

With one seed an interval is the bootstrap's, over patients; with several it is Student's, over seeds: mean +- t s /
sqrt(n). Differences are taken within a seed (same cohort, same split), then averaged.
"""

import numpy as np
from scipy import stats


def over_seeds(entries):
    """(mean, low, high) of {value, low, high} entries, one per seed; None for what is not known."""
    values = [entry["value"] for entry in entries if entry["value"] is not None]
    if not values:
        return None, None, None
    if len(values) == 1:
        (only,) = (entry for entry in entries if entry["value"] is not None)
        return only["value"], only["low"], only["high"]
    middle, spread = np.mean(values), np.std(values, ddof=1)
    half = stats.t.ppf(0.975, len(values) - 1) * spread / np.sqrt(len(values))
    return float(middle), float(middle - half), float(middle + half)


def rows_of(case, cells, seeds, methods, against, shown):
    """Rows of strings: case, measure, method, seeds, value, one difference for each of `against`, seconds.

    Args:
        case, cells: see `comparison.cells`; only what is finished is shown.
        seeds, methods, against: names.
        shown: function of a measure's name, whether it is shown.
    """
    found = {
        method: [cell for seed in seeds if (cell := cells.measured(case, seed, method, missing=False))]
        for method in methods
    }
    differences = {
        (method, other): [one for seed in seeds if (one := cells.difference(case, seed, method, other, missing=False))]
        for method in methods
        for other in against
        if method != other
    }
    names = list(dict.fromkeys(name for some in found.values() for cell in some for name in cell["measures"]))
    rows = []
    for name in filter(shown, names):
        for method, some in found.items():
            entries = [cell["measures"][name] for cell in some if name in cell["measures"]]
            if not entries:
                continue
            row = [case.name, name, method, str(len(entries)), span(over_seeds(entries))]
            for other in against:
                pairs = [one[name] for one in differences.get((method, other), ()) if name in one]
                row.append(span(over_seeds(pairs), "+") if pairs else "-")
            seconds = [cell["seconds"] for cell in some if cell["seconds"] is not None]
            rows.append([*row, f"{np.mean(seconds):.0f}" if seconds else "-"])
    return rows


def span(numbers, sign=""):
    """`0.812 [0.790, 0.833]`, without an interval where there is none."""
    value, low, high = ("-" if number is None else f"{number:{sign}.3f}" for number in numbers)
    return value if low == "-" else f"{value} [{low}, {high}]"


def aligned(rows):
    """Rows of strings as text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
