"""The shapes of learning-rate schedules, and plateaus of the validation loss."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.config import make_config
from trapline.learning import (
    SCHEDULES,
    Course,
    half_cosine,
    learning_rate_factor,
    level,
    lower,
    on_plateau,
    plan_schedule,
)
from trapline.training.optimisation import make_schedule

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


def rates_of(name, steps_per_epoch, epochs=1, **settings):
    """The learning rates of a training, as shares of its peak."""
    config = make_config({"lr": PEAK, "epochs": epochs, "schedule": name, "optimizer": "sgd", **settings})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK, momentum=0.9)
    schedule = make_schedule(config, optimizer, steps_per_epoch)
    rates = []
    for _ in range(epochs * steps_per_epoch):
        rates.append(optimizer.param_groups[0]["lr"] / PEAK)
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_single_step_is_taken_at_the_peak(name, capsys):
    assert rates_of(name, 1) == [1]
    said = capsys.readouterr().out
    assert said == "" if not SCHEDULES[name].own_warmup else f"note: schedule {name}: needs 4 steps" in said


@pytest.mark.parametrize("name", ["onecycle", "triangle"])
@pytest.mark.parametrize(("steps", "epochs"), [(2, 1), (3, 1), (1, 2), (1, 3)])
def test_too_few_steps_to_rise_and_fall_are_all_taken_at_the_peak(name, steps, epochs, capsys):
    assert set(rates_of(name, steps, epochs)) == {1}
    assert f"and there are {steps * epochs}: all at lr" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["onecycle", "triangle"])
def test_from_four_steps_on_the_shape_is_its_own_and_nothing_is_said(name, capsys):
    for steps in (4, 5, 40):
        rates = rates_of(name, steps)
        assert rates[0] < max(rates) / 2
        assert rates[-1] < max(rates) / 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["constant", "cosine", "plateau", "cosine_plateau"])
@pytest.mark.parametrize(
    ("steps", "epochs", "warmup", "expected"),
    [(1, 1, 0.9, [1]), (2, 1, 0.9, [0.5, 1]), (1, 2, 1.9, [0.5, 1]), (1, 3, 2.6, [1 / 3, 2 / 3, 1])],
)
def test_a_warm_up_leaves_the_last_step_to_the_peak(name, steps, epochs, warmup, expected, capsys):
    assert rates_of(name, steps, epochs, warmup_epochs=warmup) == pytest.approx(expected)
    said = capsys.readouterr().out
    assert f"warmup_epochs: would take all steps of the training ({steps * epochs})" in said


def test_a_warm_up_of_less_than_a_step_is_said_to_be_none(capsys):
    assert rates_of("cosine", 1, 2, warmup_epochs=0.4)[0] == 1
    assert "warmup_epochs: less than a step" in capsys.readouterr().out


def test_enough_steps_are_planned_as_they_were_asked_for():
    plan = plan_schedule("cosine", steps=40, warmup=9.6)
    assert (plan.schedule, plan.course, plan.note) == (SCHEDULES["cosine"], Course(40, 10), "")
