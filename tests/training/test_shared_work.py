"""What one process does for all on its machine: it is done once, and nobody waits for what has failed."""

import errno
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from trapline.config import make_config
from trapline.errors import TraplineError
from trapline.job_contract import TrainingPaths
from trapline.training import data, distributed
from trapline.training.data import fetch_data, setup_data
from trapline.training.distributed import ALONE, Ranks, once_per_machine

TWO_MACHINES = [Ranks(rank=rank, world_size=4, local_rank=rank % 2, local_world_size=2) for rank in range(4)]
ONE_MACHINE = [Ranks(rank=rank, world_size=2, local_rank=rank, local_world_size=2) for rank in range(2)]


@pytest.fixture
def together(monkeypatch):
    """Call a function for every rank at once, each in a thread: what it returned or raised, by rank."""

    def run(function, every):
        box, meeting = [None] * len(every), threading.Barrier(len(every))
        results = [None] * len(every)

        def from_all(value, ranks):
            box[ranks.rank] = value
            meeting.wait(timeout=30)
            found = list(box)
            meeting.wait(timeout=30)
            return found

        def of_one(ranks):
            try:
                results[ranks.rank] = function(ranks)
            except (Exception, SystemExit) as error:
                results[ranks.rank] = error

        monkeypatch.setattr(distributed, "from_all", from_all)
        threads = [threading.Thread(target=of_one, args=(ranks,)) for ranks in every]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        return results

    return run


def test_the_first_rank_of_each_machine_works_and_all_of_it_get_what_it_returns(together):
    worked = []

    def ask(ranks):
        return once_per_machine(lambda: worked.append(ranks.rank) or f"of {ranks.rank}", ranks)

    assert together(ask, TWO_MACHINES) == ["of 0", "of 0", "of 2", "of 2"]
    assert sorted(worked) == [0, 2]
    assert once_per_machine(lambda: "alone", ALONE) == "alone"


@pytest.mark.parametrize("failing", [0, 2])
@pytest.mark.parametrize("error", [TraplineError("the mount is gone"), OSError("disk full"), KeyError("x")])
def test_where_the_work_fails_its_rank_says_why_and_all_others_end(together, failing, error, capsys):
    def ask(ranks):
        def work():
            if ranks.rank == failing:
                raise error

        return once_per_machine(work, ranks)

    results = together(ask, TWO_MACHINES)
    assert results[failing] is error
    others = [result for rank, result in enumerate(results) if rank != failing]
    assert [(type(other), other.code) for other in others] == [(SystemExit, 1)] * 3
    assert capsys.readouterr().err.count(f"ends, for rank {failing} has failed") == 3


@pytest.fixture
def mounted(small_demo, tmp_path, monkeypatch):
    """A data set that cannot be memory-mapped, as in a channel of FastFile, and what is copied of it."""
    folder = shutil.copytree(small_demo, tmp_path / "mounted")
    memory_map, copyfile, copied = pa.memory_map, shutil.copyfile, []

    def map_elsewhere(path, *arguments):
        if Path(path).is_relative_to(folder):
            raise OSError(errno.ENODEV, "Memory mapping file failed")
        return memory_map(path, *arguments)

    def copy(source, target):
        copied.append(Path(source).parent.name)
        return copyfile(source, target)

    monkeypatch.setattr(pa, "memory_map", map_elsewhere)
    monkeypatch.setattr(shutil, "copyfile", copy)
    return folder, copied


def paths_of(folder, tmp_path):
    return TrainingPaths(prepared=folder, output=tmp_path, model=tmp_path, checkpoints=tmp_path)


def test_the_ranks_of_a_machine_share_one_copy_of_a_mounted_set(together, mounted, tmp_path):
    folder, copied = mounted
    config = make_config({"image_size": 32, "batch_size": 4, "num_workers": 0, "weights": "none"})

    def set_up(ranks):
        return setup_data(config, paths_of(folder, tmp_path), torch.device("cpu"), ranks)

    found = together(set_up, ONE_MACHINE)
    assert sorted(copied) == ["train", "val"]
    first, second = (data.prepared.part("train") for data in found)
    assert first.files == second.files
    assert not any(file.is_relative_to(folder) for file in first.files)
    assert len(list(found[1].train.epoch(1))) == len(list(found[0].train.epoch(1)))


def test_a_copy_that_fails_leaves_no_rank_waiting(together, mounted, tmp_path, monkeypatch):
    folder, _ = mounted

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    config = make_config({"image_size": 32, "num_workers": 0, "weights": "none"})

    def set_up(ranks):
        return setup_data(config, paths_of(folder, tmp_path), torch.device("cpu"), ranks)

    failed, waiting = together(set_up, ONE_MACHINE)
    assert isinstance(failed, TraplineError)
    assert "No space left on device" in str(failed)
    assert isinstance(waiting, SystemExit)


def test_a_copy_from_s3_that_fails_leaves_no_rank_waiting_either(together, tmp_path, monkeypatch):
    def refuse(*_):
        raise TraplineError("s3://bucket/set: access denied")

    monkeypatch.setattr(data, "fetch_prepared", refuse)
    paths = TrainingPaths(
        prepared=tmp_path / "set", output=tmp_path, model=tmp_path, checkpoints=tmp_path,
        prepared_uri="s3://bucket/set",
    )  # fmt: skip
    failed, waiting = together(lambda ranks: fetch_data(make_config({}), paths, ranks), ONE_MACHINE)
    assert (str(failed), type(waiting)) == ("s3://bucket/set: access denied", SystemExit)
