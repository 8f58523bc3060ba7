"""What the process backend adds to the bare entry point, and how soon a launcher answers `--help`.

Run: python benchmarks/launching.py [ROUNDS]
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, emit

ROOT = Path(__file__).parents[1]
SETTINGS = {"weights": "none", "image_size": 32, "batch_size": 32, "epochs": 1, "num_workers": 0}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # threads that wait for one another would hide the difference in noise
BASELINE = ["--augment=none", "--best-metric=val_acc"]  # what resnet18_baseline.py adds


def main() -> None:
    """Run the same tiny job both ways, in turn."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        call("entry_points/prepare.py", "--input", "demo", "--output", work / "set", "--short-side", 64,
             "--demo-images", 100, "--demo-unlabeled", 20, "--max-quarantine", 0.2)  # fmt: skip
        bare, whole, packing = [], [], []
        for number in range(rounds):
            bare.append(by_entry_point(work / "set", work / f"bare-{number}"))
            whole.append(by_launcher(work / "set", work / "runs"))
            packing.append(pack(work / f"bare-{number}"))
        helps = [call("launch/swin_stage1.py", "--help") for _ in range(rounds)]
    overhead = [b - a - c for a, b, c in zip(bare, whole, packing, strict=True)]
    for name, seconds in (
        ("bare entry point", bare),
        ("launcher, process backend", whole),
        ("packing model.tar.gz, as the SDK does", packing),
        ("overhead, packing apart", overhead),
        ("--help", helps),
    ):
        print(f"{name:<40} {in_words(seconds)}")
    what = "a tiny job by its launcher, packing of the model apart, against the bare entry point"
    emit(Figure(what, in_words(bare), f"{in_words(overhead)} more"))


def in_words(seconds: list[float]) -> str:
    """The median with the smallest and the largest."""
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def pairs() -> list[str]:
    """The hyperparameters as KEY=VALUE."""
    return [f"{name}={value}" for name, value in SETTINGS.items()]


def by_entry_point(prepared: Path, output: Path) -> float:
    """Seconds of train.py."""
    flags = (f"--{pair}" for pair in pairs())
    return call("entry_points/train.py", "--prepared", prepared, "--output", output, *BASELINE, *flags)


def by_launcher(prepared: Path, output: Path) -> float:
    """Seconds of the same job by its launcher."""
    places = ["--prepared", prepared, "--output", output]
    return call("launch/resnet18_baseline.py", "--backend", "process", *places, "--set", *pairs())


def call(script: str, *arguments: object) -> float:
    """Seconds that a script takes."""
    environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true", **ONE_THREAD}
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


def pack(folder: Path) -> float:
    """Seconds that the SDK takes to pack the model."""
    from sagemaker.utils import create_tar_file

    files = [str(path) for path in (folder / "model").iterdir()]
    started = time.perf_counter()
    create_tar_file(files, str(folder / "model.tar.gz"))
    seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return seconds


if __name__ == "__main__":
    main()
