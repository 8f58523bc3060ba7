"""What only AWS's jobs have: spot, warm pools, time limits, encryption, networks, tags.

Launchers and the pipeline share it. Read and checked before any SDK is loaded. What is not given stays None
or empty, so that the SDK's file of the account's defaults counts.
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapline.errors import UsageError, refuse_any
from trapline.launching.given_options import read_pairs
from trapline.s3 import is_s3

HOUR, DAY = 3600, 24 * 3600  # seconds
MAX_RUN = 28 * DAY  # of a training job, and of its waiting for a machine
MAX_VOLUME_GB = 16_384
MAX_TAGS, TAG_KEY_LENGTH, TAG_VALUE_LENGTH = 50, 128, 256
INPUT_MODES = ("File", "FastFile")
UNITS = {"": 1, "s": 1, "m": 60, "h": HOUR, "d": DAY}
NETWORK = {"subnets": ("subnet", 16), "security_groups": ("sg", 5)}  # what an id begins with; how many
TAG = re.compile(r"[\w\s.:/=+\-@]*")
DEFAULTS_FILE = "the SDK's defaults file, EnableNetworkIsolation"


@dataclass(frozen=True)
class AwsOptions:
    """How jobs run on AWS. Times in seconds. None, False or empty: not given.

    max_run: of one job. max_wait: of a spot job, waiting included. keep_alive: how long a machine is kept for
    the next job. code_output: S3 prefix of the code, where it is not that of the results.
    """

    spot: bool = False
    max_run: int = DAY
    max_wait: int | None = None
    keep_alive: int | None = None
    volume_gb: int = 100
    kms_key: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    network_isolation: bool = False
    encrypt_inter_container: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    input_mode: str = INPUT_MODES[0]
    code_output: str | None = None

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """The tags as requests have them."""
        return [{"Key": key, "Value": value} for key, value in self.tags]


FLAGS: dict[str, dict[str, Any]] = {
    "spot": {
        "action": "store_true",
        "help": "spare capacity at a lower price; an interrupted job goes on",
    },
    "max_run": {"metavar": "TIME", "help": "of each job; default: 24h; at most 28d (processing: 9d)"},
    "max_wait": {
        "metavar": "TIME",
        "help": "with --spot: run and waiting together; default: twice --max-run",
    },
    "keep_alive": {
        "metavar": "TIME",
        "help": "keep the machine for the next training (warm pool); at most 6h",
    },
    "volume_size": {"metavar": "GB", "help": "of each machine's disk; default: 100"},
    "kms_key": {"metavar": "KEY", "help": "encrypts results and disks: id, alias or ARN"},
    "subnets": {"nargs": "+", "metavar": "ID", "help": "VPC subnets, with --security-groups"},
    "security_groups": {"nargs": "+", "metavar": "ID", "help": "VPC security groups, with --subnets"},
    "network_isolation": {
        "action": "store_true",
        "help": "jobs reach no network, not even S3, by themselves",
    },
    "encrypt_inter_container": {
        "action": "store_true",
        "help": "encrypt what a job's machines tell each other",
    },
    "tags": {"nargs": "+", "action": "extend", "metavar": "KEY=VALUE", "help": "of all jobs"},
    "input_mode": {
        "choices": INPUT_MODES,
        "help": f"of training channels: copied first, or read on demand; default: {INPUT_MODES[0]}",
    },
    "code_output": {"metavar": "URI", "help": "S3 prefix of the code; default: that of --output"},
}


def role_of_environment() -> str | None:
    """The role that jobs have where no flag names one; None where the environment does not either."""
    return os.environ.get("SAGEMAKER_JOB_ROLE") or os.environ.get("SAGEMAKER_ROLE") or None


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    """Add the flags, in a group of their own."""
    add_flags(
        arguments.add_argument_group("aws: time, disks, network, encryption; TIME as in 90m, 12h, 2d"), FLAGS
    )


def add_flags(arguments: argparse._ActionsContainer, flags: Mapping[str, Mapping[str, Any]]) -> None:
    """Add flags by name, each with what argparse is told of it."""
    for name, settings in flags.items():
        arguments.add_argument(f"--{name.replace('_', '-')}", **settings)


def refuse(flags: argparse.Namespace, reasons: Mapping[str, str]) -> None:
    """Raise UsageError for a flag that is given and in `reasons`, with the reason."""
    refuse_any(
        (getattr(flags, name), f"--{name.replace('_', '-')}: {reason}") for name, reason in reasons.items()
    )


def read_options(flags: argparse.Namespace) -> AwsOptions:
    """The options of a command line. Raises UsageError naming the flag and what it takes."""
    max_run = _duration("--max-run", flags.max_run, 1, MAX_RUN) or DAY
    max_wait = _duration("--max-wait", flags.max_wait, 1, MAX_RUN)
    keep_alive = _duration("--keep-alive", flags.keep_alive, 0, 6 * HOUR)
    key, code_output = flags.kms_key, flags.code_output
    refuse_any(
        [
            (
                max_wait is not None and not flags.spot,
                "--max-wait: only with --spot; --max-run limits other jobs",
            ),
            (
                max_wait is not None and max_wait < max_run,
                f"--max-wait {flags.max_wait}: is shorter than --max-run ({max_run} s), which it includes",
            ),
            (
                flags.spot and keep_alive is not None,
                "--keep-alive: a warm pool holds no spot machines; leave out --spot or --keep-alive",
            ),
            (
                key is not None and not re.fullmatch(r"[a-zA-Z0-9:/_-]{1,2048}", key),
                f"--kms-key {key}: must be a key's id, alias or ARN, as in alias/traps",
            ),
            (
                code_output is not None and not is_s3(code_output),
                f"--code-output {code_output}: must be an s3:// URI",
            ),
        ]
    )
    return AwsOptions(
        spot=flags.spot,
        max_run=max_run,
        max_wait=(max_wait or min(2 * max_run, MAX_RUN)) if flags.spot else None,
        keep_alive=keep_alive or None,  # 0 keeps nothing, as without the flag
        volume_gb=_volume(flags.volume_size),
        kms_key=key,
        **_network(flags),
        network_isolation=flags.network_isolation,
        encrypt_inter_container=flags.encrypt_inter_container,
        tags=_tags(flags.tags or []),
        input_mode=flags.input_mode or INPUT_MODES[0],
        code_output=code_output.rstrip("/") if code_output else None,
    )


def _duration(flag: str, text: str | None, low: int, high: int) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if not found:
        raise UsageError(f"{flag} {text}: must be a duration, as in 5400, 90m, 12h or 2d")
    seconds = int(found[1]) * UNITS[found[2]]
    if not low <= seconds <= high:
        raise UsageError(f"{flag} {text}: is {seconds} s; must be from {low} to {high} s")
    return seconds


def _volume(text: str | None) -> int:
    if text is None:
        return AwsOptions.volume_gb
    if not text.isdecimal() or not 1 <= int(text) <= MAX_VOLUME_GB:
        raise UsageError(f"--volume-size {text}: must be a whole number of GB from 1 to {MAX_VOLUME_GB}")
    return int(text)


def _network(flags: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Subnets and security groups; the one does not go without the other."""
    given = {name: tuple(getattr(flags, name) or ()) for name in NETWORK}
    subnets, groups = given.values()
    if bool(subnets) != bool(groups):
        there, missing = ("subnets", "security-groups") if subnets else ("security-groups", "subnets")
        raise UsageError(f"--{there}: a VPC needs --{missing} as well")
    for name, (prefix, most) in NETWORK.items():
        flag = f"--{name.replace('_', '-')}"
        refuse_any(
            [
                (len(given[name]) > most, f"{flag}: {len(given[name])} given, at most {most} are possible"),
                *(
                    (
                        not re.fullmatch(rf"{prefix}-[0-9a-f]+", text) or len(text) > 32,
                        f"{flag} {text}: must be an id, as in {prefix}-0a1b2c3d",
                    )
                    for text in given[name]
                ),
            ]
        )
    return given


def _tags(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = read_pairs("--tags", texts)
    if len(pairs) > MAX_TAGS:
        raise UsageError(f"--tags: {len(pairs)} given, at most {MAX_TAGS} are possible")
    for key, value in pairs.items():
        refuse_any(
            [
                (
                    len(key) > TAG_KEY_LENGTH or len(value) > TAG_VALUE_LENGTH,
                    f"--tags {key[:TAG_KEY_LENGTH]}: a key has at most {TAG_KEY_LENGTH} characters, "
                    f"a value {TAG_VALUE_LENGTH}",
                ),
                (
                    not TAG.fullmatch(key) or not TAG.fullmatch(value),
                    f"--tags {key}={value}: only letters, digits, spaces and _ . : / = + - @",
                ),
                (key.lower().startswith("aws:"), f"--tags {key}: keys that begin with aws: are AWS's own"),
            ]
        )
    return tuple(pairs.items())


def check_isolation(weights: str, *, staged: bool, flag: str = "--network-isolation") -> None:
    """Raise UsageError for first weights that a job without network could not get.

    `weights`: the hyperparameter. `staged`: a channel with torchvision's weights is given. `flag`: what says
    that there is no network.
    """
    refuse_any(
        [
            (
                weights == "imagenet" and not staged,
                f"{flag}: weights=imagenet is downloaded by the job, which reaches no network; copy the "
                "weights with launch/stage_weights.py and give --weights URI, or --set weights=none",
            ),
            (
                is_s3(weights) and not staged,
                f"{flag}: weights={weights} is read by the job, which reaches no network; "
                "give a model as --phase1 with weights=phase1",
            ),
        ]
    )
