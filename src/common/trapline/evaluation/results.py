"""`results.json`: what the parts of the system gain, measured on this machine with the champion.

views     log loss and accuracy (mAP where images have several labels) on validation, before: with the first
          view alone, after: with the chosen ones
phases    the same, before: of Phase 1, after: of Phase 2; null without one
speed     images a second, before: one view of one image at a time, each with a decode of its own, in fp32;
          after: one decode for all views, in batches, in the precision that is fastest here
memory    MB that a training step keeps of each image for its backward pass, in fp32 and as above
int8      what dynamic quantisation costs and brings, null unless evaluate.py --int8 asks for it: the section
          `int8` of evaluation.json, with `images_per_s` {normal, int8} too:
          precision         what int8 is compared with, as it ran here: fp32, bf16 or fp16
          validation, test  {images, log_loss, accuracy, micro_f1, agreement}, each but the first and the last
                            {normal, int8}; micro_f1 only where an image may have several labels, test null
                            without a test part. agreement is the share of decisions that int8 leaves as they
                            are: of images, or of labels
          megabytes         {normal, int8} of the model's state
          layers            the linear layers in int8
          Temperature and thresholds are those chosen for the normal precision, and images are predicted one
          by one, also where the champion pools over sequences. Convolutions stay as they are: see
          `trapline.models.build`.

Views and champion were chosen on validation, which flatters the first two. Times differ from run to run, so
that they have no place in evaluation.json.
"""

import copy
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trapline.data.prepared import DatasetDescription, PackedPart
from trapline.evaluation.choices import Choice, truth, view_logits
from trapline.images.canonical import decode_packed
from trapline.inference.predictor import Predictor, average_views
from trapline.models.build import called_linear_layers, state_megabytes
from trapline.scoring.predictions import (
    Predictions,
    average_precisions,
    calibrated,
    image_losses,
    label_counts,
    precision_recall_f1,
)
from trapline.training.execution import Execution

IMAGES, ROUNDS = 8, 2  # few: this is a look at every evaluation, not a benchmark
MB = 1e6


def measure_results(
    champion: Choice, phases: Sequence[Choice], labels: np.ndarray, predictor: Predictor, part: PackedPart
) -> dict[str, Any]:
    """The content of results.json.

    `champion` is one of `phases`, and `predictor` its model with its views; `labels`, of either kind, are
    those of `part`, the validation images.
    """
    jpegs = [bytes(part.jpeg(row)) for row in range(min(IMAGES, len(part)))]
    found = [_scores(choice.logits, choice.losses, labels) for choice in phases]
    return {
        "views": {
            "before": _scores(champion.first_view_logits, champion.first_view_losses, labels),
            "after": _scores(champion.logits, champion.losses, labels),
        },
        "phases": {"before": found[0], "after": found[1]} if len(found) > 1 else None,
        "speed": measure_speed(predictor, jpegs),
        "memory": measure_memory(predictor, jpegs),
        "int8": None,
    }


def _scores(logits: np.ndarray, losses: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    found = {"log_loss": float(losses.mean())}
    if labels.ndim == 2:
        # Not F1: each of the compared would need thresholds of its own.
        return {**found, "map": float(np.nanmean(average_precisions(Predictions(logits, labels))))}
    return {**found, "accuracy": float((logits.argmax(axis=1) == labels).mean())}


def measure_speed(predictor: Predictor, jpegs: Sequence[bytes]) -> dict[str, Any]:
    """Images a second from packed JPEGs to logits: one view at a time in fp32, and as `predictor` does it."""
    plain = _in_fp32(predictor)

    def one_by_one() -> None:
        for jpeg in jpegs:
            views = [replace(plain, views=(view,)).view_logits([decode_packed(jpeg)]) for view in plain.views]
            average_views(np.concatenate(views, axis=1), predictor.description.averaging)

    return {
        "before": len(jpegs) / _seconds(one_by_one),
        "after": _images_per_second(predictor, jpegs),
        "images": len(jpegs),
        "views": len(predictor.views),
        "device": predictor.execution.device.type,
        "precision": predictor.execution.precision,
    }


def _images_per_second(predictor: Predictor, jpegs: Sequence[bytes]) -> float:
    return len(jpegs) / _seconds(lambda: predictor.logits([decode_packed(jpeg) for jpeg in jpegs]))


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of ROUNDS runs, after one that does not count."""
    work()
    return min(timeit.repeat(work, timer=time.perf_counter, repeat=ROUNDS, number=1))


def measure_memory(predictor: Predictor, jpegs: Sequence[bytes]) -> dict[str, Any]:
    """MB of each image that a forward pass in training keeps for the backward pass, in fp32 and as served.

    From the difference between IMAGES and half of them: what does not grow with the batch, such as weights
    and their copies in another precision, is not counted.
    """
    pixels = [decode_packed(jpegs[row % len(jpegs)]) for row in range(IMAGES)]
    images = torch.from_numpy(np.stack([predictor.squares(each)[0] for each in pixels]))

    def megabytes(ways: Predictor) -> float:
        more, less = (kept_for_backward(ways, images[:count]) for count in (IMAGES, IMAGES // 2))
        return (more - less) / (IMAGES // 2) / MB

    return {
        "before": megabytes(_in_fp32(predictor)),
        "after": megabytes(predictor),
        "precision": predictor.execution.precision,
    }


def kept_for_backward(predictor: Predictor, images: Tensor) -> int:
    """Bytes that a forward pass of uint8 images (batch, side, side, 3) in training keeps, weights apart."""
    model, execution = copy.deepcopy(predictor.model).train(), predictor.execution
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), execution.autocast():
        logits = model(execution.inputs(images, predictor.description.normalisation))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found = sum(size for place, size in kept.items() if place not in weights)
    del logits  # until here, what was kept had to stay where it was
    return found


def _in_fp32(predictor: Predictor) -> Predictor:
    execution = Execution(predictor.execution.device, "fp32", channels_last=False)
    model: nn.Module = execution.place(copy.deepcopy(predictor.model))
    return replace(predictor, model=model, execution=execution)


# --- int8 ---------------------------------------------------------------------------------------------------


def pair(of: Callable[[Any], float], normal: Any, int8: Any) -> dict[str, float]:
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
        counts = [label_counts(labels, each).sum(axis=0) for each in decided]
        found["micro_f1"] = pair(lambda each: float(precision_recall_f1(each)[2]), *counts)
    return {**found, "agreement": float((decided[0] == decided[1]).mean())}


def _accuracy(decided: np.ndarray, labels: np.ndarray) -> float:
    right = decided == labels
    return float((right.all(axis=1) if right.ndim == 2 else right).mean())


def int8_section(
    normal: Predictor,
    int8: Predictor,
    choice: Choice,
    parts: Mapping[str, tuple[PackedPart, np.ndarray]],
    data: DatasetDescription,
) -> dict[str, Any]:
    """The section for two predictors of one model, used as `choice` says.

    `parts`: validation, and test where there is one, each with the logits of `normal`.
    """
    compared = {
        name: compare_logits(
            logits,
            view_logits(int8, part, f"int8 on {name}").averaged(choice.views),
            truth(part, data),
            choice.temperature,
            choice.thresholds,
        )
        for name, (part, logits) in parts.items()
    }
    return {
        "precision": normal.runs_in,
        "validation": compared["validation"],
        "test": compared.get("test"),
        "megabytes": pair(lambda predictor: state_megabytes(predictor.model), normal, int8),
        "layers": len(called_linear_layers(normal.model, normal.description.image_size)),
    }


def measure_both(normal: Predictor, int8: Predictor, part: PackedPart) -> dict[str, float]:
    """Images a second from packed JPEGs to logits, of one model in two precisions."""
    jpegs = [bytes(part.jpeg(row)) for row in range(min(IMAGES, len(part)))]
    return pair(lambda predictor: _images_per_second(predictor, jpegs), normal, int8)
