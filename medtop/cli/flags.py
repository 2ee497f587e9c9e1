"""A script's flags out of the dataclasses that hold its options (`medtop.files.options`), and these out of the flags.

    flags.define(FeatureSettings)  # when the script is loaded

    def main(_):
        settings = flags.read(FeatureSettings)

A flag's name, type, default and help stand in its dataclass field and nowhere else.
"""

import contextlib
import contextvars
import functools
import runpy
import types
import typing

from absl import flags

from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, check, flag_of, option_fields

NUMBERS = {tuple[int, ...]: (int, "whole numbers"), tuple[float, ...]: (float, "numbers such as 0.1,0.2")}


_COLLECTED = contextvars.ContextVar("collected", default=None)


def of_script(path):
    """The flags that a script defines when it is loaded, a set of names; nothing is run or defined here.

    Args:
        path: a script that calls `define`, itself or by way of `training_flags`.

    Raises:
        DataError: for one that cannot be loaded, or that defines none.
    """
    collected = set()
    token = _COLLECTED.set(collected)
    try:
        with contextlib.suppress(SystemExit):
            runpy.run_path(str(path), run_name="flags of a script")
    except Exception as error:
        raise DataError(f"{path}: expected a script that can be loaded, received {type(error).__name__}") from error
    finally:
        _COLLECTED.reset(token)
    if not collected:
        raise DataError(f"{path}: expected a script that defines flags with medtop.cli.flags, found none")
    return collected


def define(*classes, flag_values=None, **defaults):
    """Defines one flag for each option of dataclasses, in the order of their fields.

    Args:
        *classes: the dataclasses.
        flag_values: where the flags are defined; absl's own set by default.
        **defaults: defaults that this script has instead of the dataclasses'.

    Raises:
        ValueError: for a flag that is there already, or a default for one that is not of these classes.
    """
    flag_values = flags.FLAGS if flag_values is None else flag_values
    if unknown := sorted(defaults.keys() - {name for settings in classes for name in names(settings)}):
        raise ValueError(f"expected a default of {', '.join(c.__name__ for c in classes)}, received {unknown[0]}")
    if _COLLECTED.get() is not None:
        _COLLECTED.get().update(name for settings in classes for name in names(settings))
        return
    for settings in classes:
        for field in option_fields(settings):
            if flag_of(field) in flag_values:
                raise ValueError(f"--{flag_of(field)} of {settings.__name__} is defined twice")
            _define(field, _kind(settings, field), _default(field, defaults), flag_values)


def read(settings, *, flag_values=None, **given):
    """An instance of the dataclass out of the parsed flags.

    Args:
        settings: dataclass whose flags have been defined.
        flag_values: where; absl's own set by default.
        **given: values of fields that are not flags, or that the script finds otherwise.

    Raises:
        DataError: naming the flag, for a text of the wrong form or a value that breaks its rule.
    """
    flag_values = flags.FLAGS if flag_values is None else flag_values
    values = {}
    for field in option_fields(settings):
        if field.name not in given:
            value = flag_values[flag_of(field)].value
            # Not given, and no default in the help: the dataclass's own holds.
            if value is not None or field.default is REQUIRED:
                values[field.name] = _value(settings, field, value)
    return check(settings(**values, **given))


def given(*names, flag_values=None):
    """Those of the named flags that stand on the command line or in its flag file."""
    flag_values = flags.FLAGS if flag_values is None else flag_values
    return [name for name in names if flag_values[name].present]


def names(settings):
    """The names of a dataclass's flags."""
    return [flag_of(field) for field in option_fields(settings)]


def _kind(settings, field):
    """The type of a field's value, None put aside: bool, int, float, str, tuple or tuple[...], dict."""
    kind = _type_hints(settings)[field.name]
    if isinstance(kind, types.UnionType):
        (kind,) = [part for part in typing.get_args(kind) if part is not types.NoneType]
    return kind


@functools.cache
def _type_hints(settings):
    """The types of all fields: looking one up costs as much as looking all up."""
    return typing.get_type_hints(settings)


def _default(field, defaults):
    if flag_of(field) in defaults:
        return defaults[flag_of(field)]
    return field.default if field.metadata["default_in_help"] and not field.metadata["required"] else None


def _define(field, kind, default, flag_values):
    what = {
        "name": flag_of(field),
        "default": default,
        "help": field.metadata["help"],
        "required": field.metadata["required"] and default is None,
        "flag_values": flag_values,
    }
    if field.metadata["repeated"]:
        flags.DEFINE_multi_string(**what | {"default": [] if default is REQUIRED else list(default or ())})
    elif kind is dict:
        flags.DEFINE_string(**what | {"default": "" if default is REQUIRED else default})
    elif (typing.get_origin(kind) or kind) is tuple:
        flags.DEFINE_list(**what | {"default": None if default is None else [str(item) for item in default]})
    elif field.metadata["choices"]:
        flags.DEFINE_enum(**what, enum_values=list(field.metadata["choices"]))
    else:
        kinds = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
        }
        kinds[kind](**what)


def _value(settings, field, value):
    """What the field holds when its flag has this value."""
    parse, kind = field.metadata["parse"], _kind(settings, field)
    try:
        if parse is not None:
            return parse(value)
        if kind in NUMBERS:
            return _numbers(value, *NUMBERS[kind])
    except DataError:  # it names the flag already
        raise
    except ValueError as error:
        raise DataError(f"--{flag_of(field)}: {error}") from None
    return tuple(value) if (typing.get_origin(kind) or kind) is tuple else value


def _numbers(texts, kind, what):
    try:
        return tuple(kind(text) for text in texts)
    except ValueError:
        raise ValueError(f"expected {what}, received {','.join(texts)!r}") from None
