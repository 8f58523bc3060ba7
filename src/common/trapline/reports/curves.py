"""Learning curves over epochs: of one training job as a picture of its own, and of several runs together."""

import io
import itertools
import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline.errors import TraplineError
from trapline.metrics import BatchPoint
from trapline.reports.figures import BLUE, BOUND, COLOURS, INK, ORANGE, furnish, new_figure
from trapline.reports.fonts import NOT_DRAWN, Drawn, drawn, followed
from trapline.reports.run_logs import Curves, History, kept_row, read_history, summarise
from trapline.storage import atomic_file

if TYPE_CHECKING:  # matplotlib takes most of a second to import
    from matplotlib.axes import Axes

TRAIN, VALIDATION, BEST = ORANGE, BLUE, BOUND
LOSS_LINES = (("train_loss", "training", TRAIN, "-"), ("val_loss", "validation", VALIDATION, "-"))
SCORE_LINES = (
    ("train_acc", "training accuracy", TRAIN, "-"),
    ("train_macro_f1", "training macro F1", TRAIN, "--"),
    ("val_acc", "validation accuracy", VALIDATION, "-"),
    ("val_macro_f1", "validation macro F1", VALIDATION, "--"),
)
MAX_MARKED = 40  # points of a line above which markers hide it
WIDEST_LINEAR_RANGE = 50.0  # a loss that spans more is drawn on a logarithmic axis

WIDTH, PANEL_HEIGHT = 11.0, 3.4  # inches; the legend's lines come below
LEGEND_LINE = 0.21  # inches
MAX_NAME_LENGTH = 44
# Marker and colour of one run after the other: with another marker the colours begin again.
LOOKS = tuple(itertools.product(("o", "s", "^", "D", "v", "P", "X"), COLOURS))
DIM = "#777777"


# --- one training job ---------------------------------------------------------------------------------------


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
    picture = curves_png(rows, title=title, best_metric=best_metric)
    with atomic_file(path) as file:
        file.write(picture)


def curves_png(rows: History, *, title: str, best_metric: str = "val_loss") -> bytes:
    """The picture of `write_curves`, of at least one row."""
    import numpy as np
    from PIL import Image

    figure = new_figure(10.0, 4.6)
    canvas: Any = figure.canvas
    best = kept_row(rows, best_metric)
    loss, scores = figure.subplots(1, 2)
    _draw_lines(loss, rows, LOSS_LINES, best, "Loss")
    losses = _losses(rows)
    if not _use_logarithms(loss, losses) and losses:
        loss.set_ylim(bottom=min(0.0, *losses))
    _draw_lines(scores, rows, SCORE_LINES, best, "Accuracy and macro F1")
    scores.set_ylim(-0.02, 1.02)
    named = drawn([title] if title else [], "a run")
    titles = [f"name left out ({NOT_DRAWN})"] if named.replaced else named.texts
    lines = [line for text in titles for line in textwrap.wrap(text, 110)]
    # Names of runs are no formulas, whatever dollar signs are in them.
    figure.suptitle(
        "\n".join([*lines, _summary(rows, best)]), x=0.01, ha="left", fontsize=11, color=INK,
        parse_math=False, fontfamily=named.families,
    )  # fmt: skip
    canvas.draw()
    picture, buffer = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"), io.BytesIO()
    # 64 colours are enough for six inks and their soft edges, and a picture of a third of the bytes.
    picture.quantize(64).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _draw_lines(
    axes: "Axes",
    rows: History,
    lines: Sequence[tuple[str, str, str, str]],
    best: int | None,
    title: str,
) -> None:
    epochs = _epochs(rows)
    for metric, label, colour, style in lines:
        places, values = _points(rows, metric)
        solid = style == "-"
        axes.plot(
            places,
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
        if best is not None and metric.startswith("val_") and metric in rows[best]:
            axes.plot(epochs[best], rows[best][metric], "o", color=BEST, markersize=9, fillstyle="none")
    if best is not None:
        axes.axvline(epochs[best], color=BEST, linewidth=1.2, linestyle=":", label="best epoch", zorder=0.9)
    _furnish(axes, title)
    # With a single epoch matplotlib would widen the axis to fractions of one.
    margin = max(0.5, 0.02 * len(epochs))
    axes.set_xlim(min(epochs) - margin, max(epochs) + margin)
    # Below the panel, where it hides no curve, and with a column each for training and validation.
    axes.legend(
        frameon=False, fontsize=9, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3
    )


def _marked(values: Sequence[float]) -> list[int]:
    """The points that get a marker: all of a few, else those without neighbours, which draw no line."""
    known = {index for index, value in enumerate(values) if not math.isnan(value)}
    if len(values) > MAX_MARKED:
        known = {index for index in known if not {index - 1, index + 1} & known}
    return sorted(known)


def _summary(rows: History, best: int | None) -> str:
    if best is None:
        return "no epoch has a finite result"
    row, epochs = rows[best], _epochs(rows)
    shown = {"log loss": "val_loss", "accuracy": "val_acc", "macro F1": "val_macro_f1"}
    numbers = ", ".join(f"{label} {row[name]:.3f}" for label, name in shown.items() if name in row)
    return f"best epoch {epochs[best]:g} of {epochs[-1]:g}: validation {numbers}"


# --- several runs -------------------------------------------------------------------------------------------


def draw_runs(runs: Sequence[Curves], path: Path) -> None:
    """Draw the runs into the PNG file `path`, atomically: a colour each.

    Validation is solid, training dashed, single batches are a thin line; a ring marks the best epoch, whose
    weights were kept. Values that are not finite leave gaps. Raises TraplineError where there is nothing to
    draw, OSError when `path` cannot be written.
    """
    if not any(runs):
        raise TraplineError(f"{path}: no epoch and no batch to draw")
    rates = any("lr" in row for run in runs for row in run.epochs) or any(
        point.lr is not None for run in runs for point in run.batches
    )
    names = drawn([run.name for run in runs], "run")
    key = LEGEND_LINE * (len(runs) + 5 + bool(names.replaced))
    height = PANEL_HEIGHT + (max(PANEL_HEIGHT - 0.6, key) if rates else key)
    figure = new_figure(WIDTH, height)
    layout: Any = [["loss", "accuracy"], ["lr" if rates else "key", "key"]]
    panels: dict[str, Axes] = figure.subplot_mosaic(
        layout, height_ratios=[PANEL_HEIGHT, height - PANEL_HEIGHT]
    )
    _draw_metric(panels["loss"], runs, "loss", lambda point: point.loss, "Loss")
    _use_logarithms(panels["loss"], [loss for run in runs for loss in _losses(run.epochs)])
    _draw_metric(panels["accuracy"], runs, "acc", lambda point: point.accuracy, "Accuracy")
    panels["accuracy"].set_ylim(-0.02, 1.02)
    if rates:
        _draw_rate(panels["lr"], runs)
    _draw_key(panels["key"], runs, names)
    figure.canvas.draw()
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def batch_epochs(points: Sequence[BatchPoint]) -> list[float]:
    """Where batches lie on the axis of epochs: batch 49 of 98 in epoch 3 at 2.5.

    An epoch whose number of batches no line tells has those of the longest one seen.
    """
    longest = max((max(point.batch, point.of or 0) for point in points), default=1)
    return [point.epoch - 1 + point.batch / max(1, point.of or longest) for point in points]


def _draw_metric(
    axes: "Axes", runs: Sequence[Curves], metric: str, of_batch: Callable[[BatchPoint], float], title: str
) -> None:
    for run, (marker, colour) in zip(runs, itertools.cycle(LOOKS), strict=False):
        batches = _with_gaps([of_batch(point) for point in run.batches])
        axes.plot(batch_epochs(run.batches), batches, color=colour, linewidth=0.7, alpha=0.45)
        for part, style, width, face in (("train", "--", 1.3, "white"), ("val", "-", 2.0, colour)):
            places, values = _points(run.epochs, f"{part}_{metric}")
            shown = marker if len(places) <= MAX_MARKED else ""
            axes.plot(places, values, style, color=colour, linewidth=width, marker=shown, markersize=4.5,
                      markerfacecolor=face)  # fmt: skip
        best = kept_row(run.epochs)
        if best is not None and f"val_{metric}" in run.epochs[best]:
            at, value = _epochs(run.epochs)[best], run.epochs[best][f"val_{metric}"]
            axes.plot(at, value, "o", color=INK, markersize=11, fillstyle="none", markeredgewidth=1.2)
    _furnish(axes, title)
    axes.set_xlim(left=0)


def _draw_rate(axes: "Axes", runs: Sequence[Curves]) -> None:
    for run, (marker, colour) in zip(runs, itertools.cycle(LOOKS), strict=False):
        places, values = _points(run.epochs, "lr")
        shown = marker if len(places) <= MAX_MARKED else ""
        axes.plot(places, values, color=colour, linewidth=1.5, marker=shown, markersize=3.5)
        rates = _with_gaps([math.nan if point.lr is None else point.lr for point in run.batches])
        axes.plot(batch_epochs(run.batches), rates, color=colour, linewidth=0.8, alpha=0.6)
    _furnish(axes, "Learning rate")
    axes.set_xlim(left=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))


def _draw_key(axes: "Axes", runs: Sequence[Curves], names: Drawn) -> None:
    """The names of the runs with their best epochs, and what the kinds of lines mean."""
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    kinds: list[dict[str, Any]] = [
        *(
            {"color": colour, "marker": marker, "linewidth": 2, "label": _label(name, run)}
            for run, name, (marker, colour) in zip(runs, names.texts, itertools.cycle(LOOKS), strict=False)
        ),
        {"color": DIM, "linewidth": 2.0, "label": "validation"},
        {"color": DIM, "linewidth": 1.3, "linestyle": "--", "label": "training"},
        *(
            [{"color": DIM, "linewidth": 0.7, "label": "training, single batches"}]
            if any(run.batches for run in runs)
            else []
        ),
        {"color": INK, "marker": "o", "fillstyle": "none", "markersize": 9, "linestyle": "",
         "label": "best epoch"},
        *([{"linestyle": "", "label": f"numbered: {NOT_DRAWN}"}] if names.replaced else []),
    ]  # fmt: skip
    legend = axes.legend(
        handles=[Line2D([], [], **kind) for kind in kinds],
        loc="upper left", frameon=False, fontsize=9, labelcolor=INK,
    )  # fmt: skip
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


# --- both ---------------------------------------------------------------------------------------------------


def _epochs(rows: History) -> list[float]:
    return [row.get("epoch", number) for number, row in enumerate(rows, 1)]


def _points(rows: History, metric: str) -> tuple[list[float], list[float]]:
    """The epochs that have the metric, and its values: not all have a validation."""
    known = [(epoch, row[metric]) for epoch, row in zip(_epochs(rows), rows, strict=True) if metric in row]
    return [epoch for epoch, _ in known], _with_gaps([value for _, value in known])


def _with_gaps(values: Sequence[float]) -> list[float]:
    """The values with NaN for what is infinite, which leaves a gap in the line."""
    return [value if math.isfinite(value) else math.nan for value in values]


def _losses(rows: History) -> list[float]:
    """All losses that are finite."""
    found = (row.get(name, math.nan) for row in rows for name in ("train_loss", "val_loss"))
    return [loss for loss in found if math.isfinite(loss)]


def _use_logarithms(axes: "Axes", losses: Sequence[float]) -> bool:
    """Give an axis of losses that span much a logarithmic scale, and say whether they do."""
    wide = bool(losses) and min(losses) > 0 and max(losses) > WIDEST_LINEAR_RANGE * min(losses)
    if wide:
        axes.set_yscale("log")
    return wide


def _furnish(axes: "Axes", title: str) -> None:
    """Title, grid and an epoch axis of whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    furnish(axes)
