"""Marks carried over to the text without identifiers, against where each character went."""

import random

from medtop.deidentification.detect import Finding
from medtop.deidentification.policy import POLICIES
from medtop.deidentification.removal import Remover, carried
from medtop.entities.documents import Span


def _where_from(text, findings):
    """For each character of the new text the place it came from, or the finding it stands for."""
    origins, end = [], 0
    for item in findings:
        origins += [*range(end, item.start), *[item] * len("[NAME]")]
        end = item.end
    return [*origins, *range(end, len(text))]


def test_marks_hold_the_same_characters():
    drawn, remover = random.Random(1), Remover(POLICIES["safe_harbor"], "tag")
    for _ in range(500):
        text = "".join(drawn.choice("abcdef ") for _ in range(30))
        cuts = sorted(drawn.sample(range(31), 6))
        findings = [Finding(*pair, "NAME", "rule") for pair in zip(cuts[::2], cuts[1::2], strict=True)]
        start, end = sorted(drawn.sample(range(31), 2))
        removed = remover.remove(text, findings, "p")
        (mark,), touched = carried([Span("T1", "Disease", ((start, end),))], removed)
        origins = _where_from(text, findings)
        held = [
            place
            for place, origin in enumerate(origins)
            if (
                start <= origin < end
                if isinstance(origin, int)
                else any(origin is item and item.start < end and start < item.end for item in findings)
            )
        ]
        assert (mark.start, mark.end) == (held[0], held[-1] + 1)
        assert touched == any(not isinstance(origins[place], int) for place in held)
