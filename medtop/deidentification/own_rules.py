"""A site's own rules beside those that ship: a JSON list of objects with type, name and pattern."""

import re
from pathlib import Path

from medtop.deidentification.detect import TYPES
from medtop.deidentification.policy import CALENDAR
from medtop.deidentification.rule import Rule
from medtop.deidentification.rules import STRICT_RULES
from medtop.files.atomic import sha256
from medtop.files.bounded import read_json
from medtop.files.errors import DataError


def choose_rules(name, policy):
    """The rules that `--rules` names, as far as a policy removes what they find.

    Args:
        name: "default", "none", or the path of a JSON file, whose rules are tried before those that ship. A pattern's
            group `v` is the identifier, the whole match where there is none; case does not matter.
        policy: `Policy`: weekdays and times of day are looked for where it removes them.

    Returns:
        (tuple of `Rule`, whether dates are looked for, plain settings).

    Raises:
        DataError: for another file, an unknown type, a pattern that is none or that matches nothing at all.
    """
    shipped = tuple(rule for rule in STRICT_RULES if rule.type not in CALENDAR or rule.type not in policy.keep)
    if name == "default":
        return shipped, True, name
    if name == "none":
        return (), False, name
    path = Path(name)
    try:
        rows = read_json(path)
        own = tuple(_rule(row, path, number) for number, row in enumerate(rows, 1))
    except FileNotFoundError:
        raise DataError(f"--rules: expected default, none or a JSON file, received {name!r}") from None
    except (OSError, TypeError, KeyError):
        raise DataError(
            f"{path}: expected a list of objects with type, name and pattern, received another content"
        ) from None
    return (*own, *shipped), True, sha256(path)


def _rule(row, path, number):
    kind, name, text = (row[key] for key in ("type", "name", "pattern"))
    if kind not in TYPES:
        raise DataError(f"{path}: rule {number}: type: expected one of {', '.join(TYPES)}, received another")
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, ValueError, RecursionError) as error:  # or a repetition of too many digits
        raise DataError(
            f"{path}: rule {number}: pattern: expected a regular expression, received none ({error})"
        ) from None
    if pattern.fullmatch(""):
        raise DataError(
            f"{path}: rule {number}: pattern: expected one that needs a character, received one that needs none"
        )
    return Rule(kind, f"own: {name}", pattern)
