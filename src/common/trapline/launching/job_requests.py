"""Jobs as plain data: what a launcher decides, before any SDK turns it into requests."""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from trapline.errors import UsageError
from trapline.launching.aws.options import AwsOptions
from trapline.launching.search_space import Search

NAME_LENGTH = 63  # of a SageMaker job's name
NAME_PATTERN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
PREPARE_SUFFIX = "-prepare"
PREPARED = "prepared"  # the training channel, and the output of a prepare job
PSEUDO, PHASE1 = "pseudo", "phase1"  # training channels of Phase 2
WEIGHTS = "weights"  # the training channel of staged ImageNet weights


@dataclass(frozen=True)
class Machines:
    """What a job runs on."""

    instance_type: str
    count: int = 1
    volume_gb: int = 100


@dataclass(frozen=True)
class Image:
    """The container image: an address, or AWS's deep-learning image of a framework version.

    With neither it is the project's own, whose address depends on the account.
    """

    uri: str | None
    framework_version: str = ""
    py_version: str = ""

    @property
    def of_aws(self) -> bool:
        """Whether it is AWS's deep-learning image, which lacks some of what Trapline needs."""
        return self.uri is None and bool(self.framework_version)


@dataclass(frozen=True)
class PrepareJob:
    """A processing job that runs prepare.py. URIs are file:// or s3://."""

    kind: ClassVar = "processing"
    name: str
    code: str  # URI at which it finds the sources
    staged: Path  # the folder of the sources, which lies there or is copied there
    installs: bool  # first what the image lacks, from requirements.txt beside the code
    arguments: tuple[str, ...]  # of prepare.py, without input and output
    source_name: str  # what the set names as its source
    input: str | None  # None: prepare.py finds it by itself, as the demo, S3, or a path that it can open
    site_csv: str | None
    output: str  # gets the prepared set
    machines: Machines
    image: Image
    role: str | None
    options: AwsOptions | None = None  # None: not on AWS
    label_names: str | None = None  # a file of this machine that the job is given
    reads: str | None = None  # what prepare.py finds by itself, where that is not the source's name


@dataclass(frozen=True)
class TrainingJob:
    """A training job that runs train.py. URIs are file:// or s3://."""

    kind: ClassVar = "training"
    name: str
    code: Path  # the staged source folder
    hyperparameters: dict[str, object]
    prepared: str  # a prepared set
    output: str  # gets <name>/output/model.tar.gz on AWS, model.tar.gz here
    machines: Machines
    image: Image
    role: str | None
    options: AwsOptions | None = None  # None: not on AWS
    checkpoints: str | None = None  # S3 URI
    environment: dict[str, str] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)  # name -> URI of what it reads beside the set


@dataclass(frozen=True)
class TuningJob:
    """A tuning job: trainings that have all in common but the hyperparameters that are searched."""

    kind: ClassVar = "tuning"
    training: TrainingJob
    search: Search

    @property
    def name(self) -> str:
        """The tuning job's name."""
        return self.training.name


Job = PrepareJob | TrainingJob | TuningJob


def job_name(base: str, moment: float | None = None) -> str:
    """`base-YYYY-MM-DD-HH-MM-SS-mmm` in UTC, cut in the base where it would be too long."""
    moment = time.time() if moment is None else moment
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(moment)) + f"-{int(moment * 1000) % 1000:03d}"
    return f"{base[: NAME_LENGTH - len(stamp) - 1]}-{stamp}"


def prepare_job_name(name: str) -> str:
    """The name of the prepare job that goes before the training job `name`."""
    return f"{name[: NAME_LENGTH - len(PREPARE_SUFFIX)].rstrip('-')}{PREPARE_SUFFIX}"


def check_job_name(name: str) -> str:
    """`name`, or a UsageError saying what SageMaker accepts."""
    if len(name) > NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"--job-name {name}: must be 1 to {NAME_LENGTH} letters, digits and hyphens, "
            "without a hyphen at either end"
        )
    return name
