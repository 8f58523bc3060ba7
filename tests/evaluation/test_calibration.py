import numpy as np
import pytest

from trapline.evaluation.measured import BINS, expected_calibration_error, reliability


def error(confidences, correct):
    return expected_calibration_error(reliability(np.array(confidences), np.array(correct, dtype=bool)))


def test_nine_of_ten_right_at_90_percent_is_calibrated():
    assert error([0.9] * 10, [1] * 9 + [0]) == pytest.approx(0)


def test_always_sure_and_half_right_is_off_by_a_half():
    assert error([1.0] * 8, [1, 0] * 4) == pytest.approx(0.5)


def test_bins_weigh_by_their_images():
    confidences = [0.95] * 3 + [0.35]
    assert error(confidences, [1, 1, 1, 0]) == pytest.approx((3 * 0.05 + 0.35) / 4)


def test_there_are_15_bins_of_equal_width_and_every_image_is_in_one():
    confidences = np.linspace(0, 1, 1001)
    bins = reliability(confidences, confidences > 0.5)
    assert len(bins) == BINS == 15
    assert sum(item["images"] for item in bins) == 1001
    assert {round(item["high"] - item["low"], 12) for item in bins} == {round(1 / 15, 12)}
    assert all(item["low"] - 1e-9 <= item["confidence"] <= item["high"] + 1e-9 for item in bins)


def test_an_empty_bin_has_no_numbers():
    bins = reliability(np.array([0.99]), np.array([True]))
    assert bins[0] == {"low": 0, "high": 1 / 15, "images": 0, "confidence": None, "accuracy": None}
