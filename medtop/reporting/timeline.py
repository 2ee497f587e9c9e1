"""One patient's stays to scale, and what the model would have said after each: inline SVG."""

import numpy as np

from medtop.reporting.elements import escape
from medtop.reporting.svg import nice_ticks

WIDTH, HEIGHT = 1000, 150
_LEFT, _RIGHT, _TOP, _BASE, _BOTTOM = 56, 14, 22, 104, 122


def timeline(label, recencies, stay_days, after):
    """The timeline.

    Args:
        label: whose logit is drawn.
        recencies: [S], days from each stay's discharge to the prediction time, falling.
        stay_days: [S], days from admission to discharge.
        after: float [S], the logit after each stay.

    Returns:
        str, an `<svg>` element; "" without stays.
    """
    recencies, stay_days, after = (np.asarray(values, np.float64) for values in (recencies, stay_days, after))
    if not len(recencies):
        return ""
    first = max(float((recencies + stay_days).max()), 1.0)
    low, high = float(after.min()), float(after.max())
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-6 else (low, high)

    def across(days):
        return WIDTH - _RIGHT - days / first * (WIDTH - _LEFT - _RIGHT)

    def down(value):
        return _BASE - 12 - (value - low) / (high - low) * (_BASE - 12 - _TOP)

    spoken = f"{label}: logit after each of {len(after)} stays, from {after[0]:.2f} to {after[-1]:.2f}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(spoken)}">',
        f'<text class="legend" x="4" y="14">logit of {escape(label)} after each stay</text>',
        f'<path class="axis" d="M{_LEFT} {_BASE}H{WIDTH - _RIGHT}"/>',
    ]
    for tick in nice_ticks(0, first):
        x = f"{across(tick):.1f}"
        parts.append(f'<text class="tick" text-anchor="middle" x="{x}" y="{_BOTTOM + 6}">{tick:g}</text>')
        parts.append(f'<path class="grid" d="M{x} {_TOP}V{_BASE}"/>')
    for value in nice_ticks(low, high, 3):
        parts.append(f'<text class="tick" text-anchor="end" x="{_LEFT - 6}" y="{down(value) + 4:.1f}">{value:g}</text>')
    for days, length in zip(recencies, stay_days, strict=True):
        begin, end = across(days + length), across(days)
        title = f"<title>{days:g} days before, {length:g} days long</title>"
        parts.append(
            f'<rect class="stay" x="{begin:.1f}" y="{_BASE - 6}" width="{max(end - begin, 2):.1f}" height="6">'
            f"{title}</rect>"
        )
    path, previous = [], None
    for days, value in zip(recencies, after, strict=True):
        x, y = across(days), down(value)
        path.append(f"M{x:.1f} {y:.1f}" if previous is None else f"H{x:.1f}V{y:.1f}")
        parts.append(f'<circle class="model" cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>{value:+.2f}</title></circle>')
        previous = value
    path.append(f"H{across(0):.1f}")
    parts.append(f'<path class="curve" style="stroke:var(--series-0)" d="{"".join(path)}"/>')
    parts.append(
        f'<text class="label" text-anchor="middle" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 6}">'
        "days before the prediction</text></svg>"
    )
    return "".join(parts)
