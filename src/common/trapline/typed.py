"""Options as they are typed in the command that a person ran, for messages.

What a job says of an option reaches who started it. By hand that was an entry point; in SageMaker's contract,
which every backend keeps, a launcher or the pipeline, where the same options have other names.
"""

import os

from trapline.channels import message_file

HYPERPARAMETERS = "SM_HPS"  # what the training toolkit sets


def in_job() -> bool:
    """Whether a launcher or the pipeline started this process as a job, here or on AWS."""
    return HYPERPARAMETERS in os.environ or message_file(os.environ) is not None


def hyperparameter(name: str, value: object = "") -> str:
    """A hyperparameter, with its value where one is meant: `--weights none`, or `--set weights=none`."""
    return _typed("--set", name, value)


def prepare_option(name: str, value: object = "") -> str:
    """An option of prepare.py: `--split random`, or `--prepare split=random`."""
    return _typed("--prepare", name.replace("_", "-"), value)


def _typed(flag: str, name: str, value: object) -> str:
    if in_job():
        return f"{flag} {name}={value}" if value != "" else f"{flag} {name}"
    shown = f"--{name.replace('_', '-')}"
    return f"{shown} {value}" if value != "" else shown
