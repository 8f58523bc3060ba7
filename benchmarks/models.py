"""Models for benchmarks: of the usual size, with random weights whose answers can be told apart."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from trapline.images.canonical import PixelSettings
from trapline.inference.predictor import load_predictor
from trapline.models.artefact import ModelDescription, write_artefact
from trapline.models.build import IMAGENET_NORMALISATION, build_model

CLASSES = ["antelope_duiker", "bird", "blank", "civet_genet", "hog", "leopard", "monkey_prosimian", "rodent"]


def write_random_model(
    folder: Path, side: int, files: list[bytes], arch: str = "resnet18", views: tuple[str, ...] = ("plain",)
) -> Path:
    """Write an artefact of `arch` at `side` pixels to `folder`, and return it.

    Random weights give all photographs nearly the same logits, and large ones: a comparison of probabilities
    would compare ones and zeros. So the last layer is shifted and scaled until, over the image `files`, each
    class's logit has the mean 0 and the standard deviation 1.
    """
    torch.manual_seed(0)
    model = build_model(arch, len(CLASSES), image_size=side).eval()
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    _write(folder, model, side, arch, views)
    logits = torch.from_numpy(_logits(folder, files))
    with torch.no_grad():
        head.weight /= logits.std(dim=0)[:, None]
        head.bias.copy_((head.bias - logits.mean(dim=0)) / logits.std(dim=0))
    _write(folder, model, side, arch, views)
    return folder


def check_spread(probabilities: np.ndarray) -> None:
    """End the run unless images can be told apart by their probabilities (images, classes)."""
    spread = probabilities.std(axis=0).mean()
    if spread < 0.02:
        raise SystemExit(f"all images get the same probabilities (standard deviation {spread:.2g})")


def _logits(folder: Path, files: list[bytes]) -> np.ndarray:
    predictor = load_predictor(folder, precision="fp32", views=["plain"], images=len(files))
    return predictor.logits(predictor.decode(data) for data in files)


def _write(folder: Path, model: torch.nn.Module, side: int, arch: str, views: tuple[str, ...]) -> None:
    description = ModelDescription(
        architecture=arch,
        classes=CLASSES,
        image_size=side,
        normalisation=IMAGENET_NORMALISATION,
        pixels=dataclasses.asdict(PixelSettings()),
        task="multiclass",
        views=list(views),
        configuration={},
        data_fingerprint="random",
        versions={},
        metrics={},
        best_epoch=0,
        epochs=0,
        parameters=0,
        weights={"source": "none"},
    )
    write_artefact(folder, description, model.state_dict(), model.state_dict(), [], pth=False)
