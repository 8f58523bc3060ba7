"""`results.json`: what the parts of the system gain, measured on this machine with the champion.

views     log loss and accuracy (mAP where images have several labels) on validation, before: with the first
          view alone, after: with the chosen ones
phases    the same, before: of Phase 1, after: of Phase 2; null without one
speed     images a second, before: one view of one image at a time, each with a decode of its own, in fp32;
          after: one decode for all views, in batches, in the precision that is fastest here
memory    MB that a training step keeps of each image for its backward pass, in fp32 and as above
int8      what evaluate.py --int8 measured, with images a second: see `trapline.evaluation.int8`; else null

Views and champion were chosen on validation, which flatters the first two. Times differ from run to run, so
that they have no place in evaluation.json.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trapline.data.prepared import PackedPart
from trapline.evaluation.choices import Choice
from trapline.evaluation.int8 import pair
from trapline.images.canonical import decode_packed
from trapline.inference.predictor import Predictor, average_views
from trapline.scoring.multilabel import average_precisions
from trapline.scoring.predictions import Predictions
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

    before = len(jpegs) / _seconds(one_by_one)
    after = len(jpegs) / _seconds(lambda: predictor.logits([decode_packed(jpeg) for jpeg in jpegs]))
    return {
        "before": before,
        "after": after,
        "images": len(jpegs),
        "views": len(predictor.views),
        "device": predictor.execution.device.type,
        "precision": predictor.execution.precision,
    }


def measure_both(normal: Predictor, int8: Predictor, part: PackedPart) -> dict[str, float]:
    """Images a second from packed JPEGs to logits, of one model in two precisions."""
    jpegs = [bytes(part.jpeg(row)) for row in range(min(IMAGES, len(part)))]

    def speed(predictor: Predictor) -> float:
        return len(jpegs) / _seconds(lambda: predictor.logits([decode_packed(jpeg) for jpeg in jpegs]))

    return pair(speed, normal, int8)


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


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of ROUNDS runs, after one that does not count."""
    work()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
