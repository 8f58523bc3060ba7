"""When validation is due, under which names its numbers stand, and when a target was reached."""

import math

import pytest

from trapline.config import make_config
from trapline.training.checkpoint import TrainingState
from trapline.training.validation import is_due, named, say_target, target_epoch


def test_validation_is_due_every_few_epochs_and_after_the_last():
    config = make_config({"epochs": 8, "validate_every": 3})
    assert [epoch for epoch in range(1, 9) if is_due(config, epoch)] == [3, 6, 8]


def test_numbers_that_the_registry_does_not_have_for_the_part_are_left_out():
    values = {"loss": 0.5, "map": 0.25}
    assert named("val", values) == {"val_loss": 0.5, "val_map": 0.25}
    assert named("test", values) == {"test_loss": 0.5}


ACCURACIES = [0.2, None, 0.85, 0.9]
ROWS = [{"epoch": number} | ({} if value is None else {"val_acc": value})
        for number, value in enumerate(ACCURACIES, 1)]  # fmt: skip


@pytest.mark.parametrize(("accuracy", "epoch"), [(0.1, 1), (0.5, 3), (0.85, 3), (0.86, 4), (0.95, None)])
def test_the_first_epoch_with_the_target_accuracy_counts(accuracy, epoch):
    assert target_epoch(TrainingState(history=ROWS), accuracy) == epoch


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (0.85, "target: val_acc 0.85 reached after 3 epochs\n"),
        (0.95, "target: val_acc 0.95 not reached in 4 epochs, but 0.9000\n"),
        (None, ""),
    ],
)
def test_the_target_is_spoken_of_once(target, said, capsys):
    config = make_config({"target_accuracy": target})
    for epoch in range(1, 5):
        say_target(config, TrainingState(history=ROWS[:epoch]))
    say_target(config, TrainingState(history=ROWS), ended=True)
    assert capsys.readouterr().out == said


def test_an_accuracy_that_is_no_number_does_not_hide_the_highest_one(capsys):
    history = [{"epoch": 1, "val_acc": math.nan}, {"epoch": 2, "val_acc": 0.5}]
    say_target(make_config({"target_accuracy": 0.9}), TrainingState(history=history), ended=True)
    assert capsys.readouterr().out == "target: val_acc 0.9 not reached in 2 epochs, but 0.5000\n"
