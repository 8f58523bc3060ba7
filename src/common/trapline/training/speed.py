"""The precision and the memory format of a job: as asked for, or measured with the job's own model.

What a processor can do is no sign of what is fast on it: bf16 takes 0.4 times the time of fp32 on one and 1.3
times on another that lists the same flag, and the memory format can decide fourfold or not at all. So where
`precision` or `channels_last` is left open and the job is long enough, `training.race` tries what the
device can run. What is found is kept for the next job of its kind on this machine.
"""

import copy
import dataclasses
import hashlib
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trapline.errors import TraplineError
from trapline.machine import cache_folder, processor
from trapline.models.build import Normalisation
from trapline.storage import read_json, write_json
from trapline.training.execution import Execution, Precision
from trapline.training.race import Course, Job, Result, race
from trapline.training.resources import out_of_memory
from trapline.versions import versions

Purpose = Literal["training", "inference"]
Source = Literal["asked", "plain", "short", "measured", "kept"]
SAID: dict[Source, str] = {
    "asked": "as asked for",
    "plain": "plain, for the training is deterministic",
    "short": "plain, for the job is short",
    "measured": "measured",
    "kept": "measured earlier",
}
FOLDER = "speed"


@dataclass(frozen=True)
class Work:
    """What the machine is to do.

    size: side of an image, pixels. batch: images that go through the model together. images: in all; None:
    not known, but many. ranks: training processes that share this machine.
    """

    kind: Purpose
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

    def record(self) -> dict[str, Any]:
        """As JSON, for `speed_from`."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        heats = itertools.groupby(self.trials, key=lambda trial: trial.images)
        figures = "; ".join(f"{images} at a time: {', '.join(map(str, heat))}" for images, heat in heats)
        return (
            f"[SPEED] runs_in={self.precision} channels_last={self.channels_last} on {self.device}: "
            f"{SAID[self.source]}{f' (images/s, {figures})' if figures else ''}"
        )


def speed_from(record: dict[str, Any]) -> Speed:
    """The choice of a record. Raises TypeError, KeyError or ValueError for one of another shape."""
    trials = tuple(Trial(**trial) for trial in record["trials"])
    return Speed(**{**record, "trials": trials})


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
    kept = None if anew else _read_kept(path)
    if kept is not None:
        return kept
    with torch.random.fork_rng(enabled=True):
        result = _measured(ways, work, model, normalisation)
    if result.short:
        return _speed(result.best, "short")
    speed = _speed(result.best, "measured", _trials(result))
    if len(result.heats[0].seconds) == len(ways):  # else there was no time to try them all
        _keep(path, speed)
    return speed


def _speed(way: Execution, source: Source, trials: tuple[Trial, ...] = ()) -> Speed:
    return Speed(_name_of(way.device), way.precision, way.channels_last, source, trials)


def _trials(result: Result[Execution]) -> tuple[Trial, ...]:
    return tuple(
        Trial(way.precision, way.channels_last, heat.images, heat.images / seconds)
        for heat in result.heats
        for way, seconds in heat.seconds.items()
    )


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
        return race(ways, course, Job(work.batch, work.images), whole_batches=not on_cpu)
    finally:
        del step
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
        do = _train if self.work.kind == "training" else _infer
        _wait_for(way.device)
        started = time.perf_counter()
        try:
            do(model, way, pixels, self.normalisation)
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


def _train(model: nn.Module, way: Execution, pixels: Tensor, normalisation: Normalisation) -> None:
    """The two passes of a training step; the loss and the optimizer cost the same every way."""
    model.train()
    with way.autocast():
        outputs = model(way.inputs(pixels, normalisation))
    tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
    torch.stack([output.float().square().mean() for output in tensors]).sum().backward()


@torch.inference_mode()
def _infer(model: nn.Module, way: Execution, pixels: Tensor, normalisation: Normalisation) -> None:
    model.eval()
    with way.autocast():
        model(way.inputs(pixels, normalisation))


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
    asked = [(way.precision, way.channels_last) for way in ways]
    described = {**dataclasses.asdict(work), "images": None}
    known = [
        _name_of(ways[0].device),
        torch.get_num_threads(),
        asked,
        described,
        versions("torch", "torchvision"),
    ]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return folder / FOLDER / f"{digest[:16]}.json"


def _read_kept(path: Path | None) -> Speed | None:
    return None if path is None else read_speed(path, "kept")


def read_speed(path: Path, source: Source | None = None) -> Speed | None:
    """The choice that a file holds, as if from `source`; None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        speed = speed_from(read_json(path))
    except (TraplineError, OSError, KeyError, TypeError, ValueError) as error:
        print(f"note: {path}: cannot be read ({error}); it is measured anew", flush=True)
        return None
    return speed if source is None else dataclasses.replace(speed, source=source)


def _keep(path: Path | None, speed: Speed) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, speed.record())
    except (TraplineError, OSError) as error:
        print(f"note: {path}: not kept for the next job ({error})", flush=True)
