"""Similarity as a page: what was measured, the nearest neighbours, and a map whose points tell their names."""

import numpy as np

from medtop.reporting.elements import escape, html_table, write_page

WIDTH, HEIGHT, MARGIN = 900, 640, 24
MOST_ROWS, SHOWN = 200, 5
_COLOURS = 6  # of the page's series


def write_similarity_page(path, study, near, flat):
    """Writes the page.

    Args:
        path: the file.
        study: `medtop.similarity.study.Study`.
        near: dict way -> (places int [N, k], cosines float [N, k]).
        flat: float [N, 2], the map.
    """
    sections = [
        ("results", "What was measured", "".join(_result(name, ways) for name, ways in study.results.items())),
        ("map", "Map", _map(study, flat)),
        (
            "neighbours",
            "Nearest neighbours",
            "".join(_neighbours(study, way, *neighbours) for way, neighbours in near.items()),
        ),
    ]
    notes = [
        "Neighbours are the nearest by cosine. The map shows two dimensions of many: what stands together there need "
        "not be near, and the other way round. Hold the pointer on a point to read its name.",
    ]
    write_page(path, "Similarity", sections, study.about, notes)


def _result(name, ways):
    """A table: a row for each way."""
    first = next(iter(ways.values()))
    if "chance" in first:
        rows = [[way, _span(entry), _number(entry["chance"]), entry["n"]] for way, entry in ways.items()]
        header = ["way", "share [95%]", "by chance", "asked"]
    else:
        rows = [
            [way, _span(entry), _span(entry, "difference", "difference_low", "difference_high")]
            for way, entry in ways.items()
        ]
        header = ["way", "correlation [95%]", "model minus it [95%]"]
    return f"<h3>{escape(name)}</h3>{html_table(header, rows)}"


def _number(value):
    return "-" if value is None or not np.isfinite(value) else f"{value:.3f}"


def _span(entry, value="value", low="low", high="high"):
    if entry[value] is None or not np.isfinite(entry[value]):
        return "-"
    interval = "" if entry[low] is None else f" [{entry[low]:.3f}, {entry[high]:.3f}]"
    return f"{entry[value]:.3f}{interval}"


def _map(study, flat):
    """An SVG whose points hold their names as tooltips; colours are groups, the largest ones."""
    low, size = flat.min(axis=0), np.ptp(flat, axis=0)
    spots = (flat - low) / np.where(size > 0, size, 1) * (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN) + MARGIN
    groups = study.groups or [""] * len(study.names)
    names, counts = np.unique([group for group in groups if group], return_counts=True)
    styles = {
        str(name): number for number, name in enumerate(names[np.argsort(-counts, kind="stable")][: _COLOURS - 1])
    }
    dots = []
    for (x, y), name, group in zip(spots, study.names, groups, strict=True):
        colour = f"var(--series-{styles.get(group, _COLOURS - 1)})"
        told = f"{name} ({group})" if group else name
        mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" fill-opacity="0.75">'
        dots.append(f"{mark}<title>{escape(told)}</title></circle>")
    if len(study.names) <= 60:
        dots += [
            f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" font-size="11">{escape(name[:40])}</text>'
            for (x, y), name in zip(spots, study.names, strict=True)
        ]
    legend = "".join(
        f'<span style="color:var(--series-{number})">&#9679;</span> {escape(name)} &nbsp; '
        for name, number in styles.items()
    )
    others = f'<span style="color:var(--series-{_COLOURS - 1})">&#9679;</span> others' if styles else ""
    label = f"Map of {len(study.names)} names in two dimensions"
    return (
        f"<p>{legend}{others}</p>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" aria-label="{label}">{"".join(dots)}</svg>'
    )


def _neighbours(study, way, places, cosines):
    rows = [
        [
            name,
            ", ".join(
                f"{study.names[place]} ({cosine:.2f})"
                for place, cosine in list(zip(places[n], cosines[n], strict=True))[:SHOWN]
            ),
        ]
        for n, name in enumerate(study.names[:MOST_ROWS])
    ]
    more = len(study.names) - len(rows)
    note = f"<p>{more} more in neighbours.csv.</p>" if more > 0 else ""
    return f"<h3>{escape(way)}</h3>{html_table(['name', 'nearest (cosine)'], rows, texts=2, wrap=True)}{note}"
