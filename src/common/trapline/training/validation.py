"""What a model reaches: validation after an epoch, its report by class, the one reading of the test part."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trapline import metrics
from trapline.augmentation import PLAIN, read_views
from trapline.config import TrainingConfig
from trapline.console import table
from trapline.data.augment import stack_views
from trapline.data.loader import Batch, Loader
from trapline.metrics import format_value
from trapline.models.build import Normalisation
from trapline.models.weights import copy_tensors
from trapline.scoring.predictions import (
    CORRECT,
    IMAGES,
    PREDICTED,
    Predictions,
    averaged,
    class_counts,
    classification_metrics,
    label_outcome,
    multilabel_metrics,
    occurring,
    precision_recall_f1,
)
from trapline.storage import atomic_file, write_json, write_table
from trapline.training.checkpoint import Outcome, TrainingState
from trapline.training.distributed import from_first, gather_rows
from trapline.training.execution import Execution
from trapline.training.loop import Learner, divergence

COUNTS = ("class", "images", "correct", "predicted")
LABEL_SHARES = ("precision", "recall", "f1", "average_precision", "threshold", "tuned_f1")
STEM = "classification_report"
MAX_PRINTED = 30  # classes; a longer report is in its files alone


def is_due(config: TrainingConfig, epoch: int) -> bool:
    """Whether `epoch`, from 1, ends with a validation; the last one always does."""
    return epoch % config.validate_every == 0 or epoch == config.epochs


@torch.inference_mode()
def predict(
    model: nn.Module,
    batches: Iterable[Batch],
    execution: Execution,
    normalisation: Normalisation,
    views: Sequence[str] = (PLAIN,),
) -> Predictions:
    """The model's logits over `batches`, in evaluation mode, in their order: the means over `views`."""
    model.eval()
    logits, labels = [], []
    for batch in batches:
        seen = (stack_views(batch.images[:, None], [view])[:, 0] for view in views)
        with execution.autocast():
            outputs = [model(execution.inputs(images, normalisation)).float() for images in seen]
        logits.append(torch.stack(outputs).mean(dim=0) if len(outputs) > 1 else outputs[0])
        labels.append(batch.labels)
    return Predictions(torch.cat(logits).cpu().numpy(), torch.cat(labels).numpy())


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


def score_test(learner: Learner, test: Loader, state: TrainingState, output: Path) -> dict[str, float]:
    """Read the test part with the best weights, which `learner` then holds, and validation's thresholds.

    Prints the `[METRICS]` line, and writes test.json into `output`: the numbers, how many images they are of,
    the thresholds, and the views that were averaged. All ranks take part, the first one writes.
    """
    copy_tensors(learner.model, state.best_weights)
    views = read_views(learner.config.test_views)
    predictions = predict_part(learner, test, learner.config.epochs, views)
    thresholds = thresholds_of(state)
    values = (
        multilabel_metrics(predictions, np.array(thresholds))
        if predictions.multilabel
        else classification_metrics(predictions)
    )
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


@dataclass(frozen=True)
class ClassReport:
    """How well each class is told from the others, or each label found, counted on one epoch of validation.

    There is a row for each class and for each average over them.

    rows: the cells of COUNTS, then a value for each of `shares`, from 0 to 1, NaN where it has no meaning.
    note: what a reader should know, in lines.
    """

    shares: Sequence[str]
    rows: Sequence[tuple[list[str], list[float]]]
    note: str

    def write(self, epoch: int, folder: Path) -> str:
        """Write classification_report.csv and .txt of validation at `epoch` into `folder`; return the text.

        Raises OSError when they cannot be written.
        """
        columns = [*COUNTS, *self.shares]
        rows = (
            [*cells, *("" if np.isnan(of) else format_value(of) for of in values)]
            for cells, values in self.rows
        )
        write_table(folder / f"{STEM}.csv", columns, rows)
        shown = [
            [*cells, *("-" if np.isnan(of) else f"{of:.4f}" for of in values)] for cells, values in self.rows
        ]
        text = f"validation, best epoch {epoch}\n{table(columns, shown)}\n{self.note}\n"
        with atomic_file(folder / f"{STEM}.txt", "w", encoding="utf-8") as file:
            file.write(text)
        return text


def class_report(counts: np.ndarray, classes: Sequence[str]) -> ClassReport:
    """The report on one label an image, from `counts` (classes, 3) as `trapline.scoring.predictions` counts.

    The accuracy of a class is its recall. `macro average` and `weighted average` are over the classes that
    occur, equally or by images, as scikit-learn defines them; their accuracy is that of all images.
    """
    precision, recall, f1 = precision_recall_f1(counts)
    values = np.stack([recall, precision, recall, f1], axis=1)
    total = counts.sum(axis=0)
    means = [averaged(values.T, weights) for weights in (occurring(counts), counts[:, IMAGES])]
    for mean in means:
        mean[0] = total[CORRECT] / max(1, total[IMAGES])
    names = [*classes, "macro average", "weighted average"]
    shares = ("accuracy", "precision", "recall", "f1")
    note = "accuracy of an average is that of all images; averages are over the classes that occur"
    return ClassReport(shares, _rows(names, [*counts, total, total], [*values, *means]), note)


def label_report(outcome: Mapping[str, np.ndarray], classes: Sequence[str], threshold: float) -> ClassReport:
    """The report on images with several labels; `outcome` is what `label_outcome` returns.

    `threshold` is the one that the epochs were compared at. `macro average` is over the labels that occur.
    """
    counts, tuned = outcome["counts"], outcome["tuned_counts"]
    columns = [outcome["average_precision"], outcome["thresholds"], precision_recall_f1(tuned)[2]]
    values = np.stack([*precision_recall_f1(counts), *columns], axis=1)
    macro = averaged(values.T, occurring(counts))
    macro[LABEL_SHARES.index("threshold")] = np.nan
    total, tuned_total = counts.sum(axis=0), tuned.sum(axis=0)
    micro = np.array([*precision_recall_f1(total), np.nan, np.nan, precision_recall_f1(tuned_total)[2]])
    names = [*classes, "macro average", "micro average"]
    note = (
        f"precision, recall and f1 are at {threshold:g}; tuned_f1 is at each label's threshold, which was "
        "chosen on these\nimages, so that it is optimistic; macro averages are over the labels that occur"
    )
    return ClassReport(LABEL_SHARES, _rows(names, [*counts, total, total], [*values, macro, micro]), note)


def _rows(
    names: Sequence[str], counts: Sequence[np.ndarray], values: Sequence[np.ndarray]
) -> list[tuple[list[str], list[float]]]:
    return [
        ([name, *(str(own[column]) for column in (IMAGES, CORRECT, PREDICTED))], shares.tolist())
        for name, own, shares in zip(names, counts, values, strict=True)
    ]
