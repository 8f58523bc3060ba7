"""First weights that come from the training images, for an architecture that has such."""

import torch
from torch import nn

from common.config import TrainingConfig
from common.data.folds import LabelledPart
from common.data.loader import PackedImages
from common.data.memory import decoded
from common.models.build import Normalisation
from common.models.own import OWN
from common.training.execution import Execution

MOST_IMAGES = 5000


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
    packed = PackedImages(labelled, "none", config.image_size, config.seed, config.eval_crop)
    here = Execution(torch.device("cpu"), "fp32", channels_last=False)
    rows = range(0, len(packed), max(1, -(-len(packed) // MOST_IMAGES)))
    start(model, here.inputs(decoded(packed, rows), normalisation))
