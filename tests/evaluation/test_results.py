"""What the system's parts gain: measured with the model at hand, and said in words."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import write_jpeg
from tests.support.small_models import CLASSES
from trapline.evaluation import results
from trapline.evaluation.choices import Choice
from trapline.evaluation.result_files import result_lines
from trapline.evaluation.results import kept_for_backward, measure_results
from trapline.images.canonical import PixelSettings
from trapline.inference.predictor import Predictor
from trapline.models.artefact import ModelDescription
from trapline.models.build import IMAGENET_NORMALISATION
from trapline.training.execution import Execution

FP32 = Execution(torch.device("cpu"), "fp32", channels_last=False)
SIDE = 16


class Part:
    """Packed images, as far as they are looked at."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def jpeg(self, row):
        return memoryview(self.paths[row].read_bytes())


@pytest.fixture
def part(tmp_path):
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(paths):
        write_jpeg(path, number, side=SIDE)
    return Part(paths)


def predictor(model, views=("plain", "horizontal_flip"), execution=FP32):
    description = ModelDescription(
        architecture="resnet18", classes=CLASSES, image_size=SIDE, normalisation=IMAGENET_NORMALISATION,
        pixels={}, task="multiclass", configuration={}, data_fingerprint="", versions={}, metrics={},
        best_epoch=1, epochs=1, parameters=0, weights={},
    )  # fmt: skip
    return Predictor(model.eval(), description, execution, views, PixelSettings(short_side=SIDE))


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * SIDE**2, len(CLASSES)),
    )


def choice(right, losses, first_right, first_losses):
    """A choice with the given answers, right or not, and losses; labels are all 0."""
    logits, first = (np.eye(2)[[0 if good else 1 for good in each]] for each in (right, first_right))
    return Choice(["plain"], 1.0, logits, np.array(losses), [], first, np.array(first_losses))


FIRST = choice([1, 1, 0], [0.5, 0.5, 2.0], [1, 0, 0], [0.6, 1.4, 2.5])
SECOND = choice([1, 1, 1], [0.4, 0.4, 0.7], [1, 1, 1], [0.4, 0.4, 0.7])
LABELS = np.zeros(3, dtype=np.int64)


def test_gains_are_those_of_the_champion_and_of_phase_2(part):
    found = measure_results(FIRST, [FIRST, SECOND], LABELS, predictor(small_model()), part)
    assert found["views"] == {
        "before": {"log_loss": pytest.approx(1.5), "accuracy": pytest.approx(1 / 3)},
        "after": {"log_loss": pytest.approx(1.0), "accuracy": pytest.approx(2 / 3)},
    }
    assert found["phases"]["before"] == found["views"]["after"]
    assert found["phases"]["after"] == {"log_loss": pytest.approx(0.5), "accuracy": 1.0}
    lines = dict(result_lines(json.loads(json.dumps(found))))
    assert "log loss 1.5000 to 1.0000 (-0.5000), accuracy 0.3333 to 0.6667 (+0.3333)" in lines["views' gain"]
    assert "log loss 1.0000 to 0.5000 (-0.5000)" in lines["phase gain"]


def test_without_phase_2_there_is_no_phase_gain(part):
    found = measure_results(FIRST, [FIRST], LABELS, predictor(small_model()), part)
    assert found["phases"] is None
    assert "phase gain" not in dict(result_lines(found))


def test_speed_is_the_ratio_of_two_timed_runs_over_the_same_images(part, monkeypatch):
    ticks = iter([0.0, 6.0, 10.0, 19.0, 20.0, 21.5, 30.0, 33.0])  # rounds of 6 and 9 s, then of 1.5 and 3
    monkeypatch.setattr(results.time, "perf_counter", lambda: next(ticks))
    found = measure_results(FIRST, [FIRST], LABELS, predictor(small_model()), part)
    assert (found["speed"]["before"], found["speed"]["after"]) == (pytest.approx(0.5), pytest.approx(2.0))
    assert (found["speed"]["images"], found["speed"]["views"]) == (3, 2)
    assert (
        "4.00 times: 0.5 to 2.0 images/s with 2 views, fp32 on cpu" in dict(result_lines(found))["speed-up"]
    )


def test_memory_is_what_the_backward_pass_needs_and_grows_with_the_images():
    images = torch.zeros(4, SIDE, SIDE, 3, dtype=torch.uint8)
    layer = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 5), nn.Tanh())
    one = predictor(layer)
    # The input of the linear layer, float32, and the output of tanh; not the weights.
    assert kept_for_backward(one, images) == 4 * (4 * 3 * SIDE**2 + 4 * 5)
    assert kept_for_backward(one, images[:2]) * 2 == kept_for_backward(one, images)


def test_half_precision_keeps_less_and_the_model_stays_as_it_was(part):
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    half = replace(FP32, precision="bf16")
    found = measure_results(FIRST, [FIRST], LABELS, predictor(model, execution=half), part)
    # Convolution, normalisation and ReLU keep their inputs or outputs; what autocast casts is half as large.
    assert 0.4 < found["memory"]["after"] / found["memory"]["before"] < 0.8
    assert "bf16 against fp32" in dict(result_lines(found))["memory saved"]
    assert not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_single_validation_image_can_be_measured(part):
    part.paths = part.paths[:1]
    one = choice([1], [0.5], [1], [0.5])
    found = measure_results(one, [one], LABELS[:1], predictor(small_model()), part)
    assert found["speed"]["images"] == 1
    assert found["memory"]["before"] > 0
