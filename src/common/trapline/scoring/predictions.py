"""Logits with their labels, probabilities made of them, and the metrics of one label an image."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from trapline.errors import TraplineError
from trapline.losses import Task
from trapline.scoring.counts import IMAGES, averaged, class_counts, occurring, precision_recall_f1


@dataclass(frozen=True)
class Predictions:
    """logits: float32 (images, classes); labels: int64 (images,), or where an image may have several float32
    (images, classes) of 0 and 1."""

    logits: np.ndarray
    labels: np.ndarray

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 (images, classes), each row summing to 1; with several labels an
        image their sigmoid."""
        return _probabilities(
            self.logits.astype(np.float64), "multilabel" if self.multilabel else "multiclass"
        )


def finite_rows(logits: np.ndarray) -> np.ndarray:
    """bool (images,): whether all of an image's logits (images, classes) are numbers."""
    return np.isfinite(logits).all(axis=1)


def calibrated(logits: np.ndarray, temperature: float, task: Task = "multiclass") -> np.ndarray:
    """Probabilities of logits (images, classes) at a temperature: float64, none is NaN.

    For one label an image their softmax, each row sums to 1; for several the sigmoid of each. Temperature
    scaling: Guo et al., On Calibration of Modern Neural Networks, 2017. Raises TraplineError
    naming the rows whose logits are no numbers.
    """
    bad = np.flatnonzero(~finite_rows(logits))
    if len(bad):
        raise TraplineError(
            f"the model's outputs are no numbers for {len(bad)} of {len(logits)} images, the first in row"
            f" {bad[0]}; use precision fp32, or train again"
        )
    return _probabilities(logits.astype(np.float64) / temperature, task)


def _probabilities(logits: np.ndarray, task: Task) -> np.ndarray:
    return np.asarray(expit(logits) if task == "multilabel" else softmax(logits, axis=1))


def classification_metrics(predictions: Predictions) -> dict[str, float]:
    """Log loss (natural logarithm), accuracy, macro and weighted F1, of one label an image.

    Under the names of the metric registry, without `val_` or `test_` before them.
    """
    from sklearn.metrics import accuracy_score, log_loss  # late: serving needs none of it

    predicted = predictions.logits.argmax(axis=1)
    classes = predictions.logits.shape[1]
    counts = class_counts(predictions.labels, predicted, classes)
    _, _, f1 = precision_recall_f1(counts)
    return {
        "loss": float(log_loss(predictions.labels, predictions.probabilities, labels=range(classes))),
        "acc": float(accuracy_score(predictions.labels, predicted)),
        "macro_f1": float(averaged(f1, occurring(counts))),
        "weighted_f1": float(averaged(f1, counts[:, IMAGES])),
    }
