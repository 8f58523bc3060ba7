"""Models that are small, quick, and whose answers can be told apart."""

import dataclasses

import cv2
import numpy as np
import torch
from torch import nn

from trapline.images.canonical import PixelSettings
from trapline.inference.predictor import Predictor
from trapline.models.artefact import ModelDescription, write_artefact
from trapline.models.build import IMAGENET_NORMALISATION, Normalisation, build_model
from trapline.training.execution import Execution

ARCH = "shufflenet_v2_x0_5"
CLASSES = ["bird", "blank", "hog"]


def described(**changes):
    fields = {
        "architecture": ARCH,
        "classes": CLASSES,
        "image_size": 64,
        "normalisation": IMAGENET_NORMALISATION,
        "pixels": dataclasses.asdict(PixelSettings(short_side=96)),
        "task": "multiclass",
        "temperature": 1.5,
        "configuration": {},
        "data_fingerprint": "abc",
        "versions": {},
        "metrics": {},
        "best_epoch": 1,
        "epochs": 1,
        "parameters": 1,
        "weights": {"source": "none"},
    }
    return ModelDescription(**(fields | changes))


def write_small_model(folder, **changes):
    """An artefact whose random weights give logits that differ clearly between images."""
    torch.manual_seed(0)
    model = build_model(ARCH, len(CLASSES)).eval()
    with torch.inference_mode():
        features = model(torch.randn(8, 3, 64, 64))
    model.fc.weight.data *= 2 / features.std(dim=0).mean()
    write_artefact(folder, described(**changes), model.state_dict(), model.state_dict(), [], pth=False)
    return folder


class SaysItsColour(nn.Module):
    """Logits that name an image's red value, 0 to 255; what they are for some values can be chosen."""

    def __init__(self, instead=None):
        super().__init__()
        self.instead = instead or {}
        self.batches = []

    def forward(self, images):
        reds = (images[:, 0].mean(dim=(1, 2)) * 255).round().long()
        self.batches.append(len(reds))
        logits = 20 * nn.functional.one_hot(reds, 256).float()
        for row, red in enumerate(reds.tolist()):
            if red in self.instead:
                logits[row] = self.instead[red]()
        return logits


def colour_predictor(instead=None, views=("plain",)):
    """A predictor that answers with the red value of an image of one colour, as its label."""
    description = described(
        classes=[str(value) for value in range(256)],
        image_size=8,
        normalisation=Normalisation((0, 0, 0), (1, 1, 1)),
        pixels=dataclasses.asdict(PixelSettings(short_side=8)),
        temperature=1.0,
    )
    execution = Execution(torch.device("cpu"), "fp32", channels_last=False)
    return Predictor(SaysItsColour(instead), description, execution, views, PixelSettings(short_side=8))


def coloured(red, side=8):
    """A PNG of one colour."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, :, 2] = red  # OpenCV writes blue first
    return cv2.imencode(".png", pixels)[1].tobytes()


def picture(seed, height=120, width=160):
    """A JPEG of smooth colours that differs for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", smooth)[1].tobytes()
