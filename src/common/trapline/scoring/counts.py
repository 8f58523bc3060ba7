"""Precision, recall and F1 of each class, from how often it is true, found and predicted.

A table of counts has a row for each class and the columns images (that have it), correct (of them) and
predicted. What would be divided by nothing is 0, as with scikit-learn's `zero_division=0`, and averages are
over the classes that occur.
"""

import numpy as np

IMAGES, CORRECT, PREDICTED = range(3)


def class_counts(labels: np.ndarray, predicted: np.ndarray, num_classes: int = 0) -> np.ndarray:
    """int64 (classes, 3) from two (images,) of class indices; `num_classes` at least."""
    num_classes = max(num_classes, labels.max(initial=-1) + 1, predicted.max(initial=-1) + 1)
    of_each = (labels, labels[labels == predicted], predicted)
    return np.stack([np.bincount(values, minlength=num_classes) for values in of_each], axis=1)


def label_counts(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """int64 (classes, 3) from two (images, classes) of 0 and 1, or false and true."""
    true, said = labels.astype(bool), predicted.astype(bool)
    counts: np.ndarray = np.stack([true, true & said, said], axis=-1).sum(axis=0)
    return counts


def precision_recall_f1(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each row of `counts`, (..., 3), each float64 (...)."""
    images, correct, predicted = (counts[..., column].astype(np.float64) for column in range(3))
    precision, recall = correct / np.maximum(1, predicted), correct / np.maximum(1, images)
    return precision, recall, 2 * correct / np.maximum(1, images + predicted)


def averaged(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over the classes with these weights, both (..., classes); NaN where no class has any."""
    counted, total = np.where(weights > 0, values, 0) * weights, weights.sum(axis=-1)
    return np.where(total > 0, counted.sum(axis=-1) / np.maximum(1, total), np.nan)


def macro(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The means of precision, recall and F1 over the classes that occur, of `counts` (..., classes, 3)."""
    precision, recall, f1 = (averaged(of, occurring(counts)) for of in precision_recall_f1(counts))
    return precision, recall, f1


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The macro F1 of class indices, (images,), or of labels of 0 and 1, (images, classes)."""
    counts = label_counts(labels, predicted) if labels.ndim == 2 else class_counts(labels, predicted)
    return float(macro(counts)[2])


def occurring(counts: np.ndarray) -> np.ndarray:
    """Which classes have an image, bool (..., classes): the others are left out of macro averages."""
    found: np.ndarray = counts[..., IMAGES] > 0
    return found
