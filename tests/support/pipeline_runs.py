"""Pipelines of little jobs, run as a user runs the real one."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.support.launching import Place

SCRIPT = [sys.executable, "-m", "tests.support.pipeline_driver"]
REAL = [sys.executable, str(ROOT / "pipelines" / "camera_trap.py")]


@dataclass
class PipelinePlace(Place):
    """A folder for runs and data, and a temporary folder in which leftovers would lie."""

    @property
    def environment(self):
        return {**super().environment, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def data(self, images=3, **orders):
        """Raw data of some images, with orders to the jobs."""
        folder = self.folder / "raw"
        folder.mkdir(exist_ok=True)
        for number in range(images):
            (folder / f"{number}.jpg").write_bytes(b"x" * (number + 1))
        if orders:
            (folder / "orders.json").write_text(json.dumps(orders))
        return folder

    def pipeline(self, *words, script=None, **environment):
        """Run a command to its end."""
        return subprocess.run(
            [*(script or SCRIPT), *map(str, words)],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def begin(self, *words, output, script=None):
        """The same without waiting; the output goes to a file."""
        with output.open("w") as file:
            return subprocess.Popen(
                [*(script or SCRIPT), *map(str, words)],
                cwd=self.folder, env=self.environment, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def state(self, run):
        """The content of pipeline.json."""
        return json.loads((self.folder / "runs" / run / "pipeline.json").read_text())

    def states(self, run):
        """The state of each step, by name."""
        return {step["name"]: step["state"] for step in self.state(run)["steps"]}

    def result(self, run):
        """What the little collection wrote."""
        return json.loads((self.folder / "runs" / run / "Collect" / "predictions.csv").read_text())


def run_words(data, name, *more):
    """The command line of a run in the process backend."""
    return ["run", "--backend", "process", "--data", data, "--name", name, "--recipe", "small", *more]


def clean_environment():
    """The environment without an account."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAGEMAKER_"))}


def tree(folder: Path):
    """The files below a folder, by their names, with content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
