"""First weights that come from the training images, for an architecture that has such."""

import torch
from torch import nn

from trapline.config import TrainingConfig
from trapline.data.folds import LabelledPart
from trapline.data.loader import LoaderSettings, PackedImages
from trapline.data.memory import decoded
from trapline.models.build import Normalisation
from trapline.models.own import OWN
from trapline.training.execution import Execution

MAX_IMAGES = 5000


def start_from_data(
    model: nn.Module, config: TrainingConfig, labelled: LabelledPart, normalisation: Normalisation
) -> None:
    """Set what `model` begins with from images of `labelled`; most architectures need none.

    They are taken evenly from all rows, which may be sorted by class. Nothing is drawn at random, so that the
    other weights stay those of the seed.
    """
    start = OWN[config.arch].start_from_data if config.arch in OWN else None
    if start is None:
        return
    settings = LoaderSettings(config.image_size, batch_size=1, eval_crop=config.eval_crop)
    packed = PackedImages(labelled, settings)
    here = Execution(torch.device("cpu"), "fp32", channels_last=False)
    rows = range(0, len(packed), max(1, -(-len(packed) // MAX_IMAGES)))
    start(model, here.inputs(decoded(packed, rows), normalisation))
