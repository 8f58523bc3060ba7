"""What ImageNet costs to prepare and to read, extrapolated from measured slopes.

Run: python benchmarks/imagenet_scale.py [images]
Frames: 500 x 375, drawn once and linked under many names, as train/<class>/ and val/<class>/. Sets of so many
images (default 5,000) and of twice, three and four times as many are prepared and read; a straight line
through the four gives the cost of one image more, and a prediction with its 95% interval at ImageNet's
1,281,167 images. The interval is that of the line's fit; that the line goes on straight is assumed. Bytes are
those of drawn frames, which are no photographs: the table says how large they are.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import Figure, emit
from peak_memory import run_measured
from scipy import stats
from side_by_side import describe_machine

from trapline.console import table
from trapline.data.loader import LoaderSettings, make_loader
from trapline.data.prepared import open_prepared
from trapline.preparation.demo import DemoSettings, draw_demo
from trapline.workers import available_cores

ROOT = Path(__file__).parents[1]
IMAGENET = 1_281_167
CLASSES = 20
DRAWN = 60
SIZE, BATCH = 224, 64


@dataclass(frozen=True)
class Cost:
    """What one set cost; `memory`: the most of all processes together, MiB, files' contents apart."""

    images: int
    raw_mb: float
    prepare_s: float
    memory: float
    packed_mb: float
    read_s: float


@dataclass(frozen=True)
class Line:
    """A straight line through the costs, and what it says at ImageNet's size with its 95% interval."""

    slope: float  # per image
    start: float
    predicted: float
    margin: float


def main() -> None:
    """Measure four sizes, fit, extrapolate, and print a table."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn"
        draw_demo(drawn, DemoSettings(images=DRAWN, sites=20, unlabeled=0, width=500, height=375, damaged=0))
        frames = sorted((drawn / "train_features").iterdir())
        measure(Path(folder), frames, images // 4)  # the first run loads the disk's cache
        costs = [measure(Path(folder), frames, images * factor) for factor in (1, 2, 3, 4)]
    report(costs)


def measure(folder: Path, frames: list[Path], images: int) -> Cost:
    """Prepare and read a set of `images` linked frames; everything it made goes."""
    raw, out = folder / "raw", folder / "out"
    for number in range(images):
        part = "val" if number % 26 == 0 else "train"  # 50,000 of 1.33 million
        target = raw / part / f"n{number % CLASSES:08d}" / f"{part}_{number:08d}.JPEG"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(frames[number % len(frames)], target)
    command = [sys.executable, ROOT / "entry_points" / "prepare.py", "--input", raw, "--output", out]
    prepare_s, memory = run_measured(command)
    cost = Cost(images, size_mb(raw), prepare_s, memory, size_mb(out), read(out))
    shutil.rmtree(raw)
    shutil.rmtree(out)
    print(
        f"{images} images: prepared in {prepare_s:.1f} s, peak {memory:.0f} MiB, read in {cost.read_s:.1f} s",
        flush=True,
    )
    return cost


def read(prepared: Path) -> float:
    """Seconds for one epoch of the train part through ImageNet's chain, a loader process a core."""
    loader = make_loader(
        open_prepared(prepared).part("train"),
        LoaderSettings(chain="imagenet", size=SIZE, batch_size=BATCH, shuffle=True, eval_crop="centre"),
        workers=available_cores(),
    )
    batches = loader.epoch(1)
    next(batches)  # the processes start
    started = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - started


def size_mb(folder: Path) -> float:
    """The bytes of all files below `folder`, MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def fit(images: list[int], values: list[float], at: int = IMAGENET) -> Line:
    """The least-squares line and the half-width of its 95% prediction interval at `at` images."""
    x, y = np.array(images, dtype=float), np.array(values)
    line = stats.linregress(x, y)
    freedom = len(x) - 2
    variance = np.square(y - line.intercept - line.slope * x).sum() / freedom
    leverage = 1 + 1 / len(x) + (at - x.mean()) ** 2 / np.square(x - x.mean()).sum()
    margin = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance * leverage))
    return Line(float(line.slope), float(line.intercept), float(line.intercept + line.slope * at), margin)


def report(costs: list[Cost]) -> None:
    """The slopes, and what they come to for ImageNet."""
    images = [cost.images for cost in costs]
    rates = [
        ("prepare, hours", [cost.prepare_s / 3600 for cost in costs]),
        ("read an epoch, hours", [cost.read_s / 3600 for cost in costs]),
    ]
    sizes = [
        ("raw images, GB", [cost.raw_mb / 1e3 for cost in costs]),
        ("prepared set, GB", [cost.packed_mb / 1e3 for cost in costs]),
        ("memory to prepare, GiB", [cost.memory / 1024 for cost in costs]),
    ]
    rows = [
        row(name, fit(images, values), lambda slope: f"{1 / slope / 3600:.0f} images/s")
        for name, values in rates
    ]
    rows += [
        row(name, fit(images, values), lambda slope: f"{slope * 1e6:.1f} M a 1,000") for name, values in sizes
    ]
    print(f"\n{IMAGENET:,} images on {available_cores()} cores, from {images[0]:,} to {images[-1]:,} images:")
    print(table(["what", "slope", "at ImageNet's size", "95% +-"], rows))
    (_, _, hours, margin), (_, _, epoch, epoch_margin), (_, _, raw, _), (_, _, packed, _), _ = rows
    ours = f"{packed} GB, prepared in {hours} h (+- {margin}), an epoch read in {epoch} h (+- {epoch_margin})"
    emit(
        Figure(
            f"ImageNet's {IMAGENET:,} images, extrapolated from up to {images[-1]:,}", f"raw: {raw} GB", ours
        )
    )


def row(name: str, line: Line, rate: Callable[[float], str]) -> list[str]:
    """A row of the table; `rate` makes the slope readable."""
    return [name, rate(line.slope), f"{line.predicted:.3g}", f"{line.margin:.2g}"]


if __name__ == "__main__":
    main()
