"""A range is what the configuration allows, said in one line, and drawn from as it says."""

import argparse
import itertools
import json

import pytest
from sagemaker_training import environment

from trapline.config import TrainingConfig, read_config
from trapline.errors import UsageError
from trapline.launching.plan import Between, Choice, config_at, grid, random_points, read_ranges

BASE = TrainingConfig()


def read(*texts):
    return read_ranges(texts, BASE)


def test_a_range_is_of_its_hyperparameters_type():
    assert read("lr=1e-5:1e-3:log", "epochs=5:20", "label_smoothing=0:0.2", "batch_size=16,32,64") == [
        Between("lr", 1e-5, 1e-3, whole=False, log=True),
        Between("epochs", 5, 20, whole=True),
        Between("label_smoothing", 0.0, 0.2, whole=False),
        Choice("batch_size", ("16", "32", "64")),
    ]
    assert read("patience=2:9") == [Between("patience", 2, 9, whole=True)]
    assert read("clip_norm=None,1,5") == [Choice("clip_norm", (None, "1", "5"))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=1:2", "hyperparameter epoch: unknown; did you mean epochs?"),
        ("lr", "--range lr: must be KEY=VALUE"),
        ("lr=0.1", "--range lr=0.1: must be lr=LOW:HIGH, lr=LOW:HIGH:log or lr=VALUE,VALUE"),
        ("optimizer=adamw", "--range optimizer=adamw: must be optimizer=VALUE,VALUE"),
        ("lr=0.1,", "--range lr=0.1,: must be"),
        ("lr=0.1,0.1", "names a value twice"),
        ("lr=1e-3:1e-5", "LOW must be below HIGH"),
        ("lr=1e-3:inf", "LOW must be below HIGH, and both finite"),
        ("lr=a:b", "LOW and HIGH must be numbers"),
        ("epochs=1.5:3", "LOW and HIGH must be whole numbers"),
        ("lr=1e-5:1e-3:quadratic", "after LOW:HIGH comes nothing, or one of linear, log"),
        ("weight_decay=0:0.1:log", "a logarithmic range begins above 0"),
        ("num_workers=0:4", "does not change what is learned"),
        ("label_smoothing=0:1", "label_smoothing=1.0 is not possible: hyperparameter label_smoothing"),
        ("optimizer=adamw,rmsprop", "optimizer=rmsprop is not possible"),
        ("epochs=0:3", "epochs=0 is not possible"),
    ],
)
def test_what_no_job_could_run_with_is_refused_before_any_starts(text, message):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert message in str(caught.value)


def test_hyperparameters_that_do_not_fit_together_are_found_by_their_combination():
    read("epochs=5:20", "warmup_epochs=0:4")
    with pytest.raises(
        UsageError, match=r"--range: epochs=5 warmup_epochs=6.0 is not possible.*below epochs"
    ):
        read("epochs=5:20", "warmup_epochs=0:6")


def test_many_choices_are_each_tried_by_themselves():
    numbers = ",".join(map(str, range(1, 70)))
    texts = [f"batch_size={numbers}", f"seed={numbers}"]
    assert len(read(*texts)) == 2
    with pytest.raises(UsageError, match="batch_size=0 is not possible"):
        read(f"batch_size=0,{numbers}", texts[1])


def test_draws_lie_within_the_range_and_are_the_same_for_the_same_seed():
    ranges = read("lr=1e-5:1e-3:log", "epochs=5:20", "warmup_epochs=0:4", "optimizer=adamw,sgd")
    points = list(itertools.islice(random_points(ranges, 3), 200))
    assert points == list(itertools.islice(random_points(ranges, 3), 200))
    assert points != list(itertools.islice(random_points(ranges, 4), 200))
    assert all(config_at(BASE, point) for point in points)
    assert all(1e-5 <= point["lr"] <= 1e-3 and 5 <= point["epochs"] <= 20 for point in points)
    below = sum(point["lr"] < 1e-4 for point in points)
    assert 70 < below < 130  # half of a logarithmic range
    assert {point["epochs"] for point in points} == set(range(5, 21))


def test_whole_numbers_on_a_logarithmic_scale_favour_the_small():
    points = list(itertools.islice(random_points(read("batch_size=1:1024:log", "lr=0.1:0.2"), 0), 200))
    assert 70 < sum(point["batch_size"] <= 32 for point in points) < 130


def test_no_point_comes_twice_and_a_small_space_ends():
    assert len(list(random_points(read("optimizer=adamw,sgd", "epochs=1:3"), 0))) == 6


def test_a_grid_is_every_combination():
    points = list(grid(read("optimizer=adamw,sgd", "batch_size=16,32")))
    assert points == [
        {"optimizer": "adamw", "batch_size": "16"},
        {"optimizer": "adamw", "batch_size": "32"},
        {"optimizer": "sgd", "batch_size": "16"},
        {"optimizer": "sgd", "batch_size": "32"},
    ]


def test_what_sagemakers_tuner_sends_is_read_as_it_was_meant(monkeypatch):
    """Tuned values come as strings, categorical ones as JSON strings, with a word about the objective."""
    sent = {
        "lr": "1.2E-4",
        "epochs": "12",
        "batch_size": '"32"',
        "optimizer": '"sgd"',
        "clip_norm": '"None"',
        "deterministic": '"True"',
        "weights": '"none"',
        "dropout": "null",
        "_tuning_objective_metric": "val_loss",
        "sagemaker_estimator_class_name": '"PyTorch"',
        "sagemaker_program": '"train.py"',
    }
    monkeypatch.setattr(environment, "_read_json", lambda _: sent)
    decoded = environment.read_hyperparameters()
    config = read_config(argparse.Namespace(), {"SM_HPS": json.dumps(decoded)})
    assert (config.lr, config.epochs, config.batch_size) == (1.2e-4, 12, 32)
    assert (config.optimizer, config.clip_norm, config.deterministic) == ("sgd", None, True)
