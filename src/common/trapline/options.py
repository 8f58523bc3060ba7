"""Options as one frozen, typed object for each command: its command line, its checks, its record.

A field of an `Options` class is an option. Whoever hands options on (a launcher, a pipeline) checks them with
`make_options`, by import and before anything starts; the entry point reads them with `read_options`.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from trapline.console import ArgumentParser
from trapline.errors import UsageError, refuse_any
from trapline.storage import json_digest

Made = TypeVar("Made", bound="Options")


class Options(BaseModel):
    """What a command can be told. Unknown names and impossible values are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def record(self) -> dict[str, Any]:
        """Every option as plain JSON values, as records and an Estimator's `hyperparameters` have them."""
        return self.model_dump(mode="json")

    def result_settings(self) -> dict[str, Any]:
        """The options that can change a result, without places, which are another machine's."""
        fields, left_out = type(self).model_fields, places(type(self))
        return {
            name: value
            for name, value in self.record().items()
            if name not in left_out and _extra(fields[name])["digest"]
        }

    def digest(self) -> str:
        """SHA-256 of the options that can change a result."""
        fields = type(self).model_fields
        relevant = {key: value for key, value in self.record().items() if _extra(fields[key])["digest"]}
        return json_digest(relevant)

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """Pairs for what several options together must not be: whether it is so, and what is then said.

        What is said writes `{name}` for an option as whoever gave it spells it.
        """
        return ()

    @model_validator(mode="after")
    def _check_conflicts(self) -> Self:
        refuse_any(self.conflicts(), ValueError)
        return self


def option(
    default: Any,
    description: str,
    *,
    metavar: str | None = None,
    digest: bool = True,
    place: str | None = None,
    **constraints: Any,
) -> Any:
    """A field of an `Options` class; `default` is `...` for what must be given.

    `digest=False` marks what cannot change a result. `place` says what the option names, where that may be an
    s3:// URI: `input`, which `trapline.s3_copies` copies, `output`, which it uploads, or `own`, which the
    command reads for itself.
    """
    return Field(
        default,
        description=description,
        json_schema_extra={"digest": digest, "place": place, "metavar": metavar},
        **constraints,
    )


def flag_of(name: str) -> str:
    """An option's name as a command line has it."""
    return f"--{name.replace('_', '-')}"


def takes(info: FieldInfo) -> str:
    """What an option takes, as its help shows it."""
    return str(_extra(info)["metavar"] or _metavar(info))


def is_list(info: FieldInfo) -> bool:
    """Whether an option takes several words."""
    return get_origin(info.annotation) is tuple and Ellipsis in get_args(info.annotation)


def places(model: type[Options]) -> dict[str, str]:
    """Option -> `input`, `output` or `own`, of those that name a place."""
    found = {name: _extra(info)["place"] for name, info in model.model_fields.items()}
    return {name: place for name, place in found.items() if place}


def _extra(info: FieldInfo) -> dict[str, Any]:
    assert isinstance(info.json_schema_extra, dict)  # `option` gave it
    return info.json_schema_extra


# --- the command line ---------------------------------------------------------------------------------------


def read_options(model: type[Made], description: str, words: Sequence[str] | None = None) -> Made:
    """The options of a command line, of which the first line of `description` says what it does.

    `words`: None: those that the process was started with.

    Raises UsageError for an impossible value; ends the process with exit code 2 for an unknown option.
    """
    parser = ArgumentParser(description=description.splitlines()[0])
    add_options(parser, model)
    return make_options(
        model, given_options(parser.parse_args(hyphenated(sys.argv[1:] if words is None else words)), model)
    )


def add_options(
    parser: argparse.ArgumentParser,
    model: type[Options],
    title: str = "options of the job",
    leave_out: Collection[str] = (),
) -> None:
    """Add an option for each field but those to `leave_out`, which the command line has otherwise.

    Pass the command line through `hyphenated` before parsing.
    """
    group = parser.add_argument_group(title)
    for name, info in model.model_fields.items():
        if name in leave_out:
            continue
        group.add_argument(
            flag_of(name),
            dest=_destination(model, name),
            default=argparse.SUPPRESS,
            required=info.is_required(),
            metavar=takes(info),
            help=_help(info).replace("%", "%%"),
            **_words(info),
        )


def given_options(flags: argparse.Namespace, model: type[Options]) -> dict[str, Any]:
    """The options of `model` that were given, as text, by name."""
    start = _destination(model, "")
    return {key.removeprefix(start): text for key, text in vars(flags).items() if key.startswith(start)}


def hyphenated(command_line: Iterable[str]) -> list[str]:
    """The command line with `--batch_size` (the toolkit's spelling) turned into `--batch-size`."""
    return [re.sub("^--[^=]*", lambda name: name[0].replace("_", "-"), text) for text in command_line]


def _destination(model: type[Options], name: str) -> str:
    return f"{model.__name__}.{name}"


def _words(info: FieldInfo) -> dict[str, Any]:
    """How many words an option takes: a switch one or none, a list one or more, others one."""
    if info.annotation is bool:
        return {"nargs": "?", "const": "true"}
    if is_list(info):
        return {"nargs": "+", "action": "extend"}
    return {}


def _help(info: FieldInfo) -> str:
    text = info.description or ""
    if info.is_required() or "default:" in text or info.default == ():
        return text
    return f"{text} (default: {info.default})"


def _metavar(info: FieldInfo) -> str:
    kinds = (*_kinds(info), info.annotation)
    choices = [choice for kind in kinds for choice in get_args(kind) if isinstance(choice, str)]
    if choices:
        return "{" + ",".join(choices) + "}"
    return str(next(kind.__name__ for kind in _kinds(info) if isinstance(kind, type))).upper()


def _kinds(info: FieldInfo) -> tuple[Any, ...]:
    return get_args(info.annotation) or (info.annotation,)


# --- checks -------------------------------------------------------------------------------------------------


def make_options(
    model: type[Made],
    values: Mapping[str, Any],
    spelled: Callable[[str], str] = flag_of,
    *,
    whole: str = "",
    listed: str = "--help lists them",
) -> Made:
    """Check `values` and build the options.

    Raises UsageError with a line for each wrong option: its name as `spelled` gives it, what is wrong, what
    it got. `whole` stands before what is wrong with several together, `listed` says where all are listed.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = [_explain(item, model, spelled, whole, listed) for item in _alternatives(error.errors())]
        raise UsageError("\n".join(problems)) from None


def _alternatives(errors: list[Any]) -> list[Any]:
    """One error for each option: one of several types has one for each of them."""
    by_field: dict[Any, Any] = {}
    for item in errors:
        key = item["loc"][:1] or item["msg"]
        first = by_field.setdefault(key, dict(item))
        if first["msg"] != item["msg"]:
            first["msg"] += f", or {item['msg'][0].lower()}{item['msg'][1:]}"
    return list(by_field.values())


def _explain(item: Any, model: type[Options], spelled: Callable[[str], str], whole: str, listed: str) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        names = {name: spelled(name) for name in model.model_fields}  # which `conflicts` writes as `{name}`
        return whole + re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], found[0]), message)
    name = str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, model.model_fields, n=1)
        hint = f"did you mean {spelled(close[0]).split()[-1]}?" if close else listed
        return f"{spelled(name)}: unknown; {hint}"
    if item["type"] == "missing":
        return f"{spelled(name)}: must be given; {listed}"
    if item["type"] == "string_pattern_mismatch":
        message = "only letters, digits and _./:@+,=- survive the way to the container"
    return f"{spelled(name)}: {message[0].lower()}{message[1:]} (got {item['input']!r})"
