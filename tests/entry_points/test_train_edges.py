"""Jobs at the edge of what can be trained: they say what is wrong, and leave no half model."""

import json
import math

import pytest

from tests.support.entry_jobs import QUICK, deterministic, history, same, stop_in_epoch, tensors
from trapline.models.artefact import load_model
from trapline.training import validation

SMALL = [*QUICK, "--arch", "mnasnet0_5", "--precision", "fp32"]


@pytest.fixture
def train(small_demo, tmp_path, call_script):
    """Run a job in this process, and say where it left what."""

    def run(*flags, folder="run"):
        place = tmp_path / folder
        return call_script("train.py", "--prepared", small_demo, "--output", place, *SMALL, *flags), place

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [["--accumulation", "4", "--mixup", "0.2"], ["--in-memory", "True", "--augment", "none"]]
)
def test_single_images_that_cannot_be_normalised_are_refused_before_training(train, more):
    done, folder = train("--batch-size", "1", *more)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: batch_size: 1 leaves a batch of one image, on which mnasnet0_5 cannot"
    )
    assert "image_size 32" in done.stderr
    assert "Traceback" not in done.stderr
    assert "point=epoch_1_start" not in done.stdout
    assert not (folder / "model" / "model.json").exists()


@pytest.mark.slow
def test_a_training_of_one_step_has_the_learning_rate_that_was_asked_for(train):
    done, folder = train("--batch-size", "512", "--epochs", "1", "--schedule", "onecycle", "--lr", "0.005")
    assert done.returncode == 0, done.stderr
    assert history(folder)[0]["lr"] == 0.005
    assert "note: schedule onecycle: needs 4 steps to rise and fall, and there are 1" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "more"),
    [
        ("val_loss", ["--validate-every", "5", "--score-test", "True"]),
        ("val_macro_f1", ["--patience", "1"]),
    ],
)
def test_a_job_without_a_finite_metric_fails_and_keeps_its_history(train, monkeypatch, metric, more):
    measure = validation.classification_metrics

    def undefined(predictions):
        return {**measure(predictions), metric.removeprefix("val_"): math.nan}

    monkeypatch.setattr(validation, "classification_metrics", undefined)
    done, folder = train("--epochs", "2", "--best-metric", metric, *more)
    assert done.returncode == 1
    assert f"has a finite {metric}, so that none is the best and no model is written" in done.stderr
    assert str(folder / "output" / "data" / "metrics.csv") in done.stderr
    text = (folder / "output" / "data" / "metrics.csv").read_text()
    assert text.splitlines()[0].startswith("epoch,train_loss")
    assert len(text.splitlines()) == (2 if "--patience" not in more else 1) + 1
    assert not any((folder / "model").iterdir())
    assert not (folder / "output" / "data" / "test.json").exists()


@pytest.mark.slow
def test_an_epoch_that_is_no_number_is_passed_over_and_every_row_says_which_is_kept(train, monkeypatch):
    losses = iter([math.nan, 0.7, 0.9])
    measure = validation.classification_metrics
    monkeypatch.setattr(
        validation, "classification_metrics", lambda found: {**measure(found), "loss": next(losses)}
    )
    done, folder = train("--epochs", "3")
    assert done.returncode == 0, done.stderr
    assert [row["best_epoch"] for row in history(folder)] == [0, 2, 2]
    assert json.loads((folder / "model" / "model.json").read_text())["best_epoch"] == 2
    assert done.stdout.count(" best_epoch=2 ") == 2


@pytest.mark.long
def test_a_mnasnet_that_was_stopped_goes_on_and_ends_like_one_that_was_not(
    train, small_demo, tmp_path, call_script
):
    whole, undisturbed = train("--epochs", "2", "--dropout", "0.3", folder="whole")
    assert whole.returncode == 0, whole.stderr
    flags = ["--epochs", "2", "--dropout", "0.3"]
    stop_in_epoch(2, call_script, "--prepared", small_demo, "--output", tmp_path / "run", *SMALL, *flags)
    resumed, folder = train(*flags)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch 1" in resumed.stdout
    for name in ("model", "last"):
        assert same(tensors(folder, name), tensors(undisturbed, name))
    assert deterministic(history(folder)) == deterministic(history(undisturbed))
    load_model(folder / "model")
