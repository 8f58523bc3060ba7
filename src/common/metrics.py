"""The metric registry: the `[METRICS]` line and the regexes that read it have one source.

The platform reads a job's output in pieces and can tear a line in two, so every line is one write, ends with
a sentinel, and a regex matches only between the two. NaN and infinity are printed as such and match nothing.
"""

import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TextIO

START = "[METRICS]"
END = "[/METRICS]"
NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
PAIRS = r"(?:\w+=[-+.\w]+ )*"


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


def emit(values: Mapping[str, float], stream: TextIO | None = None) -> None:
    """Print the line in one write, on a line of its own, and flush it; other ranks than 0 stay silent."""
    if os.environ.get("RANK", "0") != "0":
        return
    stream = stream or sys.stdout
    stream.write(f"{format_line(values)}\n")
    stream.flush()


def definitions() -> list[dict[str, str]]:
    """The `metric_definitions` of a SageMaker Estimator."""
    return [{"Name": metric.name, "Regex": metric.regex} for metric in REGISTRY]


def read_values(text: str) -> dict[str, float]:
    """What SageMaker would read from one piece of log text: the metrics whose regexes match."""
    matches = {metric.name: re.search(metric.regex, text) for metric in REGISTRY}
    return {name: float(match.group(1)) for name, match in matches.items() if match}


def is_better(name: str, value: float, than: float | None, min_delta: float = 0.0) -> bool:
    """Whether `value` of the metric `name` beats `than` by more than `min_delta`; NaN never does."""
    if math.isnan(value):
        return False
    if than is None:
        return True
    gain = value - than if BY_NAME[name].greater_is_better else than - value
    return gain > min_delta
