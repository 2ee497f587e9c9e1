"""Charts as PNG files, drawn by matplotlib without a screen and without its global state."""

import numpy as np

from medtop.files.atomic import atomic_path

_COLOURS = ("#1f6fb4", "#c8501e", "#2e8540", "#7d4aa8", "#8a6d00", "#777777")  # also legible to the colour-blind
_DASHES = ("-", (0, (7, 3)), (0, (2, 3)), (0, (9, 3, 2, 3)), (0, (4, 2)), (0, (1, 2)))
_DPI = 150
_HALF_DAY = np.timedelta64(12, "h")


def write_plot(path, panels, columns=3):
    """Draws panels beside each other, `columns` in a row, and writes one PNG file, whole or not at all.

    Args:
        path: the file.
        panels: list of `curves.Panel`; `axes` may hold `x_dates`: x are seconds since 1970-01-01, shown as
            dates.
        columns: panels in a row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: it looks for fonts when it is loaded
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 4.6 * rows), layout="constrained")
    for place, panel in enumerate(panels):
        _draw(figure.add_subplot(rows, columns, place + 1), panel)
    with atomic_path(path, shared=True) as temporary, open(temporary, "wb") as file:
        FigureCanvasAgg(figure).print_figure(file, format="png", dpi=_DPI)


def _draw(axes, panel):
    about = dict(panel.axes)
    dates = about.pop("x_dates", False)
    for place, series in enumerate(panel.series):
        style = (place if series.style is None else series.style) % len(_COLOURS)
        x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
        if dates:
            x = x.astype("datetime64[s]")
        colour, line = _COLOURS[style], _DASHES[style]
        width = 0.8 if series.faint else 1.6
        if series.kind == "points":
            bars = None if series.low is None else np.clip([y - series.low, series.high - y], 0, None)
            marker = "s" if style % 2 else "o"
            axes.errorbar(x, y, bars, fmt=marker, color=colour, markersize=4, capsize=2, label=series.name or None)
        else:
            drawing = "steps-pre" if series.kind == "step" else "default"
            axes.plot(x, y, color=colour, linestyle=line, linewidth=width, drawstyle=drawing, label=series.name or None)
    axes.set(title=panel.title, xlabel=about["x_label"], ylabel=about["y_label"])
    for name in ("x", "y"):
        span = about.get(f"{name}_range")
        if span is not None and not (dates and name == "x"):
            margin = 0.02 * (span[1] - span[0])
            axes.set(**{f"{name}lim": (span[0] - margin, span[1] + margin)})
    axes.grid(True, linewidth=0.4, alpha=0.5)
    axes.tick_params(labelsize="small")
    if dates:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        places = AutoDateLocator(minticks=3, maxticks=7)
        axes.xaxis.set(major_locator=places, major_formatter=ConciseDateFormatter(places))
        moments = np.concatenate([series.x for series in panel.series]).astype("datetime64[s]")
        if len(moments) and moments.min() == moments.max():  # one moment alone: a day around it, not years
            axes.set(xlim=(moments[0] - _HALF_DAY, moments[0] + _HALF_DAY))
    if any(series.name for series in panel.series):
        axes.legend(fontsize="small", frameon=False)
