"""Killed jobs: started again, they end like jobs that were never killed."""

import subprocess
import sys
import time

import pytest

from tests.conftest import ENTRY_POINTS
from tests.support.entry_jobs import (
    QUICK,
    THREE_EPOCHS,
    deterministic,
    history,
    same,
    stop_in_epoch,
    tensors,
)


def kill_in_epoch(number, small_demo, folder, *flags):
    """Start the job and kill it with SIGKILL when `number` has begun and a batch of it is under way."""
    command = [
        sys.executable,
        ENTRY_POINTS / "train.py",
        "--prepared",
        small_demo,
        "--output",
        folder,
        *flags,
    ]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if f"point=epoch_{number}_start" in line:
            time.sleep(0.05)
            break
    process.kill()
    rest = process.stdout.read()
    process.wait()
    assert f"epoch_{number}_end" not in rest


@pytest.mark.slow
def test_a_killed_job_ends_like_one_never_killed(trained, small_demo, tmp_path, call_script):
    kill_in_epoch(2, small_demo, tmp_path, *THREE_EPOCHS)
    kill_in_epoch(3, small_demo, tmp_path, *THREE_EPOCHS, "--num-workers", "1")  # changes no weight
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *THREE_EPOCHS)
    assert done.returncode == 0, done.stderr
    assert "resumed after epoch 2" in done.stdout
    assert same(tensors(tmp_path), tensors(trained[0]))
    assert same(tensors(tmp_path, "last"), tensors(trained[0], "last"))
    assert deterministic(history(tmp_path)) == deterministic(history(trained[0]))


@pytest.mark.slow
def test_with_a_damaged_newest_checkpoint_the_one_before_it_is_used(
    trained, small_demo, tmp_path, call_script
):
    job = ["--prepared", small_demo, "--output", tmp_path, *THREE_EPOCHS]
    stop_in_epoch(3, call_script, *job)
    newest = max((tmp_path / "checkpoints").rglob("epoch-*.pt"))
    newest.write_bytes(newest.read_bytes()[:-1000])
    done = call_script("train.py", *job)
    assert "is damaged: set aside" in done.stdout
    assert "resumed after epoch 1" in done.stdout
    assert same(tensors(tmp_path, "last"), tensors(trained[0], "last"))
    assert deterministic(history(tmp_path)) == deterministic(history(trained[0]))


@pytest.mark.slow
def test_another_configuration_or_fresh_starts_at_the_beginning(small_demo, tmp_path, call_script):
    place = ["--prepared", small_demo, "--output", tmp_path]
    job = [*place, *QUICK, "--batch-size", "8", "--epochs", "2"]
    stop_in_epoch(2, call_script, *job)
    changed = call_script("train.py", *place, *QUICK, "--epochs", "1", "--seed", "1")
    assert "resumed" not in changed.stdout
    assert len(list((tmp_path / "checkpoints").rglob("epoch-*.pt"))) == 1
    fresh = call_script("train.py", *job, "--fresh")
    assert fresh.returncode == 0
    assert "resumed" not in fresh.stdout
    assert len(history(tmp_path)) == 2
