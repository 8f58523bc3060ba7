"""Launchers run as a user runs them, in a folder and with a temporary folder of their own."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import safetensors.torch
import torch

from tests.conftest import ROOT
from tests.support.entry_jobs import deterministic
from trapline.launching.local.workspace import MARKER
from trapline.unpacking import unpack

SETTINGS = {
    "arch": "shufflenet_v2_x0_5",  # whose artefact is packed in no time
    "weights": "none",
    "image_size": 32,
    "batch_size": 32,
    "num_workers": 0,
    "deterministic": "true",
    "epochs": 1,
}


def tiny(**changes):
    """The --set pairs of a job that takes seconds; what is changed to None is left to the experiment."""
    settings = {name: value for name, value in {**SETTINGS, **changes}.items() if value is not None}
    return ["--set", *(f"{name}={value}" for name, value in settings.items())]


@dataclass
class Place:
    """A working folder for launches, and a temporary folder in which leftovers would lie."""

    folder: Path

    def __post_init__(self):
        self._started = []
        self.temporary.mkdir(parents=True, exist_ok=True)

    @property
    def temporary(self):
        return self.folder / "tmp"

    @property
    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SM_"))}
        return {**kept, "TMPDIR": str(self.temporary), "AWS_EC2_METADATA_DISABLED": "true"}

    def command(self, name, *arguments):
        return [sys.executable, str(ROOT / "launch" / f"{name}.py"), *map(str, arguments)]

    def run(self, name, *arguments, **environment):
        return subprocess.run(
            self.command(name, *arguments),
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, name, *arguments, output, **options):
        """The same without waiting; the output goes to a file, as it comes."""
        with output.open("w") as file:
            process = subprocess.Popen(
                self.command(name, *arguments),
                cwd=self.folder,
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
                **options,
            )
        self._started.append(process)
        return process

    def end_started(self):
        """End what `start` began and a test that failed has left: it would slow down all that follow."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # which takes the job with it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                process.kill()

    def leftovers(self):
        """Temporary folders and processes of jobs."""
        entries = [str(path) for path in self.temporary.glob("trapline-*/*")]
        work = [str(path) for path in self.folder.glob("runs/*/.work")]
        marked = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
            except psutil.Error:
                continue
            if MARKER in environment and environment.get("TMPDIR", "").startswith(str(self.temporary)):
                marked.append(" ".join(process.cmdline()))
        return entries + work + marked


def only_run(folder, experiment="resnet18-baseline"):
    """The folder of the one run below runs/."""
    (run,) = sorted((folder / "runs").glob(f"{experiment}-*"))
    return run


def record(run):
    """The content of job.json."""
    return json.loads((run / "job.json").read_text())


def rows(path):
    """The rows of a metrics.csv, as text."""
    with path.open() as file:
        return list(csv.DictReader(file))


def repeatable(run):
    """The rows of a run's metrics.csv, as text, without the columns that a clock or the machine decides."""
    return deterministic(rows(run / "metrics.csv"))


def wait_for(text, path, process, seconds=120):
    """Wait until `text` stands in the file."""
    deadline = time.monotonic() + seconds
    while text not in path.read_text(errors="replace"):
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.05)


def unpacked(run, folder):
    """The artefact of a run, unpacked into the new `folder`."""
    folder.mkdir()
    with (run / "model.tar.gz").open("rb") as stream:
        unpack(stream, "model.tar.gz", folder)
    return folder


def weights(run, folder):
    """The tensors of a run's model, which is unpacked into the new `folder`."""
    return safetensors.torch.load_file(unpacked(run, folder) / "model.safetensors")


def same(one, other):
    """Whether two models hold the same tensors, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
