"""What only AWS's jobs have: spot, warm pools, time limits, encryption, networks, tags.

Launchers and the pipeline share it. Read and checked before any SDK is loaded. What is not given stays None
or empty, so that the SDK's file of the account's defaults counts.
"""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from trapline.errors import UsageError
from trapline.launching.pairs import read_pairs
from trapline.s3 import is_s3

HOUR, DAY = 3600, 24 * 3600  # seconds
MAX_RUN = 28 * DAY  # of a training job, and of its waiting for a machine
MAX_PROCESSING = 9 * DAY
MAX_KEEP_ALIVE = 6 * HOUR  # KeepAlivePeriodInSeconds of botocore's service model
MAX_VOLUME_GB = 16_384
MAX_SUBNETS, MAX_SECURITY_GROUPS = 16, 5
MAX_TAGS, TAG_KEY_LENGTH, TAG_VALUE_LENGTH = 50, 128, 256
INPUT_MODES = ("File", "FastFile")
UNITS = {"": 1, "s": 1, "m": 60, "h": HOUR, "d": DAY}
DURATION = re.compile(r"(\d{1,9})([smhd]?)")
KMS_KEY = re.compile(r"[a-zA-Z0-9:/_-]{1,2048}")
NETWORK_ID = {"--subnets": re.compile(r"subnet-[0-9a-f]+"), "--security-groups": re.compile(r"sg-[0-9a-f]+")}
TAG = re.compile(r"[\w\s.:/=+\-@]*")


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
    def max_run_of_processing(self) -> int:
        """The longest that a processing job may run, whose limit is lower than that of training."""
        return min(self.max_run, MAX_PROCESSING)

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """The tags as requests have them."""
        return [{"Key": key, "Value": value} for key, value in self.tags]


FLAGS = (
    "spot", "max_wait", "keep_alive", "max_run", "volume_size", "kms_key", "subnets", "security_groups",
    "network_isolation", "encrypt_inter_container", "tags", "input_mode", "code_output",
)  # fmt: skip


def role_of_environment() -> str | None:
    """The role that jobs have where no flag names one; None where the environment does not either."""
    return os.environ.get("SAGEMAKER_JOB_ROLE") or os.environ.get("SAGEMAKER_ROLE") or None


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    """Add the flags, in a group of their own."""
    group = arguments.add_argument_group("aws: time, disks, network, encryption; TIME as in 90m, 12h, 2d")
    add = group.add_argument
    add("--spot", action="store_true", help="spare capacity at a lower price; an interrupted job goes on")
    add("--max-run", metavar="TIME", help="of each job; default: 24h; at most 28d (processing: 9d)")
    add("--max-wait", metavar="TIME", help="with --spot: run and waiting together; default: twice --max-run")
    add("--keep-alive", metavar="TIME", help="keep the machine for the next training (warm pool); at most 6h")
    add("--volume-size", metavar="GB", help="of each machine's disk; default: 100")
    add("--kms-key", metavar="KEY", help="encrypts results and disks: id, alias or ARN")
    add("--subnets", nargs="+", metavar="ID", help="VPC subnets, with --security-groups")
    add("--security-groups", nargs="+", metavar="ID", help="VPC security groups, with --subnets")
    add("--network-isolation", action="store_true", help="jobs reach no network, not even S3, by themselves")
    add(
        "--encrypt-inter-container",
        action="store_true",
        help="encrypt what a job's machines tell each other",
    )
    add("--tags", nargs="+", action="extend", metavar="KEY=VALUE", help="of all jobs")
    add("--input-mode", choices=INPUT_MODES, help="of training channels: copied first, or read on demand; "
        f"default: {INPUT_MODES[0]}")  # fmt: skip
    add("--code-output", metavar="URI", help="S3 prefix of the code; default: that of --output")


def refuse_flags(flags: argparse.Namespace, names: Sequence[str] = FLAGS) -> None:
    """Raise UsageError for a flag that only aws takes."""
    for name in names:
        if getattr(flags, name):
            shown = f"--{name.replace('_', '-')}"
            raise UsageError(f"{shown}: only with --backend aws; leave it out with {flags.backend}")


def read_options(flags: argparse.Namespace) -> AwsOptions:
    """The options of a command line. Raises UsageError naming the flag and what it takes."""
    max_run = _duration("--max-run", flags.max_run, 1, MAX_RUN) or DAY
    keep_alive = _duration("--keep-alive", flags.keep_alive, 0, MAX_KEEP_ALIVE)
    if flags.spot and keep_alive is not None:
        raise UsageError("--keep-alive: a warm pool holds no spot machines; leave out --spot or --keep-alive")
    return AwsOptions(
        spot=flags.spot,
        max_run=max_run,
        max_wait=_max_wait(flags, max_run),
        keep_alive=keep_alive or None,  # 0 keeps nothing, as without the flag
        volume_gb=_volume(flags.volume_size),
        kms_key=_kms_key(flags.kms_key),
        **_network(flags),
        network_isolation=flags.network_isolation,
        encrypt_inter_container=flags.encrypt_inter_container,
        tags=_tags(flags.tags or []),
        input_mode=flags.input_mode or INPUT_MODES[0],
        code_output=_code_output(flags.code_output),
    )


def _duration(flag: str, text: str | None, low: int, high: int) -> int | None:
    if text is None:
        return None
    found = DURATION.fullmatch(text)
    if not found:
        raise UsageError(f"{flag} {text}: must be a duration, as in 5400, 90m, 12h or 2d")
    seconds = int(found[1]) * UNITS[found[2]]
    if not low <= seconds <= high:
        raise UsageError(f"{flag} {text}: is {seconds} s; must be from {low} to {high} s")
    return seconds


def _max_wait(flags: argparse.Namespace, max_run: int) -> int | None:
    given = _duration("--max-wait", flags.max_wait, 1, MAX_RUN)
    if not flags.spot:
        if given is not None:
            raise UsageError("--max-wait: only with --spot; --max-run limits other jobs")
        return None
    if given is None:
        return min(2 * max_run, MAX_RUN)
    if given < max_run:
        raise UsageError(
            f"--max-wait {flags.max_wait}: is shorter than --max-run ({max_run} s), which it includes"
        )
    return given


def _volume(text: str | None) -> int:
    if text is None:
        return AwsOptions.volume_gb
    if not text.isdecimal() or not 1 <= int(text) <= MAX_VOLUME_GB:
        raise UsageError(f"--volume-size {text}: must be a whole number of GB from 1 to {MAX_VOLUME_GB}")
    return int(text)


def _kms_key(text: str | None) -> str | None:
    if text is not None and not KMS_KEY.fullmatch(text):
        raise UsageError(f"--kms-key {text}: must be a key's id, alias or ARN, as in alias/traps")
    return text


def _network(flags: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    subnets, groups = tuple(flags.subnets or ()), tuple(flags.security_groups or ())
    for flag, other, given, missing in (
        ("--subnets", "--security-groups", subnets, groups),
        ("--security-groups", "--subnets", groups, subnets),
    ):
        if given and not missing:
            raise UsageError(f"{flag}: a VPC needs {other} as well")
    for flag, given, most in (
        ("--subnets", subnets, MAX_SUBNETS),
        ("--security-groups", groups, MAX_SECURITY_GROUPS),
    ):
        _check_ids(flag, given, most)
    return {"subnets": subnets, "security_groups": groups}


def _check_ids(flag: str, given: tuple[str, ...], most: int) -> None:
    if len(given) > most:
        raise UsageError(f"{flag}: {len(given)} given, at most {most} are possible")
    for text in given:
        if not NETWORK_ID[flag].fullmatch(text) or len(text) > 32:
            kind = "subnet-0a1b2c3d" if flag == "--subnets" else "sg-0a1b2c3d"
            raise UsageError(f"{flag} {text}: must be an id, as in {kind}")


def _tags(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = read_pairs("--tags", texts)
    if len(pairs) > MAX_TAGS:
        raise UsageError(f"--tags: {len(pairs)} given, at most {MAX_TAGS} are possible")
    for key, value in pairs.items():
        if len(key) > TAG_KEY_LENGTH or len(value) > TAG_VALUE_LENGTH:
            raise UsageError(
                f"--tags {key[:TAG_KEY_LENGTH]}: a key has at most {TAG_KEY_LENGTH} characters, "
                f"a value {TAG_VALUE_LENGTH}"
            )
        if not TAG.fullmatch(key) or not TAG.fullmatch(value):
            raise UsageError(f"--tags {key}={value}: only letters, digits, spaces and _ . : / = + - @")
        if key.lower().startswith("aws:"):
            raise UsageError(f"--tags {key}: keys that begin with aws: are AWS's own")
    return tuple(pairs.items())


def _code_output(text: str | None) -> str | None:
    if text is None:
        return None
    if not is_s3(text):
        raise UsageError(f"--code-output {text}: must be an s3:// URI")
    return text.rstrip("/")


DEFAULTS_FILE = "the SDK's defaults file, EnableNetworkIsolation"


def check_isolation(weights: str, *, staged: bool, flag: str = "--network-isolation") -> None:
    """Raise UsageError for first weights that a job without network could not get.

    `weights`: the hyperparameter. `staged`: a channel with torchvision's weights is given. `flag`: what says
    that there is no network.
    """
    if staged:
        return
    if weights == "imagenet":
        raise UsageError(
            f"{flag}: weights=imagenet is downloaded by the job, which reaches no network; copy the weights "
            "with launch/stage_weights.py and give --weights URI, or --set weights=none"
        )
    if is_s3(weights):
        raise UsageError(
            f"{flag}: weights={weights} is read by the job, which reaches no network; "
            "give a model as --phase1 with weights=phase1"
        )
