"""Calibration: whether answers that are given with 80% confidence are right 80% of the time."""

from typing import Any

import numpy as np

BINS = 15


def reliability(confidences: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    """For each of BINS equal-width bins of confidence: images, mean confidence, accuracy.

    `confidences`: float (images,), the probability of the predicted class; `correct`: bool (images,). A bin
    holds its upper end, as in Guo et al. 2017; an empty one has None for its mean and its accuracy.
    """
    bin_of = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
    images = np.bincount(bin_of, minlength=BINS)
    confidence = np.bincount(bin_of, weights=confidences, minlength=BINS)
    hits = np.bincount(bin_of, weights=correct, minlength=BINS)
    return [
        {
            "low": place / BINS,
            "high": (place + 1) / BINS,
            "images": int(count),
            "confidence": float(confidence[place] / count) if count else None,
            "accuracy": float(hits[place] / count) if count else None,
        }
        for place, count in enumerate(images)
    ]


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """The mean distance of confidence and accuracy over the bins, weighted by their images (0 to 1).

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI
    2015, here over the predicted class alone, as in Guo et al. 2017.
    """
    filled = [item for item in bins if item["images"]]
    images = sum(item["images"] for item in filled)
    return float(sum(item["images"] * abs(item["confidence"] - item["accuracy"]) for item in filled) / images)
