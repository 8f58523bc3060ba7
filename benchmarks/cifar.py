"""Training the fast network for 32 px: images in memory against a loader process, and memory formats.

Run: python benchmarks/cifar.py
Images: those of CIFAR-10 in TRAPLINE_REAL_DATA, else drawn ones, packed without loss; loading, augmentation
and training step together.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from side_by_side import compare, describe_machine

from trapline.config import make_config
from trapline.job_contract import TrainingPaths
from trapline.launching.checkout import find_experiment
from trapline.training.data import setup_data
from trapline.training.distributed import ALONE
from trapline.training.execution import possible_executions, training_device
from trapline.training.loop import train_epoch
from trapline.training.setup import setup_learner, setup_model

ROOT = Path(__file__).parents[1]
IMAGES, BATCH, ROUNDS = 3072, 1024, 5


def main() -> None:
    """Compare memory with a loader process, row-major tensors with channels_last, fp32 with bf16."""
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(Path(folder))
        usual = ("in memory, as cifar10_fast has it", training(prepared))
        what = f"cifar_fast's training, 32 px, batch {BATCH}"
        compare(
            what, ("one loader process", training(prepared, in_memory=False, num_workers=1)), usual, ROUNDS
        )
        compare(what, ("channels_last", training(prepared, channels_last=True)), usual, ROUNDS)
        compare(what, ("bf16", training(prepared, precision="bf16", channels_last=True)), usual, ROUNDS)


def training(prepared: Path, **settings: object) -> Callable[[], int]:
    """A whole epoch of training as a job does it; the returned callable has been called once."""
    values = {
        **find_experiment("cifar10_fast").hyperparameters,
        "batch_size": BATCH,
        "score_test": False,
        **settings,
    }
    config = make_config(values)
    execution = possible_executions(training_device(), config.precision, config.channels_last)[0]
    nowhere = prepared / "nothing is written here"
    paths = TrainingPaths(prepared, nowhere, nowhere, nowhere)
    with contextlib.redirect_stdout(io.StringIO()):  # what a job says of its weights and memory
        data = setup_data(config, paths, execution.device, ALONE)
        learner = setup_learner(config, data, setup_model(config, data, paths), execution, ALONE)
    learner.lookahead = None  # its training has an end, and this one goes round

    def epoch() -> int:
        return train_epoch(learner, data.train.epoch(1), data.train.batches.sizes, epoch=1).images

    epoch()
    return epoch


def prepare(folder: Path) -> Path:
    """A prepared set of IMAGES training images, of CIFAR-10 where it is at hand."""
    real = os.environ.get("TRAPLINE_REAL_DATA")
    source = [f"{real}/cifar10_train.tar", "--limit-per-class", IMAGES // 9]
    drawn = ["demo", "--demo-images", round(IMAGES / 0.9), "--demo-unlabeled", 0, "--split", "random"]
    options = ["--short-side", 32, "--quality", "lossless", "--shares", "0.9,0.1,0", "--max-quarantine", 0.2]
    command = [sys.executable, ROOT / "entry_points" / "prepare.py", "--input", *(source if real else drawn)]
    command += [*options, "--output", folder / "prepared"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return folder / "prepared"


if __name__ == "__main__":
    main()
