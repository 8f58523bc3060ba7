"""Where a process runs is read from what is there already."""

import io
import sys
from types import SimpleNamespace

import pytest

from trapline import environment
from trapline.environment import Environment, in_kernel, shows_bars


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Variables of a plain machine, and no kernel."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    return {"SAGEMAKER_BASE_DIR": str(tmp_path), "PATH": "/bin"}


def enter_kernel(monkeypatch):
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", shell)


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "plain"),
        ({"SM_MODEL_DIR": "/opt/ml/model"}, "sagemaker"),
        ({"TRAINING_JOB_NAME": "night"}, "sagemaker"),
        ({"COLAB_RELEASE_TAG": "release-colab"}, "colab"),
        ({"JPY_PARENT_PID": "17"}, "jupyter"),
        ({"JPY_PARENT_PID": "17", "SM_MODEL_DIR": "/opt/ml/model"}, "sagemaker"),
    ],
)
def test_the_place_is_known_by_its_variables(nowhere, variables, place):
    assert environment.environment({**nowhere, **variables}).place == place


def test_a_processing_job_is_known_by_its_configuration_file(nowhere, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "processingjobconfig.json").write_text("{}")
    assert environment.environment(nowhere).place == "sagemaker"


def test_a_kernel_is_a_notebook_and_a_terminal_of_ipython_is_not(nowhere, monkeypatch):
    assert not in_kernel()
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert environment.environment(nowhere).place == "plain"
    enter_kernel(monkeypatch)
    found = environment.environment(nowhere)
    assert (found.place, found.kernel) == ("jupyter", True)
    assert str(Environment("jupyter", True, "mps")) == "jupyter (notebook), mps"


@pytest.mark.parametrize(
    ("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_first_device_that_is_there_is_used(monkeypatch, cuda, mps, device):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert environment.best_device() == device


def test_bars_are_for_terminals_and_notebooks_and_not_for_logs(nowhere, monkeypatch):
    terminal = SimpleNamespace(isatty=lambda: True)
    assert shows_bars(terminal)
    assert not shows_bars(io.StringIO())
    enter_kernel(monkeypatch)
    assert shows_bars(io.StringIO())
