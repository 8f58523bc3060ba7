"""Hyperparameters of a request: whether they survive the way into the container, and mean something there."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from trapline.config import ShellSafe, TrainingConfig, make_config
from trapline.errors import UsageError
from trapline.launching.checking.findings import Finding, shown
from trapline.launching.checking.service_model import UNKNOWN
from trapline.launching.checking.settled_requests import Training, at

# Older training toolkits join the command line through a shell without quoting it.
SAFE = re.compile(get_args(ShellSafe)[1].pattern)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NOT_PASSED_ON = ("sagemaker_", "_")  # what the toolkit and the tuner keep for themselves begins so


def decoded(value: object) -> object:
    """A hyperparameter's value as the toolkit decodes it: JSON, or the text itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def own_hyperparameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The decoded values that reach train.py."""
    return {name: decoded(value) for name, value in values.items() if not str(name).startswith(NOT_PASSED_ON)}


def check_hyperparameters(training: Training) -> Iterator[Finding]:
    """What a shell would change, and what the training would refuse after minutes that cost money."""
    given = at(training.body, training.hyperparameters, Mapping)
    if given is None:
        return
    own = own_hyperparameters(given)
    unsafe = False
    for name, value in own.items():
        problem = _unsafe(name, value)
        if problem:
            unsafe = True
            yield training.found(f"{training.hyperparameters}.{name}", "shell", problem)
    if (
        training.request.current
        and not unsafe
        and all(isinstance(value, str) for value in given.values() if value is not UNKNOWN)
    ):
        yield from _impossible(training, own)


def _unsafe(name: str, value: object) -> str | None:
    if not NAME.fullmatch(name):
        return "the name must be letters, digits, _ and -, to be an option of train.py"
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if isinstance(text, str) and text and not SAFE.search(text):
            return f"{shown(text)}: only letters, digits and _./:@+,=- survive a shell on the way to train.py"
        if isinstance(text, dict | list):
            return "must be a plain value, or a list of plain values"
    return None


def _impossible(training: Training, own: Mapping[str, Any]) -> Iterator[Finding]:
    known = {name: value for name, value in own.items() if value is not UNKNOWN}
    try:
        make_config(known)
    except UsageError as error:
        for line in str(error).splitlines():
            name = line.removeprefix("hyperparameter ").partition(":")[0]
            if name not in TrainingConfig.model_fields and len(known) < len(own) and name not in own:
                continue  # of several fields, one of which only the execution knows
            field = f".{name}" if name in {*known, *TrainingConfig.model_fields} else ""
            yield training.found(f"{training.hyperparameters}{field}", "hyperparameter", line)
