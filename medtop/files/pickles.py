"""Reading pickles that somebody hands us: builtin types only, because a pickle that names a class can run code; and at
a cost that the file's size bounds, because a few bytes can claim gigabytes.

A pickle is a program. Before Python's reader runs it, its steps are looked through, and refused are: a place of its
memory beyond the bytes so far (Python makes room for all places before it), a length beyond the file's end, millions of
empty lists, and what Python itself never writes for plain values: a value taken twice off the stack, or thrown away.
Tuples that are used again are refused too: forty of them within each other take 2^40 steps to hash.
"""

import mmap
import pickle
import re
from pathlib import Path

from medtop.files.errors import DataError

_PLAIN_STEPS = re.compile(
    rb"(?:"
    rb"[K\x80\x82q].|[M\x83]..|[J\x84].{4}|[G\x95].{8}"  # numbers, protocol, frame
    rb"|[IFLSVP][^\n]*+\n|[ci][^\n]*+\n[^\n]*+\n"  # lines of protocol 0
    rb"|[ea(NusbRoQ\x81\x88\x89\x90\x92\x93\x94\x97\x98]"  # without an argument
    rb")++",
    re.DOTALL,
)
"""Steps whose cost is their bytes."""
_LENGTHS = {**dict.fromkeys(b"UC\x8c\x8a", 1), **dict.fromkeys(b"TBX\x8b", 4), **dict.fromkeys(b"\x8e\x8d\x96", 8)}
"""Steps that carry a string or a long number -> bytes of its length."""
_CONTAINERS = {ord("]"): 64, ord("l"): 64, ord("}"): 72, ord("d"): 72, 0x8F: 224, 0x91: 224, ord(")"): 8}
"""Steps that make a container of their own -> bytes that an empty one takes."""
_TUPLES = b"t\x85\x86\x87)\x91"
_TUPLE_NAMES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"}
_FREE_BYTES = 1 << 28
"""Empty containers may take so much (256 MiB), and `_BYTES_EACH` for each byte of the pickle."""
_BYTES_EACH = 16


class _NoClasses(pickle.Unpickler):
    """Refuses every class and function: a pickle that names one could run code."""

    def find_class(self, module, name):
        raise DataError(f"expected builtin types only, received the class or function {module}.{name}; nothing was run")

    def persistent_load(self, pid):
        raise DataError("expected builtin types only, received a persistent reference; nothing was run")


def load_pickle(path):
    """Reads a file that holds one pickle of builtin types.

    Raises:
        DataError: naming the file, when it is missing, damaged, or carries a class.
    """
    values = list(stream_pickles(path))
    if len(values) != 1:
        raise DataError(f"{path}: expected one pickled value, received {len(values)}")
    return values[0]


def stream_pickles(path):
    """Yields the pickles of a file one after another, builtin types only.

    Raises:
        DataError: naming the file and the byte, when it is missing, damaged, carries a class, or claims more than it
            holds.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a pickled file, found no such file")
    size = path.stat().st_size
    if not size:
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as steps:
        while (place := file.tell()) < size:
            try:
                _check_steps(steps, place, size)
                value = _NoClasses(file).load()
            except DataError as error:
                raise DataError(f"{path}: byte {place}: {error}") from None
            except Exception as error:  # a damaged pickle can raise almost anything
                raise DataError(
                    f"{path}: byte {place}: expected a whole pickle, received a damaged or cut one "
                    f"({type(error).__name__})"
                ) from None
            yield value


def _check_steps(steps, start, size):
    """Looks through the steps of the pickle at byte `start`; what is damaged is left to Python's reader."""
    place, containers, tuples, repeats = start, 0, False, False
    while place < size:
        if run := _PLAIN_STEPS.match(steps, place):
            place = run.end()
            if place >= size:
                return
        step = steps[place]
        if step in _LENGTHS:
            width = _LENGTHS[step]
            length = int.from_bytes(steps[place + 1 : place + 1 + width], "little")
            if length > size - place:
                raise DataError("expected a whole pickle, received a damaged or cut one (it claims more than is there)")
            place += 1 + width + length
        elif step in _CONTAINERS or step in _TUPLES:
            tuples = tuples or step in _TUPLES and step != ord(")")
            containers += _CONTAINERS.get(step, 0)
            place += 1
            if containers > _FREE_BYTES + _BYTES_EACH * (place - start):
                raise DataError("expected values, received millions of empty lists")
        elif step in b"rp":
            index, place = _index(steps, place, step == ord("r"))
            if index > place - start:
                raise DataError(f"expected a pickle that Python wrote, received one that claims {index:,} places")
        elif step in b"hjg":
            repeats = True
            place = place + 2 if step == ord("h") else _index(steps, place, step == ord("j"))[1]
        elif step in b"012":
            raise DataError("expected a pickle of plain values, received one that handles a value twice")
        else:  # the end, or no step at all
            place += 1
            break
    if tuples and repeats:
        _check_tuples(steps[start:place])


def _index(steps, place, binary):
    """(place in the reader's memory, byte after this step)."""
    if binary:
        return int.from_bytes(steps[place + 1 : place + 5], "little"), place + 5
    end = steps.find(b"\n", place)
    digits = steps[place + 1 : end if end >= 0 else place + 1]
    return int(digits) if digits.isdigit() and len(digits) < 20 else 0, max(end, place) + 1


def _check_tuples(content):
    """Refuses a pickle that takes a tuple or a frozenset out of its memory again."""
    kept, last = {}, False
    try:
        import pickletools  # 6 ms, which only readers of pickles spend

        for step, argument, _ in pickletools.genops(content):
            if step.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                kept[len(kept) if argument is None else argument] = last
            elif step.name in ("GET", "BINGET", "LONG_BINGET"):
                if kept.get(argument):
                    raise DataError("expected a pickle of plain values, received tuples that are used several times")
                last = False
            else:
                last = step.name in _TUPLE_NAMES
    except ValueError as error:  # a damaged one
        if isinstance(error, DataError):
            raise
