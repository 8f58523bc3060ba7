"""Precision and memory format of a training job: measured before its first batch, and never again."""

import itertools
import json

import pytest
import torch

from tests.conftest import ENTRY_POINTS
from tests.entry_points.test_train_distributed import finished, start_ranks
from tests.support.entry_jobs import QUICK, deterministic, history, same, stop_in_epoch, tensors
from trapline.training import speed
from trapline.training.speed import Heat, Result

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="speaks of a machine without a GPU")
SMALL = [*QUICK, "--batch-size", "8", "--epochs", "2", "--dropout", "0.3"]

# train.py, on a machine where that way is the fastest that the variable FASTEST says of the rank.
MEASURING = f"""
import os, sys
sys.path.insert(0, {str(ENTRY_POINTS)!r})
import train
from trapline import console
from trapline.training import speed
from trapline.training.speed import Heat, Result

def measured(ways, *others):
    number = int(os.environ["FASTEST"].split(",")[int(os.environ["RANK"])])
    return Result(ways[number], (Heat(2, dict.fromkeys(ways, 1.0)),))

speed._measured = measured
console.run(train.main)
"""


@pytest.fixture
def measuring(tmp_path):
    (tmp_path / "measuring.py").write_text(MEASURING)
    return tmp_path / "measuring.py"


def speed_of(folder):
    return json.loads((folder / "model" / "model.json").read_text())["speed"]["training"]


@pytest.fixture
def on_machine(monkeypatch, tmp_path):
    """Let way number `fastest` be measured as the fastest, and nothing be known from before."""
    numbers = itertools.count()

    def measuring(fastest):
        monkeypatch.setenv("TRAPLINE_CACHE", str(tmp_path / f"cache {next(numbers)}"))
        monkeypatch.setattr(
            speed, "_measured", lambda ways, *_: Result(ways[fastest], (Heat(2, dict.fromkeys(ways, 1.0)),))
        )

    return measuring


@on_cpu
def test_a_job_measures_with_its_own_model_before_its_first_batch(
    small_demo, tmp_path, call_script, monkeypatch
):
    monkeypatch.setattr(speed, "MIN_JOB_SECONDS", 0.0)
    monkeypatch.setenv("TRAPLINE_CACHE", str(tmp_path / "cache"))
    flags = ["--prepared", small_demo, "--output", tmp_path, *QUICK, "--epochs", "1"]
    done = call_script("train.py", *flags)
    assert done.returncode == 0, done.stderr
    record = speed_of(tmp_path)
    assert record["source"] == "measured"
    assert {trial["precision"] for trial in record["trials"]} >= {"fp32"}
    assert all(trial["images_per_s"] > 0 for trial in record["trials"])
    lines = done.stdout.splitlines()
    (said,) = [number for number, line in enumerate(lines) if line.startswith("[SPEED] runs_in=")]
    assert said < next(number for number, line in enumerate(lines) if "point=epoch_1_start" in line)
    assert f"runs_in={record['precision']} channels_last={record['channels_last']}" in lines[said]


@on_cpu
@pytest.mark.parametrize(
    ("flags", "source"),
    [
        (["--deterministic", "true"], "plain"),
        (["--precision", "fp32", "--channels-last", "false"], "asked"),
        ([], "short"),
    ],
    ids=["deterministic", "asked", "short"],
)
def test_such_a_job_measures_nothing_and_runs_in_fp32_with_row_major_tensors(
    small_demo, tmp_path, call_script, monkeypatch, flags, source
):
    monkeypatch.setenv("TRAPLINE_CACHE", str(tmp_path / "cache"))
    done = call_script(
        "train.py", "--prepared", small_demo, "--output", tmp_path, *QUICK, "--epochs", "1", *flags
    )
    assert done.returncode == 0, done.stderr
    record = speed_of(tmp_path)
    assert (record["source"], record["precision"], record["channels_last"]) == (source, "fp32", False)
    assert record["trials"] == []


@on_cpu
@pytest.mark.long  # as with two ranks, below
def test_a_job_that_is_stopped_goes_on_with_what_it_has_measured(
    small_demo, tmp_path, call_script, on_machine
):
    folders = {name: tmp_path / name for name in ("whole", "stopped", "plain")}
    jobs = {name: ["--prepared", small_demo, "--output", folders[name], *SMALL] for name in folders}
    for name, fastest in (("plain", 0), ("whole", 3)):
        on_machine(fastest)
        assert call_script("train.py", *jobs[name]).returncode == 0
    on_machine(3)
    stop_in_epoch(2, call_script, *jobs["stopped"])
    on_machine(0)  # by now another way is the fastest
    done = call_script("train.py", *jobs["stopped"])
    assert "resumed after epoch 1" in done.stdout
    assert same(tensors(folders["stopped"], "last"), tensors(folders["whole"], "last"))
    assert same(tensors(folders["stopped"]), tensors(folders["whole"]))
    assert deterministic(history(folders["stopped"])) == deterministic(history(folders["whole"]))
    assert speed_of(folders["stopped"]) == speed_of(folders["whole"])
    assert not same(tensors(folders["plain"], "last"), tensors(folders["whole"], "last"))


@on_cpu
@pytest.mark.slow
def test_two_ranks_calculate_alike_whatever_each_would_measure_also_when_killed(
    small_demo, tmp_path, measuring, monkeypatch
):
    def started(name, fastest):
        monkeypatch.setenv("FASTEST", fastest)
        monkeypatch.setenv("TRAPLINE_CACHE", str(tmp_path / f"cache {name}"))
        return start_ranks(measuring, "--prepared", small_demo, "--output", tmp_path / name, *SMALL)

    assert [rank.returncode for rank in finished(started("whole", "3,0"))] == [0, 0]
    ranks = started("killed", "3,1")
    for line in ranks[0].stdout:
        if "point=epoch_2_start" in line:
            break
    for rank in ranks:
        rank.kill()
    finished(ranks)
    done = finished(started("killed", "0,2"))
    assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
    assert "resumed after epoch 1" in done[0].stdout
    assert same(tensors(tmp_path / "killed", "last"), tensors(tmp_path / "whole", "last"))
    assert speed_of(tmp_path / "killed") == speed_of(tmp_path / "whole")


@on_cpu
@pytest.mark.slow
def test_a_job_that_goes_on_where_its_precision_cannot_be_had_says_so(
    small_demo, tmp_path, call_script, on_machine
):
    job = ["--prepared", small_demo, "--output", tmp_path, *SMALL]
    on_machine(0)
    stop_in_epoch(2, call_script, *job)
    (path,) = (tmp_path / "checkpoints").glob("*/speed.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "device": "a GPU", "precision": "fp16"}))
    on_machine(1)
    done = call_script("train.py", *job)
    assert done.returncode == 0, done.stderr
    assert "the job began in fp16 on a GPU, which this machine cannot do" in done.stdout
    assert "resumed after epoch 1" in done.stdout
