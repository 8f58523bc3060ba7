"""With batch_size auto a job that runs out of memory goes on with smaller batches, and learns the same."""

import json

import pytest
import torch

from tests.support.entry_jobs import QUICK, history, same, stop_in_epoch, tensors
from trapline.data import loader
from trapline.training import data
from trapline.training.loop import Learner

pytestmark = pytest.mark.slow

# No batch normalisation in it, but dropout, whose generator must be put back too.
SETTINGS = [*QUICK, "--arch", "squeezenet1_1", "--epochs", "2", "--lr", "1e-4", "--optimizer", "sgd"]
AUTO = [*SETTINGS, "--batch-size", "auto"]
BY_HAND = [*SETTINGS, "--batch-size", "4", "--accumulation", "4"]
CPU = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried too much"


@pytest.fixture(autouse=True)
def a_machine_for_16(monkeypatch):
    monkeypatch.setattr(data, "automatic_batch_size", lambda *_: 16)


@pytest.fixture
def memory_for(monkeypatch):
    """Let a forward pass of more than `images` fail as if memory had run out, from the call `first` on."""
    forward, calls = Learner.outputs, []

    def limit(images, error=None, first=0):
        def outputs(learner, batch):
            calls.append(len(batch))
            if len(batch) > images + 1 and len(calls) > first:  # a left-over image joins a batch
                raise error or RuntimeError(CPU)
            return forward(learner, batch)

        monkeypatch.setattr(Learner, "outputs", outputs)
        return calls

    return limit


def batches(folder):
    return json.loads((folder / "model" / "model.json").read_text())["batches"]


def test_memory_that_runs_out_halves_the_batches_and_the_weights_are_those_of_a_job_told_so(
    small_demo, tmp_path, call_script, memory_for
):
    memory_for(4)
    call_script("train.py", "--prepared", small_demo, "--output", tmp_path / "told", *BY_HAND)
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *AUTO)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("batch_size auto: ")]
    assert ["16 x 1" in said[0], "with 8 x 2" in said[0], "8 x 2" in said[1], "with 4 x 4" in said[1]] == [
        True
    ] * 4
    assert "DefaultCPUAllocator" in said[0]
    assert batches(tmp_path) == {"batch_size": 4, "accumulation": 4}
    assert (
        json.loads((tmp_path / "model" / "model.json").read_text())["configuration"]["batch_size"] == "auto"
    )
    assert same(tensors(tmp_path, "last"), tensors(tmp_path / "told", "last"))
    assert [row["epoch"] for row in history(tmp_path)] == [1, 2]


def test_a_set_in_memory_is_decoded_once_though_memory_runs_out(
    small_demo, tmp_path, call_script, memory_for, monkeypatch
):
    memory_for(4)
    decode, decoded = loader.decoded, []
    monkeypatch.setattr(loader, "decoded", lambda packed: decoded.append(len(packed)) or decode(packed))
    done = call_script(
        "train.py",
        "--prepared",
        small_demo,
        "--output",
        tmp_path,
        *AUTO,
        "--in-memory",
        "True",
        "--augment",
        "shift_flip",
    )
    assert done.returncode == 0, done.stderr
    assert batches(tmp_path) == {"batch_size": 4, "accumulation": 4}
    assert len(decoded) == 2  # train and val


def test_a_step_has_the_same_images_so_that_smaller_batches_train_alike(small_demo, tmp_path, call_script):
    plain = ["--dropout", "0", "--precision", "fp32"]
    call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *AUTO, *plain)
    call_script("train.py", "--prepared", small_demo, "--output", tmp_path / "told", *BY_HAND, *plain)
    assert batches(tmp_path) == {"batch_size": 16, "accumulation": 1}
    one, other = tensors(tmp_path, "last"), tensors(tmp_path / "told", "last")
    assert all(torch.allclose(one[name], other[name], rtol=1e-4, atol=1e-6) for name in one)


def test_only_the_epoch_in_which_memory_ran_out_begins_again_and_a_resumed_job_keeps_its_batches(
    small_demo, tmp_path, call_script, memory_for, monkeypatch
):
    calls = memory_for(8, first=8)  # in the second epoch
    whole = call_script(
        "train.py", "--prepared", small_demo, "--output", tmp_path / "whole", *AUTO, "--epochs", "3"
    )
    assert "in epoch 2; it begins again with 8 x 2" in whole.stdout
    assert [row["epoch"] for row in history(tmp_path / "whole")] == [1, 2, 3]
    calls.clear()
    flags = ["--prepared", small_demo, "--output", tmp_path / "resumed", *AUTO, "--epochs", "3"]
    stop_in_epoch(3, call_script, *flags)
    monkeypatch.undo()  # all the memory of the world, and a formula that says otherwise
    resumed = call_script("train.py", *flags)
    assert "resumed after epoch 2" in resumed.stdout
    assert batches(tmp_path / "resumed") == {"batch_size": 8, "accumulation": 2}
    assert same(tensors(tmp_path / "resumed", "last"), tensors(tmp_path / "whole", "last"))


def test_a_batch_size_that_was_asked_for_is_kept_and_the_error_says_what_to_do(
    small_demo, tmp_path, call_script, memory_for
):
    memory_for(4, torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    done = call_script(
        "train.py", "--prepared", small_demo, "--output", tmp_path, *SETTINGS, "--batch-size", "16"
    )
    assert done.returncode == 1
    assert "error: memory has run out with batch_size 16 (CUDA out of memory" in done.stderr
    assert "or set batch_size=auto" in done.stderr


def test_another_error_is_none_of_memory(small_demo, tmp_path, call_script, memory_for):
    memory_for(4, RuntimeError("shapes do not match"))
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *AUTO)
    assert done.returncode == 1
    assert "RuntimeError: shapes do not match (a defect" in done.stderr
