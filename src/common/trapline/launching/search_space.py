"""A search as plain data: its ranges of hyperparameters, checked by the configuration itself, drawn from."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from trapline.config import TrainingConfig, make_config
from trapline.errors import UsageError
from trapline.hyperparameters import parse_value
from trapline.launching.pairs import read_pairs, refuse_flags_as_values
from trapline.metrics import BY_NAME

SCALES = ("linear", "log")
MAX_CORNERS = 4096  # combinations of ends that are tried; where there are more, each end by itself
DIGITS = 4  # significant ones of a number that is drawn here


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
        value = round(value) if self.whole else float(f"{value:.{DIGITS}g}")
        return min(max(value, self.ends[0]), self.ends[1])

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.name}={self.ends[0]:g}:{self.ends[1]:g}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    name: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values: each must be possible."""
        return self.values

    def draw(self, generator: random.Random) -> Any:
        """One of the values, each as likely."""
        return generator.choice(self.values)

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.name}={','.join(map(str, self.values))}"


Range = Between | Choice


def read_ranges(texts: Sequence[str], base: TrainingConfig) -> list[Range]:
    """The ranges of `--range` texts, as in `lr=1e-5:1e-3:log` or `batch_size=16,32`.

    `base` is the configuration of everything else. Raises UsageError naming the hyperparameter and what is
    wrong: unknown, no number, ends in the wrong order, a value that the configuration refuses.
    """
    ranges = [_read(name, text) for name, text in read_pairs("--range", texts).items()]
    _check(ranges, base)
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
    if len(values) < 2 or "" in text.split(","):
        form = f"{name}=LOW:HIGH, {name}=LOW:HIGH:log or " if numeric else ""
        raise UsageError(f"--range {name}={text}: must be {form}{name}=VALUE,VALUE,...")
    if len(set(values)) < len(values):
        raise UsageError(f"--range {name}={text}: names a value twice")
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
    if not all(map(math.isfinite, ends)) or ends[0] >= ends[1]:
        raise UsageError(f"{shown}: LOW must be below HIGH, and both finite")
    log = scale == ["log"]
    if log and ends[0] <= 0:
        raise UsageError(f"{shown}: a logarithmic range begins above 0")
    return Between(name, ends[0], ends[1], whole=whole, log=log)


def _check(ranges: Sequence[Range], base: TrainingConfig) -> None:
    """Let the configuration judge every combination of ends, so that no job of a search is refused later."""
    record = base.record()
    ends = [item.ends for item in ranges]
    if math.prod(map(len, ends)) <= MAX_CORNERS:
        names = [item.name for item in ranges]
        corners = [dict(zip(names, values, strict=True)) for values in itertools.product(*ends)]
    else:
        corners = [{item.name: value} for item in ranges for value in item.ends]
    for corner in corners:
        try:
            refuse_flags_as_values(make_config({**record, **corner}).record())
        except UsageError as error:
            shown = " ".join(f"{name}={value}" for name, value in corner.items())
            raise UsageError(f"--range: {shown} is not possible: {error}") from None


def grid(ranges: Sequence[Range]) -> Iterator[dict[str, Any]]:
    """Every combination of the choices, the last hyperparameter changing fastest."""
    names = [item.name for item in ranges]
    for values in itertools.product(*(item.ends for item in ranges)):
        yield dict(zip(names, values, strict=True))


def random_points(ranges: Sequence[Range], seed: int) -> Iterator[dict[str, Any]]:
    """Points drawn at random, none twice; the same for the same seed. Ends where no new one is found."""
    generator, seen = random.Random(seed), set()
    misses = 0
    while misses < 1000:
        point = {item.name: item.draw(generator) for item in ranges}
        key = tuple(point.values())
        if key in seen:
            misses += 1
            continue
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
