"""The losses: against values worked out from their definitions, and what must hold for all of them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from trapline.config import make_config
from trapline.learning import LOSSES, LossSettings, bce, cross_entropy, focal, focal_lin2017, nll
from trapline.training.optimisation import make_loss

CLASSES = 3
numbers = st.floats(-8, 8, width=32)
batches = st.integers(1, 5).flatmap(
    lambda rows: st.tuples(
        st.lists(st.lists(numbers, min_size=CLASSES, max_size=CLASSES), min_size=rows, max_size=rows),
        st.lists(st.integers(0, CLASSES - 1), min_size=rows, max_size=rows),
    )
)
MULTICLASS = [name for name, loss in LOSSES.items() if loss.task == "multiclass"]
weightings = st.one_of(st.none(), st.lists(st.floats(0.125, 4, width=32), min_size=CLASSES, max_size=CLASSES))
smoothings = st.sampled_from([0.0, 0.1, 0.5])


def tensors(batch):
    logits, labels = batch
    return torch.tensor(logits), torch.tensor(labels)


def chosen(weight=None, smoothing=0.0, alpha=0.25, gamma=2.0):
    return LossSettings(None if weight is None else torch.tensor(weight), smoothing, alpha, gamma)


def by_definition(logits, label, weight, smoothing):
    """Weighted, smoothed cross-entropy of one image, and its true class's probability, in plain Python."""
    largest = max(logits)
    log_sum = largest + math.log(sum(math.exp(value - largest) for value in logits))
    costs = [(log_sum - value) * factor for value, factor in zip(logits, weight, strict=True)]
    smoothed = (1 - smoothing) * costs[label] + smoothing / len(logits) * sum(costs)
    return smoothed, math.exp(logits[label] - log_sum)


LOGITS, WEIGHT = [[2.0, -1.0, 0.5], [0.1, 0.2, -0.3], [-2.0, 4.0, 1.0]], [0.5, 1.0, 1.5]
LABELS = [0, 2, 0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_enhanced_systems_focal_loss_takes_pt_from_the_weighted_smoothed_loss(smoothing):
    found = focal(torch.tensor(LOGITS), torch.tensor(LABELS), chosen(WEIGHT, smoothing))
    for logits, label, value in zip(LOGITS, LABELS, found.tolist(), strict=True):
        loss, _ = by_definition(logits, label, WEIGHT, smoothing)
        assert value == pytest.approx(0.25 * (1 - math.exp(-loss)) ** 2 * loss, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_published_focal_loss_takes_pt_from_the_true_class_alone(smoothing):
    found = focal_lin2017(torch.tensor(LOGITS), torch.tensor(LABELS), chosen(WEIGHT, smoothing, 0.5, 1.5))
    for logits, label, value in zip(LOGITS, LABELS, found.tolist(), strict=True):
        loss, probability = by_definition(logits, label, WEIGHT, smoothing)
        assert value == pytest.approx(0.5 * (1 - probability) ** 1.5 * loss, rel=1e-5)


def test_both_focal_losses_agree_without_weights_and_smoothing_and_differ_with_them():
    logits, labels = torch.tensor(LOGITS), torch.tensor(LABELS)
    torch.testing.assert_close(focal(logits, labels, chosen()), focal_lin2017(logits, labels, chosen()))
    for other in (chosen(WEIGHT), chosen(smoothing=0.1)):
        gap = focal(logits, labels, other) - focal_lin2017(logits, labels, other)
        assert gap.abs().max() > 1e-3


def test_a_published_value_lin2017():
    """Section 3.2: with gamma 2 an example of pt 0.9 has a 100 times lower loss than by cross-entropy."""
    logits, labels = torch.tensor([[math.log(9.0), 0.0]]), torch.tensor([0])
    found = focal_lin2017(logits, labels, chosen(alpha=1.0))
    assert cross_entropy(logits, labels, chosen()) / found == pytest.approx(100, rel=1e-4)


@settings(deadline=None, max_examples=50)
@given(batches, weightings, smoothings)
@pytest.mark.parametrize("loss", [focal, focal_lin2017])
def test_with_gamma_0_and_alpha_1_a_focal_loss_is_cross_entropy(loss, batch, weight, smoothing):
    plain = chosen(weight, smoothing, alpha=1.0, gamma=0.0)
    outputs = tensors(batch)
    torch.testing.assert_close(loss(*outputs, plain), cross_entropy(*outputs, plain))


@settings(deadline=None, max_examples=50)
@given(batches, weightings, smoothings, st.sampled_from([0.5, 1.0, 2.0]))
@pytest.mark.parametrize("loss", [focal, focal_lin2017])
def test_a_focal_loss_is_between_0_and_its_share_of_cross_entropy(loss, batch, weight, smoothing, gamma):
    outputs, own = tensors(batch), chosen(weight, smoothing, 0.25, gamma)
    values, bound = loss(*outputs, own), 0.25 * cross_entropy(*outputs, own)
    assert (values >= 0).all()
    assert (values <= bound * (1 + 1e-5)).all()


@settings(deadline=None, max_examples=50)
@given(batches, weightings, smoothings)
def test_nll_of_log_softmax_is_cross_entropy_of_logits(batch, weight, smoothing):
    logits, labels = tensors(batch)
    own = chosen(weight, smoothing)
    expected = functional.cross_entropy(
        logits, labels, weight=own.weight, label_smoothing=smoothing, reduction="none"
    )
    torch.testing.assert_close(nll(logits.log_softmax(1), labels, own), expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(batches, weightings)
@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.needs is None])
def test_a_loss_of_logits_takes_their_log_softmax_too(name, batch, weight):
    logits, labels = tensors(batch)
    loss, own = LOSSES[name].function, chosen(weight, 0.1)
    torch.testing.assert_close(
        loss(logits.log_softmax(1), labels, own), loss(logits, labels, own), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", MULTICLASS)
def test_an_image_that_is_wholly_right_has_a_finite_gradient(name, gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    own = chosen(gamma=gamma)
    LOSSES[name].function(logits.log_softmax(1), torch.tensor([0]), own).sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", MULTICLASS)
def test_every_loss_gives_one_value_an_image_in_full_precision(name):
    output = LOSSES[name].needs or "logits"
    config = make_config({"loss": name, "model_output": output, "class_weights": "inverse"})
    loss = make_loss(config, np.array([0, 0, 1, 2]), "abc", torch.device("cpu"))
    values = loss(torch.zeros(4, 3, dtype=torch.bfloat16).log_softmax(1), torch.tensor([0, 1, 2, 0]))
    assert (values.shape, values.dtype) == ((4,), torch.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_is_the_mean_over_labels_with_the_positive_ones_weighted_and_smoothed(smoothing):
    labels, weight = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], [1.0, 2.0, 0.5]
    own = LossSettings(label_smoothing=smoothing, positive_weight=torch.tensor(weight))
    found = bce(torch.tensor(LOGITS), torch.tensor(labels), own)
    for logits, row, value in zip(LOGITS, labels, found.tolist(), strict=True):
        costs = []
        for logit, label, factor in zip(logits, row, weight, strict=True):
            probability = 1 / (1 + math.exp(-logit))
            target = label * (1 - smoothing) + smoothing / 2
            costs.append(-factor * target * math.log(probability) - (1 - target) * math.log(1 - probability))
        assert value == pytest.approx(sum(costs) / 3, rel=1e-5)


def test_bce_of_labels_that_are_wholly_right_has_a_finite_gradient_in_full_precision():
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True, dtype=torch.bfloat16)
    loss = make_loss(make_config({"loss": "bce"}), np.array([[1, 0, 1.0]]), "abc", torch.device("cpu"))
    values = loss(logits, torch.tensor([[1.0, 0.0, 1.0]]))
    values.sum().backward()
    assert (values.shape, values.dtype) == ((1,), torch.float32)
    assert torch.isfinite(logits.grad).all()
