"""Small raw and prepared data sets that many tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, one to a core; read when torch loads

import contextlib
import gc
import importlib.util
import io
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from trapline import console, machine

gc.disable()  # until all tests are collected, which makes millions of objects and no garbage
ROOT = Path(__file__).parents[1]
ENTRY_POINTS = ROOT / "entry_points"
HEAVIEST_FIRST = (
    "pipeline/test_kills.py", "launching/local/test_interruptions.py", "launching/local/test_processes.py",
    "entry_points/test_train_distributed.py", "launching/local/test_many_jobs.py",
    "pipeline/", "entry_points/", "launching/",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # before tests that are not asked for are left out
def pytest_collection_modifyitems(items):
    """Files that take long come first, so that no process is left with one of them at the end."""
    both = [item.nodeid for item in items if {"slow", "long"} <= {mark.name for mark in item.iter_markers()}]
    if both:
        raise pytest.UsageError(f"slow and long at once, and so run as slow: {', '.join(both)}")
    items.sort(key=_turn)


def _turn(item):
    path = item.path.relative_to(ROOT / "tests").as_posix()
    return next(
        (turn for turn, place in enumerate(HEAVIEST_FIRST) if path.startswith(place)), len(HEAVIEST_FIRST)
    )


def pytest_collection_finish():
    """Look for garbage again from here on, and not among the modules and tests that are to stay."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    """Let everything go at the end, or libraries report what is left as lost."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """What tests measure of this machine is not kept for anybody else, nor does it come from there.

    Among themselves they keep it though they run side by side.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine.OtherWork, "share", lambda self: 0.0)
        patch.setenv("TRAPLINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def heeds_ctrl_c():
    """SIGINT as in a terminal, for the tests and what they start, also where the tests run in the background.

    A shell has a command with `&` ignore it, and whatever is started from there does so too.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def environment():
    """What a test, or what it calls, writes into the environment goes with the test."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images, or a skip."""
    folder = os.environ.get("TRAPLINE_REAL_DATA")
    if not folder:
        pytest.skip("TRAPLINE_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def run_script():
    """Run an entry point as a user does: (name, *arguments) -> CompletedProcess with text output."""

    def run(name, *arguments, **options):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SM_")}
        environment |= options.pop("environment", {})
        command = [sys.executable, str(ENTRY_POINTS / name), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, **options)

    return run


@pytest.fixture(scope="session")
def call_script():
    """The same without a new process, which spares the imports; the arguments are those of run_script."""

    def call(name, *arguments):
        specification = importlib.util.spec_from_file_location(Path(name).stem, ENTRY_POINTS / name)
        script = importlib.util.module_from_spec(specification)
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in "oe")
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for variable in [key for key in os.environ if key.startswith("SM_")]:
                patch.delenv(variable)
            patch.setattr(sys, "argv", [name, *map(str, arguments)])
            specification.loader.exec_module(script)
            with pytest.raises(SystemExit) as end:
                console.run(script.main)
        printed = (stream.buffer.getvalue().decode() for stream in (out, err))
        return subprocess.CompletedProcess(arguments, end.value.code, *printed)

    return call


def write_jpeg(path, seed, side=64):
    """A picture of smooth colours that differs for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(coarse, (side * 3 // 2, side), interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def class_folders(tmp_path):
    """24 images in two class folders, named after four sites: raw/cat/s0_0.jpg ..."""
    for label in ("cat", "dog"):
        for number in range(12):
            write_jpeg(
                tmp_path / "raw" / label / f"s{number % 4}_{number}.jpg", number + 100 * (label == "dog")
            )
    return tmp_path / "raw"


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory, call_script):
    """A prepared demo set of 160 labelled and 104 unlabelled images, packed at 64 px. Read it only."""
    folder = tmp_path_factory.mktemp("demo") / "prepared"
    done = call_script(
        "prepare.py", "--input", "demo", "--output", folder, "--short-side", 64, "--demo-images", 160,
        "--demo-unlabeled", 104, "--demo-sites", 12, "--max-quarantine", 0.2, "--processes", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder
