"""The medians as a picture: one bar a figure, grouped by unit."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from .measure import Timing

COLOURS = {True: "#8a8a8a", False: "#336791"}


def check() -> None:
    """Raise SystemExit when there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install --group bench") from None


def write(path: Path, timings: Sequence[Timing]) -> None:
    """Draw them to a file whose ending says the format: svg, png, pdf."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    groups = [
        (unit, [*found])
        for unit, found in groupby(sorted(timings, key=lambda t: t.unit), lambda t: t.unit)
    ]
    figure, axes = pyplot.subplots(
        len(groups),
        squeeze=False,
        figsize=(11, 1.5 * len(groups) + 0.3 * len(timings)),
        height_ratios=[len(found) + 2 for _, found in groups],
        layout="constrained",
    )
    for axis, (unit, found) in zip(axes[:, 0], groups, strict=True):
        labels = [" · ".join(filter(None, (t.work, t.database, t.where))) for t in found]
        places = range(len(found))
        axis.barh(places, [t.p50 for t in found], color=[COLOURS[t.is_rival] for t in found])
        for place, timing in zip(places, found, strict=True):
            if timing.target is not None:
                axis.plot([timing.target] * 2, [place - 0.4, place + 0.4], color="#c0392b")
        axis.set_yticks(places, labels, fontsize=8)
        axis.invert_yaxis()
        axis.set_xscale("log" if unit == "ms" else "linear")
        axis.set_xlabel(f"{unit} (median; grey: rivals, red: target)")
    figure.savefig(path)
    pyplot.close(figure)
