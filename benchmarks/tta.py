"""Test-time views in batches from one decode, against a loop over images and views.

Run: python benchmarks/tta.py [--images 64] [--rounds 5] [--arch resnet18] [--model DIR|model.tar.gz]
Frames: the photographs of TRAPLINE_REAL_DATA, else drawn ones; 1280 x 720 either way. The model is one at 224
px with the four views of the enhanced ResNet-18 system; without --model its weights are random.
"""

import argparse
import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the entry points do; read when torch loads

import numpy as np
import torch
from models import check_spread, write_random_model
from PIL import Image
from side_by_side import describe_machine, judge
from torchvision import transforms

from trapline.augmentation import VIEW_SETS
from trapline.inference.predictor import Predictor, average_views, load_predictor
from trapline.preparation.demo import DemoSettings, draw_demo
from trapline.training.execution import Execution, possible_executions, training_device
from trapline.training.speed import Speed

SIDE = 224
VIEWS = VIEW_SETS["enhanced"]


def main() -> None:
    """Check that both ways predict the same, then time them, in every precision and memory format.

    The loop is in fp32.
    """
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--arch", default="resnet18")
    arguments.add_argument("--model", type=Path)
    flags = arguments.parse_args()
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRAPLINE_CACHE"] = str(Path(folder) / "cache")  # what is chosen is measured in this run
        files = [path.read_bytes() for path in frames(Path(folder), flags.images)]
        model = flags.model or write_random_model(Path(folder) / "model", SIDE, files[:32], flags.arch)
        chosen = load_predictor(model, views=VIEWS).speed
        looped = loop(load_predictor(model, precision="fp32", views=VIEWS))
        fixed = {way: fixed_way(model, way) for way in possible_executions(training_device())}
        for predictor in fixed.values():
            check_same(predictor, files[:16])
            say_agreement(looped(files[:16]), in_batches(predictor)(files[:16]))
        judge(
            f"{flags.arch}, {SIDE} px, {len(VIEWS)} views from JPEG bytes",
            chosen,
            {way: timed(in_batches(predictor), files) for way, predictor in fixed.items()},
            ("a loop over images and views, fp32", timed(looped, files)),
            timed(looped, files),
            flags.rounds,
        )


def fixed_way(model: Path, way: Execution) -> Predictor:
    """The predictor that calculates in one way."""
    speed = Speed("", way.precision, way.channels_last, "asked")
    return load_predictor(model, views=VIEWS, speed=speed)


def frames(folder: Path, count: int) -> list[Path]:
    """Paths of `count` frames."""
    real = os.environ.get("TRAPLINE_REAL_DATA")
    source = Path(real) / "camera_traps_norway" if real else folder / "raw"
    if not real:
        settings = DemoSettings(
            images=max(count, 12), sites=12, unlabeled=0, width=1280, height=720, damaged=0
        )
        draw_demo(source, settings)
    return sorted(path for path in source.rglob("*") if path.suffix.lower() == ".jpg")[:count]


def loop(predictor: Predictor) -> Callable[[list[bytes]], np.ndarray]:
    """The usual way: for each image and each view open, transform, predict; then the views' average."""
    chains = view_chains(predictor)
    model = predictor.model.to(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def predict(files: list[bytes]) -> np.ndarray:
        rows = []
        for data in files:
            images = [chain(opened(data, predictor.pixels.crop_bottom)) for chain in chains]
            rows.append(torch.cat([model(image[None]) for image in images]))
        averaged = average_views(torch.stack(rows).numpy(), predictor.description.averaging)
        return predictor.probabilities(averaged)

    return predict


def opened(data: bytes, crop_bottom: float) -> Image.Image:
    """The picture without its caption strip."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return image.crop((0, 0, image.width, image.height - round(image.height * crop_bottom)))


def view_chains(predictor: Predictor) -> list[transforms.Compose]:
    """torchvision's transforms for the four views."""
    side, normalisation = predictor.description.image_size, predictor.description.normalisation
    square, margin = transforms.Resize((side, side)), round(side * 256 / 224)
    starts = [
        [square],
        [square, transforms.RandomHorizontalFlip(1.0)],
        [transforms.Resize((margin, margin)), transforms.CenterCrop(side)],
        [square, transforms.RandomVerticalFlip(1.0)],
    ]
    end = [transforms.ToTensor(), transforms.Normalize(normalisation.mean, normalisation.std)]
    return [transforms.Compose([*start, *end]) for start in starts]


def in_batches(predictor: Predictor) -> Callable[[list[bytes]], np.ndarray]:
    """The predictor, from the same bytes to probabilities."""

    def predict(files: list[bytes]) -> np.ndarray:
        logits = predictor.logits(predictor.decode(data) for data in files)
        return predictor.probabilities(logits)

    return predict


def timed(predict: Callable[[list[bytes]], np.ndarray], files: list[bytes]) -> Callable[[], int]:
    """Work for `compare`."""
    return lambda: len(predict(files))


def check_same(predictor: Predictor, files: list[bytes]) -> None:
    """End the run unless batches give what the same pixels give one image and one view at a time."""
    pixels = [predictor.decode(data) for data in files]
    views = [replace(predictor, views=(view,)) for view in VIEWS]
    looped = np.array([[view.view_logits([image])[0, 0] for view in views] for image in pixels])
    batched = predictor.view_logits(pixels)
    largest = np.abs(looped - batched).max()
    print(f"the same pixels one by one: logits differ by {largest:.2g} at most")
    if largest > (1e-3 if predictor.execution.precision == "fp32" else 0.1):
        raise SystemExit("batches change the predictions")


def say_agreement(looped: np.ndarray, batched: np.ndarray) -> None:
    """Print how far both ways predict the same; Pillow resizes with another filter, so not quite."""
    check_spread(looped)
    same = (looped.argmax(axis=1) == batched.argmax(axis=1)).mean()
    difference = np.abs(looped - batched)
    print(
        f"the loop's own pixels: the same label for {same:.1%}; probabilities differ by"
        f" {difference.mean():.4f} on average, {difference.max():.4f} at most"
    )


if __name__ == "__main__":
    main()
