"""Predictions over a part of the data, and the numbers that are made of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss
from torch import nn

from common.data.loader import Batch
from common.data.views import stack_views
from common.models.build import Normalisation
from common.training.execution import Execution
from common.views import PLAIN


@dataclass(frozen=True)
class Predictions:
    """logits: float32 (images, classes); labels: int64 (images,), or where an image may have several float32
    (images, classes) of 0 and 1."""

    logits: np.ndarray
    labels: np.ndarray

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 (images, classes), each row summing to 1; with several labels an
        image their sigmoid."""
        logits = torch.from_numpy(self.logits).double()
        return (torch.sigmoid(logits) if self.several else torch.softmax(logits, dim=1)).numpy()


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


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The mean F1 score over the classes that occur in `labels`; a class never predicted counts as 0."""
    return float(f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0.0))


def weighted_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The mean F1 score of the classes, weighted by their images in `labels`."""
    return float(f1_score(labels, predicted, average="weighted", zero_division=0.0))


def classification_metrics(predictions: Predictions) -> dict[str, float]:
    """Log loss (natural logarithm), accuracy, macro and weighted F1, of one label an image.

    Under the names of the metric registry, without `val_` or `test_` before them.
    """
    predicted = predictions.logits.argmax(axis=1)
    classes = np.arange(predictions.logits.shape[1])
    return {
        "loss": float(log_loss(predictions.labels, predictions.probabilities, labels=classes)),
        "acc": float(accuracy_score(predictions.labels, predicted)),
        "macro_f1": macro_f1(predictions.labels, predicted),
        "weighted_f1": weighted_f1(predictions.labels, predicted),
    }
