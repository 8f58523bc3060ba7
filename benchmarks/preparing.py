"""Speed and memory of prepare.py for a set and for one four times as large: memory must hardly grow.

Run: python benchmarks/preparing.py [images]
Frames: 1280 x 720, drawn once and linked under many names.
"""

import os
import sys
import tempfile
from pathlib import Path

from figures import Figure, emit
from peak_memory import run_measured

from trapline.preparation.demo import DemoSettings, draw_demo

ROOT = Path(__file__).parents[1]
DRAWN = 60


def main() -> None:
    """Prepare both sets and print images/s and the peak memory of all processes together."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn"
        draw_demo(drawn, DemoSettings(images=DRAWN, sites=20, unlabeled=0, width=1280, height=720, damaged=0))
        peaks = [measure(Path(folder), drawn, count) for count in (images, 4 * images)]
    smaller, larger = (f"{peak:.0f} MiB" for peak in peaks)
    emit(
        Figure(
            f"memory for {4 * images} frames against {images}", smaller, larger, f"{peaks[1] / peaks[0]:.2f}"
        )
    )


def measure(folder: Path, drawn: Path, images: int) -> float:
    """Prepare `images` linked frames; returns the peak memory, MiB."""
    raw = folder / f"raw{images}"
    frames = sorted((drawn / "train_features").iterdir())
    for number in range(images):
        target = raw / ("day" if number % 2 else "night") / f"{number:07d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(frames[number % len(frames)], target)
    command = [sys.executable, ROOT / "entry_points" / "prepare.py", "--input", raw, "--split", "random"]
    seconds, peak = run_measured([*command, "--output", folder / f"out{images}"])
    print(
        f"{images} images: {images / seconds:.0f} images/s, peak {peak:.0f} MiB in all processes", flush=True
    )
    return peak


if __name__ == "__main__":
    main()
