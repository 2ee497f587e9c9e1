"""What of a cross-validation may leave the house: without counts of few people, and what rests on so few.

The rule is `medtop.evaluation.small_cells`. People are the schema's groups, or rows where it names none.
"""

import copy

import numpy as np

from medtop.evaluation.small_cells import is_small, withheld


def shown_rows(data, least):
    """How many rows take part and were dropped, dict of `used` and `dropped`: few of a reason are None.

    Args:
        data: `medtop.tabular.table_data.Data`.
        least: smallest count that is shown; 0 or 1 hides nothing.
    """
    hidden = withheld({reason: (count,) for reason, count in data.dropped.items()}, least)
    return {"used": len(data.table), "dropped": data.dropped | dict.fromkeys(hidden)}


def shown_measures(data, measured, least):
    """A copy of what `medtop.tabular.measures.measure` gives, where targets of few people have no number.

    A target goes where 1 to `least - 1` people have a known value, or one of its classes; where it is unknown of so
    few, its n goes, which would give them away.
    """
    measured = copy.deepcopy(measured)
    for target in data.targets if least > 1 else ():
        few_known, few_unknown = _few(target, data.groups, least)
        for entries in measured.values():
            entry = entries[target.name]
            if few_known or few_unknown:
                entry["n"] = None
            for measure in (value for value in entry.values() if isinstance(value, dict) and few_known):
                measure |= dict.fromkeys(("value", "low", "high"))
                if "difference" in measure:
                    measure["difference"] = dict.fromkeys(("value", "low", "high"))
    return measured


def _few(target, groups, least):
    """(whether few people have a known value or a class, whether it is unknown of few)."""

    def people(rows):
        return len(np.unique(groups[rows]))

    parts = [target.known, *(target.known & (target.values == k) for k in range(len(target.classes)))]
    return any(is_small(people(rows), least) for rows in parts), is_small(people(~target.known), least)
