"""The flags that launchers and the pipeline share, what is said of those that do not suit the backend."""

import argparse
from collections.abc import Sequence

from trapline.errors import UsageError
from trapline.launching.aws.image import REPOSITORY, TAG
from trapline.launching.aws.options import refuse_flags
from trapline.launching.local.docker_engine import IMAGE
from trapline.s3 import is_s3

DEMO = "demo"
COPY_OR_STAY = (
    "jobs on AWS read and write S3 alone; copy it there (aws s3 cp --recursive DIR s3://BUCKET/PREFIX) or "
    "use --backend process"
)


def add_backend(arguments: argparse._ActionsContainer) -> None:
    """Add the flag that says where jobs run."""
    arguments.add_argument("--backend", choices=["process", "local", "aws"],
        help="aws: SageMaker (default); process: here, without Docker or account; local: Docker")  # fmt: skip


def add_prepare(arguments: argparse._ActionsContainer) -> None:
    """Add the flag with options of prepare.py."""
    arguments.add_argument("--prepare", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="options of entry_points/prepare.py, as in split=random crop-bottom=0.07")  # fmt: skip


def add_trial_s3(arguments: argparse._ActionsContainer) -> None:
    """Add the flag that puts a folder into an S3 of one's own."""
    arguments.add_argument("--trial-s3", action="store_true",
        help="process, local: let the jobs read --data DIR from an S3 that this command serves")  # fmt: skip


def add_machine(arguments: argparse._ActionsContainer) -> None:
    """Add region and image."""
    add = arguments.add_argument
    add("--region", help="aws: default: that of trapline.toml, else of AWS's own settings")
    add("--image-uri", help=f"local, aws: container image of all jobs; default: local: {IMAGE}, aws: the "
        f"account's own {REPOSITORY}:{TAG}")  # fmt: skip


def check_places(flags: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise UsageError for a flag of `names`, each a place, that jobs of the backend cannot reach."""
    if flags.backend != "aws":
        if flags.output and is_s3(flags.output):
            raise UsageError(
                f"--output {flags.output}: the {flags.backend} backend writes to a folder, as in runs"
            )
        return
    for name in names:
        value = getattr(flags, name)
        if value and value != DEMO and not is_s3(value):
            raise UsageError(f"--{name} {value}: {COPY_OR_STAY}")


def check_here(flags: argparse.Namespace, aws_alone: Sequence[str]) -> None:
    """Raise UsageError for a flag without an effect on this machine; `aws_alone` are those of AWS."""
    if flags.image_uri and flags.backend == "process":
        raise UsageError("--image-uri: has no effect with --backend process; local and aws use it")
    refuse_flags(flags, aws_alone)
