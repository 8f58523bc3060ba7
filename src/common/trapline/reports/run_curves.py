"""The curves of one or more runs in one picture: loss, accuracy and learning rate over epochs."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline.batch_lines import BatchPoint
from trapline.errors import TraplineError
from trapline.reports.axes import INK, furnish
from trapline.reports.curve_table import summarise
from trapline.reports.fonts import NOT_DRAWN, Drawn, drawn, followed
from trapline.reports.history import kept_row
from trapline.reports.run_logs import Curves
from trapline.storage import atomic_file

if TYPE_CHECKING:  # matplotlib takes most of a second to import
    from matplotlib.axes import Axes

WIDTH, PANEL_HEIGHT, DOTS_PER_INCH = 11.0, 3.4, 110  # inches; the legend's lines come below
# From the palette of Okabe and Ito (2008, Color Universal Design), told apart by all kinds of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # with another marker the colours begin again
DIM = "#777777"
MAX_NAME_LENGTH = 44
LEGEND_LINE = 0.21  # inches
MAX_MARKED = 40  # points of a line above which markers hide it
WIDEST_LINEAR_RANGE = 50.0  # a loss that spans more is drawn on a logarithmic axis
Points = list[tuple[float, float]]


def draw_runs(runs: Sequence[Curves], path: Path) -> None:
    """Draw the runs into the PNG file `path`, atomically: a colour each.

    Validation is solid, training dashed, single batches are a thin line; a ring marks the best epoch, whose
    weights were kept. Values that are not finite leave gaps. Raises TraplineError where there is nothing to
    draw, OSError when `path` cannot be written.
    """
    if not any(runs):
        raise TraplineError(f"{path}: no epoch and no batch to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rates = any("lr" in row for run in runs for row in run.epochs) or any(
        point.lr is not None for run in runs for point in run.batches
    )
    names = drawn([run.name for run in runs], "run")
    key = LEGEND_LINE * (len(runs) + 5 + bool(names.replaced))
    size = (WIDTH, PANEL_HEIGHT + (max(PANEL_HEIGHT - 0.6, key) if rates else key))
    # Figure and canvas alone: pyplot would keep global state, and might open a window.
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    layout: Any = [["loss", "accuracy"], ["lr" if rates else "key", "key"]]
    panels: dict[str, Axes] = figure.subplot_mosaic(
        layout, height_ratios=[PANEL_HEIGHT, size[1] - PANEL_HEIGHT]
    )
    _draw_loss(panels["loss"], runs)
    _draw_accuracy(panels["accuracy"], runs)
    if rates:
        _draw_rate(panels["lr"], runs)
    _draw_key(panels["key"], runs, names)
    canvas.draw()
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def batch_epochs(points: Sequence[BatchPoint]) -> list[float]:
    """Where batches lie on the axis of epochs: batch 49 of 98 in epoch 3 at 2.5.

    An epoch whose number of batches no line tells has those of the longest one seen.
    """
    longest = max((max(point.batch, point.of or 0) for point in points), default=1)
    return [point.epoch - 1 + point.batch / max(1, point.of or longest) for point in points]


def _draw_loss(axes: "Axes", runs: Sequence[Curves]) -> None:
    _draw_panel(axes, runs, "loss", lambda point: point.loss, "Loss")
    values = [row[name] for run in runs for row in run.epochs for name in ("train_loss", "val_loss")
              if math.isfinite(row.get(name, math.nan))]  # fmt: skip
    if values and min(values) > 0 and max(values) > WIDEST_LINEAR_RANGE * min(values):
        axes.set_yscale("log")


def _draw_accuracy(axes: "Axes", runs: Sequence[Curves]) -> None:
    _draw_panel(axes, runs, "acc", lambda point: point.accuracy, "Accuracy")
    axes.set_ylim(-0.02, 1.02)


def _draw_panel(
    axes: "Axes", runs: Sequence[Curves], metric: str, of_batch: Callable[[BatchPoint], float], title: str
) -> None:
    for number, run in enumerate(runs):
        colour, marker = _look(number)
        batches = _finite(batch_epochs(run.batches), [of_batch(point) for point in run.batches])
        axes.plot(*_columns(batches), color=colour, linewidth=0.7, alpha=0.45)
        for part, style, width in (("train", "--", 1.3), ("val", "-", 2.0)):
            points = _of_epochs(run, f"{part}_{metric}")
            shown = marker if len(points) <= MAX_MARKED else ""
            face = colour if part == "val" else "white"
            axes.plot(*_columns(points), style, color=colour, linewidth=width, marker=shown, markersize=4.5,
                      markerfacecolor=face)  # fmt: skip
        best = kept_row(run.epochs)
        value = run.epochs[best].get(f"val_{metric}") if best is not None else None
        if best is not None and value is not None:
            at = run.epochs[best].get("epoch", best + 1)
            axes.plot(at, value, "o", color=INK, markersize=11, fillstyle="none", markeredgewidth=1.2)
    _furnish(axes, title)


def _draw_rate(axes: "Axes", runs: Sequence[Curves]) -> None:
    for number, run in enumerate(runs):
        colour, marker = _look(number)
        points = _of_epochs(run, "lr")
        axes.plot(*_columns(points), color=colour, linewidth=1.5,
                  marker=marker if len(points) <= MAX_MARKED else "", markersize=3.5)  # fmt: skip
        rates = [math.nan if point.lr is None else point.lr for point in run.batches]
        axes.plot(
            *_columns(_finite(batch_epochs(run.batches), rates)), color=colour, linewidth=0.8, alpha=0.6
        )
    _furnish(axes, "Learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))


def _draw_key(axes: "Axes", runs: Sequence[Curves], names: Drawn) -> None:
    """The names of the runs with their best epochs, and what the kinds of lines mean."""
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    handles = []
    for number, run in enumerate(runs):
        colour, marker = _look(number)
        label = _label(names.texts[number], run)
        handles.append(Line2D([], [], color=colour, marker=marker, linewidth=2, label=label))
    kinds: list[dict[str, Any]] = [
        {"color": DIM, "linewidth": 2.0, "label": "validation"},
        {"color": DIM, "linewidth": 1.3, "linestyle": "--", "label": "training"},
        {"color": DIM, "linewidth": 0.7, "label": "training, single batches"},
        {"color": INK, "marker": "o", "fillstyle": "none", "markersize": 9, "linestyle": "",
         "label": "best epoch"},
    ]  # fmt: skip
    if not any(run.batches for run in runs):
        del kinds[2]
    if names.replaced:
        kinds.append({"linestyle": "", "label": f"numbered: {NOT_DRAWN}"})
    handles += [Line2D([], [], **kind) for kind in kinds]
    legend = axes.legend(handles=handles, loc="upper left", frameon=False, fontsize=9, labelcolor=INK)
    legend.set_in_layout(False)  # a long name must not squeeze the panels
    for text in legend.get_texts():
        text.set_parse_math(False)  # names of runs are no formulas, whatever dollar signs are in them
        if names.families:
            text.set_fontfamily(names.families)


def _label(name: str, run: Curves) -> str:
    summary = summarise(run)
    if len(name) > MAX_NAME_LENGTH:  # both ends tell runs apart, the middle seldom
        name = f"{name[: MAX_NAME_LENGTH // 2]}...{name[-MAX_NAME_LENGTH // 2 :]}"
    if summary.best_val_loss is None:
        return name
    return f"{followed(name)}: {summary.best_val_loss:.3f} in epoch {summary.best_epoch:g}"


def _furnish(axes: "Axes", title: str) -> None:
    furnish(axes, title)
    axes.set_xlim(left=0)


def _look(number: int) -> tuple[str, str]:
    return COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]


def _of_epochs(run: Curves, metric: str) -> Points:
    known = [(index, row) for index, row in enumerate(run.epochs, 1) if metric in row]
    return _finite([row.get("epoch", index) for index, row in known], [row[metric] for _, row in known])


def _finite(places: Sequence[float], values: Sequence[float]) -> Points:
    """The points, with NaN for infinite values: a gap in the line."""
    return [(x, y if math.isfinite(y) else math.nan) for x, y in zip(places, values, strict=True)]


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
