"""Look-ahead averaging: the slow weights, and the fast ones that go on from them."""

import copy

import pytest
import torch
from torch import nn

from trapline.training.optimisation import start_lookahead


def model_of(value):
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    set_all(model, value)
    return model


def set_all(model, value):
    for tensor in model.state_dict().values():
        tensor.fill_(value)


def train(model, lookahead, steps):
    """Each step moves every tensor up by 1."""
    for _ in range(steps):
        for tensor in model.state_dict().values():
            tensor.add_(1)
        lookahead.after_step(model)


def value(model):
    tensors = (tensor for tensor in model.state_dict().values() if tensor.is_floating_point())
    values = {float(tensor.flatten()[0]) for tensor in tensors}
    assert len(values) == 1
    return values.pop()


def test_between_averages_the_fast_weights_are_left_alone():
    model = model_of(0.0)
    train(model, start_lookahead(model, 40), 4)
    assert value(model) == 4


def test_every_fifth_step_both_meet_by_the_share_of_that_moment():
    model = model_of(0.0)
    lookahead = start_lookahead(model, 20)
    train(model, lookahead, 5)
    first = 5 * (1 - 0.95**5 * (5 / 20) ** 3)
    assert value(model) == pytest.approx(first)
    train(model, lookahead, 5)
    kept = 0.95**5 * (10 / 20) ** 3
    assert value(model) == pytest.approx(kept * first + (1 - kept) * (first + 5))


def test_training_ends_with_the_slow_weights():
    model = model_of(0.0)
    lookahead = start_lookahead(model, 12)
    train(model, lookahead, 11)
    slow = {name: tensor.clone() for name, tensor in lookahead.slow.items()}
    assert value(model) == pytest.approx(float(slow["0.weight"].flatten()[0]) + 1)
    train(model, lookahead, 1)
    for name, tensor in slow.items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_running_statistics_are_averaged_and_counters_are_not():
    model = model_of(0.0)
    train(model, start_lookahead(model, 10), 5)
    assert model[1].num_batches_tracked == 5
    assert 0 < model[1].running_mean[0] < 5


def test_it_goes_on_from_its_state_exactly():
    model = model_of(0.0).to(memory_format=torch.channels_last)
    lookahead = start_lookahead(model, 20)
    train(model, lookahead, 8)
    again, state = copy.deepcopy(model), copy.deepcopy(lookahead.state())
    train(model, lookahead, 12)
    resumed = start_lookahead(again, 20)
    resumed.restore(state)
    train(again, resumed, 12)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
