"""The machine and where this process runs on it. Only looked at: nothing is installed or changed."""

import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

CPU_FACTS = ("vendor_id", "model name", "cpu family", "model", "stepping", "CPU part", "CPU implementer")
MIN_SECONDS_TOLD = 0.5  # the system counts in hundredths
# What SageMaker sets in training, processing, serving and transform containers, and local backends too.
SAGEMAKER_VARIABLES = ("SM_MODEL_DIR", "TRAINING_JOB_NAME", "PROCESSING_JOB_NAME", "SAGEMAKER_BIND_TO_PORT")
COLAB_VARIABLES = ("COLAB_RELEASE_TAG", "COLAB_GPU")
JUPYTER_VARIABLES = ("JPY_PARENT_PID", "JPY_SESSION_NAME")


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name and whatever else tells it from others; as much as the system says."""
    facts: dict[str, str] = {}
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    found = [facts[name] for name in CPU_FACTS if name in facts] or [platform.processor()]
    return " ".join([platform.machine(), *found])


class OtherWork:
    """What other programs take of the processors from now on, so that a measurement knows what it is worth.

    What a virtual machine's host takes counts as theirs. Child processes of this one are other programs.
    """

    def __init__(self) -> None:
        self._busy, self._all = _processor_seconds()
        self._own, self._began = time.process_time(), time.perf_counter()

    def share(self) -> float:
        """From 0, nothing, to 1; 0 also where too little time has passed to tell."""
        busy, every = _processor_seconds()
        if time.perf_counter() - self._began < MIN_SECONDS_TOLD or every <= self._all:
            return 0.0
        own = time.process_time() - self._own
        return min(1.0, max(0.0, (busy - self._busy - own) / (every - self._all)))


def _processor_seconds() -> tuple[float, float]:
    """The seconds that all processors were busy since the machine started, and those that there were."""
    import psutil

    times = psutil.cpu_times()._asdict()
    told = {name: seconds for name, seconds in times.items() if not name.startswith("guest")}  # are in others
    every = sum(told.values())
    return every - told["idle"] - told.get("iowait", 0.0), every


def cache_folder() -> Path | None:
    """Where Trapline keeps what it can find out again; None where there is no home.

    TRAPLINE_CACHE, else XDG_CACHE_HOME/trapline, else ~/.cache/trapline.
    """
    own, base = os.environ.get("TRAPLINE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    try:
        return (Path(base) if base else Path.home() / ".cache") / "trapline"
    except RuntimeError:  # a user without a home, as in some containers
        return None


def kind_of_place(variables: Mapping[str, str]) -> Literal["sagemaker", "colab", "jupyter", "plain"]:
    """Where a process with these environment variables runs: a job's container, or a notebook's kernel or
    terminal. A job's container wins over a notebook that started it.
    """
    base = Path(variables.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    if variables.keys() & set(SAGEMAKER_VARIABLES) or (base / "config/processingjobconfig.json").is_file():
        return "sagemaker"
    if variables.keys() & set(COLAB_VARIABLES):
        return "colab"
    return "jupyter" if in_kernel() or variables.keys() & set(JUPYTER_VARIABLES) else "plain"


def in_kernel() -> bool:
    """Whether this process is a notebook's kernel, and not one that a notebook has started."""
    shell = sys.modules.get("IPython")  # a kernel has it loaded; nothing else needs it
    active = shell.get_ipython() if shell is not None else None
    return active is not None and hasattr(active, "kernel")


def shows_bars() -> bool:
    """Whether a bar that redraws itself can be seen: on a terminal or in a notebook, but not in a log."""
    isatty = getattr(sys.stderr, "isatty", None)
    return in_kernel() or bool(isatty is not None and isatty())


def best_device() -> Literal["cuda", "mps", "cpu"]:
    """The fastest device that torch can use here."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
