"""Flags out of dataclasses and back: what a field says is what `--help` shows and what the library gets."""

import dataclasses
import math

import pytest
from absl import flags as absl_flags

from medtop.cli import commands, flags
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, SEED, Rule, above, at_least, check, compared, option, share


def even(text):
    if not text.isdigit():
        raise DataError(f"--number: expected a whole number, received {text!r}")
    if int(text) % 2:
        raise ValueError(f"expected an even number, received {text!r}")
    return {"even": int(text)}


@dataclasses.dataclass(frozen=True)
class Options:
    """One option of every kind."""

    path: str = option(REQUIRED, "A file.")
    rows: int = option(10, "How many.", rule=at_least(1))
    limit: int | None = option(None, "At most.", rule=at_least(1), compared=False)
    rate: float = option(0.5, "How fast.", rule=above(0))
    part: float = option(0.1, "How much.", rule=share())
    colour: str = option("red", "Which one.", choices=("red", "blue"))
    strict: bool = option(True, "Refuse.")
    case: bool | None = option(None, "Lower case.")
    names: tuple = option(("a", "b"), "Names.")
    widths: tuple[int, ...] = option((64, 32), "Widths.")
    number: dict | None = option(None, "An even number.", parse=even)
    weights: dict = option({}, "Weights.", repeated=True, parse=lambda texts: dict(text.split(":") for text in texts))
    label: str = option("next", "Default next; any with --nostrict.", choices=("next", "any"), default_in_help=False)
    folder: str = option("", "A folder.", required=True, compared=False)
    shares: tuple[float, ...] = option((), "Shares.")
    source: str = option("csv", "Format.", choices=("csv", "tsv"), flag="from")
    inside: int = 3  # not a flag


def parsed(*words):
    values = absl_flags.FlagValues()
    flags.define(Options, flag_values=values)
    values(["script", "--path=p", "--folder=f", *words])
    return values


def read(*words, **given):
    return flags.read(Options, flag_values=parsed(*words), **given)


def test_defaults_are_the_dataclasses():
    assert read() == Options(path="p", folder="f")


@pytest.mark.parametrize(
    "word, name, value",
    [
        ("--path=x", "path", "x"),
        ("--rows=3", "rows", 3),
        ("--limit=3", "limit", 3),
        ("--rate=2", "rate", 2.0),
        ("--part=.9", "part", 0.9),
        ("--colour=blue", "colour", "blue"),
        ("--nostrict", "strict", False),
        ("--nocase", "case", False),
        ("--names=x,y", "names", ("x", "y")),
        ("--names=", "names", ()),
        ("--widths=5", "widths", (5,)),
        ("--number=4", "number", {"even": 4}),
        ("--weights=a:1 --weights=b:2", "weights", {"a": "1", "b": "2"}),
        ("--label=any", "label", "any"),
        ("--folder=x", "folder", "x"),
        ("--shares=.1,1", "shares", (0.1, 1.0)),
        ("--from=tsv", "source", "tsv"),
    ],
)
def test_each_flag_sets_its_field_and_no_other(word, name, value):
    assert read(*word.split()) == dataclasses.replace(Options(path="p", folder="f"), **{name: value})


def test_given_values_win_over_flags_and_fill_what_is_none():
    assert read("--rows=3", rows=4, inside=5) == Options(path="p", folder="f", rows=4, inside=5)
    values = parsed("--rows=10")
    assert flags.given("rows", "rate", flag_values=values) == ["rows"]  # though it is the default
    assert "inside" not in values and "inside" not in flags.names(Options)


@pytest.mark.parametrize(
    "word, message",
    [
        ("--rows=0", "--rows: expected 1 or more, received 0"),
        ("--limit=0", "--limit: expected 1 or more, received 0"),
        ("--rate=0", "--rate: expected a number above 0, received 0.0"),
        ("--rate=nan", "--rate: expected a number above 0, received nan"),
        ("--rate=inf", "--rate: expected a number above 0, received inf"),
        ("--part=1", "--part: expected a number between 0 and 1, received 1.0"),
        ("--widths=5,x", "--widths: expected whole numbers, received '5,x'"),
        ("--shares=.1,x", "--shares: expected numbers such as 0.1,0.2, received '.1,x'"),
        ("--number=3", "--number: expected an even number, received '3'"),
        ("--number=x", "--number: expected a whole number, received 'x'"),
    ],
)
def test_what_breaks_a_rule_is_refused_in_one_line(word, message):
    with pytest.raises(DataError) as caught:
        read(word)
    assert str(caught.value) == message


def test_the_library_refuses_what_the_flags_refuse():
    with pytest.raises(DataError, match="^--colour: expected red, blue, received 'green'$"):
        check(Options(path="p", colour="green"))
    with pytest.raises(absl_flags.IllegalFlagValueError, match="colour=green"):
        read("--colour=green")
    assert [SEED.holds(value) for value in (-1, 0, 2**32 - 1, 2**32)] == [False, True, True, False]
    assert not at_least(0).holds(math.inf) and not at_least(0).holds(math.nan)
    assert Rule("x", lambda value: value == 2).holds(2)


@pytest.mark.parametrize("given, missing", [("folder", "path"), ("path", "folder")])
def test_required_flags_are_asked_for(given, missing):
    values = absl_flags.FlagValues()
    flags.define(Options, flag_values=values)
    with pytest.raises(absl_flags.IllegalFlagValueError, match=f"{missing}=None"):
        values(["script", f"--{given}=x"])


def test_help_shows_the_fields_in_their_order():
    text = commands.help_text(lambda _: None, "x.py", (), parsed())
    lines = [line.strip() for line in text.splitlines()]
    shown = [line for line in lines if line.startswith("--") and "flagfile" not in line]
    assert shown == [f"--[no]{name}" if name in ("strict", "case") else f"--{name}" for name in flags.names(Options)]
    for line in (
        "A file.",
        "How many. (default: 10)",
        "At most.",
        "Refuse. (default: true)",
        "Lower case.",
        "Names. (default: a,b)",
        "Widths. (default: 64,32)",
        "<next|any>: Default next; any with --nostrict.",
        "A folder.",
    ):
        assert line in lines


def test_a_script_may_have_defaults_of_its_own():
    values = absl_flags.FlagValues()
    flags.define(Options, flag_values=values, path="here", colour="blue", names=("c",))
    values(["script", "--folder=f"])
    assert flags.read(Options, flag_values=values) == Options(path="here", folder="f", colour="blue", names=("c",))
    with pytest.raises(ValueError, match="expected a default of Options, received colours"):
        flags.define(Options, flag_values=absl_flags.FlagValues(), colours="x")
    with pytest.raises(ValueError, match="--path of Options is defined twice"):
        flags.define(Options, flag_values=values)


def test_compared_leaves_out_what_does_not_change_what_comes_out():
    values = compared(Options(path="p", weights={"a": 1}))
    assert values.keys() == {field.name for field in dataclasses.fields(Options)} - {"limit", "folder"}
    assert values["weights"] == {"a": 1} and values["inside"] == 3
