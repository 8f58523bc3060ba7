"""Speed and memory of prepare.py for a set and for one four times as large: memory must hardly grow.

Run: python tests/benchmarks/preparing.py [images]
Frames: 1280 x 720, drawn once and linked under many names.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from common.data.demo import DemoSettings, draw_demo

ROOT = Path(__file__).parents[2]
DRAWN = 60
SECONDS_BETWEEN_LOOKS = 0.05


def main() -> None:
    """Prepare both sets and print images/s and the peak memory of all processes together."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn"
        draw_demo(drawn, DemoSettings(images=DRAWN, sites=20, unlabeled=0, width=1280, height=720, damaged=0))
        peaks = [measure(Path(folder), drawn, count) for count in (images, 4 * images)]
    print(f"memory of the larger set over the smaller: {peaks[1] / peaks[0]:.2f}")


def measure(folder: Path, drawn: Path, images: int) -> float:
    """Prepare `images` linked frames; returns the peak memory, MiB."""
    raw = folder / f"raw{images}"
    frames = sorted((drawn / "train_features").iterdir())
    for number in range(images):
        target = raw / ("day" if number % 2 else "night") / f"{number:07d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(frames[number % len(frames)], target)
    command = [sys.executable, ROOT / "entry_points" / "prepare.py", "--input", raw, "--split", "random"]
    started = time.perf_counter()
    process = psutil.Popen([*command, "--output", folder / f"out{images}"], stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, anonymous(process))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    assert process.returncode == 0
    seconds = time.perf_counter() - started
    print(
        f"{images} images: {images / seconds:.0f} images/s, peak {peak:.0f} MiB in all processes", flush=True
    )
    return peak


def anonymous(process: psutil.Process) -> float:
    """Memory of a process and all below it that is no file's content, MiB: what cannot be given back."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            status = Path(f"/proc/{member.pid}/status").read_text()
        except FileNotFoundError:
            continue  # it ended in between
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    return total / 2**10


if __name__ == "__main__":
    main()
