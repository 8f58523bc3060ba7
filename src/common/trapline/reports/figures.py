"""The pictures: the look that all share, the figures of the report as PNG bytes, and a sweep's results.

A class or a site whose name no font here can show is drawn by its number, as `trapline.reports.fonts` says.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trapline.reports.fonts import Drawn, drawn, followed, shortened
from trapline.storage import atomic_file

if TYPE_CHECKING:  # matplotlib takes most of a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAINT, INK, BOUND = "#E3E3E3", "#333333", "#555555"
# The palette of Okabe and Ito (2008, Color Universal Design), told apart by all kinds of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, ORANGE = COLOURS[:2]
MAX_NUMBERED_CLASSES = 20  # above this, counts in the cells cannot be read
MAX_SITES = 40
MAX_NAME_LENGTH = 22  # characters
CLASS, SITE = "class", "site"  # columns of the report's tables
SWEEP_SCORES = (  # name, words, marker
    ("val_macro_f1", "validation macro-F1", "o"),
    ("val_micro_f1", "validation micro-F1", "s"),
    ("test_micro_f1", "test micro-F1", "D"),
)
TALL, SPREAD = 0.62, 0.2  # inches for each architecture; rows that its optimizers lie apart


def new_figure(width: float, height: float) -> "Figure":
    """A white figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Figure and canvas alone: pyplot would keep global state, and might open a window.
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def furnish(axes: "Axes", grid: Literal["both", "x"] = "both", **ticks: Any) -> None:
    """A faint grid below what is drawn, and of the frame the line below; `ticks`: of the tick labels."""
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.tick_params(colors=INK, length=0, **ticks)
    axes.spines[:].set_visible(False)
    axes.spines["bottom"].set(visible=True, color=INK)


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    # Without the version of matplotlib in it, equal figures are equal bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def confusion_figure(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """A confusion matrix, counts by true (rows) and predicted class; the colour is the share of its row."""
    import numpy as np

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(12.0, 2.6 + 0.5 * len(classes))
    figure = new_figure(side, side * 0.86)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    shown = drawn(classes, CLASS)
    labels = [shortened(name, MAX_NAME_LENGTH) for name in shown.texts]
    ticks: dict[str, Any] = {"labels": labels, "parse_math": False, "fontfamily": shown.families}
    axes.set_xticks(range(len(labels)), rotation=60, ha="right", rotation_mode="anchor", **ticks)
    axes.set_yticks(range(len(labels)), **ticks)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    if len(classes) <= MAX_NUMBERED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, str(count or ""), ha="center", va="center", fontsize=9, color=colour)
    axes.spines[:].set_visible(False)
    return _png(figure)


def reliability_figure(bins: dict[str, list[dict[str, Any]]]) -> bytes:
    """Accuracy over confidence before and after temperature scaling; on the diagonal it is calibrated."""
    figure = new_figure(5.2, 4.6)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="calibrated")
    for name, colour, style in (("before", ORANGE, "--"), ("after", BLUE, "-")):
        filled = [item for item in bins[name] if item["images"]]
        points = [item["confidence"] for item in filled], [item["accuracy"] for item in filled]
        axes.plot(*points, style, color=colour, label=f"{name} temperature", linewidth=1.4, zorder=2)
        largest = max(item["images"] for item in filled)
        areas = [12 + 120 * item["images"] / largest for item in filled]
        axes.scatter(*points, s=areas, color=colour, alpha=0.75, linewidths=0, zorder=3)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="accuracy")
    furnish(axes, labelsize=9)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    return _png(figure)


def class_figure(rows: Sequence[dict[str, Any]], score: str = "f1", words: str = "F1") -> bytes:
    """A score of each class as bars, in the order of the classes, with its test images."""
    return _bars(
        _counted(rows, CLASS, "support"),
        [row[score] or 0.0 for row in rows],
        f"{words} (number of images)",
    )


def site_figure(rows: Sequence[dict[str, Any]], average: float) -> bytes:
    """The log loss of the sites with the most images as bars, worst first, and that of all images.

    A site is numbered by its place in `rows`.
    """
    names = _counted(rows, SITE, "images")
    fullest = sorted(range(len(rows)), key=lambda row: -rows[row]["images"])[:MAX_SITES]
    shown = sorted(fullest, key=lambda row: -rows[row]["log_loss"])
    chosen = replace(names, texts=[names.texts[row] for row in shown])
    return _bars(chosen, [rows[row]["log_loss"] for row in shown], "log loss (number of images)", average)


def _counted(rows: Sequence[dict[str, Any]], what: str, count: str) -> Drawn:
    """The names of the rows, each with its number of images in brackets."""
    names = drawn([row[what] for row in rows], what)
    return replace(
        names,
        texts=[
            f"{followed(shortened(name, MAX_NAME_LENGTH))} ({row[count]})"
            for name, row in zip(names.texts, rows, strict=True)
        ],
    )


def _bars(names: Drawn, values: Sequence[float], label: str, mark: float | None = None) -> bytes:
    """Bars from the top down, with a line at `mark`; without one the values are from 0 to 1."""
    figure = new_figure(5.6, 1.1 + 0.24 * len(values))
    axes = figure.add_subplot()
    places = range(len(values))
    axes.barh(places, values, color=BLUE, height=0.7)
    axes.set_yticks(places, labels=names.texts, parse_math=False, fontfamily=names.families)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlabel(label, color=INK)
    if mark is None:
        axes.set_xlim(0, 1)
    else:
        axes.axvline(mark, color=ORANGE, linewidth=1.4, label="all images")
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    furnish(axes, grid="x", labelsize=9)
    return _png(figure)


def draw_sweep(
    rows: Sequence[Mapping[str, Any]], path: Path, *, min_val_f1: float, max_size_mb: float
) -> None:
    """Draw rows with arch, optimizer, val_macro_f1, val_micro_f1, test_micro_f1, size_mb and s_per_epoch.

    `path` becomes a PNG file; `min_val_f1` is a line for the micro-F1 on validation. Architectures stand in
    the order in which they come first, best at the top; None is left out. Raises OSError when `path` cannot
    be written.
    """
    archs = list(dict.fromkeys(row["arch"] for row in rows))
    optimizers = sorted({row["optimizer"] for row in rows})
    figure = new_figure(11.0, 1.9 + TALL * len(archs))
    scores, sizes, times = figure.subplots(1, 3, sharey=True, width_ratios=(2.2, 1, 1))
    for number, optimizer in enumerate(optimizers):
        own = [row for row in rows if row["optimizer"] == optimizer]
        shift = SPREAD * (number - (len(optimizers) - 1) / 2)
        places = [archs.index(row["arch"]) + shift for row in own]
        colour = COLOURS[number % len(COLOURS)]
        for name, words, marker in SWEEP_SCORES:
            _dots(scores, own, places, name, (colour, marker), f"{optimizer}: {words}")
        _dots(times, own, places, "s_per_epoch", (colour, "o"))
    _sizes(sizes, rows, archs)
    _finish(scores, "F1", archs, bound=min_val_f1)
    _finish(sizes, "Size of the model, MB", archs, bound=max_size_mb)
    _finish(times, "Seconds per epoch", archs)
    for axes in (sizes, times):
        axes.set_xlim(left=0)
    figure.legend(
        *scores.get_legend_handles_labels(), loc="outside lower left", ncols=min(4, 1 + len(optimizers)),
        frameon=False, fontsize=8, labelcolor=INK,
    )  # fmt: skip
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _dots(
    axes: "Axes",
    rows: Sequence[Mapping[str, Any]],
    places: Sequence[float],
    name: str,
    look: tuple[str, str],
    label: str = "",
) -> None:
    colour, marker = look
    known = [(row[name], place) for row, place in zip(rows, places, strict=True) if row.get(name) is not None]
    axes.plot(
        [value for value, _ in known],
        [place for _, place in known],
        marker,
        color=colour,
        markerfacecolor=colour if marker == "o" else "white",
        markersize=7 if marker == "o" else 6,
        linestyle="none",
        label=label or None,
    )


def _sizes(axes: "Axes", rows: Sequence[Mapping[str, Any]], archs: Sequence[str]) -> None:
    """One bar for each architecture: the optimizer does not change its size."""
    known = {row["arch"]: row["size_mb"] for row in rows if row["size_mb"] is not None}
    axes.barh([archs.index(arch) for arch in known], list(known.values()), height=0.5, color="#9BB8D3")
    for arch, size in known.items():
        axes.annotate(
            f"{size:.0f}", (size, archs.index(arch)), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize=8, color=INK,
        )  # fmt: skip


def _finish(axes: "Axes", title: str, archs: Sequence[str], bound: float | None = None) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=10, color=INK)
    furnish(axes)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_yticks(range(len(archs)), labels=list(archs), color=INK)
    axes.set_ylim(len(archs) - 0.5, -0.5)
    axes.margins(x=0.12)
    if bound is not None:
        axes.axvline(
            bound, color=BOUND, linewidth=1.2, linestyle=":", zorder=0.9,
            label="limits: validation micro-F1, size",
        )  # fmt: skip
