"""The flow chart of patients that papers show: in the source, left out and why, analysed, by split; inline SVG."""

from medtop.reporting.elements import count_text, escape
from medtop.reporting.svg import shortened

WIDTH, _LINE, _BOX = 760, 17, 230
_LETTERS = 44
_LEFT, _RIGHT = 150, 390


def flow_chart(manifest):
    """The chart of a preprocessing manifest; "" where it does not count patients.

    >>> chart = flow_chart({"patients_in": 5, "patients_out": 4, "patients_dropped": {"no_site": 1}})
    >>> "In the source: 5" in chart and "no site: 1" in chart and "Analysed: 4" in chart
    True
    """
    total, kept = manifest.get("patients_in"), manifest.get("patients_out")
    if "patients_in" not in manifest or "patients_out" not in manifest:
        return ""
    dropped = {name: n for name, n in (manifest.get("patients_dropped") or {}).items() if n != 0}
    left_out = None if None in dropped.values() else sum(dropped.values())
    reasons = [f"{name.replace('_', ' ')}: {count_text(number)}" for name, number in dropped.items()]
    splits = {name: entry for name, entry in (manifest.get("splits") or {}).items() if entry.get("patients") != 0}
    parts = [_box(_LEFT - _BOX / 2, 4, _BOX, [f"In the source: {count_text(total)}"])]
    middle, bottom = 30, 74
    if reasons:
        lines = [f"Left out: {count_text(left_out)}", *reasons]
        height = _height(lines)
        middle, bottom = 44 + height / 2, 60 + height
        parts.append(_box(_RIGHT, 44, WIDTH - _RIGHT - 4, lines))
        parts.append(_arrow(f"M{_LEFT} {middle}H{_RIGHT - 2}", _RIGHT, middle, turned=True))
    parts.append(_arrow(f"M{_LEFT} {4 + _height([''])}V{bottom - 2}", _LEFT, bottom))
    parts.append(_box(_LEFT - _BOX / 2, bottom, _BOX, [f"Analysed: {count_text(kept)}"]))
    end = bottom + _height([""])
    if splits:
        size = (WIDTH - 8) / len(splits)
        for place, (name, entry) in enumerate(splits.items()):
            lines = [f"{name}: {count_text(entry.get('patients'))}"]
            if entry.get("examples", entry.get("patients")) != entry.get("patients"):
                lines.append(f"{count_text(entry['examples'])} examples")
            x = 4 + place * size
            centre = x + size / 2 - 4
            parts.append(_arrow(f"M{_LEFT} {end}V{end + 14}H{centre:.1f}V{end + 30}", centre, end + 32))
            parts.append(_box(x, end + 32, size - 8, lines))
        end += 32 + _height(["", ""])
    spoken = f"patients: {count_text(total)} in the source, {count_text(kept)} analysed; " + ", ".join(reasons)
    return (
        f'<svg viewBox="0 0 {WIDTH} {end + 6:.0f}" width="{WIDTH}" height="{end + 6:.0f}" role="img" '
        f'aria-label="{escape(spoken)}">'
        f"{''.join(parts)}</svg>"
    )


def _height(lines):
    return _LINE * len(lines) + 10


def _box(x, y, width, lines):
    words = (escape(shortened(line, _LETTERS)) for line in lines)
    rows = "".join(
        f'<text class="legend" x="{x + 8:.1f}" y="{y + 17 + _LINE * place:.1f}">{line}</text>'
        for place, line in enumerate(words)
    )
    box = f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_height(lines)}" rx="3"/>'
    return box + rows


def _arrow(path, x, y, turned=False):
    """A line that ends at (x, y) with a tip: downwards, or to the right where `turned`."""
    tip = f"M{x:.1f} {y:.1f}l-7 -3.5v7z" if turned else f"M{x:.1f} {y:.1f}l-3.5 -7h7z"
    return f'<path class="axis" d="{path}"/><path class="tip" d="{tip}"/>'
