"""The lines by which a training reports: the metric registry with its `[METRICS]`, and `[BATCH]`.

The `[METRICS]` line and the regexes that read it have one source.

The platform reads a job's output in pieces and can tear a line in two, so every line is one write, ends with
a sentinel, and a regex matches only between the two. NaN and infinity are printed as such and match nothing.
"""

import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trapline.console import unescaped

START = "[METRICS]"
END = "[/METRICS]"
NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
PAIRS = r"(?:\w+=[-+.\w]+ )*"
LONGEST = 8192  # characters between START and END that are looked at: a line has a tenth of that
# What runners put before a job's line: a colour, a rank, a machine's name, the time.
PREFIX = re.compile(
    r"(?:\x1b\[[0-9;]{0,16}m|\[\d{1,6},mpirank:\d{1,6},[\w.-]{1,64}\]<std(?:out|err)>:|\[node \d{1,6}\] "
    r"|[\w.-]{1,160} {0,8}\| |\d{4}-\d\d-\d\d[T ][\d:.,]{5,20}(?:Z|[+-]\d\d:?\d\d)? |[ \t\r]){0,16}"
)
MAX_PREFIX_LENGTH = 512
AFTER = re.compile(r"(?:\x1b\[[0-9;]{0,16}m|\s){0,16}")
VALUE = re.compile(rf"(?P<finite>{NUMBER})|nan|[-+]?inf")
BATCH_NUMBER = r"[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,5})?|nan|[-+]?inf"
BATCH_LINE = re.compile(
    r"\[BATCH\] epoch=(?P<epoch>\d{1,12}) batch=(?P<batch>\d{1,12}) of=(?P<of>\d{1,12}) "
    rf"loss=(?P<loss>{BATCH_NUMBER}) accuracy=(?P<accuracy>{BATCH_NUMBER}) lr=(?P<lr>{BATCH_NUMBER}) "
    r"\[/BATCH\]"
)


@dataclass(frozen=True)
class Metric:
    """One number that a job reports after an epoch, or at its end."""

    name: str
    description: str
    deterministic: bool = True  # the same for the same code, data and configuration on the same kind of CPU
    greater_is_better: bool | None = None
    task: Literal["multiclass", "multilabel"] | None = None  # the data that have it; None: both

    @property
    def regex(self) -> str:
        """A regular expression whose first group is the value; to be searched for, never anchored."""
        return rf"{re.escape(START)} {PAIRS}{self.name}=({NUMBER}) {PAIRS}{re.escape(END)}"


REGISTRY: tuple[Metric, ...] = (
    Metric("epoch", "epochs completed"),
    # Of the images with true labels: pseudo-labelled ones are trained on and not counted.
    Metric("train_loss", "mean training loss per labelled image, as optimised", greater_is_better=False),
    Metric(
        "train_acc",
        "accuracy on the augmented labelled training images (mixup: on the larger share's label)",
        greater_is_better=True,
    ),
    Metric("train_macro_f1", "macro F1 on the augmented labelled training images", greater_is_better=True),
    Metric("val_loss", "log loss on validation, unweighted, natural logarithm", greater_is_better=False),
    Metric("val_acc", "accuracy on validation", greater_is_better=True),
    Metric("val_macro_f1", "macro F1 over the classes present in validation", greater_is_better=True),
    Metric(
        "val_weighted_f1",
        "F1 over the classes, weighted by their images",
        greater_is_better=True,
        task="multiclass",
    ),
    # Of data with several labels an image, at the configured threshold. There val_loss is the mean binary log
    # loss of the labels, and accuracy the share of the images whose labels are all right and complete.
    Metric(
        "val_micro_f1", "F1 over all labels of all images together", greater_is_better=True, task="multilabel"
    ),
    Metric(
        "val_micro_precision",
        "share of the predicted labels that are right",
        greater_is_better=True,
        task="multilabel",
    ),
    Metric(
        "val_micro_recall",
        "share of the true labels that are predicted",
        greater_is_better=True,
        task="multilabel",
    ),
    Metric(
        "val_macro_precision",
        "mean precision of the labels in validation",
        greater_is_better=True,
        task="multilabel",
    ),
    Metric(
        "val_macro_recall",
        "mean recall of the labels in validation",
        greater_is_better=True,
        task="multilabel",
    ),
    Metric(
        "val_map",
        "mean average precision of the labels in validation",
        greater_is_better=True,
        task="multilabel",
    ),
    Metric("best_epoch", "the epoch whose weights are kept so far, the best by best_metric; 0: none yet"),
    Metric("lr", "learning rate of the backbone at the end of the epoch"),
    Metric("images_per_s", "training images per second, waiting for data included", deterministic=False),
    Metric("data_wait", "share of the training time spent waiting for data", deterministic=False),
    Metric("epoch_s", "seconds for training and validation", deterministic=False),
    Metric("rss_mb", "peak resident memory of the main process so far, MiB", deterministic=False),
    Metric("gpu_mb", "peak GPU memory so far, MiB (0 without a GPU)", deterministic=False),
    # Once, after the last epoch, on a line of their own: with the best weights and validation's thresholds.
    Metric("test_loss", "log loss on test, as val_loss", greater_is_better=False),
    Metric("test_acc", "accuracy on test, as val_acc", greater_is_better=True),
    Metric("test_macro_f1", "macro F1 over the classes present in test", greater_is_better=True),
    Metric(
        "test_micro_f1",
        "F1 over all labels of all test images together",
        greater_is_better=True,
        task="multilabel",
    ),
)
BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in REGISTRY}


def format_value(value: float) -> str:
    """Six significant digits, as the line and the CSV both print it; `nan`, `inf` or `-inf` where so."""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def format_line(values: Mapping[str, float]) -> str:
    """The `[METRICS]` line for `values`, in the registry's order. Raises KeyError for an unknown name."""
    unknown = values.keys() - BY_NAME.keys()
    if unknown:
        raise KeyError(f"not in the metric registry: {', '.join(sorted(unknown))}")
    pairs = " ".join(f"{name}={format_value(values[name])}" for name in BY_NAME if name in values)
    return f"{START} {pairs} {END}"


def emit(values: Mapping[str, float]) -> None:
    """Print the line in one write, on a line of its own, and flush it; other ranks than 0 stay silent."""
    if os.environ.get("RANK", "0") == "0":
        _write(format_line(values))


def _write(line: str) -> None:
    stream = unescaped(sys.stdout)
    stream.write(f"{line}\n")
    stream.flush()


def definitions() -> list[dict[str, str]]:
    """The `metric_definitions` of a SageMaker Estimator."""
    return [{"Name": metric.name, "Regex": metric.regex} for metric in REGISTRY]


def read_values(text: str) -> dict[str, float]:
    """What SageMaker would read from one piece of log text: the finite metrics of its first whole line.

    The line may stand anywhere in `text`. The time that it takes is proportional to the text's length.
    """
    end = text.find(END)
    while end >= 0:
        start = text.rfind(START, max(0, end - LONGEST), end)
        if start >= 0 and (values := _values(text[start + len(START) : end])):
            return values
        end = text.find(END, end + len(END))
    return {}


def read_line(text: str) -> dict[str, float]:
    """The finite metrics of a line of a job's log; none where it is no metric line from its beginning on.

    Only what runners put before a line (colour, rank, machine, time) may stand there: a metric line in the
    middle of other text is somebody's words.
    """
    start, end = text.find(START), text.rfind(END)
    if start < 0 or start > MAX_PREFIX_LENGTH or end < start or end - start > LONGEST:
        return {}
    after = text[end + len(END) :]
    if len(after) > MAX_PREFIX_LENGTH or not AFTER.fullmatch(after) or not PREFIX.fullmatch(text, 0, start):
        return {}
    return _values(text[start + len(START) : end])


def _values(between: str) -> dict[str, float]:
    """The finite values between the marks; none unless all is as `format_line` writes it."""
    if not (between.startswith(" ") and between.endswith(" ")):
        return {}
    values: dict[str, float] = {}
    names = iter(BY_NAME)  # each may come once, in the registry's order
    for pair in between[1:-1].split(" "):
        name, _, written = pair.partition("=")
        value = VALUE.fullmatch(written)
        if value is None or name not in names:
            return {}
        if value["finite"] and math.isfinite(float(written)):
            values[name] = float(written)
    return values


def is_better(name: str, value: float, than: float | None, min_delta: float = 0.0) -> bool:
    """Whether `value` of the metric `name` beats `than` by more than `min_delta`.

    What is not finite never does, and what is finite always beats it.
    """
    if not math.isfinite(value):
        return False
    if than is None or not math.isfinite(than):
        return True
    gain = value - than if BY_NAME[name].greater_is_better else than - value
    return gain > min_delta


# --- the batch-level log, whose lines no metric regex matches -----------------------------------------------


@dataclass(frozen=True)
class BatchPoint:
    """Training at one batch.

    loss, accuracy (0 to 1): of the images since the last such line, or as another trainer's log counts them;
    batch: from 1 within the epoch; of: batches of the epoch, and lr: learning rate, None where not known.
    """

    epoch: int
    batch: int
    loss: float
    accuracy: float
    of: int | None = None
    lr: float | None = None


def format_batch(point: BatchPoint) -> str:
    """The line of a point that has all its values, as in
    `[BATCH] epoch=1 batch=20 of=98 loss=2.1304 accuracy=0.21875 lr=0.001 [/BATCH]`."""
    return (
        f"[BATCH] epoch={point.epoch} batch={point.batch} of={point.of} loss={point.loss:.6g} "
        f"accuracy={point.accuracy:.6g} lr={math.nan if point.lr is None else point.lr:.6g} [/BATCH]"
    )


def emit_batch(point: BatchPoint) -> None:
    """Print the line in one write, on a line of its own, and flush it."""
    _write(format_batch(point))


def read_batch(text: str) -> BatchPoint | None:
    """The point of the first whole `[BATCH]` line in `text`, whatever stands around it."""
    found = BATCH_LINE.search(text)
    if found is None:
        return None
    return BatchPoint(
        epoch=int(found["epoch"]),
        batch=int(found["batch"]),
        loss=float(found["loss"]),
        accuracy=float(found["accuracy"]),
        of=int(found["of"]),
        lr=float(found["lr"]),
    )
