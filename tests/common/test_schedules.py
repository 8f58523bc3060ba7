"""The shapes of learning-rate schedules, and plateaus of the validation loss."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import make_config
from common.schedules import SCHEDULES, Course, half_cosine, learning_rate_factor, level, lower, on_plateau
from common.training.optimisation import make_schedule

PEAK, EPOCHS, STEPS = 0.5, 8, 5


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 299), st.sampled_from([level, half_cosine]))
def test_the_factor_is_a_share_of_the_peak(steps, warmup, shape):
    course = Course(steps, min(warmup, steps - 1))
    factors = [learning_rate_factor(step, course, shape) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1


def lowered_after(losses, patience):
    """The epochs, from 1, at whose ends a plateau is seen."""
    return [epoch for epoch in range(1, len(losses) + 1) if on_plateau(losses[:epoch], patience)]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0]), max_size=20), st.integers(1, 4))
def test_a_plateau_ends_one_epoch_before_torchs_of_the_same_patience(losses, patience):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=0, eps=0
    )
    rates = [1.0]
    for loss in losses:
        schedule.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    lowered = [epoch for epoch, (before, after) in enumerate(pairwise(rates), 1) if after < before]
    assert lowered_after(losses, patience) == lowered


@pytest.mark.parametrize(
    ("losses", "patience", "epochs"),
    [
        ([3, 2, 1], 1, []),
        ([1, 2, 2], 2, [3]),
        ([1, 2, 2, 2, 2], 2, [3, 5]),
        ([1, 2, 0.5, 2, 2], 2, [5]),
        ([1, 1, 1], 1, [2, 3]),
        ([2, 3, 1, math.nan, math.nan], 2, [5]),
        ([], 1, []),
    ],
)
def test_a_plateau_ends_after_so_many_epochs_without_a_better_loss(losses, patience, epochs):
    assert lowered_after(losses, patience) == epochs


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), max_size=30), st.integers(1, 5))
def test_plateaus_are_at_least_patience_epochs_apart(losses, patience):
    ends = [0, *lowered_after(losses, patience)]
    assert all(later - earlier >= patience for earlier, later in pairwise(ends))


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), max_size=30), st.integers(1, 5))
def test_the_rate_is_lowered_where_torch_lowers_it(losses, patience):
    """ReduceLROnPlateau waits for one epoch more than its patience, and starts anew after each reduction."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=0, eps=0
    )
    found = []
    for epoch, loss in enumerate(losses, 1):
        before = optimizer.param_groups[0]["lr"]
        torchs.step(loss)
        found += [epoch] if optimizer.param_groups[0]["lr"] < before else []
    assert lowered_after(losses, patience) == found


class Training:
    """An optimizer and its schedule, epoch for epoch, as a job advances them."""

    def __init__(self, name):
        self.config = make_config({"lr": PEAK, "epochs": EPOCHS, "schedule": name, "plateau_patience": 2})
        self.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
        self.schedule = make_schedule(self.config, self.optimizer, STEPS)
        self.losses = []

    def epoch(self, loss):
        rates = []
        for _ in range(STEPS):
            rates.append(self.optimizer.param_groups[0]["lr"])
            self.optimizer.step()
            self.schedule.step()
        self.losses.append(loss)
        if SCHEDULES[self.config.schedule].plateau and on_plateau(self.losses, self.config.plateau_patience):
            lower(self.schedule, self.config.plateau_factor)
        return rates

    def state(self):
        return self.optimizer.state_dict(), self.schedule.state_dict(), list(self.losses)

    def load(self, state):
        optimizer, schedule, self.losses = state
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict(schedule)
        return self


VALIDATION = [1.0, 0.9, 1.1, 1.2, 0.8, 0.9, 0.9, 0.7]  # plateaus end with epochs 4 and 7


@pytest.mark.parametrize(("name", "alone"), [("cosine_plateau", "cosine"), ("plateau", "constant")])
def test_each_plateau_halves_the_rate_on_top_of_the_schedule(name, alone):
    together, plain = Training(name), Training(alone)
    for epoch, loss in enumerate(VALIDATION, 1):
        factor = 0.5 ** sum(epoch > end for end in (4, 7))
        assert together.epoch(loss) == pytest.approx([rate * factor for rate in plain.epoch(loss)])


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_a_training_that_goes_on_has_the_rates_of_one_undisturbed(stop):
    undisturbed, stopped = Training("cosine_plateau"), Training("cosine_plateau")
    expected = [undisturbed.epoch(loss) for loss in VALIDATION]
    for loss in VALIDATION[:stop]:
        stopped.epoch(loss)
    resumed = Training("cosine_plateau").load(stopped.state())
    assert [resumed.epoch(loss) for loss in VALIDATION[stop:]] == expected[stop:]


def test_every_schedule_can_be_chosen_and_runs_to_the_end():
    for name in SCHEDULES:
        training = Training(name)
        rates = [rate for loss in VALIDATION for rate in training.epoch(loss)]
        assert all(0 <= rate <= PEAK * (1 + 1e-9) for rate in rates)
