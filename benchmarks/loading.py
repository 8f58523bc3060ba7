"""One-worker loading: packed frames against opening the original files, with the enhanced ResNet-18's chain.

Run: python benchmarks/loading.py
Frames: the photographs of TRAPLINE_REAL_DATA, else drawn ones; 1280 x 720 either way.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import albumentations as A
import numpy as np
import torch
from PIL import Image
from side_by_side import compare, describe_machine
from torch.utils.data import DataLoader, Dataset

from trapline.augmentation import CHAINS
from trapline.data.loader import LoaderSettings, make_loader
from trapline.data.prepared import open_prepared
from trapline.models.build import IMAGENET_NORMALISATION
from trapline.preparation.demo import DemoSettings, draw_demo
from trapline.training.execution import Execution

ROOT = Path(__file__).parents[1]
SIZE, BATCH, ROUNDS = 224, 32, 5
FRAMES = 288


class OpenedFrames(Dataset):
    """The usual way: open with Pillow, resize, augment and normalise one image at a time."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        steps = [A.Resize(256, 256), *CHAINS["heavy"].steps(A, SIZE), A.Normalize(), A.ToTensorV2()]
        self.compose = A.Compose(steps)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = np.asarray(Image.open(self.paths[index]).convert("RGB"))
        return self.compose(image=pixels)["image"], 0


def main() -> None:
    """Prepare, then load both ways."""
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        paths, prepared = frames(Path(folder))
        context = multiprocessing.get_context("forkserver")
        opened = DataLoader(
            OpenedFrames(paths),
            batch_size=BATCH,
            num_workers=1,
            persistent_workers=True,
            multiprocessing_context=context,
        )
        part = open_prepared(prepared).part("train")
        packed = make_loader(
            part, LoaderSettings(chain="heavy", size=SIZE, batch_size=BATCH, shuffle=True), workers=1
        )
        execution = Execution(torch.device("cpu"), "fp32", channels_last=True)

        def load_opened() -> int:
            return sum(len(images) for images, _ in opened)

        def load_packed() -> int:
            batches = (execution.inputs(batch.images, IMAGENET_NORMALISATION) for batch in packed.epoch(0))
            return sum(len(images) for images in batches)

        load_opened(), load_packed()  # start the workers
        compare(
            f"one worker, {SIZE} px, the enhanced ResNet-18's chain",
            ("open, resize, chain, normalise", load_opened),
            ("packed", load_packed),
            ROUNDS,
        )


def frames(folder: Path) -> tuple[list[Path], Path]:
    """Paths of the original frames, and the prepared set that holds nearly all of them in its train part."""
    real = os.environ.get("TRAPLINE_REAL_DATA")
    raw = Path(real) / "camera_traps_norway" if real else folder / "raw"
    if not real:
        draw_demo(raw, DemoSettings(images=FRAMES, unlabeled=0, width=1280, height=720, damaged=0))
    command = [sys.executable, ROOT / "entry_points" / "prepare.py", "--input", raw, "--split", "random"]
    flags = ["--shares", "0.9,0.1,0", "--output", folder / "prepared", "--max-quarantine", "0.1"]
    subprocess.run([*command, *flags], check=True, stdout=subprocess.DEVNULL)
    return sorted(path for path in raw.rglob("*") if path.suffix.lower() == ".jpg"), folder / "prepared"


if __name__ == "__main__":
    main()
