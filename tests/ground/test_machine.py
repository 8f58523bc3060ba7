"""Where a process runs is read from what is there already."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from trapline import machine
from trapline.machine import cache_folder, in_kernel, kind_of_place, processor, shows_bars

INTEL = (
    "processor : 0\nvendor_id : GenuineIntel\nmodel name : Xeon\nmodel : 207\nflags : fpu\n\nprocessor : 1\n"
)
SHARE = machine.OtherWork.share  # which the tests that measure speed do not have
ARM = "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd40\n"


@pytest.mark.parametrize(("text", "facts"), [(INTEL, "GenuineIntel Xeon 207"), (ARM, "0xd40 0x41")])
def test_a_processor_is_known_by_what_the_system_says_of_it(tmp_path, text, facts):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo").endswith(facts)


def test_processors_of_other_models_differ_though_their_names_are_the_same(tmp_path):
    (tmp_path / "one").write_text(INTEL)
    (tmp_path / "other").write_text(INTEL.replace("207", "143"))
    assert processor(tmp_path / "one") != processor(tmp_path / "other")


def test_without_such_a_file_there_is_a_name_all_the_same(tmp_path):
    assert processor(tmp_path / "none")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TRAPLINE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, Path("/b/trapline")),
        ({"HOME": "/c"}, Path("/c/.cache/trapline")),
    ],
)
def test_the_cache_lies_where_the_variables_say(monkeypatch, variables, expected):
    for name in ("TRAPLINE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == expected


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    for name in ("TRAPLINE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder() is None


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
    assert kind_of_place({**nowhere, **variables}) == place


def test_a_processing_job_is_known_by_its_configuration_file(nowhere, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "processingjobconfig.json").write_text("{}")
    assert kind_of_place(nowhere) == "sagemaker"


def test_a_kernel_is_a_notebook_and_a_terminal_of_ipython_is_not(nowhere, monkeypatch):
    assert not in_kernel()
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert kind_of_place(nowhere) == "plain"
    enter_kernel(monkeypatch)
    assert in_kernel()
    assert kind_of_place(nowhere) == "jupyter"


@pytest.mark.parametrize(
    ("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_first_device_that_is_there_is_used(monkeypatch, cuda, mps, device):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert machine.best_device() == device


def test_bars_are_for_terminals_and_notebooks_and_not_for_logs(nowhere, monkeypatch):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    assert shows_bars()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not shows_bars()
    enter_kernel(monkeypatch)
    assert shows_bars()


# --- other programs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("idle", "own", "seconds", "share"),
    [
        (0.0, 2.0, 1.0, 0.0), (0.0, 1.5, 1.0, 0.25), (2.0, 0.0, 1.0, 0.0), (1.0, 1.2, 1.0, 0.0),
        (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.1, 0.0),
    ],
    ids=["own alone", "a quarter", "idle", "rounded", "others alone", "too short"],
)  # fmt: skip
def test_what_others_take_is_what_is_busy_without_this_program(monkeypatch, idle, own, seconds, share):
    clocks = {"all": 100.0, "idle": 40.0, "own": 7.0, "now": 1000.0}
    monkeypatch.setattr(
        machine, "_processor_seconds", lambda: (clocks["all"] - clocks["idle"], clocks["all"])
    )
    monkeypatch.setattr(machine.time, "process_time", lambda: clocks["own"])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clocks["now"])
    others = machine.OtherWork()
    clocks["all"] += 2.0  # of two processors in a second
    clocks["idle"] += idle
    clocks["own"] += own
    clocks["now"] += seconds
    assert SHARE(others) == pytest.approx(share)


def test_the_systems_count_grows_and_is_at_most_all_there_is():
    busy, every = machine._processor_seconds()
    assert 0 < busy <= every
    later = machine._processor_seconds()
    assert later[0] >= busy
    assert later[1] >= every
