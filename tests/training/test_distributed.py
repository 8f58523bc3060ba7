import contextlib
import socket
from datetime import timedelta

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trapline.data.loader import EpochBatches, LoaderSettings
from trapline.errors import TraplineError, UsageError
from trapline.training import distributed
from trapline.training.distributed import ALONE, Ranks, joined, ranks_from, seed_dropout, undivided

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}  # fmt: skip


def test_the_place_is_what_torchrun_says():
    assert ranks_from(TORCHRUN) == Ranks(rank=3, world_size=4, local_rank=1, local_world_size=2)
    assert not ranks_from(TORCHRUN).is_main


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1"},
        {"MASTER_ADDR": "algo-1", "MASTER_PORT": "7777"},
        {**TORCHRUN, "WORLD_SIZE": "1"},
    ],
)
def test_without_other_processes_it_is_alone(environment):
    assert ranks_from(environment) == ALONE
    assert ALONE.is_main


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_missing_variable_is_named(name):
    environment = {key: value for key, value in TORCHRUN.items() if key != name}
    with pytest.raises(
        UsageError, match=rf"^WORLD_SIZE is 4, but {name} not set: start train.py with torchrun"
    ):
        ranks_from(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [("RANK", "4"), ("RANK", "x"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", ""), ("LOCAL_RANK", "-1")],
)
def test_an_impossible_place_is_refused(name, value):
    with pytest.raises(UsageError, match=name):
        ranks_from({**TORCHRUN, name: value})


@given(st.integers(1, 300), st.integers(1, 33), st.integers(1, 5))
def test_gathered_rows_are_in_order_and_without_padding(rows, batch_size, ranks):
    every = [
        EpochBatches(rows, LoaderSettings(32, batch_size, rank=rank, world_size=ranks))
        for rank in range(ranks)
    ]
    values = [[-1 if key.padding else key.row for batch in rank for key in batch] for rank in every]
    gathered = torch.tensor(values).unsqueeze(-1)
    found = undivided(gathered, every[0].shares, every[0].sizes)
    assert found.squeeze(-1).tolist() == list(range(rows))


def test_dropout_differs_between_ranks_and_not_between_runs():
    def drawn(rank):
        torch.manual_seed(7)
        seed_dropout(7, Ranks(rank, 3))
        return torch.rand(4).tolist()

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(rank)) for rank in range(3)}) == 3
    assert drawn(0) == torch.rand(4, generator=torch.manual_seed(7)).tolist()  # as a process alone does


def test_running_statistics_become_the_mean_over_ranks_and_nothing_else_changes(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(2))
    model.register_buffer("table", torch.ones(3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = {name: tensor + 2 for name, tensor in before.items() if "running" in name}
    theirs = torch.cat(list(other.values()))
    monkeypatch.setattr(distributed, "total", lambda values, ranks: values + theirs)
    distributed.average_running_statistics(model, Ranks(0, 2))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name] + 1 if name in other else before[name])


def test_alone_everything_is_returned_as_it_is(capsys):
    rows = torch.arange(3)
    assert distributed.total(rows, ALONE) is rows
    assert distributed.gather_rows(rows, [3], [3], ALONE) is rows
    assert distributed.from_first(rows, ALONE) is rows
    assert distributed.from_all("mine", ALONE) == ["mine"]
    assert distributed.parallel(nn.Linear(2, 2), ALONE) is None
    with joined(ALONE):
        print("heard")
    assert capsys.readouterr().out == "heard\n"


@pytest.mark.slow
def test_ranks_that_do_not_meet_end_with_the_address(monkeypatch):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]  # free again after the block
    for name, value in {**TORCHRUN, "MASTER_PORT": str(port), "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "PATIENCE", timedelta(seconds=1))
    with pytest.raises(TraplineError, match=f"MASTER_ADDR:MASTER_PORT 127.0.0.1:{port}"), joined(Ranks(1, 2)):
        pytest.fail("nobody else is there")


@pytest.mark.parametrize(("rank", "heard"), [(0, "heard\n"), (1, "")])
def test_rank_0_alone_prints(rank, heard, monkeypatch, capsys):
    monkeypatch.setattr(distributed, "_connect", lambda ranks: None)
    monkeypatch.setattr(distributed.dist, "barrier", lambda: None)
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: None)
    with joined(Ranks(rank, 2)):
        print("heard")
    assert capsys.readouterr().out == heard


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]:1"), SystemExit),
        (RuntimeError("shapes do not fit"), RuntimeError),
        (TraplineError("image 3 is damaged"), TraplineError),
    ],
)
def test_a_lost_connection_is_told_from_an_error_of_ones_own(error, expected, monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(distributed, "_connect", lambda ranks: None)
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: ended.append(True))
    with pytest.raises(expected), joined(Ranks(0, 2)):
        raise error
    assert ended == [True]
    assert ("rank 0 of 2 has lost the others" in capsys.readouterr().err) is (expected is SystemExit)


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(UsageError, match="LOCAL_RANK is 1, but this machine has 1 GPUs"),
        joined(Ranks(1, 2, 1, 2)),
    ):
        pytest.fail("there is no GPU for this rank")
