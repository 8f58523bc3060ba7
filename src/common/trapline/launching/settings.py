"""What launchers need to know of a person's machine and account, in the place of flags that are not given.

A flag comes first, then `trapline.toml`, looked for from the working folder upwards, then a variable:
TRAPLINE_DATA, TRAPLINE_BUCKET, TRAPLINE_OUTPUT, TRAPLINE_ROLE, TRAPLINE_REGION, TRAPLINE_IMAGE,
TRAPLINE_BACKEND. Hyperparameters are none of these. Here are also the flags that all launchers share.
"""

import argparse
import itertools
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from trapline.errors import TraplineError, UsageError, refuse_any
from trapline.launching.aws.account import REPOSITORY, TAG
from trapline.launching.aws.options import refuse
from trapline.launching.given_options import as_words
from trapline.launching.local.docker_engine import IMAGE
from trapline.options import Options, make_options, option
from trapline.s3 import is_s3

FILE = "trapline.toml"
VARIABLE = "TRAPLINE_"
# Below a bucket that is named, where nothing else says where data lie and results go.
IMAGES, RESULTS = "images", "trapline"
PLACES = ("data", "output")
NOT_GIVEN = f"Data, output, role, region, image, backend without a flag: as {FILE} says, else {VARIABLE}*."


def _matching(pattern: str, what: str) -> AfterValidator:
    def checked(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {what}")
        return text

    return AfterValidator(checked)


Text = Annotated[str, Field(min_length=1)]
Role = Annotated[
    str,
    _matching(
        r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+|[\w+=,.@-]{1,64}",
        "a role's name or ARN, as in arn:aws:iam::123456789012:role/NAME",
    ),
]
Bucket = Annotated[str, _matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name, without s3://")]
Region = Annotated[str, _matching(r"[a-z]{2}(-[a-z]+)+-\d", "a region, as in eu-west-1")]


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


def settings_file() -> Path | None:
    """The nearest trapline.toml, in the working folder or above it; None where there is none."""
    start = Path.cwd().resolve()
    return next((path for above in (start, *start.parents) if (path := above / FILE).is_file()), None)


def read_settings() -> dict[str, Setting]:
    """The settings that are given, by name; the file comes before the variables.

    A folder in the file is one beside it, unless it is absolute. Raises UsageError for a name that is no
    setting and for an impossible value, TraplineError for a file that cannot be read.
    """
    variables = {name: f"{VARIABLE}{name.upper()}" for name in LauncherSettings.model_fields}
    given = {name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)}
    found = {
        name: Setting(value, variables[name])
        for name, value in _checked(given, variables.__getitem__).items()
    }
    if path := settings_file():
        for name, value in read_file(path).items():
            folder = name in PLACES and value != DEMO and not is_s3(value)
            found[name] = Setting(str(path.parent / value) if folder else value, str(path))
    return found


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
    made = make_options(
        LauncherSettings,
        content,
        spelled,
        listed=f"there are {', '.join(LauncherSettings.model_fields)}",
    )
    return {name: value for name, value in made if value is not None}


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
    elif backend == "aws" and data.value != DEMO and not is_s3(data.value):
        if needed:
            raise UsageError(f"{data.source}: data {data.value}: {COPY_OR_STAY}")
    else:
        return {"data": data.value}
    return {}


def _output(settings: Mapping[str, Setting], backend: str) -> dict[str, str]:
    """Where results go; a folder is nothing for jobs on AWS, nor S3 for those that run here."""
    output, bucket = settings.get("output"), settings.get("bucket")
    if output is not None and is_s3(output.value) == (backend == "aws"):
        return {"output": output.value}
    return {"output": f"s3://{bucket.value}/{RESULTS}"} if bucket and backend == "aws" else {}


def no_data() -> str:
    """Four lines for a command that needs data, of which nothing says where they lie."""
    kept = [
        word
        for before, word in itertools.pairwise(["", *sys.argv])
        if "--backend" not in (before, word) and not word.startswith("--backend=")
    ]
    command = shlex.join(["python", *kept])
    return "\n".join(
        [
            f"no data: neither --data nor {FILE} nor {VARIABLE}DATA says where they lie",
            f"here, with images that are drawn: {command} --backend process --data {DEMO}",
            f"on AWS: {command} --data s3://BUCKET/PREFIX --role ROLE",
            f"python launch/settings.py writes {FILE}, after which the command stands as it is",
        ]
    )


# --- the flags that launchers and the pipeline share --------------------------------------------------------

DEMO = "demo"
COPY_OR_STAY = (
    "jobs on AWS read and write S3 alone; copy it there (aws s3 cp --recursive DIR s3://BUCKET/PREFIX) or "
    "use --backend process"
)
SHARED: dict[str, dict[str, Any]] = {
    "backend": {
        "choices": ["process", "local", "aws"],
        "help": "aws: SageMaker (default); process: here, without Docker or account; local: Docker",
    },
    "prepare": {
        "nargs": "+",
        "action": "extend",
        "default": [],
        "metavar": "KEY=VALUE",
        "help": "options of entry_points/prepare.py, as in split=random crop-bottom=0.07 "
        "'columns=path=filename label=species'",
    },
    "trial-s3": {
        "action": "store_true",
        "help": "process, local: let the jobs read --data DIR from an S3 that this command serves",
    },
    "region": {"help": "aws: default: that of trapline.toml, else of AWS's own settings"},
    "image-uri": {
        "help": f"local, aws: container image of all jobs; default: local: {IMAGE}, aws: the account's own "
        f"{REPOSITORY}:{TAG}"
    },
}


def check_places(flags: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise UsageError for a flag of `names`, each a place, that jobs of the backend cannot reach."""
    if flags.backend == "aws":
        given = {name: getattr(flags, name) for name in names}
        refuse_any(
            (value and value != DEMO and not is_s3(value), f"--{name} {value}: {COPY_OR_STAY}")
            for name, value in given.items()
        )
    elif flags.output and is_s3(flags.output):
        raise UsageError(
            f"--output {flags.output}: the {flags.backend} backend writes to a folder, as in runs"
        )


def check_here(flags: argparse.Namespace, aws_alone: Sequence[str]) -> None:
    """Raise UsageError for a flag without an effect on this machine; `aws_alone` are those of AWS."""
    if flags.backend == "process":
        refuse(flags, {"image_uri": "has no effect with --backend process; local and aws use it"})
    refuse(flags, dict.fromkeys(aws_alone, f"only with --backend aws; leave it out with {flags.backend}"))
