"""What launchers need to know of a person's machine and account, in the place of flags that are not given.

A flag comes first, then `trapline.toml`, looked for from the working folder upwards, then a variable:
TRAPLINE_DATA, TRAPLINE_BUCKET, TRAPLINE_OUTPUT, TRAPLINE_ROLE, TRAPLINE_REGION, TRAPLINE_IMAGE,
TRAPLINE_BACKEND. Hyperparameters are none of these.
"""

import argparse
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trapline.errors import TraplineError, UsageError
from trapline.launching.pairs import as_words
from trapline.launching.shared_flags import COPY_OR_STAY, DEMO
from trapline.options import Options, make_options, option
from trapline.s3 import is_s3

FILE = "trapline.toml"
VARIABLE = "TRAPLINE_"
# Below a bucket that is named, where nothing else says where data lie and results go.
IMAGES, RESULTS = "images", "trapline"
PLACES = ("data", "output")
NOT_GIVEN = f"Data, output, role, region, image, backend without a flag: as {FILE} says, else {VARIABLE}*."
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+|[\w+=,.@-]{1,64}")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def checked(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"must be {what}")
        return text

    return AfterValidator(checked)


Text = Annotated[str, Field(min_length=1)]
Role = Annotated[str, _matching(ROLE, "a role's name or ARN, as in arn:aws:iam::123456789012:role/NAME")]
Bucket = Annotated[str, _matching(BUCKET, "a bucket's name, without s3://")]
Region = Annotated[str, _matching(REGION, "a region, as in eu-west-1")]


class LauncherSettings(Options):
    """What trapline.toml can hold."""

    data: Text | None = option(None, "raw images: a folder, an archive, an s3:// URI, or demo")
    bucket: Bucket | None = option(
        None,
        f"S3 bucket of jobs on AWS, where data and output are not named: they lie in {IMAGES}/, {RESULTS}/",
    )
    output: Text | None = option(None, "where results go: a folder, or an s3:// URI for jobs on AWS")
    role: Role | None = option(None, "execution role of jobs on AWS, name or ARN")
    region: Region | None = option(None, "AWS region")
    image: Text | None = option(None, "container image of jobs in Docker and on AWS")
    backend: Literal["process", "local", "aws"] | None = option(None, "where jobs run; else aws")


@dataclass(frozen=True)
class Setting:
    """A value, and the file or the variable that gives it."""

    value: str
    source: str


def settings_file(folder: Path | None = None) -> Path | None:
    """The nearest trapline.toml, in `folder` (the working folder) or above it; None where there is none."""
    start = (folder or Path.cwd()).resolve()
    return next((path for above in (start, *start.parents) if (path := above / FILE).is_file()), None)


def read_settings(
    folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Setting]:
    """The settings that are given, by name; the file comes before the variables.

    A folder in the file is one beside it, unless it is absolute. Raises UsageError for a name that is no
    setting and for an impossible value, TraplineError for a file that cannot be read.
    """
    path = settings_file(folder)
    return {**_of_environment(os.environ if environment is None else environment), **_of_file(path)}


def read_file(path: Path) -> dict[str, str]:
    """The settings in a file as they are written. Raises as `read_settings`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f'{path}: not valid TOML ({error}); write NAME = "VALUE" lines') from None
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    return _checked(content, lambda name: f"{path}: {name}")


def check_value(name: str, value: str) -> None:
    """Raise UsageError where `name` is no setting, or cannot have this value."""
    _checked({name: value}, str)


def _checked(content: Mapping[str, object], spelled: Callable[[str], str]) -> dict[str, str]:
    known = ", ".join(LauncherSettings.model_fields)
    made = make_options(LauncherSettings, content, spelled, listed=f"there are {known}")
    return {name: value for name, value in made if value is not None}


def _of_environment(environment: Mapping[str, str]) -> dict[str, Setting]:
    variables = {name: f"{VARIABLE}{name.upper()}" for name in LauncherSettings.model_fields}
    given = {name: environment[variable] for name, variable in variables.items() if environment.get(variable)}
    checked = _checked(given, variables.__getitem__)
    return {name: Setting(value, variables[name]) for name, value in checked.items()}


def _of_file(path: Path | None) -> dict[str, Setting]:
    if path is None:
        return {}
    values = read_file(path)
    for name in PLACES:
        if name in values and values[name] != DEMO and not is_s3(values[name]):
            values[name] = str(path.parent / values[name])
    return {name: Setting(value, str(path)) for name, value in values.items()}


# --- in the place of flags ----------------------------------------------------------------------------------


def complete(flags: argparse.Namespace, *, places: bool = True, needs_data: bool = True) -> list[str]:
    """Words that say with flags what the command line leaves to the settings.

    `places`: whether the command takes data and output. What does not suit the backend is left out. Raises
    UsageError of four lines where data are needed and nowhere named.
    """
    settings = read_settings()
    given = {name: value for name, value in vars(flags).items() if value not in (None, False)}
    backend = given.get("backend") or _value(settings, "backend") or "aws"
    found = {"backend": backend}
    if backend == "aws":
        found |= {name: value for name in ("role", "region") if (value := _value(settings, name))}
    if backend != "process" and not given.get("dlc") and (image := _value(settings, "image")):
        found["image_uri"] = image
    if places:
        found |= _output(settings, backend)
        if not given.keys() & {"data", "prepared"}:
            found |= _data(settings, backend, needed=needs_data)
    return [
        word
        for name, value in found.items()
        if name in vars(flags) and name not in given
        for word in as_words(name.replace("_", "-"), value)
    ]


def in_s3() -> set[str]:
    """Which of data and output the settings name for jobs on AWS."""
    found = read_settings()
    return {name for name in PLACES if (is_s3(found[name].value) if name in found else "bucket" in found)}


def use_region(region: str | None = None) -> None:
    """Let AWS's libraries, and processes started here, take `region`, or that of the settings if any."""
    chosen = region or _value(read_settings(), "region")
    if chosen:
        os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = chosen


def _value(settings: Mapping[str, Setting], name: str) -> str | None:
    return settings[name].value if name in settings else None


def _data(settings: Mapping[str, Setting], backend: str, *, needed: bool) -> dict[str, str]:
    """The raw images that the settings name. Raises UsageError where they name none that jobs can read."""
    data, bucket = settings.get("data"), settings.get("bucket")
    if data is None:
        if bucket and backend == "aws":
            return {"data": f"s3://{bucket.value}/{IMAGES}"}
        if needed:
            raise UsageError(no_data())
        return {}
    if backend == "aws" and data.value != DEMO and not is_s3(data.value):
        if not needed:
            return {}
        raise UsageError(f"{data.source}: data {data.value}: {COPY_OR_STAY}")
    return {"data": data.value}


def _output(settings: Mapping[str, Setting], backend: str) -> dict[str, str]:
    """Where results go; a folder is nothing for jobs on AWS, nor S3 for those that run here."""
    output, bucket = settings.get("output"), settings.get("bucket")
    if output is not None and is_s3(output.value) == (backend == "aws"):
        return {"output": output.value}
    return {"output": f"s3://{bucket.value}/{RESULTS}"} if bucket and backend == "aws" else {}


def no_data(words: Sequence[str] | None = None) -> str:
    """Four lines for a command that needs data, of which nothing says where they lie."""
    typed = _without_backend(sys.argv if words is None else words)
    command = shlex.join(["python", *typed])
    return "\n".join(
        [
            f"no data: neither --data nor {FILE} nor {VARIABLE}DATA says where they lie",
            f"here, with images that are drawn: {command} --backend process --data {DEMO}",
            f"on AWS: {command} --data s3://BUCKET/PREFIX --role ROLE",
            f"python launch/settings.py writes {FILE}, after which the command stands as it is",
        ]
    )


def _without_backend(words: Sequence[str]) -> list[str]:
    kept, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word == "--backend":
            rest = rest[1:]
        elif not word.startswith("--backend="):
            kept.append(word)
    return kept
