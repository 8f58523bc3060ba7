"""Hyperparameters as SageMaker hands them over: the variable `SM_HPS`, or a command line in two dialects.

The training toolkit (sagemaker-training) decodes each value from JSON, puts all of them into `SM_HPS` and
repeats them on the command line as Python prints them: `True`, an empty argument for None, `['a', 'b']`.
Version 3 of the SDK writes `true`, `null` and JSON lists instead. Other environment variables are never read.
"""

import argparse
import ast
from collections.abc import Mapping
from typing import Any

from trapline.config import TrainingConfig, make_config
from trapline.errors import UsageError
from trapline.options import given_options
from trapline.storage import parse_json

TITLE = "hyperparameters (ignored where SM_HPS is set)"
PLATFORM = ("sagemaker_", "_tuning_objective_metric")  # how names begin that SageMaker adds
NONE_WORDS = ("", "None", "null")


def read_config(arguments: argparse.Namespace, environment: Mapping[str, str]) -> TrainingConfig:
    """The configuration from `SM_HPS` when it is set, else from the parsed command line.

    Raises UsageError for unknown names and impossible values.
    """
    if "SM_HPS" in environment:
        return make_config(_from_environment(environment["SM_HPS"]))
    given = given_options(arguments, TrainingConfig)
    return make_config({name: parse_value(name, text) for name, text in given.items()})


def _from_environment(text: str) -> dict[str, Any]:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise UsageError(f"SM_HPS: not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise UsageError(f"SM_HPS: must be a JSON object, got {type(values).__name__}")
    own = {name: value for name, value in values.items() if not name.startswith(PLATFORM)}
    return {
        name.replace("-", "_"): parse_value(name, value) if isinstance(value, str) else value
        for name, value in own.items()
    }


def parse_value(name: str, text: str) -> Any:
    """The Python value of one argument's text, in either dialect; plain text stays text.

    Numbers and booleans stay text too: the configuration knows their types and checks them.
    """
    if text in NONE_WORDS:
        return None
    if text[0] in "[{":
        for parse in (parse_json, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        raise UsageError(f"hyperparameter {name}: cannot read the list {text!r}")
    return text


def to_arguments(config: TrainingConfig) -> list[str]:
    """The configuration as a command line for `train.py`, in the toolkit's dialect."""
    pairs = ((f"--{key}", "" if value is None else str(value)) for key, value in config.record().items())
    return [text for pair in pairs for text in pair]
