"""Hyperparameters as SageMaker hands them over: the variable `SM_HPS`, or a command line in two dialects.

The training toolkit (sagemaker-training) decodes each value from JSON, puts all of them into `SM_HPS` and
repeats them on the command line as Python prints them: `True`, an empty argument for None, `['a', 'b']`.
Version 3 of the SDK writes `true`, `null` and JSON lists instead. Other environment variables are never read.
"""

import argparse
import ast
import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from common.config import TrainingConfig, make_config
from common.errors import UsageError

PREFIX = "hyperparameter_"
PLATFORM = ("sagemaker_", "_tuning_objective_metric")  # how names begin that SageMaker adds
NONE_WORDS = ("", "None", "null")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one option for each hyperparameter; pass the command line through `hyphenated` before parsing."""
    group = parser.add_argument_group("hyperparameters (ignored where SM_HPS is set)")
    for name, info in TrainingConfig.model_fields.items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=PREFIX + name,
            default=argparse.SUPPRESS,
            nargs="?" if info.annotation is bool else None,
            const="True" if info.annotation is bool else None,
            metavar=_metavar(info),
            help=f"{info.description} (default: {info.default})",
        )


def hyphenated(command_line: Iterable[str]) -> list[str]:
    """The command line with `--batch_size` (the toolkit's spelling) turned into `--batch-size`."""
    return [_hyphenated_name(text) if text.startswith("--") else text for text in command_line]


def _hyphenated_name(text: str) -> str:
    name, equals, value = text.partition("=")
    return name.replace("_", "-") + equals + value


def _metavar(info: FieldInfo) -> str:
    choices = [str(choice) for choice in get_args(info.annotation) if isinstance(choice, str)]
    if choices:
        return "{" + ",".join(choices) + "}"
    kinds = get_args(info.annotation) or (info.annotation,)
    return str(next(kind.__name__ for kind in kinds if isinstance(kind, type))).upper()


def read_config(arguments: argparse.Namespace, environment: Mapping[str, str]) -> TrainingConfig:
    """The configuration from `SM_HPS` when it is set, else from the parsed command line.

    Raises UsageError for unknown names and impossible values.
    """
    if "SM_HPS" in environment:
        return make_config(_from_environment(environment["SM_HPS"]))
    given = {key: text for key, text in vars(arguments).items() if key.startswith(PREFIX)}
    names = {key.removeprefix(PREFIX): text for key, text in given.items()}
    return make_config({name: parse_value(name, text) for name, text in names.items()})


def _from_environment(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
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
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, SyntaxError):
                continue
        raise UsageError(f"hyperparameter {name}: cannot read the list {text!r}")
    return text


def to_arguments(config: TrainingConfig) -> list[str]:
    """The configuration as a command line for `train.py`, in the toolkit's dialect."""
    pairs = ((f"--{key}", "" if value is None else str(value)) for key, value in config.record().items())
    return [text for pair in pairs for text in pair]
