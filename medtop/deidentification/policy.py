"""Which types are removed, and which may stay."""

import dataclasses
from pathlib import Path

from medtop.deidentification.detect import TYPES
from medtop.files.bounded import read_json
from medtop.files.errors import DataError

REPLACEMENTS = ("tag", "blank", "surrogate")


@dataclasses.dataclass(frozen=True)
class Policy:
    """Types that stay in the text.

    Attributes:
        name: str.
        keep: frozenset of types.
    """

    name: str
    keep: frozenset

    def removes(self, kind, replace):
        """Whether spans of a type are removed. A year alone may stay where dates are taken out, not where they are
        moved: a true year beside moved dates would tell by how much."""
        if kind == "YEAR" and "DATE" not in self.keep and replace != "surrogate":
            return self.name != "safe_harbor" and kind not in self.keep
        return kind not in self.keep


CALENDAR = frozenset({"WEEKDAY", "TIME"})
"""No elements of a date under 45 CFR 164.514: kept unless a policy asks for them."""
POLICIES = {
    "safe_harbor": Policy("safe_harbor", CALENDAR),
    "limited": Policy("limited", CALENDAR | {"DATE", "YEAR", "AGE", "ZIP"}),
    "strict": Policy("strict", frozenset()),
}
"""`safe_harbor`: 45 CFR 164.514(b)(2), years alone stay where dates are not moved. `limited`: 164.514(e), dates, ages
and ZIP codes stay; towns, which that rule would permit, are removed with the streets. `strict`: years, weekdays and
times of day go, too."""


def read_policy(name):
    """A shipped `Policy`, or that of a JSON file `{"keep": ["DATE", ...]}`; weekdays and times of day stay, too, unless
    `"remove": ["WEEKDAY", "TIME"]` names them.

    Raises:
        DataError: for another name, another content, or an unknown type.
    """
    if name in POLICIES:
        return POLICIES[name]
    path = Path(name)
    try:
        content = read_json(path)
        keep, remove = content["keep"], content.get("remove", [])
        for kinds in (keep, remove):
            if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
                raise TypeError
    except FileNotFoundError:
        raise DataError(f"--policy: expected {', '.join(POLICIES)} or a JSON file, received {name!r}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f'{path}: expected {{"keep": ["DATE", ...]}}, received another content') from None
    if unknown := sorted({*keep, *remove} - set(TYPES)):
        raise DataError(f"{path}: expected types out of {', '.join(TYPES)}, received {unknown[0]:.40}")
    return Policy(path.stem, frozenset(keep) | (CALENDAR - set(remove)))
