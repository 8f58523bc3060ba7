"""What dynamic int8 quantisation costs and brings, measured beside the precision of the evaluation.

The section `int8` of evaluation.json, null unless evaluate.py --int8 asks for it:

precision    what int8 is compared with, as it ran here: fp32, bf16 or fp16
validation, test   {images, log_loss, accuracy, micro_f1, agreement}, each but the first and the last {normal,
             int8}; micro_f1 only where an image may have several labels, test null without a test part.
             agreement is the share of decisions that int8 leaves as they are: of images, or of labels
megabytes    {normal, int8} of the model's state
layers       the linear layers in int8

In results.json it has `images_per_s` {normal, int8} too. Temperature and thresholds are those chosen for the
normal precision. Convolutions stay as they are: see `trapline.models.quantised`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trapline.inference.predictor import Predictor
from trapline.models.quantised import called_linear_layers, state_megabytes
from trapline.scoring.counts import label_counts, precision_recall_f1
from trapline.scoring.predictions import calibrated
from trapline.scoring.temperature import image_losses

Pair = dict[str, float]


def pair(of: Callable[[Any], float], normal: Any, int8: Any) -> Pair:
    """What `of` says of both."""
    return {"normal": of(normal), "int8": of(int8)}


def compare_logits(
    normal: np.ndarray,
    int8: np.ndarray,
    labels: np.ndarray,
    temperature: float,
    thresholds: list[float] | None,
) -> dict[str, Any]:
    """The numbers of one part, from logits of both (images, classes) and labels of either kind."""
    if thresholds is None:
        decided = [logits.argmax(axis=1) for logits in (normal, int8)]
    else:
        decided = [calibrated(logits, temperature, "multilabel") >= thresholds for logits in (normal, int8)]
    found = {
        "images": len(labels),
        "log_loss": pair(
            lambda logits: float(image_losses(logits, labels, temperature).mean()), normal, int8
        ),
        "accuracy": pair(lambda each: _accuracy(each, labels), *decided),
    }
    if thresholds is not None:
        found["micro_f1"] = pair(lambda each: _micro_f1(each, labels), *decided)
    return {**found, "agreement": float((decided[0] == decided[1]).mean())}


def _accuracy(decided: np.ndarray, labels: np.ndarray) -> float:
    right = decided == labels
    return float((right.all(axis=1) if right.ndim == 2 else right).mean())


def _micro_f1(decided: np.ndarray, labels: np.ndarray) -> float:
    return float(precision_recall_f1(label_counts(labels, decided).sum(axis=0))[2])


def int8_section(normal: Predictor, int8: Predictor, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The section for two predictors of one model, and what `compare_logits` found on its parts."""
    return {
        "precision": normal.runs_in,
        "validation": parts["validation"],
        "test": parts.get("test"),
        "megabytes": pair(lambda predictor: state_megabytes(predictor.model), normal, int8),
        "layers": len(called_linear_layers(normal.model, normal.description.image_size)),
    }
