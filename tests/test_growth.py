"""What grows: each test adds one file, or one entry in one place, and sees it work by command line."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from torch import nn

from tests.conftest import ROOT, write_jpeg
from tests.support.entry_jobs import QUICK
from trapline.models import own
from trapline.preparation import sources
from trapline.preparation.listing import COLUMNS, Source

LIBRARY = "src/common/trapline"
EXPERIMENT = '''"""A baseline of longer breath.

    python launch/long_baseline.py --backend process --data demo
"""

from trapline.launching.dispatch import Experiment, run_experiment

EXPERIMENT = Experiment(
    name="long-baseline",
    description=__doc__,
    hyperparameters={"arch": "resnet18", "epochs": 90},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
'''


@pytest.fixture
def checkout(tmp_path):
    """A copy of what a checkout holds, to be changed."""
    for folder in ("entry_points", "launch", LIBRARY):
        shutil.copytree(ROOT / folder, tmp_path / "checkout" / folder)  # what is compiled, too
    return tmp_path / "checkout"


def add_line(path, before, line):
    """Put a line before the first one that begins like `before`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    place = next(number for number, text in enumerate(lines) if text.startswith(before))
    path.write_text("\n".join([*lines[:place], line, *lines[place:]]) + "\n", encoding="utf-8")


def run(checkout, script, *arguments):
    """Run a script of the copy with the library of the copy."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout / "src" / "common"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, str(checkout / script), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=checkout.parent, check=False
    )


def hyperparameters(printed):
    """Those of the training job among the requests of --dry-run."""
    requests = json.loads(printed)["requests"]
    return next(
        each["CreateTrainingJob"]["HyperParameters"] for each in requests if "CreateTrainingJob" in each
    )


def test_a_file_in_launch_is_an_experiment(checkout):
    (checkout / "launch" / "long_baseline.py").write_text(EXPERIMENT)
    done = run(checkout, "launch/long_baseline.py", "--backend", "process", "--data", "demo", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert hyperparameters(done.stdout)["epochs"] == "90"


def test_an_entry_in_own_is_an_architecture(monkeypatch, call_script, small_demo, tmp_path):
    def pooled(classes):
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

    monkeypatch.setitem(own.OWN, "pooled", own.Architecture(pooled))
    words = ["--prepared", small_demo, "--output", tmp_path, *QUICK, "--arch", "pooled", "--epochs", 1]
    done = call_script("train.py", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "model" / "model.json").read_text())["architecture"] == "pooled"


@pytest.mark.slow
def test_an_entry_in_chains_is_an_augmentation(checkout, small_demo, tmp_path):
    entry = '        "blurred": Chain("evaluated", lambda library, size: [library.Blur(p=1.0)]),'
    add_line(checkout / LIBRARY / "augmentation.py", '        "none": Chain(', entry)
    words = ["--prepared", small_demo, "--output", tmp_path / "job", *QUICK, "--augment", "blurred"]
    done = run(checkout, "entry_points/train.py", *words, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert "augment=blurred" in done.stdout


def test_an_entry_in_layouts_is_a_data_layout(monkeypatch, call_script, tmp_path):
    def is_named(folder):
        return bool(folder.loose()) and all("__" in name for name in folder.loose())

    def read_named(folder):
        files = folder.loose()
        classes = sorted({name.partition("__")[0] for name in files})
        rows = [
            (name, name, folder.full(name), classes.index(name.partition("__")[0]), None, None)
            for name in files
        ]
        return Source(pd.DataFrame(rows, columns=COLUMNS, dtype=object), classes)

    monkeypatch.setattr(sources, "LAYOUTS", [sources.Layout(is_named, read_named), *sources.LAYOUTS])
    for number in range(24):
        write_jpeg(tmp_path / "raw" / f"{('cat', 'dog')[number % 2]}__{number}.jpg", number)
    words = ["--input", tmp_path / "raw", "--output", tmp_path / "prepared", "--processes", 1]
    done = call_script("prepare.py", *words)
    assert done.returncode == 0, done.stderr
    prepared = json.loads((tmp_path / "prepared" / "dataset.json").read_text())
    assert prepared["classes"] == ["cat", "dog"]
    assert sum(prepared["counts"]["train"].values()) > 0


def test_a_field_of_the_configuration_is_an_option(checkout):
    field = '    breath: int = option(3, "how long the breath is", ge=1, le=9)'
    add_line(checkout / LIBRARY / "config.py", "    epochs: int =", field)
    launch = ["launch/resnet18_baseline.py", "--backend", "process", "--data", "demo", "--dry-run", "--set"]
    taken, refused = (run(checkout, *launch, f"breath={value}") for value in (7, 10))
    shown = run(checkout, "entry_points/train.py", "--help")
    assert taken.returncode == 0, taken.stderr
    assert hyperparameters(taken.stdout)["breath"] == "7"
    assert refused.returncode == 2
    assert "breath" in refused.stderr
    assert "how long the breath is" in " ".join(shown.stdout.split())
