"""Forest plots as inline SVG: one row a label or group, a point with its interval, a line for reference."""

import dataclasses

from medtop.reporting.elements import escape
from medtop.reporting.svg import is_number, nice_ticks

_ROW, _TOP, _BOTTOM = 22, 34, 40
_NAMES, _AXIS, _VALUES = 210, 340, 260


@dataclasses.dataclass
class ForestRow:
    """One row.

    Attributes:
        name: shown on the left.
        value, low, high: float or None; without a value the row says "-".
        note: shown behind the numbers, such as "few positives".
        style: number of the colour.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    style: int = 0


def forest(title, rows, x_label, reference=None):
    """A forest plot.

    Args:
        title: shown above.
        rows: list of `ForestRow`.
        x_label: of the axis.
        reference: where a vertical line stands (0.5 for AUROC, 0 for a difference), or None.

    Returns:
        str, an `<svg>` element; "" where no row has a value. Every text in it is escaped.
    """
    numbers = [part for row in rows for part in (row.value, row.low, row.high) if is_number(part)]
    if not any(is_number(row.value) for row in rows):
        return ""
    low, high = min([*numbers, reference or numbers[0]]), max([*numbers, reference or numbers[0]])
    margin = (high - low) * 0.05 or 0.05
    low, high = low - margin, high + margin
    bottom = _TOP + _ROW * len(rows)
    width, height = _NAMES + _AXIS + _VALUES, bottom + _BOTTOM

    def across(value):
        return _NAMES + (value - low) / (high - low) * _AXIS

    spoken = f"{title}: " + "; ".join(f"{row.name} {_numbers(row)}" for row in rows)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(spoken)}">',
        f'<text class="title" x="4" y="18">{escape(title)}</text>',
        f'<path class="axis" d="M{_NAMES} {bottom}H{_NAMES + _AXIS}"/>',
    ]
    for tick in nice_ticks(low, high):
        x = f"{across(tick):.1f}"
        parts.append(f'<path class="grid" d="M{x} {_TOP}V{bottom}"/>')
        parts.append(f'<text class="tick" text-anchor="middle" x="{x}" y="{bottom + 14}">{tick:g}</text>')
    if reference is not None:
        parts.append(f'<path class="axis" stroke-dasharray="4 3" d="M{across(reference):.1f} {_TOP}V{bottom}"/>')
    for place, row in enumerate(rows):
        parts += _row(row, _TOP + _ROW * place + _ROW / 2, across)
    parts.append(
        f'<text class="label" text-anchor="middle" x="{_NAMES + _AXIS / 2}" y="{bottom + 32}">{escape(x_label)}</text>'
    )
    return "".join([*parts, "</svg>"])


def _row(row, y, across):
    name = row.name if len(row.name) <= 34 else row.name[:33] + "…"
    colour = f"var(--series-{row.style % 6})"
    parts = [f'<text class="legend" x="4" y="{y + 4:.1f}"><title>{escape(row.name)}</title>{escape(name)}</text>']
    if is_number(row.low) and is_number(row.high):
        parts.append(
            f'<path style="stroke:{colour}" stroke-width="2" d="M{across(row.low):.1f} {y:.1f}'
            f'H{across(row.high):.1f}"/>'
        )
    if is_number(row.value):
        parts.append(
            f'<rect style="fill:{colour}" x="{across(row.value) - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
        )
    text = _numbers(row) + (f" {row.note}" if row.note else "")
    parts.append(f'<text class="legend" x="{_NAMES + _AXIS + 10}" y="{y + 4:.1f}">{escape(text)}</text>')
    return parts


def _numbers(row):
    if not is_number(row.value):
        return "-"
    interval = f" [{row.low:.3f}, {row.high:.3f}]" if is_number(row.low) and is_number(row.high) else ""
    return f"{row.value:.3f}{interval}"
