"""Test-time views in batches from one decode, against a loop over images and views.

Run: python tests/benchmarks/tta.py [--images 64] [--rounds 5] [--model DIR|model.tar.gz]
Frames: the photographs of TRAPLINE_REAL_DATA, else drawn ones; 1280 x 720 either way. The model is a resnet18
at 224 px with four views, that of the enhanced ResNet-18 system; without --model its weights are random.
"""

import argparse
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from models import write_random_model
from PIL import Image
from side_by_side import compare, describe_machine
from torchvision import transforms

from common.data.demo import DemoSettings, draw_demo
from common.inference.predictor import Predictor, load_predictor
from common.inference.views import VIEW_SETS

SIDE, WITH_MARGIN = 224, 256
VIEWS = VIEW_SETS["enhanced"]


def main() -> None:
    """Check that both ways predict the same, then time them, in fp32 and in bf16; the loop is in fp32."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--model", type=Path)
    flags = arguments.parse_args()
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        files = [path.read_bytes() for path in frames(Path(folder), flags.images)]
        model = flags.model or write_random_model(Path(folder) / "model", SIDE)
        plain = load_predictor(model, precision="fp32", views=VIEWS)
        looped = loop(plain)
        for precision in ("fp32", "bf16"):
            predictor = load_predictor(model, precision=precision, views=VIEWS)
            batched = in_batches(predictor)
            say_agreement(looped(files), batched(files))
            compare(
                ("a loop over images and views, fp32", timed(looped, files)),
                (f"batched views from one decode, {precision}", timed(batched, files)),
                flags.rounds,
            )


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
    """The usual way: for each image and each view open, transform, predict; then the mean probability."""
    normalisation = predictor.description.normalisation
    end = [transforms.ToTensor(), transforms.Normalize(normalisation.mean, normalisation.std)]
    square = transforms.Resize((SIDE, SIDE))
    wide = [transforms.Resize((WITH_MARGIN, WITH_MARGIN)), transforms.CenterCrop(SIDE)]
    chains = [
        transforms.Compose([square, *end]),
        transforms.Compose([square, transforms.RandomHorizontalFlip(1.0), *end]),
        transforms.Compose([*wide, *end]),
        transforms.Compose([square, transforms.RandomVerticalFlip(1.0), *end]),
    ]
    model = predictor.model.to(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def predict(files: list[bytes]) -> np.ndarray:
        rows = []
        for data in files:
            views = []
            for chain in chains:
                image = chain(Image.open(io.BytesIO(data)).convert("RGB"))
                views.append(torch.softmax(model(image[None]), dim=1)[0])
            rows.append(torch.stack(views).mean(dim=0))
        return torch.stack(rows).numpy()

    return predict


def in_batches(predictor: Predictor) -> Callable[[list[bytes]], np.ndarray]:
    """The predictor, from the same bytes to probabilities."""

    def predict(files: list[bytes]) -> np.ndarray:
        logits = predictor.logits(predictor.decode(data) for data in files)
        return predictor.probabilities(logits)

    return predict


def timed(predict: Callable[[list[bytes]], np.ndarray], files: list[bytes]) -> Callable[[], int]:
    """Work for `compare`."""
    return lambda: len(predict(files))


def say_agreement(looped: np.ndarray, batched: np.ndarray) -> None:
    """Print how far both ways predict the same; they resize with different filters, and cannot be equal."""
    same = (looped.argmax(axis=1) == batched.argmax(axis=1)).mean()
    difference = np.abs(looped - batched)
    print(
        f"the same label for {same:.1%}; probabilities differ by {difference.mean():.4f} on average,"
        f" {difference.max():.4f} at most"
    )


if __name__ == "__main__":
    main()
