"""The precision and the memory format of a job: as asked for, or measured with the job's own model.

What a processor can do is no sign of what is fast on it: bf16 takes 0.4 times the time of fp32 on one and 1.3
times on another that lists the same flag, and the memory format can decide fourfold or not at all. So where
`precision` or `channels_last` is left open and the job is long enough, a race is held between what the device
can do, each doing a little of the work. What is found is kept for the next job of its kind on this machine.
"""

import copy
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from trapline.errors import TraplineError
from trapline.job_contract import versions
from trapline.machine import OtherWork, cache_folder, processor
from trapline.models.build import Normalisation
from trapline.storage import json_digest, read_json, write_json
from trapline.training.execution import (
    Execution,
    Precision,
    out_of_memory,
)

Way = TypeVar("Way")
Source = Literal["asked", "plain", "short", "measured", "kept"]
SAID: dict[Source, str] = {
    "asked": "as asked for",
    "plain": "plain, for the training is deterministic",
    "short": "plain, for the job is short",
    "measured": "measured",
    "kept": "measured earlier",
}
PROBE, MAX_IMAGES = 2, 8  # images of the first look, and of a step in the first heat
TOO_SLOW = 2.0  # times the best step: out
# Times the best that a way may have taken to go on to its second step, its third, and so on. The first step
# sets up what later ones find ready: it counts, but shuts out only what it shows to be hopeless.
LIMITS = (2 * TOO_SLOW, TOO_SLOW, 1.25, 1.25)
SECONDS, SHARE = 3.0, 0.02  # what measuring may take: seconds, or that share of the job where it is more
MAX_OTHER_WORK = 0.15  # share of the processors: with more the figures are of that hour, and are not kept
MIN_JOB_SECONDS = 30.0  # seconds: below, a better way could not win back what it costs to find


@dataclass(frozen=True)
class Work:
    """What the machine is to do.

    size: side of an image, pixels. batch: images that go through the model together. images: in all; None:
    not known, but many. ranks: training processes that share this machine.
    """

    kind: Literal["training", "inference"]
    architecture: str
    size: int
    batch: int
    images: float | None = None
    ranks: int = 1


@dataclass(frozen=True)
class Trial:
    """What one way of calculating reached, in steps of `images`."""

    precision: Precision
    channels_last: bool
    images: int
    images_per_s: float

    def __str__(self) -> str:
        return f"{self.precision}{' channels_last' if self.channels_last else ''} {self.images_per_s:.3g}"


@dataclass(frozen=True)
class Speed:
    """A choice, where it comes from, and the figures that it rests on; `device` is that of the figures."""

    device: str
    precision: Precision
    channels_last: bool
    source: Source
    trials: tuple[Trial, ...] = ()

    def execution(self, device: torch.device) -> Execution:
        """The choice on a device."""
        return Execution(device, self.precision, self.channels_last)

    def __str__(self) -> str:
        heats = itertools.groupby(self.trials, key=lambda trial: trial.images)
        figures = "; ".join(f"{images} at a time: {', '.join(map(str, heat))}" for images, heat in heats)
        return (
            f"[SPEED] runs_in={self.precision} channels_last={self.channels_last} on {self.device}: "
            f"{SAID[self.source]}{f' (images/s, {figures})' if figures else ''}"
        )


@dataclass(frozen=True)
class Heat(Generic[Way]):
    """Steps of `images` each, and the shortest of each way that there was time for, seconds."""

    images: int
    seconds: dict[Way, float]


@dataclass(frozen=True)
class Result(Generic[Way]):
    """The way to take, by the last of the heats. short: whether the job is too short for a choice."""

    best: Way
    heats: tuple[Heat[Way], ...] = ()
    short: bool = False


@dataclass(frozen=True)
class Course(Generic[Way]):
    """How a step is done and timed. step: does one in a way with so many images, and returns its seconds.

    spent: seconds since the race began, with all that is not timed. busy: a bound on the seconds that a step
    would have taken undisturbed, given those that it took.
    """

    step: Callable[[Way, int], float]
    spent: Callable[[], float]
    busy: Callable[[], float] = lambda: math.inf


def choose_speed(
    ways: list[Execution],
    work: Work,
    model: nn.Module,
    normalisation: Normalisation,
    *,
    deterministic: bool = False,
    anew: bool = False,
) -> Speed:
    """The fastest of `ways` for the work; the first of them where there is no choice or the work is short.

    `model` is not changed, and no random number is taken. `deterministic`: the first of them, for what is
    fastest changes from run to run, and with it the last digits. `anew`: whatever was kept.
    """
    if len(ways) == 1:
        return _speed(ways[0], "asked")
    if deterministic:
        return _speed(ways[0], "plain")
    path = _kept_path(ways, work)
    kept = None if anew or path is None else read_speed(path, "kept")
    if kept is not None:
        return kept
    device, others = ways[0].device, OtherWork()
    # The GPU that is used and no other: a machine's many would each be set up for it.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        result = _measured(ways, work, model, normalisation)
    if result.short:
        return _speed(result.best, "short")
    trials = tuple(
        Trial(way.precision, way.channels_last, heat.images, heat.images / seconds)
        for heat in result.heats
        for way, seconds in heat.seconds.items()
    )
    speed = _speed(result.best, "measured", trials)
    if path is not None and len(result.heats[0].seconds) == len(ways):  # else no time to try them all
        _keep(path, speed, others.share() if device.type == "cpu" else 0.0)
    return speed


def _keep(path: Path, speed: Speed, of_others: float) -> None:
    """Keep a choice for the next job of its kind, unless other programs had too large a share meanwhile."""
    if of_others > MAX_OTHER_WORK:
        print(
            f"note: other programs took {of_others:.0%} of the processors while speed was measured: the "
            "choice is for this job alone",
            flush=True,
        )
        return
    try:
        write_json(path, asdict(speed))
    except (TraplineError, OSError) as error:
        print(f"note: {path}: not kept for the next job ({error})", flush=True)


def _speed(way: Execution, source: Source, trials: tuple[Trial, ...] = ()) -> Speed:
    return Speed(_name_of(way.device), way.precision, way.channels_last, source, trials)


def _measured(
    ways: list[Execution], work: Work, model: nn.Module, normalisation: Normalisation
) -> Result[Execution]:
    device = ways[0].device
    step = _Step(copy.deepcopy(model), normalisation, work, ways[0])
    began = time.perf_counter()
    on_cpu = device.type == "cpu"
    course = Course(
        step,
        spent=lambda: time.perf_counter() - began,
        **({"busy": time.process_time} if on_cpu else {}),
    )
    try:
        return race(ways, course, work.batch, work.images, whole_batches=not on_cpu)
    finally:
        del step, course  # and with them the copy of the model
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)


class _Step:
    """Steps of the work with a copy of its model, timed. A way in which a step fails is infinitely slow.

    In the plain way only a lack of memory counts so: whatever else it is, the job will meet it too.
    """

    def __init__(self, model: nn.Module, normalisation: Normalisation, work: Work, plain: Execution) -> None:
        self.model, self.normalisation, self.work, self.plain = model, normalisation, work, plain
        self.pixels = torch.empty(0, dtype=torch.uint8)

    def __call__(self, way: Execution, images: int) -> float:
        """Seconds of a step with so many images."""
        model, pixels = way.place(self.model), self._pixels(images).to(way.device)
        training = self.work.kind == "training"
        model.train(training)
        _wait_for(way.device)
        started = time.perf_counter()
        try:
            with torch.inference_mode(not training), way.autocast():
                outputs = model(way.inputs(pixels, self.normalisation))
            if training:  # the loss and the optimizer cost the same every way
                tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
                torch.stack([output.float().square().mean() for output in tensors]).sum().backward()
            _wait_for(way.device)
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error) is None and way == self.plain:
                raise
            print(f"note: {way.precision} is not tried further: {next(iter(str(error).splitlines()), '')}")
            return float("inf")
        finally:
            model.zero_grad(set_to_none=True)
        return time.perf_counter() - started

    def _pixels(self, images: int) -> Tensor:
        if len(self.pixels) < images:
            generator = torch.Generator().manual_seed(0)
            shape = (images, self.work.size, self.work.size, 3)
            self.pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return self.pixels[:images]


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({processor()})"


def _kept_path(ways: list[Execution], work: Work) -> Path | None:
    """Where the choice of such work on such a machine is kept; None where nothing can be."""
    folder = cache_folder()
    if folder is None:
        return None
    known = [
        _name_of(ways[0].device),
        torch.get_num_threads(),
        [(way.precision, way.channels_last) for way in ways],
        {**asdict(work), "images": None},
        versions("torch", "torchvision"),
        MAX_OTHER_WORK,  # what was kept without a look at other programs does not count
    ]
    return folder / "speed" / f"{json_digest(known)[:16]}.json"


def read_speed(path: Path, source: Source | None = None) -> Speed | None:
    """The choice that a file holds, as if from `source`; None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        speed = Speed(**{**record, "trials": tuple(Trial(**trial) for trial in record["trials"])})
    except (TraplineError, OSError, KeyError, TypeError, ValueError) as error:
        print(f"note: {path}: cannot be read ({error}); it is measured anew", flush=True)
        return None
    return speed if source is None else replace(speed, source=source)


# --- the race: which of several ways to do the same work is the fastest ------------------------------------


def race(
    ways: Sequence[Way], course: Course[Way], batch: int, images: float | None, *, whole_batches: bool = False
) -> Result[Way]:
    """The fastest of `ways`; the first where there is no choice to make, or nothing to win.

    The job that it is for has so many images in a step, the `batch`, and `images` in all; None: not known,
    but many. The ways do a step in turn, so that noise meets them alike, and the shortest of a way's steps is
    the one that noise has touched least. Those that take twice as long as the best are soon out. Few images
    go first; where the job is long enough, the ways that are left meet again with a whole batch, in which
    memory can decide otherwise.

    `whole_batches`: a step of the job's batch costs next to nothing here, as on a GPU, so that no fewer
    images are tried. Of ways that are as fast, the one that comes first in `ways` is taken.
    """
    if len(ways) == 1:
        return Result(ways[0])
    probe = min(PROBE, batch)
    an_image = _first_look(ways[0], course, probe) / probe
    duration = math.inf if images is None else images * an_image
    if duration < MIN_JOB_SECONDS:
        return Result(ways[0], short=True)
    budget = max(SECONDS, SHARE * duration) if math.isfinite(duration) else SECONDS
    few = batch if whole_batches else _images_of(budget, an_image, len(ways), batch)
    heat = _heat(ways, course, few, budget, LIMITS[:1])
    finalists = _finalists(heat, batch, budget - course.spent())
    if len(finalists) > 1:
        final = _heat(finalists, course, batch, budget, LIMITS)
        if len(final.seconds) == len(finalists):  # else one was left out that may be faster
            return Result(_best(ways, final), (heat, final))
    _more_steps(heat, course, budget, LIMITS[1:])
    return Result(_best(ways, heat), (heat,))


def _first_look(way: Way, course: Course[Way], images: int) -> float:
    """Seconds of a step; on a machine that has other work to do not more than its processors were busy."""
    course.step(way, images)
    before = course.busy()
    seconds = course.step(way, images)
    busy = course.busy() - before
    return min(seconds, busy) if math.isfinite(busy) and busy > 0 else seconds


def _images_of(budget: float, an_image: float, ways: int, batch: int) -> int:
    """Images of a step, up to MAX_IMAGES, such that all ways can do two within two thirds of the budget."""
    affordable = 2 / 3 * budget / (2 * ways * an_image)
    return min(batch, max(PROBE, min(MAX_IMAGES, math.floor(affordable))))


def _finalists(heat: Heat[Way], batch: int, left: float) -> list[Way]:
    """Those of the first heat that go on to whole batches: the best that there are seconds `left` for."""
    if heat.images == batch:
        return []
    ways = sorted(_within(TOO_SLOW, heat), key=heat.seconds.__getitem__)
    needed = itertools.accumulate(heat.seconds[way] / heat.images * batch for way in ways)
    return [way for way, seconds in zip(ways, needed, strict=True) if seconds <= left]


def _heat(
    ways: Sequence[Way], course: Course[Way], images: int, budget: float, limits: Sequence[float]
) -> Heat[Way]:
    """A step of each way that there is time for, and more of them as `limits` say."""
    heat: Heat[Way] = Heat(images, {})
    found = heat.seconds
    for way in ways:
        if found and course.spent() + min(found.values()) > budget:
            break
        found[way] = course.step(way, images)
    _more_steps(heat, course, budget, limits)
    return heat


def _more_steps(heat: Heat[Way], course: Course[Way], budget: float, limits: Sequence[float]) -> None:
    """A further step for each limit of the ways that are within it, as long as there is time."""
    found = heat.seconds
    for limit in limits:
        for way in _within(limit, heat):
            if course.spent() + found[way] > budget:
                return
            found[way] = min(found[way], course.step(way, heat.images))


def _within(limit: float, heat: Heat[Way]) -> list[Way]:
    """The ways that have taken at most `limit` times the best."""
    best = min(heat.seconds.values())
    return [way for way, seconds in heat.seconds.items() if seconds <= limit * best]


def _best(ways: Sequence[Way], heat: Heat[Way]) -> Way:
    return min(_within(1.03, heat), key=list(ways).index)
