import numpy as np
import pytest
import torch

from trapline.data.loader import Batch
from trapline.models.build import Normalisation
from trapline.scoring.predictions import Predictions, classification_metrics, macro_f1
from trapline.training.execution import Execution
from trapline.training.validation import predict


def test_log_loss_and_accuracy_of_a_known_case():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1]], dtype=np.float32))
    metrics = classification_metrics(Predictions(logits, np.array([0, 1, 1])))
    assert metrics["loss"] == pytest.approx(-np.log([0.7, 0.6, 0.4]).mean(), rel=1e-6)
    assert metrics["acc"] == pytest.approx(2 / 3)


def test_a_class_absent_from_validation_is_still_a_column():
    metrics = classification_metrics(Predictions(np.zeros((4, 5), dtype=np.float32), np.array([0, 0, 1, 1])))
    assert metrics["loss"] == pytest.approx(np.log(5))


def test_macro_f1_averages_the_classes_that_are_there():
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 2, 2])
    assert macro_f1(labels, predicted) == pytest.approx(0.5)


def test_probabilities_sum_to_1_whatever_the_logits():
    logits = np.array([[1000.0, -1000.0], [-1e30, 1e30]], dtype=np.float32)
    probabilities = Predictions(logits, np.array([0, 1])).probabilities
    assert np.isfinite(probabilities).all()
    assert probabilities.sum(axis=1) == pytest.approx([1, 1])


def test_prediction_is_in_evaluation_mode_and_in_order():
    model = torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    pixels = torch.arange(5 * 12, dtype=torch.uint8).view(5, 2, 2, 3)
    batches = [
        Batch(pixels[rows], torch.arange(5)[rows], torch.ones(5)[rows]) for rows in (slice(3), slice(3, 5))
    ]
    execution = Execution(torch.device("cpu"), "fp32", channels_last=False)
    found = predict(model, batches, execution, Normalisation((0, 0, 0), (1, 1, 1)))
    expected = model.eval()(pixels.permute(0, 3, 1, 2).float() / 255).detach().numpy()
    assert found.logits == pytest.approx(expected, abs=1e-6)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
