"""Models for benchmarks: of the usual size, with random weights whose answers can be told apart."""

import dataclasses
from pathlib import Path

import torch

from common.data.canonical import PixelSettings
from common.models.artefact import ModelDescription, write_artefact
from common.models.build import IMAGENET_NORMALISATION, build_model

CLASSES = ["antelope_duiker", "bird", "blank", "civet_genet", "hog", "leopard", "monkey_prosimian", "rodent"]


def write_random_model(folder: Path, side: int, arch: str = "resnet18", views: tuple[str, ...] = ("plain",)) -> Path:
    """Write an artefact of `arch` at `side` pixels to `folder`, and return it."""
    torch.manual_seed(0)
    model = build_model(arch, len(CLASSES), image_size=side).eval()
    with torch.inference_mode():
        spread = model(torch.randn(8, 3, side, side)).std(dim=0).mean()
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    head.weight.data *= 2 / spread
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
    return folder
