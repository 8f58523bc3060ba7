"""Which of several ways to do the same work is the fastest, found by letting each do a little of it.

The ways do a step in turn, so that noise meets them alike, and the shortest of a way's steps is the one that
noise has touched least. Those that take twice as long as the best are soon out. Few images go first; where
the job is long enough, the ways that are left meet again with a whole batch, in which memory can decide
otherwise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Way = TypeVar("Way")

PROBE, MAX_IMAGES = 2, 8  # images of the first look, and of a step in the first heat
TOO_SLOW = 2.0  # times the best step: out
# Times the best that a way may have taken to go on to its second step, its third, and so on. The first step
# sets up what later ones find ready: it counts, but shuts out only what it shows to be hopeless.
LIMITS = (2 * TOO_SLOW, TOO_SLOW, 1.25, 1.25)
SECONDS, SHARE = 3.0, 0.02  # what measuring may take: seconds, or that share of the job where it is more
MIN_JOB_SECONDS = 30.0  # seconds: below, a better way could not win back what it costs to find
NEAR = 1.03  # a difference in time that is none


@dataclass(frozen=True)
class Job:
    """What the race is for. batch: images of a step. images: of the whole job; None: unknown, but many."""

    batch: int
    images: float | None


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


def race(ways: Sequence[Way], course: Course[Way], job: Job, *, whole_batches: bool = False) -> Result[Way]:
    """The fastest of `ways`; the first where there is no choice to make, or nothing to win.

    `whole_batches`: a step of the job's batch costs next to nothing here, as on a GPU, so that no fewer
    images are tried. Of ways that are as fast, the one that comes first in `ways` is taken.
    """
    if len(ways) == 1:
        return Result(ways[0])
    probe = min(PROBE, job.batch)
    an_image = _first_look(ways[0], course, probe) / probe
    duration = math.inf if job.images is None else job.images * an_image
    if duration < MIN_JOB_SECONDS:
        return Result(ways[0], short=True)
    budget = SECONDS if job.images is None else max(SECONDS, SHARE * duration)
    images = job.batch if whole_batches else _images_of(budget, an_image, len(ways), job.batch)
    heat = _heat(ways, course, images, budget, LIMITS[:1])
    finalists = _finalists(heat, job.batch, budget - course.spent())
    if len(finalists) > 1:
        final = _heat(finalists, course, job.batch, budget, LIMITS)
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
    good = sorted(_within(TOO_SLOW, heat), key=heat.seconds.__getitem__)
    finalists: list[Way] = []
    for way in good:
        left -= heat.seconds[way] / heat.images * batch
        if left < 0:
            break
        finalists.append(way)
    return finalists


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
    return min(_within(NEAR, heat), key=list(ways).index)
