"""What every script shares: flags in, exit code out, and for what users can repair exactly one line on standard error.

    if __name__ == "__main__":
        commands.run(main)

Exit codes: 0 done; 1 bad input, wrong flags, or files that cannot be read or written (one line); 70 a fault of medtop
(with its traceback); 75 stopped by SIGTERM after saving; 130 interrupted from the keyboard; 141 nobody reads the output
any more. Nothing here loads TensorFlow: flags are checked first.
"""

import atexit
import errno
import gc
import os
import re
import select
import sys
import traceback

from absl import flags

from medtop.cli.heavy_imports import prepare_imports
from medtop.files.errors import DataError, Stopped

DONE, BAD_INPUT, FAULT, STOPPED, INTERRUPTED, BROKEN_PIPE = 0, 1, 70, 75, 130, 141

_FULL_OR_LOCKED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EIO}
"""Refusals of the operating system that are the user's to repair even where no file is named."""

_OUT_OF_MEMORY = {"OutOfMemoryException", "ResourceExhaustedError"}
"""What DuckDB and TensorFlow raise where Python raises MemoryError; known by name, for neither is loaded here."""

_MISSING = "must have a value other than None"
"""What absl says of a required flag."""


def run(main, arguments=(), *, argv=None, flag_values=None):
    """Parses the flags, calls `main` and leaves the process with its exit code.

    Args:
        main: function of one argument, the command line without flags (script's name first); its module's docstring,
            which holds an example, is the text of `--help`. Returns None or an exit code.
        arguments: names of the positional arguments, all of them required. A name that ends in "?" may be left out.
        argv: command line; `sys.argv` by default.
        flag_values: where the flags are defined; absl's own set by default.
    """
    flag_values = flags.FLAGS if flag_values is None else flag_values
    atexit.register(gc.freeze)  # the process ends: nobody needs two searches for cycles through all that was imported
    sys.exit(_finish(_exit_code(main, arguments, list(sys.argv if argv is None else argv), flag_values)))


def _exit_code(main, arguments, argv, flag_values):
    prepare_imports()
    _print_every_letter()
    try:
        _check_backend()
        _check_locale(argv)
        words = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
        if {"--help", "-help", "-h", "--helpfull", "--helpshort"} & {*words}:
            print(help_text(main, argv[0], arguments, flag_values))
            return DONE
        positional = _parse(argv, flag_values)
        _check_not_empty(flag_values)
        _check_arguments(positional[1:], arguments)
        return main(positional) or DONE
    except DataError as error:
        return _say(error)
    except Stopped as error:
        _say(error, "stopped")
        return STOPPED
    except KeyboardInterrupt:
        _say("by the keyboard; finished files are whole, the rest is not there", "interrupted")
        return INTERRUPTED
    except OSError as error:
        return _refused(error)
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY:
            about = " ".join(str(error).splitlines()[:1])[:200] or type(error).__name__
            return _say(f"memory: expected more than this process may have, received: {about} (docs/scaling.md)")
        traceback.print_exc()
        return FAULT


def _print_every_letter():
    """A locale that cannot write a letter (LC_ALL=C) shows its number instead of ending the script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _check_backend():
    """Refuses another backend of Keras than TensorFlow; a `keras.json` in the home folder is not asked."""
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow") or "tensorflow"
    if backend != "tensorflow":
        raise DataError(f"KERAS_BACKEND: expected tensorflow, or the variable unset, received {backend[:40]!r}")
    os.environ["KERAS_BACKEND"] = backend


def _check_locale(argv):
    """Refuses names that the locale cannot read (LC_ALL=C without UTF-8): files of these names could not be opened."""
    for word in [*argv, os.getcwd()]:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(
                f"{ascii(word)[1:-1][:200]}: expected a name in UTF-8, received one that this locale cannot read; "
                "set LC_ALL=C.UTF-8 or PYTHONUTF8=1, or rename it"
            ) from None


def _say(error, kind="error"):
    """Prints one line, whatever line breaks the message holds."""
    print(f"{kind}: " + " ".join(str(error).splitlines()), file=sys.stderr)
    return BAD_INPUT


def _refused(error):
    """The exit code for an OSError: one line where it names a file or a full or locked disk, else a fault."""
    if isinstance(error, BrokenPipeError) and _output_is_closed():
        return BROKEN_PIPE
    place = error.filename2 or error.filename
    if isinstance(place, (str, bytes, os.PathLike)):
        return _say(f"{os.fsdecode(place)}: {error.strerror or error}")
    if error.errno in _FULL_OR_LOCKED:
        return _say(error.strerror or error)
    traceback.print_exc()
    return FAULT


def _output_is_closed():
    """Whether nobody reads standard output or standard error any more (`| head` that has seen enough)."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream, select.POLLERR)
    return bool(poll.poll(0))


def _finish(code):
    """Flushes standard output here, where a closed pipe or a full disk can still be told apart from success."""
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        code = BROKEN_PIPE
    except OSError as error:
        code = _say(f"standard output: {error.strerror}") if code == DONE else code
    # The interpreter flushes once more when it ends, and would complain a second time.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _parse(argv, flag_values):
    """Parses `argv`; a mistake becomes a DataError that names the flag and, where it stands in one, the flag file."""
    flag_values.set_gnu_getopt(True)  # flags may follow the positional arguments, as in Med-BERT's command lines
    files = _flag_files(argv)
    try:
        return flag_values(argv)
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        inline = any(_sets(word, name) for word in argv)
        place = None if inline else _place(files, lambda line: _sets(line, name))
        hint = str(error).partition("Did you mean: ")[2].rstrip(" ?")
        raise DataError(
            f"{place or 'flags'}: expected a flag that --help lists, received --{name}"
            + (f" (did you mean --{hint}?)" if hint else "")
        ) from None
    except flags.Error as error:
        message = str(error).removeprefix("ERROR:: ")
        if missing := re.findall(rf"flag --(\w+)=None: Flag --\1 {_MISSING}", message):
            names = " ".join(f"--{name}=..." for name in missing)
            raise DataError(f"flags: expected {names}, received none; --help shows an example") from None
        wrong = re.match(r"flag --(\w+)=(.*?): ", message)
        place = wrong and _place(files, lambda line: _sets(line, wrong[1]) and line.rstrip().endswith(wrong[2]))
        raise DataError((f"{place}: " if place else "") + _illegal(message, wrong, flag_values)) from None
    except UnicodeDecodeError:
        raise DataError(f"{', '.join(files)}: expected a flag file, UTF-8 text with one --flag=value a line") from None
    except ValueError as error:
        if "does not take an argument" not in str(error):  # what absl says of --nodo_train=1
            raise
        name = str(error).partition("=")[0]
        raise DataError(
            f"{name}: expected no value, received one; --{name.lstrip('-')[2:]}=false says the same"
        ) from None


def _illegal(message, wrong, flag_values):
    """What a flag expected and received, in the words of all other errors; absl's own message where it says more."""
    parser = flag_values[wrong[1]].parser if wrong and wrong[1] in flag_values else None
    if isinstance(parser, flags.EnumParser):
        expected = f"one of {', '.join(parser.enum_values)}"
    else:
        kinds = {
            flags.IntegerParser: "a whole number",
            flags.FloatParser: "a number",
            flags.BooleanParser: "true or false",
        }
        expected = kinds.get(type(parser))
    return f"--{wrong[1]}: expected {expected}, received {wrong[2][:40]!r}" if expected else message


def _flag_files(words):
    """The flag files that these words of a command line name, in order."""
    files = []
    for place, word in enumerate(words):
        flag, equals, value = word.strip().partition("=")
        if flag in ("--flagfile", "-flagfile"):
            files += [value] if equals else words[place + 1 : place + 2]
    return [os.path.expanduser(file) for file in files]


def _sets(word, name):
    """Whether a word, or a line of a flag file, sets the flag `name`."""
    return re.match(rf"\s*--?(no)?{re.escape(name)}(=|\s|$)", word) is not None


def _place(files, wanted, seen=()):
    """`file: line n` of the first wanted line in these flag files or the ones that they include; None without one."""
    for file in files:
        if file in seen:
            continue
        with open(file, encoding="utf-8", errors="replace") as text:
            lines = text.read().splitlines()
        for number, line in enumerate(lines, 1):
            if wanted(line):
                return f"{file}: line {number}"
            if place := _place(_flag_files([line]), wanted, (*seen, file)):
                return place
    return None


def _check_not_empty(flag_values):
    """Raises a DataError for a required flag with nothing in it: mostly a shell's variable that is not set."""
    for name in flag_values:
        flag = flag_values[name]
        if flag.value == "" and any(_MISSING in validator.message for validator in flag.validators):
            raise DataError(f"--{name}: expected a value, received ''")


def _check_arguments(received, names):
    """Raises a DataError unless there is one argument for each name, with something in it."""
    required = [name for name in names if not name.endswith("?")]
    if len(required) <= len(received) <= len(names):
        if "" in received:
            raise DataError(f"<{names[received.index('')]}>: expected a value, received ''")
        return
    expected = " ".join(f"<{name}>" for name in names) or "flags only"
    hint = "; write --flag=value with the equals sign" if len(received) > len(names) else ""
    raise DataError(f"arguments: expected {expected}, received {' '.join(received) or 'none'}{hint}")


def help_text(main, script, arguments, flag_values):
    """The text of `--help`: the docstring of `main`'s module, with its example, then the script's own flags."""
    lines = [(main.__globals__.get("__doc__") or "").strip(), ""]
    lines += [f"usage: python {script} " + "".join(f"<{name}> " for name in arguments) + "[--flag=value ...]", ""]
    for module, defined in flag_values.flags_by_module_dict().items():
        if module.partition(".")[0] == "absl":  # its own dozen: testing, logging, flag files
            continue
        for flag in defined:
            name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
            default = "" if flag.default_as_str is None else f" (default: {flag.default_as_str.strip(chr(39))})"
            lines += [f"  {name}", flags.text_wrap((flag.help or "") + default, length=110, indent="      ")]
    return "\n".join([*lines, "", "  --flagfile=FILE reads more flags from a file, one --flag=value a line"])
