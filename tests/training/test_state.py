import csv
import math

import pytest
import torch

from trapline.config import make_config
from trapline.errors import TraplineError
from trapline.models.weights import copied_state
from trapline.reports.run_logs import read_history
from trapline.training.checkpoint import TrainingState


def run(values, **settings):
    """A job whose validation metric takes these values, and the epoch after which it ends."""
    config = make_config({"epochs": 20, "best_metric": "val_acc", **settings})
    progress, model = TrainingState(), torch.nn.Linear(1, 1)
    for epoch, value in enumerate(values, 1):
        with torch.no_grad():
            model.weight.fill_(epoch)
        progress.add({"epoch": epoch, "val_acc": value}, model, config)
        if progress.finished(config):
            break
    return progress


def test_the_best_epochs_weights_are_kept():
    progress = run([0.5, 0.7, 0.6])
    assert progress.best_epoch == 2
    assert float(progress.best_weights["weight"]) == 2.0


def test_a_tie_goes_to_the_earlier_epoch():
    assert run([0.5, 0.5]).best_epoch == 1


def test_patience_counts_epochs_without_a_better_value():
    assert run([0.5, 0.6, 0.6, 0.55, 0.7], patience=2).epoch == 4


def test_small_gains_do_not_renew_patience_but_still_count_as_best():
    progress = run([0.50, 0.51, 0.52, 0.53], patience=2, min_delta=0.05)
    assert (progress.epoch, progress.best_epoch) == (3, 3)


def test_slow_but_steady_gains_renew_patience():
    assert run([0.50, 0.53, 0.56, 0.59, 0.62], patience=2, min_delta=0.05).epoch == 5


def test_epochs_without_validation_are_recorded_and_count_neither_as_better_nor_as_stale(tmp_path):
    config = make_config({"epochs": 9, "best_metric": "val_acc", "validate_every": 2, "patience": 2})
    progress, model = TrainingState(), torch.nn.Linear(1, 1)
    for epoch, value in enumerate([None, 0.5, None, 0.4, None, 0.3], 1):
        assert not progress.out_of_patience(config)
        row = {"epoch": epoch, "train_loss": 1.0} | ({} if value is None else {"val_acc": value})
        progress.add(row, model, config)
    assert (progress.epoch, progress.best_epoch, progress.best_value) == (6, 2, 0.5)
    assert progress.out_of_patience(config)
    progress.write_csv(tmp_path / "metrics.csv")
    assert read_history(tmp_path / "metrics.csv") == progress.history


def test_the_state_makes_the_same_progress_again():
    progress = run([0.5, 0.7])
    again = TrainingState(**vars(progress))
    assert again.history == progress.history
    assert (again.best_epoch, again.best_value, again.stale_validations) == (2, 0.7, 0)
    assert torch.equal(again.best_weights["weight"], progress.best_weights["weight"])


def test_the_csv_has_the_printed_numbers(tmp_path):
    run([1 / 3, 1e-7]).write_csv(tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"epoch": "1", "val_acc": "0.333333"}, {"epoch": "2", "val_acc": "1e-07"}]


def test_copied_weights_do_not_follow_the_model():
    model = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    copied = copied_state(model.state_dict())
    before = copied["weight"].clone()
    torch.nn.init.zeros_(model.weight)
    assert torch.equal(copied["weight"], before)
    assert copied["weight"].is_contiguous()
    assert before.norm() == pytest.approx(float(copied["weight"].norm()))


@pytest.mark.parametrize("first", [math.nan, math.inf, -math.inf])
def test_a_first_value_that_is_not_finite_is_never_the_best(first):
    assert (run([first, 0.5]).best_epoch, run([first]).best_epoch) == (2, 0)


def test_where_no_value_is_finite_there_is_no_best_epoch_and_the_error_says_what_to_do(tmp_path):
    progress = run([math.nan, math.nan, math.inf])
    assert (progress.best_epoch, progress.best_weights) == (0, {})
    config = make_config({"best_metric": "val_acc", "lr": 0.25})
    with pytest.raises(
        TraplineError, match=r"no epoch of 3 has a finite val_acc.*metrics\.csv, then lower lr \(now 0\.25\)"
    ):
        progress.require_best(config, tmp_path)
    run([math.nan, 0.5]).require_best(config, tmp_path)
