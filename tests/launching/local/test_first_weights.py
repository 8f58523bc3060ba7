"""Jobs here find the file that they begin with, wherever the user stands and whichever phase it is of."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from trapline.errors import UsageError
from trapline.launching.checkout import Experiment
from trapline.launching.flags import read_plan
from trapline.launching.local.backend import PROCESSES, Runtime, find_runtime, put_channel
from trapline.launching.local.docker_engine import Engine
from trapline.launching.local.workspace import open_workspace
from trapline.launching.plan import Image
from trapline.pipeline.command_line import read_command

EXPERIMENT = Experiment("trial", "a trial", {"arch": "resnet18"})
ENGINE = Engine("/bin/docker", ("/bin/docker", "compose"), "1000:1000", False, "image:1", "sha256:1")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder one stands in, with one.pth and two.pth; the tests' own cache; an engine that answers."""
    for name in ("one.pth", "two.pth", "raw/a/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("trapline.launching.local.backend.find_engine", lambda image: ENGINE)
    return tmp_path


def mounted(*words):
    """What the containers of a pipeline see beside its own folders."""
    command = read_command(["run", "--backend", "local", "--data", "raw", "--recipe", "small", *words])
    phases = [config.weights for config in command.design.recipe.phases]
    return [here for here, _ in find_runtime(command.backend, "image:1", phases, 1).mounts]


@pytest.mark.parametrize("first", ["none", "s3://bucket/w.pth"])
def test_a_file_of_phase_2_alone_is_mounted(here, first):
    words = ["--set", f"weights={first}", "--set-phase2", f"weights={here}/two.pth"]
    assert mounted(*words) == [str(here / "two.pth")]


def test_the_cache_of_downloads_is_mounted_for_phase_2_alone(here):
    assert mounted("--set", "weights=none", "--set-phase2", "weights=imagenet") == [str(here / "cache")]
    assert (here / "cache").is_dir()


def test_each_phase_may_have_its_own(here):
    words = ["--set", f"weights={here}/one.pth", "--set-phase2", f"weights={here}/two.pth"]
    assert mounted(*words) == [str(here / "one.pth"), str(here / "two.pth")]


def test_what_both_phases_begin_with_is_mounted_once(here):
    words = ["--set", f"weights={here}/one.pth", "--set-phase2", f"weights={here}/one.pth"]
    assert mounted(*words) == [str(here / "one.pth")]
    assert mounted("--set", "weights=imagenet", "--set-phase2", "weights=imagenet") == [str(here / "cache")]


def test_a_phase_that_goes_on_from_the_first_needs_nothing_more(here):
    assert mounted("--set", "weights=none") == []


@pytest.mark.parametrize("backend", ["process", "local"])
def test_a_file_is_meant_from_where_the_user_stands(here, backend):
    plan = read_plan(EXPERIMENT, ["--backend", backend, "--prepared", "raw", "--set", "weights=one.pth"])
    assert plan.config.weights == str(here / "one.pth")
    words = ["--set", "weights=one.pth", "--set-phase2", "weights=./two.pth"]
    design = read_command(["run", "--backend", backend, "--data", "raw", *words]).design
    assert [Path(config.weights) for config in design.recipe.phases] == [here / "one.pth", here / "two.pth"]


@pytest.mark.parametrize("flag", ["--set", "--set-phase2"])
def test_a_file_that_is_not_there_is_named_before_anything_starts(here, flag):
    with pytest.raises(UsageError, match=f"{flag} weights=three.pth: no such file"):
        read_command(["run", "--backend", "process", "--data", "raw", flag, "weights=three.pth"])
    if flag == "--set":
        with pytest.raises(UsageError, match=r"--set weights=three.pth: no such file"):
            read_plan(EXPERIMENT, ["--backend", "process", "--prepared", "raw", flag, "weights=three.pth"])


def test_on_aws_it_is_left_to_the_job(here):
    words = ["--prepared", "s3://b/set", "--output", "s3://b/out", "--set", "weights=three.pth"]
    assert read_plan(EXPERIMENT, words).config.weights == "three.pth"


@pytest.mark.parametrize(
    "runtime", [PROCESSES, Runtime(Image("i:1"), engine=ENGINE)], ids=["process", "container"]
)
def test_an_archive_of_phase_1_is_a_real_file_for_containers_which_see_nothing_outside(here, runtime):
    (here / "model.tar.gz").write_bytes(b"archive")
    with open_workspace(None) as workspace:
        run = SimpleNamespace(workspace=workspace, runtime=runtime)
        put_channel(run, "phase1", "model.tar.gz")
        folder = workspace.entry / "phase1"
        assert (folder / "model.tar.gz").read_bytes() == b"archive"
        assert (folder / "model.tar.gz").is_symlink() == (runtime is PROCESSES)
