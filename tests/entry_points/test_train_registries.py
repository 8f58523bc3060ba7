"""What is entered in a registry can be trained with: nothing else changes for it."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ENTRY_POINTS
from tests.support.entry_jobs import QUICK, deterministic, history, same, stop_in_epoch, tensors

# train.py, with an architecture, a loss and a schedule that Trapline does not have: each in its one place.
EXTENDED = f"""
import sys
sys.path.insert(0, {str(ENTRY_POINTS)!r})
from trapline import learning

def squared_error(outputs, labels, settings):
    from torch.nn import functional
    wanted = functional.one_hot(labels, outputs.shape[1])
    return (outputs.softmax(dim=1) - wanted).square().sum(dim=1)

learning.LOSSES["squared_error"] = learning.Loss(squared_error)
learning.SCHEDULES["linear"] = learning.Schedule(learning.shaped(lambda done: 1 - done))

from torch import nn
from trapline.models import own

def tiny_net(classes):
    layers = [nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]
    return nn.Sequential(*layers)

own.OWN["tiny_net"] = own.Architecture(tiny_net)
import train
from trapline import console
console.run(train.main)
"""


@pytest.mark.slow
def test_an_architecture_a_loss_and_a_schedule_are_added_in_one_place_each(small_demo, tmp_path):
    script = tmp_path / "extended.py"
    script.write_text(EXTENDED)
    flags = [*QUICK, "--epochs", "2", "--precision", "fp32"]
    flags += ["--arch", "tiny_net", "--loss", "squared_error", "--schedule", "linear"]
    command = [sys.executable, script, "--prepared", small_demo, "--output", tmp_path, *flags]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = history(tmp_path)
    assert first["lr"] > second["lr"] > 0
    assert second["train_loss"] < 2  # the largest that a squared error can be
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert (described["architecture"], described["parameters"]) == ("tiny_net", 3 * 4 * 9 + 4 + 4 * 8 + 8)
    assert set(tensors(tmp_path)) == {"0.weight", "0.bias", "4.weight", "4.bias"}


ENHANCED = [
    *QUICK, "--arch", "enhanced_resnet18", "--batch-size", "16", "--epochs", "2", "--loss", "focal",
    "--label-smoothing", "0.1", "--class-weights", "inverse", "--augment", "heavy",
]  # fmt: skip


@pytest.mark.slow
def test_the_enhanced_system_trains_with_accumulation_and_mixup(small_demo, tmp_path, call_script):
    flags = [*ENHANCED, "--accumulation", "2", "--mixup", "0.2", "--schedule", "cosine_plateau"]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert {"fc.1.weight", "fc.3.running_mean", "fc.5.weight"} <= set(tensors(tmp_path))
    assert all(0 < row["train_loss"] < 1 for row in history(tmp_path))


@pytest.mark.slow
def test_log_softmax_with_nll_trains_as_logits_with_cross_entropy(small_demo, tmp_path, call_script):
    flags = [*QUICK, "--epochs", "1", "--precision", "fp32", "--label-smoothing", "0.1", "--deterministic"]
    plain, nll = tmp_path / "plain", tmp_path / "nll"
    for folder, own in ((plain, []), (nll, ["--loss", "nll", "--model-output", "log_softmax"])):
        done = call_script("train.py", "--prepared", small_demo, "--output", folder, *flags, *own)
        assert done.returncode == 0, done.stderr
    for one, other in zip(history(plain), history(nll), strict=True):
        for name in ("train_loss", "val_loss", "val_acc"):
            assert one[name] == pytest.approx(other[name], abs=2e-3)


PLATEAU = [
    *QUICK, "--batch-size", "16", "--epochs", "5", "--optimizer", "sgd", "--lr", "0.3", "--dropout", "0.3",
    "--schedule", "cosine_plateau", "--plateau-patience", "1", "--plateau-factor", "0.25",
]  # fmt: skip


@pytest.mark.slow
def test_a_job_stopped_after_a_plateau_ends_like_one_never_stopped(small_demo, tmp_path, call_script):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = call_script("train.py", "--prepared", small_demo, "--output", whole, *PLATEAU)
    assert done.returncode == 0, done.stderr
    before, _, _ = done.stdout.partition("point=epoch_4_start")
    assert "plateau: no better val_loss in 1 validations; the learning rate is multiplied by 0.25" in before
    job = ["--prepared", small_demo, "--output", stopped, *PLATEAU]
    stop_in_epoch(4, call_script, *job)
    again = call_script("train.py", *job)
    assert "resumed after epoch 3" in again.stdout
    assert deterministic(history(stopped)) == deterministic(history(whole))
    assert same(tensors(stopped, "last"), tensors(whole, "last"))
