"""Damages at random each kind of file that we read: random bytes, cuts, swaps, claims of size, words of the format.

    PYTHONPATH=.:tests/support python tests/support/fuzz.py <seconds> <seed> <folder> [kind ...]

A process of its own, so that a crash is seen by who started it: `<folder>/now` holds the case in progress, and the
damaged files of a case that went wrong stay in the folder.
"""

import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from medtop.files.errors import LONGEST_MESSAGE, DataError

MOST_MEGABYTES, MOST_SECONDS, MOST_WAITED = 1024, 20, 400
WORDS = [
    b"[", b"{", b'"', b"]", b"}", b",", b":", b"null", b"true", b"1e999", b"NaN", b"-1", b"1000000000", b"\xff\xfe",
    b"\x00", b"\n", b"\r", b"../", b"/etc/passwd", b"&a ", b"*a ", b"!!python/object:os.system", b"\x80\x04", b".",
    b"<!ENTITY a 'b'>", b"&a;", b"2100-01-01", b"0000-00-00", b"99999999999999999999",
]  # fmt: skip
NUMBERS = [
    b"9" * 5_000,
    b"1" * 40,
    b"999999999999",
    b"-1",
    b"--5",
    b"1e999",
    b"NaN",
    "\u00b2".encode(),
    "\u0663".encode(),
]
SIZES = [0, 1, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]


def damaged(content, random):
    """One to four damages of some bytes."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        place = int(random.integers(0, len(data) + 1))
        kind = int(random.integers(0, 8))
        if kind == 0 and data:
            data[min(place, len(data) - 1)] = int(random.integers(256))
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            del data[place : place + int(random.integers(1, 40))]
        elif kind == 3:  # a claim of size, of 1, 4 or 8 bytes
            width = int(random.choice([1, 4, 8]))
            value = SIZES[int(random.integers(len(SIZES)))] % (1 << 8 * width)
            data[place : place + width] = value.to_bytes(width, str(random.choice(["little", "big"])))
        elif kind == 4:
            data[place:place] = WORDS[int(random.integers(len(WORDS)))] * int(random.choice([1, 1, 2, 5_000]))
        elif kind == 5:  # two pieces change places
            other, size = int(random.integers(0, len(data) + 1)), int(random.integers(1, 30))
            data[place : place + size], data[other : other + size] = (
                data[other : other + size],
                data[place : place + size],
            )
        elif kind == 6:  # a piece again
            data[place:place] = data[place : place + int(random.integers(1, 60))] * int(random.choice([1, 3, 1_000]))
        else:
            data[place:place] = random.integers(0, 256, int(random.integers(1, 20)), np.uint8).tobytes()
    return bytes(data)


def other_json(content, random):
    """JSON with one value, anywhere, of another type."""
    value = json.loads(content)
    places = []

    def walk(part):
        for key in part if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    walk(value)
    part, key = places[int(random.integers(len(places)))]
    others = [None, True, -1, 10**12, 1.5, "", "x", "../x", [], {}, [[1]], {"a": None}, "\u2028", [None] * 3]
    part[key] = others[int(random.integers(len(others)))]
    return json.dumps(value).encode()


def kinds(folder):
    """dict kind -> (dict name of a file -> bytes, function of a folder that reads them)."""
    from fuzz_files import make_kinds

    return make_kinds(folder)


class Late(BaseException):
    """More than `MOST_SECONDS` of CPU, or `MOST_WAITED` by the clock: other programs may share the machine."""


def _memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) // 1024


def other_numbers(content):
    """The bytes with one number, of up to eight, replaced in turn by each of `NUMBERS`."""
    numbers = list(re.finditer(rb"\d+", content))
    for place in sorted({place * (len(numbers) - 1) // 7 for place in range(8)}) if numbers else ():
        for number in NUMBERS:
            yield content[: numbers[place].start()] + number + content[numbers[place].end() :]


def case(files, read, folder, random):
    """Writes the files, one of them damaged (none without `random`), and reads them; None, or what went wrong."""
    files, victim = dict(files), random and str(random.choice(sorted(files)))
    if random:
        content = files[victim]
        try:
            files[victim] = other_json(content, random) if random.random() < 0.5 else damaged(content, random)
        except ValueError:
            files[victim] = damaged(content, random)
    return attempt(files, read, folder, damaged=bool(random))


def attempt(written, read, folder, damaged=True):
    """Writes files (dict name -> bytes) and reads them; None, or what went wrong: any error where none is `damaged`."""
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak of the resident memory begins anew
    before, start = _memory("VmRSS"), time.monotonic()
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, MOST_WAITED)
    try:
        read(folder)
    except DataError as error:
        if not damaged:
            return str(error)
        message = str(error)
        if "\n" in message or len(message) > LONGEST_MESSAGE + 40:
            return f"a message of several lines or too long: {message[:300]!r}"
    except OSError as error:
        if error.filename is None:
            return f"an OSError that names no file: {error!r}"
    except Late:
        return f"more than {MOST_SECONDS} CPU-seconds"
    except Exception as error:
        return f"too long, or: {error}" if "interrupted" in str(error) else traceback.format_exc()  # DuckDB, when Late
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    grown = _memory("VmHWM") - before
    if grown > MOST_MEGABYTES:
        return f"{grown} MB more, {time.monotonic() - start:.1f} s"
    changed = [name for name, content in written.items() if (folder / name).read_bytes() != content]
    return f"{changed[0]} was changed" if changed else None


def main(seconds, seed, folder, wanted):
    """Runs cases until the time is over, kinds in turn; exit code 1 for the first that goes wrong."""

    def late(*_):
        raise Late

    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGPROF, late)
    folder = Path(folder)
    chosen = {name: kind for name, kind in kinds(folder / "good").items() if not wanted or name in wanted}
    place = folder / "case"
    place.mkdir(exist_ok=True)
    for name, (files, read) in chosen.items():  # what is whole is read
        if wrong := case(files, read, place, None):
            sys.exit(f"{name}, not damaged: {wrong}")
    failures = []
    for name, (files, read) in chosen.items():  # no luck is needed to find what a number does
        for victim, content in files.items():
            for number, other in enumerate(other_numbers(content) if b"\0" not in content else ()):
                (folder / "now").write_text(f"{name} {victim} {number}")
                if wrong := attempt({**files, victim: other}, read, place):
                    failures.append((name, f"{victim} {number}", wrong))
                    break
    counts, end = dict.fromkeys(chosen, 0), time.monotonic() + seconds
    number = 0
    while time.monotonic() < end or number == 0:
        for name, (files, read) in chosen.items():
            for _ in range(10):
                random = np.random.default_rng([seed, number, *name.encode()])
                (folder / "now").write_text(f"{name} {number}")
                wrong = case(files, read, place, random)
                counts[name] += 1
                number += 1
                if wrong and name not in {failed for failed, _, _ in failures}:
                    failures.append((name, number, wrong))
                    kept = folder / f"kept-{name}"
                    kept.mkdir(exist_ok=True)
                    shutil.copytree(place, kept, dirs_exist_ok=True)
    for name, at, wrong in failures:
        print(f"== {name}, case {at}: {wrong}")
    print("cases:", ", ".join(f"{name} {count}" for name, count in counts.items()), flush=True)
    os._exit(1 if failures else 0)  # some libraries would take their time


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
