"""launch/predict.py against what decoding and the model alone allow, and its memory for four times as many.

Run: python benchmarks/predicting.py [images] [rounds] [arch]
Frames: 1280 x 720, drawn once and linked under many names; a model of random weights at 224 px. "Alone"
decodes on all cores and gives the model the images as they come, in the same batches, and keeps nothing.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
from figures import Figure, emit
from peak_memory import run_measured
from side_by_side import compare, describe_machine

from trapline.images.budget import PREPARATION
from trapline.inference.predictor import load_predictor
from trapline.models.artefact import ModelDescription, write_artefact
from trapline.models.build import IMAGENET_NORMALISATION, build_model
from trapline.predicting.options import PredictOptions
from trapline.predicting.predicting import predicted
from trapline.preparation.demo import DemoSettings, draw_demo
from trapline.preparation.packed_file import Decoded, decode_file
from trapline.workers import Limits, available_cores, mapped

ROOT = Path(__file__).parents[1]
CLASSES = [f"class {number}" for number in range(8)]
DRAWN = 60


def main() -> None:
    """Both ways in turn, then the memory of the command for two sizes."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    arch = sys.argv[3] if len(sys.argv) > 3 else "resnet18"
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(Path(folder) / "model", arch)
        photos = [linked_frames(Path(folder), number) for number in (images, 4 * images)]
        ways = (
            ("decoding and the model alone", alone(model, photos[0])),
            ("predict.py", whole(model, photos[0], folder)),
        )
        compare(f"{arch}, 224 px, {images} photographs of 1280x720", *ways, rounds)
        peaks = [memory(model, place, Path(folder) / f"out{number}") for number, place in enumerate(photos)]
    emit(
        Figure(
            f"memory for {4 * images} photographs against {images}",
            *(f"{peak:.0f} MiB" for peak in peaks),
            f"{peaks[1] / peaks[0]:.2f}",
        )
    )


def random_model(folder: Path, arch: str) -> Path:
    """An artefact of random weights."""
    model = build_model(arch, len(CLASSES)).eval()
    description = ModelDescription(
        architecture=arch, classes=CLASSES, image_size=224, normalisation=IMAGENET_NORMALISATION,
        pixels={"short_side": 256}, task="multiclass", configuration={}, data_fingerprint="none", versions={},
        metrics={}, best_epoch=1, epochs=1, parameters=1, weights={"source": "none"},
    )  # fmt: skip
    write_artefact(folder, description, model.state_dict(), model.state_dict(), [], pth=False)
    return folder


def linked_frames(folder: Path, images: int) -> Path:
    """So many photographs at 20 cameras."""
    drawn, photos = folder / "drawn", folder / f"photos{images}"
    if not drawn.exists():
        draw_demo(drawn, DemoSettings(images=DRAWN, sites=20, unlabeled=0, width=1280, height=720, damaged=0))
    frames = sorted((drawn / "train_features").iterdir())
    for number in range(images):
        target = photos / f"cam{number % 20}" / f"{number:07d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(frames[number % len(frames)], target)
    return photos


def alone(model: Path, photos: Path) -> Callable[[], int]:
    """Decoding on all cores and the model, in one pass that keeps nothing."""
    predictor = load_predictor(model)
    paths = [str(path) for path in sorted(photos.rglob("*.jpg"))]

    def work() -> int:
        limits = Limits(PREPARATION.max_seconds, PREPARATION.max_memory)
        items = [(path, predictor.pixels) for path in paths]

        def pixels() -> Iterator[np.ndarray]:
            for image in mapped(decode_file, items, available_cores(), limits):
                assert isinstance(image, Decoded)
                yield image.pixels

        return len(predictor.logits(pixels()))

    return work


def whole(model: Path, photos: Path, folder: str) -> Callable[[], int]:
    """The pass of predict.py into a new folder each time."""
    runs = count()

    def work() -> int:
        options = PredictOptions(model="model", input=(str(photos),), output=f"{folder}/run{next(runs)}")
        with predicted(options, model, "model") as (found, _):
            return len(found.predictions)

    return work


def memory(model: Path, photos: Path, output: Path) -> float:
    """The peak memory of the command, of all its processes, MiB."""
    words = [sys.executable, ROOT / "launch" / "predict.py", model, photos, "--output", output]
    return run_measured([*words, "--formats", "csv", "megadetector", "coco", "timelapse"])[1]


if __name__ == "__main__":
    main()
