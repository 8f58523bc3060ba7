"""Where this process runs, and what it may calculate on. Only looked at: nothing is installed or changed."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Place = Literal["sagemaker", "colab", "jupyter", "plain"]
Device = Literal["cuda", "mps", "cpu"]
# What SageMaker sets in training, processing, serving and transform containers, and local backends too.
SAGEMAKER_VARIABLES = ("SM_MODEL_DIR", "TRAINING_JOB_NAME", "PROCESSING_JOB_NAME", "SAGEMAKER_BIND_TO_PORT")
COLAB_VARIABLES = ("COLAB_RELEASE_TAG", "COLAB_GPU")
JUPYTER_VARIABLES = ("JPY_PARENT_PID", "JPY_SESSION_NAME")


@dataclass(frozen=True)
class Environment:
    """Where a process runs, whether as a notebook's own kernel, and the fastest device there."""

    place: Place
    kernel: bool
    device: Device

    def __str__(self) -> str:
        return f"{self.place}{' (notebook)' if self.kernel else ''}, {self.device}"


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Where this process runs. A job's container wins over a notebook that started it."""
    return Environment(_place(os.environ if variables is None else variables), in_kernel(), best_device())


def _place(variables: Mapping[str, str]) -> Place:
    base = Path(variables.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    if (
        any(name in variables for name in SAGEMAKER_VARIABLES)
        or (base / "config" / "processingjobconfig.json").is_file()
    ):
        return "sagemaker"
    if any(name in variables for name in COLAB_VARIABLES):
        return "colab"
    return "jupyter" if in_kernel() or any(name in variables for name in JUPYTER_VARIABLES) else "plain"


def in_kernel() -> bool:
    """Whether this process is a notebook's kernel, and not one that a notebook has started."""
    shell = sys.modules.get("IPython")  # a kernel has it loaded; nothing else needs it
    active = shell.get_ipython() if shell is not None else None
    return active is not None and hasattr(active, "kernel")


def shows_bars(stream: object = None) -> bool:
    """Whether a bar that redraws itself can be seen: on a terminal or in a notebook, but not in a log."""
    isatty = getattr(sys.stderr if stream is None else stream, "isatty", None)
    return in_kernel() or bool(isatty is not None and isatty())


def best_device() -> Device:
    """`cuda`, `mps` or `cpu`: the first of them that torch can use here."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
