"""An option, written once: a dataclass field with its default, its help text and its limits.

    @dataclasses.dataclass(frozen=True)
    class Settings:
        '''What the feature script is asked for.'''

        output_file: str = option(REQUIRED, "Name of the TFRecord file.")
        num_shards: int = option(1, "Number of files.", rule=at_least(1))
        threads: int = option(0, "Threads, 0 = one a core.", compared=False)

`medtop.cli.flags` makes a script's flags of such a class, and an instance out of them. Who calls the library makes the
instance himself; `check` then refuses what a flag would not take. The help text is the field's documentation: a class's
docstring does not repeat it.
"""

import dataclasses
import json
import math

from medtop.files.errors import DataError

REQUIRED = dataclasses.MISSING
"""The default of an option that must be given."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the values of an option must fulfil; None, where it is the default, always may stand.

    Attributes:
        expected: the rule in words, behind "expected".
        holds: function value -> bool.
    """

    expected: str
    holds: object


def at_least(low):
    """A finite number from `low` on."""
    return Rule(f"{low} or more", lambda value: low <= value < math.inf)


def above(low):
    """A finite number above `low`."""
    return Rule(f"a number above {low}", lambda value: low < value < math.inf)


def share():
    """A number between 0 and 1, neither of them."""
    return Rule("a number between 0 and 1", lambda value: 0 < value < 1)


SEED = Rule("a whole number from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32)
"""NumPy's seeds are 32 bits."""


def option(
    default,
    help,
    *,
    rule=None,
    choices=None,
    compared=True,
    parse=None,
    required=False,
    repeated=False,
    default_in_help=True,
    flag=None,
):
    """A dataclass field that is also a flag; the type of the field decides how its text is read.

    bool, int, float, str; with `| None`, None where it is not given; tuple, tuple[int, ...] or tuple[float, ...]: a
    comma list; dict: a text that `parse` reads.

    Args:
        default: value; `REQUIRED` for none.
        help: sentence for `--help`.
        rule: `Rule` for the value.
        choices: the values that a text may have; of a dict, its keys at the time of asking.
        compared: whether a run that is continued must have the same value; False where it does not change what comes
            out.
        parse: function text (of a tuple, and of what is `repeated`: list of texts) -> value; raises ValueError
            ("expected ..., received ...") or DataError.
        required: whether the command line must give it, though the library has a default.
        repeated: whether the flag may be given several times, its values a list.
        flag: the flag's name, where it cannot be the field's.
        default_in_help: whether `--help` shows the default; False where it depends on other options.
    """
    metadata = {
        "help": help,
        "rule": rule,
        "choices": choices,
        "compared": compared,
        "parse": parse,
        "required": required or default is REQUIRED,
        "repeated": repeated,
        "default_in_help": default_in_help,
        "flag": flag,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def option_fields(settings):
    """The fields of a dataclass or of an instance that `option` made, in their order."""
    return [field for field in dataclasses.fields(settings) if "help" in field.metadata]


def flag_of(field):
    """The name of an option's flag."""
    return field.metadata["flag"] or field.name


def check(settings):
    """Refuses values that break their options' rules; returns the settings.

    Args:
        settings: instance of a dataclass.

    Raises:
        DataError: naming the flag, what was expected and what was received.
    """
    for field in option_fields(settings):
        value, rule, choices = getattr(settings, field.name), field.metadata["rule"], field.metadata["choices"]
        if value is None and field.default is None:
            continue
        several = isinstance(value, tuple)
        if wrong := [item for item in (value if several else (value,)) if choices and item not in choices]:
            expected = ("names among " if several else "") + ", ".join(map(str, choices))
            raise DataError(f"--{flag_of(field)}: expected {expected}, received {wrong[0]!r}")
        if rule is not None and not rule.holds(value):
            raise DataError(f"--{flag_of(field)}: expected {rule.expected}, received {value!r}")
    return settings


def compared(settings):
    """dict name -> value of the fields that must not differ when a run is continued (dataclasses within as dicts)."""
    values = dataclasses.asdict(settings)
    return {
        field.name: values[field.name] for field in dataclasses.fields(settings) if field.metadata.get("compared", True)
    }


def plain_defaults(settings):
    """dict name -> default of the fields that have one, as JSON gives it back.

    What a run of an earlier version does not name counts as the default: that is what was done before a setting came.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    return json.loads(json.dumps({name: value for name, value in defaults.items() if value is not dataclasses.MISSING}))
