"""The port at which a job's nodes meet is its own, from the moment it is chosen."""

import json
import runpy
import socket
import sys

import pytest

from trapline.launching.local.workspace import open_workspace, port_of, reserve_port

pytest.importorskip("sagemaker_training")
pytest.importorskip("sagemaker")

from sagemaker_pytorch_container import training
from sagemaker_training import torch_distributed
from sagemaker_training.cli import train

from trapline.launching.sdk.internals import ON_PORT, JobSession, LocalJob, NodeProcesses


@pytest.fixture
def kept():
    with reserve_port() as reserved:
        yield reserved


def test_two_jobs_never_have_the_same_port():
    reserved = [reserve_port() for _ in range(200)]
    assert len({port_of(one) for one in reserved}) == len(reserved)
    for one in reserved:
        one.close()


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "127.3.2.1"])
def test_another_program_cannot_take_the_port(kept, address):
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind((address, port_of(kept)))


@pytest.mark.parametrize("address", ["0.0.0.0", "127.3.2.1"])
def test_the_jobs_own_server_can_and_no_second_one(kept, address):
    place = (address, port_of(kept))
    with socket.create_server(place), pytest.raises(OSError, match="Address already in use"):
        socket.create_server(place)


def test_the_port_is_free_again_when_the_job_has_ended():
    with reserve_port() as reserved:
        port = port_of(reserved)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """Write down the nodes of training jobs: (instance count) -> (the job, its nodes' command lines)."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_workspace(None) as place:
        made = []

        def make(count):
            job = NodeProcesses(
                "local", count, "i:1", JobSession(LocalJob(place, None, tmp_path, lambda *_: 0))
            )
            job.container_root = str(place.root / str(len(made)))
            for host in job.hosts:
                (place.root / str(len(made)) / host).mkdir(parents=True)
            made.append(job)
            job._generate_compose_file("train")
            return job, [node["command"] for node in json.loads(job._nodes_file.read_text())]

        yield make


def test_all_nodes_of_a_job_meet_at_its_port_and_those_of_another_job_elsewhere(nodes):
    (one, commands), (other, further) = nodes(2), nodes(2)
    assert commands == [[sys.executable, "-P", str(ON_PORT), str(port_of(one.meeting))]] * 2
    assert further[0][-1] == further[1][-1] == str(port_of(other.meeting))
    assert further[0][-1] != commands[0][-1]
    for job in (one, other):
        job._compose()
        job.follow(None)
        assert job.meeting.fileno() == -1


def test_a_single_node_needs_none(nodes):
    job, commands = nodes(1)
    assert job.meeting is None
    assert commands == [[sys.executable, "-m", "sagemaker_training.cli.train"]]


def test_the_toolkit_gives_torchrun_the_jobs_port(monkeypatch):
    for module in (training, torch_distributed):
        monkeypatch.setattr(module, "MASTER_PORT", "7777")
    monkeypatch.setattr(sys, "argv", [str(ON_PORT), "41234"])
    monkeypatch.setattr(torch_distributed.process, "validate_entry_point", lambda name: name)
    monkeypatch.setattr(torch_distributed._entry_point_type, "get", lambda *_: "program")
    monkeypatch.setattr(torch_distributed._entry_point_type, "PYTHON_PROGRAM", "program")
    commands = []

    def start():
        runner = torch_distributed.TorchDistributedRunner(
            "train.py", [], {}, 1, "127.0.0.1", ["127.0.0.1", "127.0.0.2"], "127.0.0.2", "lo"
        )
        commands.append(runner._create_command())

    monkeypatch.setattr(train, "main", start)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "")
    monkeypatch.setenv("NCCL_PROTO", "")
    runpy.run_path(str(ON_PORT), run_name="__main__")
    ((*_, address, _, port, _, rank, script),) = commands
    assert (address, port, rank, script) == ("127.0.0.1", "41234", "1", "train.py")
    assert training.MASTER_PORT == "41234"
