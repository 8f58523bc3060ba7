"""Validation after an epoch, and the one reading of the test part when training is over."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from trapline import metrics
from trapline.config import TrainingConfig
from trapline.data.loader import Loader
from trapline.models.weights import copy_tensors
from trapline.scoring.counts import class_counts
from trapline.scoring.multilabel import label_outcome, multilabel_metrics
from trapline.scoring.predictions import Predictions, classification_metrics
from trapline.storage import write_json
from trapline.training.distributed import from_first, gather_rows
from trapline.training.loop import Learner, divergence
from trapline.training.predicting import predict
from trapline.training.state import Outcome, TrainingState
from trapline.views import PLAIN, read_views


def is_due(config: TrainingConfig, epoch: int) -> bool:
    """Whether `epoch`, from 1, ends with a validation; the last one always does."""
    return epoch % config.validate_every == 0 or epoch == config.epochs


def validate(learner: Learner, val: Loader, epoch: int) -> tuple[dict[str, float], Outcome]:
    """The metrics of the registry on the validation part, and what the class report is made of.

    Raises TraplineError where the model's outputs are no numbers.
    """
    predictions, config = predict_part(learner, val, epoch), learner.config
    # The last step can ruin the weights after its loss was seen.
    if not np.isfinite(predictions.logits).all():
        raise divergence(f"the model's outputs are no numbers after epoch {epoch}", config)
    if predictions.multilabel:
        values = multilabel_metrics(predictions, config.threshold)
        outcome = label_outcome(predictions, config.threshold, tune=config.tune_thresholds)
    else:
        values = classification_metrics(predictions)
        predicted, classes = predictions.logits.argmax(axis=1), predictions.logits.shape[1]
        outcome = {"counts": class_counts(predictions.labels, predicted, classes)}
    # As tensors, which a checkpoint may hold.
    return named("val", values), {name: torch.from_numpy(array) for name, array in outcome.items()}


def named(part: str, values: dict[str, float]) -> dict[str, float]:
    """The values under the names that the registry has for `part`, val or test; others are left out."""
    with_part = {f"{part}_{name}": value for name, value in values.items()}
    return {name: value for name, value in with_part.items() if name in metrics.BY_NAME}


def predict_part(
    learner: Learner, loader: Loader, epoch: int, views: Sequence[str] = (PLAIN,)
) -> Predictions:
    """The model's predictions over all ranks' images of a part, in order, on every rank."""
    own = predict(learner.model, loader.epoch(epoch), learner.execution, learner.normalisation, views)
    logits, labels = (
        gather_rows(
            torch.from_numpy(rows), loader.batches.shares, loader.batches.sizes, learner.ranks
        ).numpy()
        for rows in (own.logits, own.labels)
    )
    return Predictions(logits, labels)


def score_test(learner: Learner, test: Loader, state: TrainingState, output: Path) -> dict[str, float]:
    """Read the test part with the best weights, which `learner` then holds, and validation's thresholds.

    Prints the `[METRICS]` line, and writes test.json into `output`: the numbers, how many images they are of,
    the thresholds, and the views that were averaged. All ranks take part, the first one writes.
    """
    copy_tensors(learner.model, state.best_weights)
    views = read_views(learner.config.test_views)
    predictions = predict_part(learner, test, learner.config.epochs, views)
    thresholds = thresholds_of(state)
    if predictions.multilabel:
        values = multilabel_metrics(predictions, np.array(thresholds))
    else:
        values = classification_metrics(predictions)
    found = from_first(named("test", values), learner.ranks)
    if learner.ranks.is_main:
        facts = {"images": len(predictions.labels), "thresholds": thresholds, "views": list(views)}
        write_json(output / "test.json", {**found, **facts})
        metrics.emit(found)
    return found


def thresholds_of(state: TrainingState) -> list[float] | None:
    """Each label's threshold at the best epoch; None where an image has one label."""
    thresholds = state.best_outcome.get("thresholds")
    return None if thresholds is None else [float(value) for value in thresholds]


def target_epoch(state: TrainingState, accuracy: float) -> int | None:
    """The first epoch with a val_acc of at least `accuracy`; None where none has."""
    reached = (number for number, row in enumerate(state.history, 1) if row.get("val_acc", -1.0) >= accuracy)
    return next(reached, None)


def say_target(config: TrainingConfig, state: TrainingState, *, ended: bool = False) -> None:
    """Print that the last epoch has reached the target accuracy, or at the end that none has."""
    if config.target_accuracy is None:
        return
    epoch = target_epoch(state, config.target_accuracy)
    if epoch == state.epoch and not ended:
        print(f"target: val_acc {config.target_accuracy:g} reached after {epoch} epochs", flush=True)
    if epoch is None and ended:
        found = (row["val_acc"] for row in state.history if "val_acc" in row)
        best = max(filter(math.isfinite, found), default=math.nan)
        print(
            f"target: val_acc {config.target_accuracy:g} not reached in {state.epoch} epochs, but {best:.4f}",
            flush=True,
        )
