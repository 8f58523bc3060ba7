"""Small raw and prepared data sets that many tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, one to a core; read when torch loads

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common import console

ROOT = Path(__file__).parents[1]
ENTRY_POINTS = ROOT / "entry_points"


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


@pytest.fixture
def call_script(capsys, monkeypatch):
    """The same without a new process, which spares the imports; the arguments are those of run_script."""

    def call(name, *arguments):
        for variable in [key for key in os.environ if key.startswith("SM_")]:
            monkeypatch.delenv(variable)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        specification = importlib.util.spec_from_file_location(Path(name).stem, ENTRY_POINTS / name)
        script = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(script)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            console.run(script.main)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, end.value.code, printed.out, printed.err)

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
def small_demo(tmp_path_factory, run_script):
    """A prepared demo set of 160 labelled and 104 unlabelled images, packed at 64 px. Read it only."""
    folder = tmp_path_factory.mktemp("demo") / "prepared"
    done = run_script(
        "prepare.py", "--input", "demo", "--output", folder, "--short-side", 64, "--demo-images", 160,
        "--demo-unlabeled", 104, "--demo-sites", 12, "--max-quarantine", 0.2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder
