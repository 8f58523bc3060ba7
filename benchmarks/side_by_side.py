"""Timing several ways of doing the same thing in one run, in turn, so that noise meets all alike."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from figures import Figure, emit

from trapline.machine import processor
from trapline.training.execution import Execution
from trapline.training.speed import Speed

Work = Callable[[], int]


def compare(what: str, baseline: tuple[str, Work], candidate: tuple[str, Work], rounds: int) -> float:
    """Print both ways' images/s (median of `rounds`) and the figure, and return candidate over baseline.

    Each goes first in every other round. A callable does its work and returns the number of images. The ratio
    is the median over the rounds of the ratio within a round: a machine that slows down does not move it. The
    quartiles beside it are those of the rounds.
    """
    rates = in_turn(dict([baseline, candidate]), rounds)
    for name, values in rates.items():
        print(f"{name:<62} {statistics.median(values):8.1f} images/s")
    ratio, text = _ratio(rates[baseline[0]], rates[candidate[0]])
    print(f"ratio: {text}")
    emit(Figure(what, *(f"{name}: {_rate(rates[name])}" for name in (baseline[0], candidate[0])), text))
    return ratio


def in_turn(ways: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Images/s of each way in each of `rounds`, in every other of which they go in the opposite order."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            started = time.perf_counter()
            images = ways[name]()
            rates[name].append(images / (time.perf_counter() - started))
    return rates


def judge(
    what: str,
    speed: Speed,
    fixed: Mapping[Execution, Work],
    plain: tuple[str, Work],
    again: Work,
    rounds: int,
) -> float:
    """Print what was chosen beside every fixed choice, and return chosen over the best fixed one.

    The figure is chosen over `plain`.

    `plain` is the usual loop and `again` the same once more: their ratio is the noise.
    """
    print(speed)
    names = {way: f"{way.precision}, channels_last={way.channels_last}" for way in fixed}
    once_more = f"{plain[0]}, once more"
    ways = {plain[0]: plain[1], once_more: again, **{names[way]: fixed[way] for way in fixed}}
    rates = in_turn(ways, rounds)
    for name, values in rates.items():
        text = _ratio(rates[plain[0]], values)[1]
        print(f"{name:<62} {statistics.median(values):8.2f} images/s, {text} of the loop")
    (chosen,) = [name for way, name in names.items() if speed.execution(way.device) == way]
    best = max(names.values(), key=lambda name: statistics.median(rates[name]))
    ratio, text = _ratio(rates[best], rates[chosen])
    print(f"chosen: {chosen}; the best fixed choice: {best}; chosen over best: {text}")
    over_plain, noise = (_ratio(rates[plain[0]], rates[name])[1] for name in (chosen, once_more))
    usual, ours = (f"{name}: {_rate(rates[name])}" for name in (plain[0], chosen))
    emit(Figure(what, usual, ours, f"{over_plain}; the loop once more {noise}"))
    return ratio


def _rate(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} images/s"


def _ratio(before: list[float], after: list[float]) -> tuple[float, str]:
    """The median over the rounds, and it with its quartiles, as text."""
    ratios = [new / old for old, new in zip(before, after, strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return ratio, f"{ratio:.2f} ({low:.2f} to {high:.2f})"


def describe_machine() -> None:
    """Print what the figures depend on."""
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, {processor()}, torch {torch.__version__}, {threads} threads\n")
