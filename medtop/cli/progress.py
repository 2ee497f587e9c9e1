"""Lines on standard error that say how far long work has come."""

import sys
import time

SECONDS = 10


def progress_lines(stream=None):
    """A function of (what is counted, how many so far) that prints a line at most every ten seconds."""
    begin = shown = time.monotonic()

    def show(what, count):
        nonlocal shown
        now = time.monotonic()
        if now - shown >= SECONDS:
            print(f"{count:,} {what} after {now - begin:.0f} s", file=stream or sys.stderr, flush=True)
            shown = now

    return show
