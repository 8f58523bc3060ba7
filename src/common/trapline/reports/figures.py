"""The figures of the report, as PNG bytes: confusion matrix, reliability, scores by class and by site.

A class or a site whose name no font here can show is drawn by its number, as `trapline.reports.fonts` says.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trapline.reports.axes import FAINT, INK, unframe
from trapline.reports.fonts import Drawn, drawn, followed, shortened

if TYPE_CHECKING:  # matplotlib takes most of a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 110
BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito, as in the curves
MAX_NUMBERED_CLASSES = 20  # above this, counts in the cells cannot be read
MAX_SITES = 40
MAX_NAME_LENGTH = 22  # characters
CLASS, SITE = "class", "site"  # columns of the report's tables


def confusion_figure(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """A confusion matrix, counts by true (rows) and predicted class; the colour is the share of its row."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(12.0, 2.6 + 0.5 * len(classes))
    figure, axes = _figure(side, side * 0.86)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    shown = drawn(classes, CLASS)
    labels = [shortened(name, MAX_NAME_LENGTH) for name in shown.texts]
    for ticks in (axes.set_xticks, axes.set_yticks):
        ticks(range(len(labels)), labels=labels, parse_math=False, fontfamily=shown.families)
    axes.tick_params(axis="x", rotation=60)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    if len(classes) <= MAX_NUMBERED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.55 else INK
            number = str(count) if count else ""
            axes.text(column, row, number, ha="center", va="center", fontsize=9, color=colour)
    axes.spines[:].set_visible(False)
    return _png(figure)


def reliability_figure(bins: dict[str, list[dict[str, Any]]]) -> bytes:
    """Accuracy over confidence before and after temperature scaling; on the diagonal it is calibrated."""
    figure, axes = _figure(5.2, 4.6)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="calibrated")
    lines = (("before", "before temperature", ORANGE, "--"), ("after", "after temperature", BLUE, "-"))
    for name, label, colour, style in lines:
        filled = [item for item in bins[name] if item["images"]]
        points = [item["confidence"] for item in filled], [item["accuracy"] for item in filled]
        axes.plot(*points, style, color=colour, label=label, linewidth=1.4, zorder=2)
        largest = max(item["images"] for item in filled)
        areas = [12 + 120 * item["images"] / largest for item in filled]
        axes.scatter(*points, s=areas, color=colour, alpha=0.75, linewidths=0, zorder=3)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="accuracy")
    _furnish(axes)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    return _png(figure)


def class_figure(rows: Sequence[dict[str, Any]]) -> bytes:
    """F1 of each class as bars, in the order of the classes, with its test images."""
    names = _counted(rows, CLASS, "support")
    return _bars(names, [row["f1"] or 0.0 for row in rows], "F1 (number of images)", (0, 1))


def average_precision_figure(rows: Sequence[dict[str, Any]]) -> bytes:
    """The average precision of each label as bars, in the order of the classes, with its test images."""
    values = [row["average_precision"] or 0.0 for row in rows]
    return _bars(_counted(rows, CLASS, "support"), values, "average precision (number of images)", (0, 1))


def site_figure(rows: Sequence[dict[str, Any]], average: float) -> bytes:
    """The log loss of the sites with the most images as bars, worst first, and that of all images.

    A site is numbered by its place in `rows`.
    """
    names = _counted(rows, SITE, "images")
    fullest = sorted(range(len(rows)), key=lambda row: -rows[row]["images"])[:MAX_SITES]
    shown = sorted(fullest, key=lambda row: -rows[row]["log_loss"])
    losses = [rows[row]["log_loss"] for row in shown]
    chosen = replace(names, texts=[names.texts[row] for row in shown])
    return _bars(chosen, losses, "log loss (number of images)", None, average)


def _counted(rows: Sequence[dict[str, Any]], what: str, count: str) -> Drawn:
    """The names of the rows, each with its number of images in brackets."""
    names = drawn([row[what] for row in rows], what)
    shown = [
        f"{followed(shortened(name, MAX_NAME_LENGTH))} ({row[count]})"
        for name, row in zip(names.texts, rows, strict=True)
    ]
    return replace(names, texts=shown)


def _bars(
    names: Drawn,
    values: Sequence[float],
    label: str,
    limits: tuple[float, float] | None,
    mark: float | None = None,
) -> bytes:
    figure, axes = _figure(5.6, 1.1 + 0.24 * len(values))
    places = np.arange(len(values))
    axes.barh(places, values, color=BLUE, height=0.7)
    axes.set_yticks(places, labels=names.texts, parse_math=False, fontfamily=names.families)
    axes.invert_yaxis()
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlabel(label, color=INK)
    if limits:
        axes.set_xlim(*limits)
    if mark is not None:
        axes.axvline(mark, color=ORANGE, linewidth=1.4, label="all images")
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    _furnish(axes)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    return _png(figure)


def _figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Figure and canvas alone: pyplot would keep global state, and might open a window.
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _furnish(axes: "Axes") -> None:
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    unframe(axes)


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    # Without the version of matplotlib in it, equal figures are equal bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
