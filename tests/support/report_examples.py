"""Predictions for tests: logits that lean to the truth, at sites of different sizes and difficulty."""

import numpy as np

from trapline.evaluation.measured import Clusters
from trapline.scoring.scores import scored


def outputs(images=400, classes=6, sites=20, seed=0, absent=()):
    """logits (images, classes), labels (images,), clusters; classes in `absent` have no true image."""
    random = np.random.default_rng(seed)
    labels = random.choice([k for k in range(classes) if k not in absent], images)
    numbers = np.concatenate([np.arange(sites), random.integers(0, sites, images - sites) ** 2 // sites])
    ease = random.normal(1.5, 1.5, sites)
    logits = random.normal(size=(images, classes))
    logits[np.arange(images), labels] += ease[numbers]
    return logits, labels, Clusters(numbers, [f"S{k:03d}" for k in range(sites)])


def predictions(**options):
    """The same as Scored."""
    logits, labels, clusters = outputs(**options)
    return scored(logits, labels, clusters.numbers)
