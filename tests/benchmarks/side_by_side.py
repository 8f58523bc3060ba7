"""Timing two ways of doing the same thing in one run, in turn, so that noise meets both alike."""

import platform
import statistics
import time
from collections.abc import Callable

import torch


def compare(
    baseline: tuple[str, Callable[[], int]], candidate: tuple[str, Callable[[], int]], rounds: int
) -> float:
    """Print both ways' images/s (median of `rounds`) and return candidate over baseline.

    Each goes first in every other round. A callable does its work and returns the number of images. The ratio
    is the median over the rounds of the ratio within a round: a machine that slows down does not move it. The
    quartiles beside it are those of the rounds.
    """
    rates: dict[str, list[float]] = {baseline[0]: [], candidate[0]: []}
    for number in range(rounds):
        for name, work in (baseline, candidate) if number % 2 == 0 else (candidate, baseline):
            started = time.perf_counter()
            images = work()
            rates[name].append(images / (time.perf_counter() - started))
    for name, values in rates.items():
        print(f"{name:<62} {statistics.median(values):8.1f} images/s")
    ratios = [new / old for old, new in zip(rates[baseline[0]], rates[candidate[0]], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
    print(f"ratio: {ratio:.2f} (quartiles {low:.2f} to {high:.2f})\n", flush=True)
    return ratio


def describe_machine() -> None:
    """Print what the figures depend on."""
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
