"""A launch as plain data: the plan, and the jobs that it becomes before any SDK turns them into requests.

A search is part of it: ranges of hyperparameters, checked by the configuration itself, drawn from.
"""

import itertools
import math
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_args

from trapline.config import TrainingConfig, make_config, parse_value
from trapline.errors import UsageError, refuse_any
from trapline.launching.aws.options import AwsOptions
from trapline.launching.checkout import Experiment
from trapline.launching.given_options import (
    FILE_OPTIONS,
    follows_links,
    job_files,
    options_as_words,
    read_pairs,
    refuse_flags_as_values,
)
from trapline.metrics import BY_NAME

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
class Plan:
    """A launch, checked: what to run, on what, with which settings."""

    experiment: Experiment
    config: TrainingConfig
    backend: str
    data: str | None  # URI, path, "demo", or None where `prepared` is given
    prepared: str | None
    prepare_options: dict[str, str]
    output: str | None
    job_name: str
    instance_type: str
    instance_count: int
    prepare_instance_type: str
    role: str | None
    image: Image
    aws: AwsOptions
    checkpoints: str | None  # S3 URI, where it is not to be that of the launch
    wait: bool
    dry_run: bool
    fresh: bool
    trial_s3: Path | None  # a folder that is served as S3, where `data` says so
    channels: dict[str, str]  # what is given beside the data: pseudo, phase1 -> URI or path
    folds: int = 0  # jobs of a cross-validation, one for each fold; 0: one job
    ensemble: bool = False  # of the folds' models
    parallel: int | None = None  # of many jobs on AWS, so many at a time

    def prepare_arguments(self) -> tuple[str, ...]:
        """The options of prepare.py as its command line, in fixed order, without those of `files`."""
        inputs = self.files
        options = {name: value for name, value in sorted(self.prepare_options.items()) if name not in inputs}
        return tuple(options_as_words(options))

    @property
    def files(self) -> dict[str, str]:
        """The options of prepare.py whose file or folder becomes an input of the prepare job."""
        return job_files(self.prepare_options, aws=self.backend == "aws")

    @property
    def follows_links(self) -> bool:
        """Whether links that lead out of the data are followed."""
        return follows_links(self.prepare_options)


@dataclass(frozen=True)
class InputFile:
    """What an option of prepare.py names, as an input of the job."""

    option: str  # as in `FILE_OPTIONS`
    uri: str
    name: str = ""  # of the file in the input; empty where the input is the folder that is named

    @property
    def input(self) -> str:
        """The name of the input."""
        return FILE_OPTIONS[self.option].input

    @property
    def path(self) -> str:
        """Where it lies below the folder of all inputs."""
        return f"{self.input}/{self.name}".rstrip("/")


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
    output: str  # gets the prepared set
    machines: Machines
    image: Image
    role: str | None
    options: AwsOptions | None = None  # None: not on AWS
    files: tuple[InputFile, ...] = ()  # what options of prepare.py name
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
    channels: dict[str, str] = field(default_factory=dict)  # name -> URI of what it reads beside the set


def job_name(base: str, moment: float | None = None) -> str:
    """`base-YYYY-MM-DD-HH-MM-SS-mmm` in UTC, cut in the base where it would be too long."""
    moment = time.time() if moment is None else moment
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(moment)) + f"-{int(moment * 1000) % 1000:03d}"
    return f"{base[: NAME_LENGTH - len(stamp) - 1]}-{stamp}"


def prepare_job_name(name: str) -> str:
    """The name of the prepare job that goes before the training job `name`."""
    return f"{name[: NAME_LENGTH - len(PREPARE_SUFFIX)].rstrip('-')}{PREPARE_SUFFIX}"


def check_job_name(name: str, flag: str = "--job-name") -> str:
    """`name`, or a UsageError, naming the `flag`, that says what SageMaker accepts."""
    if len(name) > NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"{flag} {name}: must be 1 to {NAME_LENGTH} letters, digits and hyphens, "
            "without a hyphen at either end"
        )
    return name


# --- a search ---------------------------------------------------------------------------------------------

SCALES = ("linear", "log")
MAX_CORNERS = 4096  # combinations of ends that are tried; where there are more, each end by itself


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, both included; whole ones where `whole`."""

    name: str
    low: float
    high: float
    whole: bool
    log: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values such that a check of them is a check of all."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def draw(self, generator: random.Random) -> Any:
        """A number, uniform on the range's scale."""
        if self.whole and not self.log:
            return generator.randint(int(self.low), int(self.high))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        drawn = generator.uniform(low, high)
        value = math.exp(drawn) if self.log else drawn
        value = round(value) if self.whole else float(f"{value:.4g}")
        return min(max(value, self.ends[0]), self.ends[1])

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.name}={self.ends[0]:g}:{self.ends[1]:g}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    name: str
    ends: tuple[Any, ...]  # all values: each must be possible

    def draw(self, generator: random.Random) -> Any:
        """One of the values, each as likely."""
        return generator.choice(self.ends)

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.name}={','.join(map(str, self.ends))}"


Range = Between | Choice


def read_ranges(texts: Sequence[str], base: TrainingConfig) -> list[Range]:
    """The ranges of `--range` texts, as in `lr=1e-5:1e-3:log` or `batch_size=16,32`.

    `base` is the configuration of everything else. Raises UsageError naming the hyperparameter and what is
    wrong: unknown, no number, ends in the wrong order, a value that the configuration refuses.
    """
    ranges = [_read(name, text) for name, text in read_pairs("--range", texts).items()]
    # The configuration judges every combination of ends, so that no job of a search is refused later.
    if math.prod(len(item.ends) for item in ranges) <= MAX_CORNERS:
        corners = list(grid(ranges))
    else:
        corners = [{item.name: value} for item in ranges for value in item.ends]
    for corner in corners:
        try:
            refuse_flags_as_values(config_at(base, corner).record())
        except UsageError as error:
            shown = " ".join(f"{name}={value}" for name, value in corner.items())
            raise UsageError(f"--range: {shown} is not possible: {error}") from None
    return ranges


def _read(name: str, text: str) -> Range:
    if name not in TrainingConfig.model_fields:
        make_config({name: text})  # raises, with the name that comes close
    info = TrainingConfig.model_fields[name]
    if not dict(info.json_schema_extra or {})["digest"]:  # type: ignore[arg-type]
        raise UsageError(f"--range {name}: does not change what is learned; --set {name}=VALUE sets it")
    kinds = get_args(info.annotation) or (info.annotation,)
    numeric = int in kinds or float in kinds
    if numeric and ":" in text and "," not in text:
        return _between(name, text, whole=float not in kinds)
    values = tuple(parse_value(name, word) for word in text.split(","))
    form = f"{name}=LOW:HIGH, {name}=LOW:HIGH:log or " if numeric else ""
    refuse_any(
        [
            (
                len(values) < 2 or "" in text.split(","),
                f"--range {name}={text}: must be {form}{name}=VALUE,VALUE,...",
            ),
            (len(set(values)) < len(values), f"--range {name}={text}: names a value twice"),
        ]
    )
    return Choice(name, values)


def _between(name: str, text: str, *, whole: bool) -> Between:
    shown = f"--range {name}={text}"
    low, high, *scale = text.split(":")
    if len(scale) > 1 or (scale and scale[0] not in SCALES):
        raise UsageError(f"{shown}: after LOW:HIGH comes nothing, or one of {', '.join(SCALES)}")
    try:
        ends = (int(low), int(high)) if whole else (float(low), float(high))
    except ValueError:
        raise UsageError(f"{shown}: LOW and HIGH must be {'whole ' if whole else ''}numbers") from None
    log = scale == ["log"]
    refuse_any(
        [
            (
                not all(map(math.isfinite, ends)) or ends[0] >= ends[1],
                f"{shown}: LOW must be below HIGH, and both finite",
            ),
            (log and ends[0] <= 0, f"{shown}: a logarithmic range begins above 0"),
        ]
    )
    return Between(name, ends[0], ends[1], whole=whole, log=log)


def grid(ranges: Sequence[Range]) -> Iterator[dict[str, Any]]:
    """Every combination of the choices, or of ends, the last hyperparameter changing fastest."""
    for values in itertools.product(*(item.ends for item in ranges)):
        yield {item.name: value for item, value in zip(ranges, values, strict=True)}


def random_points(ranges: Sequence[Range], seed: int) -> Iterator[dict[str, Any]]:
    """Points drawn at random, none twice; the same for the same seed. Ends where no new one is found."""
    generator, seen, misses = random.Random(seed), set(), 0
    while misses < 1000:
        point = {item.name: item.draw(generator) for item in ranges}
        key = tuple(point.values())
        if key in seen:
            misses += 1
        else:
            misses = 0
            seen.add(key)
            yield point


def config_at(base: TrainingConfig, point: Mapping[str, Any]) -> TrainingConfig:
    """The configuration with the values of one point."""
    return make_config({**base.record(), **point})


def shared_hyperparameters(config: TrainingConfig, ranges: Sequence[Range]) -> dict[str, Any]:
    """The hyperparameters that all jobs of a search share."""
    names = {item.name for item in ranges}
    return {name: value for name, value in config.record().items() if name not in names}


@dataclass(frozen=True)
class Search:
    """What to look for, where, and how."""

    ranges: tuple[Range, ...]
    objective: str  # a metric of trapline.metrics
    strategy: str
    max_jobs: int
    parallel: int
    early_stopping: bool
    seed: int
    epochs: int  # of a job, for Hyperband: what it may give one at most

    @property
    def maximise(self) -> bool:
        """Whether a greater objective is better."""
        return bool(BY_NAME[self.objective].greater_is_better)

    def points(self) -> list[dict[str, Any]]:
        """The points of a search without a tuner, in order; the first of a longer search are the same."""
        found = grid(self.ranges) if self.strategy == "Grid" else random_points(self.ranges, self.seed)
        return list(itertools.islice(found, self.max_jobs))

    def record(self) -> dict[str, Any]:
        """What two searches must have in common to be the same one."""
        return {
            "ranges": [str(item) for item in self.ranges],
            "objective": self.objective,
            "strategy": self.strategy,
            "seed": self.seed,
        }


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
