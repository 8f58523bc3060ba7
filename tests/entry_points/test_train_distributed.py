"""Training by two processes: as torchrun starts them on one machine, and as on two."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
import torch

from tests.conftest import ENTRY_POINTS
from tests.support.entry_jobs import QUICK, deterministic, history, same, tensors
from trapline import metrics
from trapline.models.artefact import load_model

TRAIN = ENTRY_POINTS / "train.py"
# bf16, where a CPU has it, would hide a wrong gradient in its rounding.
TWO_EPOCHS = [
    *QUICK, "--batch-size", "8", "--epochs", "2", "--dropout", "0.3", "--augment", "heavy", "--mixup", "0.2",
    "--precision", "fp32", "--accumulation", "2",
]  # fmt: skip

# train.py, and after every epoch each rank's tensors in a file of its own.
RECORDING = f"""
import os, sys
sys.path.insert(0, {str(ENTRY_POINTS)!r})
import torch, train
from trapline import console
from trapline.training import job

run_epoch = job._run_epoch

def run_and_record(learner, data, state):
    run_epoch(learner, data, state)
    print("printed by a rank")
    path = os.path.join(os.environ["RECORDS"], f"{{os.environ['RANK']}}-{{state.epoch}}.pt")
    torch.save(learner.model.state_dict(), path)

job._run_epoch = run_and_record
console.run(train.main)
"""

# train.py, with a loss on the second rank that is no number.
DIVERGING = f"""
import os, sys
sys.path.insert(0, {str(ENTRY_POINTS)!r})
import train
from trapline import console
from trapline.training import loop

add = loop.Tally.add
factor = float("nan") if os.environ["RANK"] == "1" else 1.0
loop.Tally.add = lambda tally, losses, *others: add(tally, factor * losses, *others)
console.run(train.main)
"""

# train.py, with a second rank that calculates wrongly in the last step of an epoch.
FAULTY = f"""
import os, sys
sys.path.insert(0, {str(ENTRY_POINTS)!r})
import torch, train
from trapline import console
from trapline.training import job

average = job.average_running_statistics

def average_and_err(model, ranks):
    average(model, ranks)
    if ranks.rank == 1:
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] += 1e-6

job.average_running_statistics = average_and_err
console.run(train.main)
"""


# train.py, with a data set that cannot be memory-mapped, as a channel of FastFile: a copy of a file is noted
# with its rank, and where COPIES_FAIL is set none can be made.
MOUNTED = f"""
import errno, os, shutil, sys
sys.path.insert(0, {str(ENTRY_POINTS)!r})
import pyarrow as pa
import train
from trapline import console

memory_map, copyfile = pa.memory_map, shutil.copyfile

def map_elsewhere(path, *arguments):
    if str(path).startswith(os.environ["MOUNT"]):
        raise OSError(errno.ENODEV, "Memory mapping file failed")
    return memory_map(path, *arguments)

def copy(source, target):
    if str(source).startswith(os.environ["MOUNT"]):
        with open(os.path.join(os.environ["RECORDS"], os.environ["RANK"]), "a") as record:
            record.write(os.path.basename(os.path.dirname(source)) + " ")
        if os.environ.get("COPIES_FAIL"):
            raise OSError(errno.ENOSPC, "No space left on device")
    return copyfile(source, target)

pa.memory_map, shutil.copyfile = map_elsewhere, copy
console.run(train.main)
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def environment(**variables):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SM_")}
    return plain | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **variables}


def start_ranks(script, *arguments, **variables):
    """Start two processes as torchrun does, but without it: it would itself end one when the other fails."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [str(item) for item in (sys.executable, script, *arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(command, env=environment(RANK=rank, LOCAL_RANK=rank, **place, **variables), **pipes)
        for rank in ("0", "1")
    ]


def finished(processes):
    outputs = [process.communicate(timeout=120) for process in processes]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


@pytest.fixture(scope="module")
def by_two(small_demo, tmp_path_factory):
    """A job under torchrun, of two ranks and two epochs: its folder, with the records, and its log."""
    folder = tmp_path_factory.mktemp("by_two")
    (folder / "records").mkdir()
    script = folder / "recording.py"
    script.write_text(RECORDING)
    flags = ["--prepared", small_demo, "--output", folder, *TWO_EPOCHS]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", free_port(), script, *flags]
    variables = environment(RECORDS=str(folder / "records"))
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_two_ranks_train_as_one_with_twice_the_batch(small_demo, tmp_path, call_script):
    flags = [
        *QUICK, "--arch", "swin_t", "--dropout", "0", "--stochastic-depth", "0", "--augment", "none",
        "--precision", "fp32", "--optimizer", "sgd", "--lr", "3e-3", "--clip-norm", "5", "--epochs", "1",
        "--accumulation", "2", "--class-weights", "balanced", "--prepared", small_demo,
    ]  # fmt: skip
    one = call_script("train.py", *flags, "--output", tmp_path / "one", "--batch-size", "16")
    two = finished(start_ranks(TRAIN, *flags, "--output", tmp_path / "two", "--batch-size", "8"))
    assert [done.returncode for done in (one, *two)] == [0, 0, 0], one.stderr + two[0].stderr
    assert two[1].stdout == ""
    expected, found = tensors(tmp_path / "one", "last"), tensors(tmp_path / "two", "last")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    [row], [same_row] = (deterministic(history(tmp_path / name)) for name in ("one", "two"))
    assert same_row | {"rss_mb": 0} == pytest.approx(row | {"rss_mb": 0}, rel=1e-4)


@pytest.mark.slow
def test_both_ranks_hold_the_same_model_after_every_epoch(by_two):
    folder, _ = by_two
    for epoch in (1, 2):
        ranks = [torch.load(folder / "records" / f"{rank}-{epoch}.pt", weights_only=True) for rank in (0, 1)]
        assert same(*ranks)
    assert any("running_var" in name for name in ranks[0])
    assert same(tensors(folder, "last"), ranks[0])
    assert not same(tensors(folder, "last"), torch.load(folder / "records" / "0-1.pt", weights_only=True))


@pytest.mark.slow
def test_one_rank_prints_and_writes(by_two):
    folder, log = by_two
    lines = [line for line in log.splitlines() if line.startswith(metrics.START)]
    assert [metrics.read_values(line)["epoch"] for line in lines] == [1, 2]
    assert [metrics.read_values(line) for line in lines] == history(folder)
    assert log.count("printed by a rank") == 2
    assert len(re.findall(r"\[PROFILE\] device=.* ranks=2 ", log)) == 1
    assert log.count("model: ") == 1
    assert len(re.findall(r"^ranks: all 2 hold the same weights, sha256 [0-9a-f]{64}$", log, re.M)) == 2
    _, description = load_model(folder / "model")
    assert description.epochs == 2
    assert list((folder / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_two_ranks_killed_and_started_again_end_like_ranks_never_killed(by_two, small_demo, tmp_path):
    flags = ["--prepared", small_demo, "--output", tmp_path, *TWO_EPOCHS]
    ranks = start_ranks(TRAIN, *flags)
    for line in ranks[0].stdout:
        if "point=epoch_2_start" in line:
            time.sleep(0.1)
            break
    for rank in ranks:
        rank.kill()
    assert "epoch_2_end" not in finished(ranks)[0].stdout
    done = finished(start_ranks(TRAIN, *flags))
    assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
    assert "resumed after epoch 1" in done[0].stdout
    assert same(tensors(tmp_path, "last"), tensors(by_two[0], "last"))
    assert deterministic(history(tmp_path)) == deterministic(history(by_two[0]))


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_others_with_its_reason(small_demo, tmp_path):
    copy = shutil.copytree(small_demo, tmp_path / "prepared")
    path = next((copy / "train").iterdir())
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xd8\xff")] = 0
    path.write_bytes(content)
    started = time.monotonic()
    done = finished(start_ranks(TRAIN, "--prepared", copy, "--output", tmp_path / "out", *TWO_EPOCHS))
    assert time.monotonic() - started < 100
    assert [rank.returncode for rank in done] == [1, 1]
    failed, waiting = sorted((rank.stderr for rank in done), key=lambda text: "lost" in text)
    assert re.fullmatch(r"error: .*train: image ZJ\d+ is damaged \(.*\); prepare again\n", failed)
    assert re.fullmatch(r"error: rank \d of 2 has lost the others; look for the message of .*\n", waiting)
    assert not (tmp_path / "out" / "model" / "model.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (DIVERGING, "error: the training loss became nan in epoch 1, by batch"),
        (FAULTY, "error: after epoch 1 rank 1 holds other weights than rank 0"),
    ],
    ids=["a loss that is no number on one rank", "ranks that no longer hold the same weights"],
)
def test_what_goes_wrong_on_one_rank_ends_all_without_a_model(small_demo, tmp_path, script, message):
    path = tmp_path / "script.py"
    path.write_text(script)
    done = finished(start_ranks(path, "--prepared", small_demo, "--output", tmp_path, *TWO_EPOCHS))
    assert [rank.returncode for rank in done] == [1, 1]
    for rank in done:
        assert rank.stderr.startswith(message)
    assert not (tmp_path / "model" / "model.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_a_mounted_set_is_copied_by_one_rank_of_a_machine_and_a_failure_ends_both(
    small_demo, tmp_path, fails
):
    (tmp_path / "script.py").write_text(MOUNTED)
    (tmp_path / "records").mkdir()
    variables = {"MOUNT": str(small_demo), "RECORDS": str(tmp_path / "records"), "LOCAL_WORLD_SIZE": "2"}
    variables |= {"COPIES_FAIL": "1"} if fails else {}
    flags = ["--prepared", small_demo, "--output", tmp_path / "out", *TWO_EPOCHS, "--epochs", "1"]
    done = finished(start_ranks(tmp_path / "script.py", *flags, **variables))
    assert [rank.returncode for rank in done] == [1, 1] if fails else [0, 0], done[0].stderr
    copied = {path.name: path.read_text().split() for path in (tmp_path / "records").iterdir()}
    assert copied == {"0": ["train"] if fails else ["train", "val"]}
    if fails:
        assert "No space left on device" in done[0].stderr
        assert done[1].stderr == "error: rank 1 of 2 ends, for rank 0 has failed; look for its message\n"
