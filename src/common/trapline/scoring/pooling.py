"""One prediction for all images of a sequence, made of the predictions of its images.

The pooled logits are the mean of the images' logits. For one label an image their softmax is the geometric
mean of the images' probabilities, renormalised, which is the mean of the log-probabilities; for several
labels each label's logit is averaged for itself.
"""

import numpy as np
from scipy.special import logit

from trapline.learning import Task
from trapline.scoring.predictions import calibrated

TINY = float(np.finfo(np.float64).tiny)
NEARLY_1 = float(np.nextafter(1, 0))


def pool_numbers(sequences: np.ndarray) -> np.ndarray:
    """A number from 0 on for each sequence and for each image without one, int64 (images,).

    `sequences`: int (images,), equal for the images of one sequence, negative for an image without one.
    """
    alone = sequences.max(initial=-1) + 1 + np.arange(len(sequences))
    numbers = np.unique(np.where(sequences < 0, alone, sequences), return_inverse=True)[1]
    return np.asarray(numbers, dtype=np.int64)


def pool_sizes(sequences: np.ndarray) -> np.ndarray:
    """How many images are in each image's sequence, 1 for an image without one, int64 (images,)."""
    numbers = pool_numbers(sequences)
    return np.asarray(np.bincount(numbers)[numbers], dtype=np.int64)


def pooled_logits(logits: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """The mean logits of each image's sequence, float64 (images, classes); `sequences` as in `pool_numbers`.

    An image that is alone keeps its own, to the last bit, and so do images with the same logits.
    """
    numbers, exact = pool_numbers(sequences), logits.astype(np.float64)
    first = exact[np.unique(numbers, return_index=True)[1]]
    differences = np.zeros_like(first)  # from the first image: no rounding where there are none
    np.add.at(differences, numbers, exact - first[numbers])
    means = first + differences / np.bincount(numbers)[:, None]
    return np.asarray(means[numbers])


def pooled_probabilities(probabilities: np.ndarray, sequences: np.ndarray, task: Task) -> np.ndarray:
    """The same of probabilities: float64 (images, classes), each row with the sum 1 for one label an image.

    A probability of 0, and for several labels one of 1, counts as the nearest number that has a logit.
    """
    if task == "multilabel":
        logits = logit(np.clip(probabilities, TINY, NEARLY_1))
    else:
        logits = np.log(np.maximum(probabilities, TINY))
    return calibrated(pooled_logits(logits, sequences), 1.0, task)
