"""Small charts as inline SVG: lines, steps and points with error bars on linear axes.

Text and axes take the page's colour, and series the page's variables `--series-0` ... `--series-5`, so that one chart
serves light and dark pages. Series differ in dash and mark as well as in colour.
"""

import dataclasses
import html
import math

import numpy as np

DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2")
WIDTH, HEIGHT = 330, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 18, 30, 42
_LEGEND_ROW = 17
_POINTS = 250
_TITLE_LETTERS, _LEGEND_LETTERS = 30, 38


@dataclasses.dataclass
class Series:
    """One curve.

    Attributes:
        name: for the legend; "" for none.
        x, y: float [n]; pairs that are not finite are left out.
        kind: "line", "step" (a value holds from the point before it to its own x) or "points".
        low, high: float [n] or None, ends of vertical error bars; of a line, of the band around it.
        style: number of colour, dash and mark; None takes the place in the list.
        faint: drawn thinner and paler, as a reference.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    kind: str = "line"
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    style: int | None = None
    faint: bool = False


def is_number(value):
    """Whether a value can be drawn: a finite number, no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def nice_ticks(low, high, count=5):
    """About `count` round numbers that span [low, high].

    >>> nice_ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        high = low + 1
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def thin(x, y, most=_POINTS):
    """Up to `most` points of a curve, both ends included, evenly spaced along its drawn length."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) <= most:
        return x, y
    span = [max(float(np.ptp(values)), 1e-12) for values in (x, y)]
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) / span[0] + np.abs(np.diff(y)) / span[1])])
    place = np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)).clip(0, len(x) - 1))
    place[0], place[-1] = 0, len(x) - 1
    return x[place], y[place]


def chart(title, series, *, x_label, y_label, x_range=None, y_range=None, x_ticks=None):
    """One chart.

    Args:
        title: shown above and read by screen readers, together with `series`' names.
        series: list of `Series`.
        x_label, y_label: axes.
        x_range, y_range: (low, high), or None to fit the data.
        x_ticks: dict value -> text, for an axis of names; None: round numbers.

    Returns:
        str, an `<svg>` element; every text in it is escaped.
    """
    series = [_finite(curve) for curve in series]
    x_range = x_range or _range([curve.x for curve in series])
    y_range = y_range or _range(
        [part for curve in series for part in (curve.y, curve.low, curve.high) if part is not None]
    )
    named = [(place, curve) for place, curve in enumerate(series) if curve.name]
    height = HEIGHT + _LEGEND_ROW * len(named)

    def across(values):
        return _LEFT + (np.asarray(values) - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - _LEFT - _RIGHT)

    def down(values):
        share = (np.asarray(values) - y_range[0]) / (y_range[1] - y_range[0])
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    spoken = html.escape(f"{title}: {y_label} by {x_label}; " + ", ".join(curve.name for _, curve in named))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{spoken}">',
        f'<text class="title" x="{_LEFT}" y="18">{html.escape(shortened(title, _TITLE_LETTERS))}</text>',
    ]
    x_ticks = x_ticks or {value: _short(value) for value in nice_ticks(*x_range)}
    parts += _axes(x_ticks, y_range, across, down, x_label, y_label)
    parts.append(f'<svg x="0" y="0" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">')
    for place, curve in enumerate(series):
        parts += _marks(curve, place if curve.style is None else curve.style, across, down, (x_range, y_range))
    parts.append("</svg>")
    for row, (place, curve) in enumerate(named):
        parts += _legend(curve, place if curve.style is None else curve.style, HEIGHT + 6 + _LEGEND_ROW * row)
    return "".join([*parts, "</svg>"])


def shortened(text, most):
    """A text of at most `most` letters, its middle left out: names differ at their ends.

    >>> shortened("windowed_logistic_regression", 11)
    'windo…ssion'
    """
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}…{text[len(text) - half :]}"


def _finite(series):
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    bars = {
        name: None if getattr(series, name) is None else np.asarray(getattr(series, name), np.float64)[good]
        for name in ("low", "high")
    }
    return dataclasses.replace(series, x=x[good], y=y[good], **bars)


def _range(arrays):
    values = np.concatenate([np.asarray(array, np.float64) for array in arrays] or [np.zeros(0)])
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-12:
        margin = abs(high) * 0.1 or 1.0
        return low - margin, high + margin
    return low, high


def _axes(x_ticks, y_range, across, down, x_label, y_label):
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    parts = [f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>']
    for value, text in x_ticks.items():
        place = f"{across(value):.1f}"
        parts += [
            f'<path class="grid" d="M{place} {top}V{bottom}"/>',
            f'<text class="tick" text-anchor="middle" x="{place}" y="{bottom + 14}">{html.escape(text)}</text>',
        ]
    for value in nice_ticks(*y_range):
        place = float(down(value))
        parts += [
            f'<path class="grid" d="M{left} {place:.1f}H{right}"/>',
            f'<text class="tick" text-anchor="end" x="{left - 5}" y="{place + 3.5:.1f}">{_short(value)}</text>',
        ]
    places = (
        f'x="{(left + right) / 2}" y="{bottom + 31}"',
        f'transform="translate(12 {(top + bottom) / 2}) rotate(-90)"',
    )
    return parts + [
        f'<text class="label" text-anchor="middle" {place}>{html.escape(text)}</text>'
        for place, text in zip(places, (x_label, y_label), strict=True)
    ]


def _short(value):
    if value and (abs(value) >= 10_000 or abs(value) < 0.001):
        if abs(value) >= 10_000 and abs(value) < 1e9:
            return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value / 1e3:g}k"
        return f"{value:.0e}"
    return f"{value:g}"


def _marks(series, style, across, down, ranges):
    colour = f"--series-{style % 6}"
    if series.kind == "points":
        return _points(series, style, colour, across, down, ranges)
    if not len(series.x):
        return []
    x, y = thin(series.x, series.y)
    pairs = list(zip(across(x), down(y), strict=True))
    path = f"M{pairs[0][0]:.1f} {pairs[0][1]:.1f}"
    for (_, before), (right, below) in zip(pairs, pairs[1:], strict=False):
        if series.kind == "step" and abs(below - before) >= 0.05:
            path += f"V{below:.1f}H{right:.1f}"
        else:
            path += f"L{right:.1f} {below:.1f}"
    dash = f' stroke-dasharray="{_dash(style)}"' if _dash(style) else ""
    kind = "reference" if series.faint else "curve"
    band = _band(series, colour, across, down) if series.low is not None else []
    return [*band, f'<path class="{kind}" style="stroke:var({colour})" d="{path}"{dash}/>']


def _band(series, colour, across, down):
    """The area between `low` and `high` of a line."""
    there, back = (list(zip(across(series.x), down(ends), strict=True)) for ends in (series.high, series.low))
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in [*there, *reversed(back)])
    return [f'<path style="fill:var({colour});fill-opacity:0.15;stroke:none" d="M{path}Z"/>']


def _dash(style):
    """Colour and dash come round together after six styles, so the dash moves on by one then: 36 differ."""
    return DASHES[(style + style // len(DASHES)) % len(DASHES)]


def _points(series, style, colour, across, down, ranges):
    parts = []
    bottom, top = float(down(ranges[1][0])), float(down(ranges[1][1]))
    if series.low is not None:
        for x, low, high in zip(series.x, series.low, series.high, strict=True):
            ends = [min(max(float(down(value)), top), bottom) for value in (low, high)]
            path = f"M{across(x):.1f} {ends[0]:.1f}V{ends[1]:.1f}"
            parts.append(f'<path class="bar" style="stroke:var({colour})" d="{path}"/>')
    for x, y in zip(across(series.x), down(series.y), strict=True):
        parts.append(_mark(float(x), float(y), style, colour))
    return parts


def _mark(x, y, style, colour):
    if style % 2:
        return f'<path class="hollow" style="stroke:var({colour})" d="M{x - 3:.1f} {y - 3:.1f}h6v6h-6z"/>'
    return f'<circle class="mark" style="fill:var({colour})" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>'


def _legend(series, style, y):
    colour = f"--series-{style % 6}"
    if series.kind == "points":
        swatch = _mark(_LEFT + 12.0, y - 4.0, style, colour)
    else:
        dash = f' stroke-dasharray="{_dash(style)}"' if _dash(style) else ""
        swatch = f'<path class="curve" style="stroke:var({colour})" d="M{_LEFT} {y - 4}h26"{dash}/>'
    name = html.escape(shortened(series.name, _LEGEND_LETTERS))
    return [swatch, f'<text class="legend" x="{_LEFT + 33}" y="{y}">{name}</text>']
