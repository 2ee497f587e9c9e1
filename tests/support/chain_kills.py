"""A chain of commands, run once undisturbed and once with kill -9 at random moments of each step."""

import os
import shutil
import time

import numpy as np
from forked import KILLED, Forked, load

ATTEMPTS = 3
"""Chains that are disturbed until enough of the kills came before their step's end."""


def call(command, seconds=None, environment=None):
    """Runs a step to its end, or kills it after so many seconds; seconds that it took, or whether it was killed."""
    began = time.monotonic()
    process = Forked(command, environment)
    if seconds is None:
        errors = process.wait(900)
        assert process.returncode == 0, f"{command}: {errors}"
        return time.monotonic() - began
    time.sleep(seconds)
    process.kill()
    process.wait(60)
    return process.returncode == KILLED


def disturbed(folder, begin, steps, kills, at_least, earliest=0.05, environment=None):
    """Runs a chain twice under one path, so that the paths in its manifests agree: `folder` holds the disturbed chain
    at the end, `folder` with `_whole` behind its name the other. Where the machine has become so quick meanwhile that
    too few kills come in time, the chain is disturbed again from its beginning.

    Args:
        folder: path that does not exist yet.
        begin: function of the folder that makes it with the chain's inputs.
        steps: function of the folder -> dict step -> script and arguments, in order.
        kills: dict step -> how often it is killed before it may end.
        at_least: kills that must have come before their step's end.
        earliest: share of a step's time before which it is not killed.
        environment: further variables.

    Returns:
        (folder of the undisturbed chain, list of (step, second) of the kills).
    """
    load()
    begin(folder)
    lengths = {name: call(command, None, environment) for name, command in steps(folder).items()}
    whole = folder.rename(folder.with_name(f"{folder.name}_whole"))
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    for _ in range(ATTEMPTS):
        begin(folder)
        moments, killed = [], 0
        for name, command in steps(folder).items():
            for _ in range(kills[name]):
                moments.append((name, round(float(rng.uniform(earliest, 1) * lengths[name]), 3)))
                was_killed = call(command, moments[-1][1], environment)
                lengths[name] *= 1 if was_killed else 0.5  # it was done before its moment: the machine is quicker now
                killed += was_killed
            call(command, None, environment)
        if killed >= at_least:
            return whole, moments
        shutil.rmtree(folder)  # most steps were done before their moments; the next attempt knows their times better
    raise AssertionError(f"only {killed} were killed in the last of {ATTEMPTS} attempts, expected {at_least}")
