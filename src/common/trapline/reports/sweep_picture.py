"""The results of a sweep as one picture: how good each architecture became by each optimizer, how large."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline.reports.axes import INK, furnish
from trapline.storage import atomic_file

if TYPE_CHECKING:  # matplotlib takes most of a second to import
    from matplotlib.axes import Axes

DOTS_PER_INCH = 110
# From the palette of Okabe and Ito (2008, Color Universal Design), told apart by all kinds of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BOUND = "#555555"
SCORES = (  # name, words, marker
    ("val_macro_f1", "validation macro-F1", "o"),
    ("val_micro_f1", "validation micro-F1", "s"),
    ("test_micro_f1", "test micro-F1", "D"),
)
TALL, SPREAD = 0.62, 0.2  # inches for each architecture; rows that its optimizers lie apart


def draw_sweep(
    rows: Sequence[Mapping[str, Any]], path: Path, *, min_val_f1: float, max_size_mb: float
) -> None:
    """Draw rows with arch, optimizer, val_macro_f1, val_micro_f1, test_micro_f1, size_mb and s_per_epoch.

    `path` becomes a PNG file; `min_val_f1` is a line for the micro-F1 on validation. Architectures stand in
    the order in which they come first, best at the top; None is left out. Raises OSError when `path` cannot
    be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    archs = list(dict.fromkeys(row["arch"] for row in rows))
    optimizers = sorted({row["optimizer"] for row in rows})
    figure = Figure(
        figsize=(11.0, 1.9 + TALL * len(archs)), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    scores, sizes, times = figure.subplots(1, 3, sharey=True, width_ratios=(2.2, 1, 1))
    for number, optimizer in enumerate(optimizers):
        own = [row for row in rows if row["optimizer"] == optimizer]
        shift = SPREAD * (number - (len(optimizers) - 1) / 2)
        places = [archs.index(row["arch"]) + shift for row in own]
        colour = COLOURS[number % len(COLOURS)]
        for name, words, marker in SCORES:
            _dots(scores, own, places, name, (colour, marker), f"{optimizer}: {words}")
        _dots(times, own, places, "s_per_epoch", (colour, "o"))
    _bars(sizes, rows, archs)
    _finish(scores, "F1", archs, bound=min_val_f1)
    _finish(sizes, "Size of the model, MB", archs, bound=max_size_mb)
    _finish(times, "Seconds per epoch", archs)
    sizes.set_xlim(left=0)
    times.set_xlim(left=0)
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


def _bars(axes: "Axes", rows: Sequence[Mapping[str, Any]], archs: Sequence[str]) -> None:
    """One bar for each architecture: the optimizer does not change its size."""
    known = {row["arch"]: row["size_mb"] for row in rows if row["size_mb"] is not None}
    axes.barh([archs.index(arch) for arch in known], list(known.values()), height=0.5, color="#9BB8D3")
    for arch, size in known.items():
        axes.annotate(
            f"{size:.0f}", (size, archs.index(arch)), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize=8, color=INK,
        )  # fmt: skip


def _finish(axes: "Axes", title: str, archs: Sequence[str], bound: float | None = None) -> None:
    furnish(axes, title)
    axes.set_xlabel("")
    axes.xaxis.set_major_locator(_few_ticks())
    axes.set_yticks(range(len(archs)), labels=list(archs), color=INK)
    axes.set_ylim(len(archs) - 0.5, -0.5)
    axes.margins(x=0.12)
    if bound is not None:
        axes.axvline(
            bound,
            color=BOUND,
            linewidth=1.2,
            linestyle=":",
            label="limits: validation micro-F1, size",
            zorder=0.9,
        )


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)
