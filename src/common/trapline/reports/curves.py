"""The learning curves of a training job as one picture: loss, and accuracy with macro F1, over epochs."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trapline.errors import TraplineError
from trapline.reports.axes import INK, furnish
from trapline.reports.fonts import NOT_DRAWN, drawn
from trapline.reports.history import History, kept_row, read_history
from trapline.storage import atomic_file

if TYPE_CHECKING:  # matplotlib takes most of a second to import
    from matplotlib.axes import Axes

INCHES = (10.0, 4.6)
DOTS_PER_INCH = 110
COLOURS = 64  # enough for six inks and their soft edges, and a picture of a third of the bytes
MAX_LINE_LENGTH = 110
# From the palette of Okabe and Ito (2008, Color Universal Design), told apart by all kinds of colour vision.
TRAIN, VALIDATION, BEST = "#D55E00", "#0072B2", "#555555"
LOSS_LINES = (("train_loss", "training", TRAIN, "-"), ("val_loss", "validation", VALIDATION, "-"))
SCORE_LINES = (
    ("train_acc", "training accuracy", TRAIN, "-"),
    ("train_macro_f1", "training macro F1", TRAIN, "--"),
    ("val_acc", "validation accuracy", VALIDATION, "-"),
    ("val_macro_f1", "validation macro F1", VALIDATION, "--"),
)
MAX_MARKED_EPOCHS = 40  # above this, markers on every epoch hide the line
WIDEST_LINEAR_RANGE = 50.0  # a loss that spans more is drawn on a logarithmic axis


def write_curves(
    history: History | Path, path: Path, *, title: str = "", best_metric: str = "val_loss"
) -> None:
    """Draw the curves of `history`, rows of metrics or a metrics.csv, into the PNG file `path`, atomically.

    The epoch is marked whose weights were kept; where the rows do not say it, `best_metric` decides. Values
    that are not finite leave gaps. Raises TraplineError when there is no epoch or the file is damaged,
    OSError when `path` cannot be written.
    """
    rows = read_history(history) if isinstance(history, Path) else history
    if not rows:
        raise TraplineError(f"{path}: no epoch to draw; the job ended before its first one was done")
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    # Figure and canvas alone: pyplot would keep global state, and might open a window.
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    best = kept_row(rows, best_metric)
    loss, scores = figure.subplots(1, 2)
    _draw_panel(loss, rows, LOSS_LINES, best, "Loss")
    _choose_loss_scale(loss, rows)
    _draw_panel(scores, rows, SCORE_LINES, best, "Accuracy and macro F1")
    scores.set_ylim(-0.02, 1.02)
    named = drawn([title] if title else [], "a run")
    titles = [f"name left out ({NOT_DRAWN})"] if named.replaced else named.texts
    lines = [line for text in titles for line in textwrap.wrap(text, MAX_LINE_LENGTH)]
    # Names of runs are no formulas, whatever dollar signs are in them.
    figure.suptitle(
        "\n".join([*lines, _summary(rows, best)]), x=0.01, ha="left", fontsize=11, color=INK,
        parse_math=False, fontfamily=named.families,
    )  # fmt: skip
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(COLOURS)
    with atomic_file(path) as file:
        picture.save(file, format="PNG", optimize=True)


def _draw_panel(
    axes: "Axes",
    rows: History,
    lines: Sequence[tuple[str, str, str, str]],
    best: int | None,
    name: str,
) -> None:
    epochs = _epochs(rows)
    for metric, label, colour, style in lines:
        known = [index for index, row in enumerate(rows) if metric in row]  # not all epochs have a validation
        values = _finite([rows[index] for index in known], metric)
        solid = style == "-"
        axes.plot(
            [epochs[index] for index in known],
            values,
            style,
            color=colour,
            label=label,
            linewidth=2.0 if solid else 1.4,
            marker="o",
            markersize=4,
            markerfacecolor=colour if solid else "white",  # one epoch draws no line that could be dashed
            markevery=_marked(values),
        )
        if best in known and metric.startswith("val_"):
            at = epochs[best], values[known.index(best)]
            axes.plot(*at, "o", color=BEST, markersize=9, fillstyle="none")
    if best is not None:
        axes.axvline(epochs[best], color=BEST, linewidth=1.2, linestyle=":", label="best epoch", zorder=0.9)
    _furnish(axes, epochs, name)


def _furnish(axes: "Axes", epochs: Sequence[float], name: str) -> None:
    furnish(axes, name)
    # With a single epoch matplotlib would widen the axis to fractions of one.
    margin = max(0.5, 0.02 * len(epochs))
    axes.set_xlim(min(epochs) - margin, max(epochs) + margin)
    # Below the panel, where it hides no curve, and with a column each for training and validation.
    axes.legend(
        frameon=False, fontsize=9, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3
    )


def _choose_loss_scale(axes: "Axes", rows: History) -> None:
    values = [value for metric, *_ in LOSS_LINES for value in _finite(rows, metric) if not math.isnan(value)]
    if values and min(values) > 0 and max(values) > WIDEST_LINEAR_RANGE * min(values):
        axes.set_yscale("log")
    elif values:
        axes.set_ylim(bottom=min(0.0, *values))


def _epochs(rows: History) -> list[float]:
    return [row.get("epoch", index) for index, row in enumerate(rows, 1)]


def _finite(rows: History, metric: str) -> list[float]:
    """The values of a metric with NaN for what is missing or infinite, which leaves a gap in the line."""
    values = [row.get(metric, math.nan) for row in rows]
    return [value if math.isfinite(value) else math.nan for value in values]


def _marked(values: Sequence[float]) -> list[int]:
    """The points that get a marker: all of a few, else those without neighbours, which draw no line."""
    known = [not math.isnan(value) for value in values]
    if len(values) <= MAX_MARKED_EPOCHS:
        return [index for index, is_known in enumerate(known) if is_known]
    padded = [False, *known, False]
    return [
        index
        for index, is_known in enumerate(known)
        if is_known and not padded[index] and not padded[index + 2]
    ]


def _summary(rows: History, best: int | None) -> str:
    if best is None:
        return "no epoch has a finite result"
    row, epochs = rows[best], _epochs(rows)
    shown = {"log loss": "val_loss", "accuracy": "val_acc", "macro F1": "val_macro_f1"}
    numbers = ", ".join(f"{label} {row[name]:.3f}" for label, name in shown.items() if name in row)
    return f"best epoch {epochs[best]:g} of {epochs[-1]:g}: validation {numbers}"
