"""What scripts share that write outputs under a prefix, once."""

import dataclasses

from medtop.files.options import REQUIRED, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixOptions:
    """What the script does with the outputs."""

    output_prefix: str = option(REQUIRED, "Beginning of the outputs' names, with their folder.")
    overwrite: bool = option(False, "Replace outputs that other flags or other input have made.")


def report_lines(prefix, outcome, lines, following):
    """What a run did and the command that comes next, as lines.

    Args:
        prefix: of the outputs.
        outcome: `medtop.files.staging.Outcome`.
        lines: what it counted.
        following: a command.
    """
    done = "the same run has been done before, nothing to do" if outcome.done_before else "written"
    return [
        *lines,
        f"{prefix}.manifest.json: {done}, with {', '.join(outcome.manifest['outputs'])}",
        f"next: {following}",
    ]
