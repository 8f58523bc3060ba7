"""Loader processes and threads as train.py chooses them, against every worker with all cores, and no worker.

Run: python benchmarks/resources.py [--images 512] [--rounds 5] [--arch resnet18]

Each row is one training of a few steps from a prepared set of drawn frames with the heavy chain at 224 px, in
a process of its own, for threads are chosen once in a process. A rate is images/s of the second epoch, when
the workers have started. "no workers" loads in the training process; "all cores each" is the enhanced
ResNet-18's own setting: a worker for each core up to 16, each with as many threads as there are cores, beside
as many that train. Its claim is 2.7 times over no workers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from figures import Figure, emit
from side_by_side import describe_machine

from trapline.training.execution import MAX_WORKERS, choose_resources
from trapline.workers import available_cores

ROOT = Path(__file__).parents[1]
OWN, NONE, EVERY = "as train.py chooses", "no workers", "all cores each"
SIZE, BATCH = 224, 32


def main() -> None:
    """Prepare once, then measure the settings in turn."""
    flags = _flags()
    if flags.measure:
        print(json.dumps(measure(Path(flags.measure), flags.setting, flags.arch)))
        return
    describe_machine()
    print(f"{available_cores()} cores may be used\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        draw(prepared, flags.images)
        rates: dict[str, list[float]] = {NONE: [], EVERY: [], OWN: []}
        for number in range(flags.rounds):
            for setting in list(rates) if number % 2 == 0 else reversed(rates):
                rates[setting].append(measured(prepared, setting, flags.arch))
    for setting, values in rates.items():
        print(f"{setting:<22} {statistics.median(values):8.1f} images/s")
    for candidate, baseline in ((EVERY, NONE), (OWN, NONE), (OWN, EVERY)):
        ratios = [new / old for new, old in zip(rates[candidate], rates[baseline], strict=True)]
        names = (f"{name}: {statistics.median(rates[name]):.1f} images/s" for name in (baseline, candidate))
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        emit(Figure(f"{flags.arch}, {SIZE} px, heavy chain, {available_cores()} cores", *names, spread))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    return parser.parse_args()


def draw(prepared: Path, images: int) -> None:
    """A prepared set of drawn frames, nearly all in its train part."""
    command = [sys.executable, ROOT / "entry_points" / "prepare.py", "--input", "demo", "--output", prepared]
    options = ["--demo-images", images, "--demo-unlabeled", 12, "--split", "random", "--max-quarantine", 0.5]
    shares = ["--shares", "0.95,0.05,0"]
    subprocess.run(list(map(str, [*command, *options, *shares])), check=True, stdout=subprocess.DEVNULL)


def measured(prepared: Path, setting: str, arch: str) -> float:
    """Images/s of one setting, from a process of its own."""
    words = ["--measure", prepared, "--setting", setting, "--arch", arch]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        list(map(str, [sys.executable, __file__, *words])),
        check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure(prepared: Path, setting: str, arch: str) -> float:
    """Train two epochs under the setting and return images/s of the second."""
    import time

    import torch
    from torch.utils.data import DataLoader

    from trapline.config import make_config
    from trapline.data.loader import LoaderSettings, make_loader
    from trapline.data.prepared import open_prepared
    from trapline.models.build import IMAGENET_NORMALISATION, build_model
    from trapline.training.execution import possible_executions, training_device
    from trapline.training.loop import Learner, train_epoch
    from trapline.training.optimisation import make_loss, make_optimizer, make_schedule

    config = make_config({"weights": "none", "arch": arch, "epochs": 2})
    execution = possible_executions(training_device(), config.precision, config.channels_last)[0]
    cores = available_cores()
    chosen = choose_resources(execution.device.type, cores)
    workers = {NONE: 0, EVERY: min(MAX_WORKERS, cores), OWN: chosen.workers}[setting]
    torch.set_num_threads(chosen.threads if setting == OWN else cores)
    part = open_prepared(prepared).part("train")
    loader = make_loader(
        part,
        LoaderSettings(chain="heavy", size=SIZE, batch_size=BATCH, shuffle=True),
        workers=workers,
        pin=execution.device.type == "cuda",
    )
    if setting == EVERY and isinstance(loader.source, DataLoader):
        loader.source.worker_init_fn = _ManyThreads(cores)
    classes = open_prepared(prepared).description.classes
    model = execution.place(build_model(arch, len(classes)))
    optimizer = make_optimizer(config, model, frozenset())
    learner = Learner(
        model=model,
        optimizer=optimizer,
        schedule=make_schedule(config, optimizer, len(loader.batches)),
        scaler=execution.scaler(),
        loss=make_loss(config, part.labels, classes, execution.device),
        config=config,
        execution=execution,
        normalisation=IMAGENET_NORMALISATION,
    )
    seconds = 0.0
    for epoch in (1, 2):
        started = time.perf_counter()
        train_epoch(learner, loader.epoch(epoch), loader.batches.sizes, epoch)
        if execution.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return len(part) / seconds


class _ManyThreads:
    """What a worker of the other setting does first: takes threads for all cores."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __call__(self, worker: int) -> None:
        import cv2
        import torch

        cv2.setNumThreads(self.threads)
        torch.set_num_threads(self.threads)


if __name__ == "__main__":
    main()
