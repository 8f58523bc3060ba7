"""The fast network through train.py, with all that comes with it: in memory, look-ahead, test views."""

import json

import pytest
import torch

from tests.support.entry_jobs import deterministic, history, same, stop_in_epoch, tensors
from trapline.data.prepared import open_prepared
from trapline.inference.predictor import load_predictor

FAST = [
    "--arch", "cifar_fast", "--weights", "none", "--image-size", "32", "--normalisation", "cifar10",
    "--augment", "shift_flip", "--batch-size", "16", "--optimizer", "sgd", "--lr", "0.02", "--nesterov",
    "--norm-bias-lr-multiplier", "8", "--schedule", "triangle", "--label-smoothing", "0.2", "--lookahead",
    "--num-workers", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def fast(small_demo, tmp_path_factory, call_script):
    """A job of two epochs. Read it only."""
    folder = tmp_path_factory.mktemp("fast")
    flags = [*FAST, "--epochs", "2", "--in-memory", "--score-test", "--test-views", "shifts"]
    done = call_script("train.py", "--prepared", small_demo, "--output", folder, *flags)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_first_layer_is_whitened_from_the_images_and_stays(fast):
    weight = tensors(fast)["whitening.weight"]
    assert torch.equal(weight[:12], -weight[12:])
    assert torch.equal(weight, tensors(fast, "last")["whitening.weight"])


@pytest.mark.slow
def test_the_model_serves_with_the_views_that_its_test_score_has(fast, small_demo):
    described = json.loads((fast / "model" / "model.json").read_text())
    scored = json.loads((fast / "output" / "data" / "test.json").read_text())
    assert described["views"] == scored["views"]
    assert len(scored["views"]) == 6
    assert described["normalisation"]["mean"] == [0.4914, 0.4822, 0.4465]
    predictor, test = load_predictor(fast / "model", precision="auto"), open_prepared(small_demo).part("test")
    logits = predictor.logits(predictor.decode(bytes(test.jpeg(row))) for row in range(len(test)))
    right = (logits.argmax(axis=1) == test.labels).mean()
    assert right == pytest.approx(scored["test_acc"], abs=1.5 / len(test))  # a tie may fall either way


@pytest.mark.slow
def test_images_in_memory_train_the_same_weights(fast, small_demo, tmp_path, call_script):
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *FAST, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert same(tensors(tmp_path, "last"), tensors(fast, "last"))


@pytest.mark.slow
def test_a_stopped_job_with_look_ahead_ends_like_one_never_stopped(small_demo, tmp_path, call_script):
    flags = [*FAST, "--epochs", "3", "--in-memory"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = call_script("train.py", "--prepared", small_demo, "--output", whole, *flags)
    assert done.returncode == 0, done.stderr
    job = ["--prepared", small_demo, "--output", stopped, *flags]
    stop_in_epoch(2, call_script, *job)
    again = call_script("train.py", *job)
    assert "resumed after epoch 1" in again.stdout
    assert deterministic(history(stopped)) == deterministic(history(whole))
    assert same(tensors(stopped, "last"), tensors(whole, "last"))
    assert same(tensors(stopped), tensors(whole))


@pytest.mark.slow
def test_the_originals_settings_train_with_a_penalty_on_absolute_weights(small_demo, tmp_path, call_script):
    flags = [
        "--arch", "resnet18", "--weights", "none", "--image-size", "32", "--normalisation", "cifar10_half",
        "--batch-size", "cuda:128,cpu:16", "--l1", "0.01", "--augment", "crop_flip", "--in-memory",
        "--epochs", "1", "--optimizer", "sgd", "--lr", "0.01",
    ]  # fmt: skip
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert described["configuration"]["batch_size"] == "cuda:128,cpu:16"
    assert described["batches"]["batch_size"] == (128 if torch.cuda.is_available() else 16)
    assert described["normalisation"]["std"] == [0.5, 0.5, 0.5]
