"""A step's checkpoints: kept until it has ended well, and then only they are discarded."""

import contextlib
from types import SimpleNamespace

import pytest

pytest.importorskip("sagemaker")

from trapline.launching.local.pipeline_runs import _checkpoints
from trapline.launching.local.workspace import open_workspace

FIRST, SECOND, OTHER = "1" * 64, "2" * 64, "3" * 64


class Killed(Exception):
    """What ends a step."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """What the steps need of a run."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_workspace(None) as workspace:
        yield SimpleNamespace(folder=tmp_path / "run", workspace=workspace)


def interrupted(run, step, key):
    """The folder of a step that leaves a checkpoint and fails."""
    with contextlib.suppress(Killed), _checkpoints(run, step, key) as folder:
        place = folder.resolve()
        (folder / "epoch-00001.pt").touch()
        folder.unlink()  # with the temporary folder of this try
        raise Killed
    return place


def ended(run, step, key):
    with _checkpoints(run, step, key) as folder:
        return folder.resolve(), {path.name for path in folder.iterdir()}


def test_the_end_of_a_step_discards_its_own_and_leaves_those_of_the_others(run):
    second = interrupted(run, "TrainPhase2", SECOND)
    first = interrupted(run, "TrainPhase1", FIRST)
    assert ended(run, "TrainPhase1", FIRST) == (first, {"epoch-00001.pt"})
    assert not first.exists()
    assert (second / "epoch-00001.pt").exists()


def test_what_the_step_had_for_other_settings_goes_too(run):
    older = interrupted(run, "TrainPhase1", OTHER)
    ended(run, "TrainPhase1", FIRST)
    assert not older.exists()


def test_a_step_whose_name_begins_like_anothers_is_another(run):
    longer = interrupted(run, "TrainPhase1-again", SECOND)
    ended(run, "TrainPhase1", FIRST)
    assert longer.exists()


def test_when_all_have_ended_no_folder_is_left(run):
    interrupted(run, "TrainPhase2", SECOND)
    ended(run, "TrainPhase1", FIRST)
    ended(run, "TrainPhase2", SECOND)
    assert not (run.folder / "checkpoints").exists()


def test_a_step_that_does_not_train_has_none(run):
    with _checkpoints(run, "Evaluate", None) as folder:
        assert folder is None
