"""What is said before training begins: what it will leave worse than its user may think."""

from trapline.config import TrainingConfig
from trapline.errors import TraplineError
from trapline.models.build import BATCH_NORMS
from trapline.models.weights import WeightsReport, name_some
from trapline.training.loop import Learner
from trapline.training.setup import Data, labels_of, num_labels_of
from trapline.typed import prepare_option

START_LEFT = 0.01  # share of a running statistic's first value that is still worth a word at the end


def note_unseen_labels(config: TrainingConfig, data: Data) -> None:
    """Say which labels of several an image have no image in train or val.

    Raises TraplineError where a part has no label at all.
    """
    if num_labels_of(data.prepared) is None:
        return
    left_out = f"left out of macro averages and val_map; threshold {config.threshold:g}"
    for part, rows, effect in (
        ("train", data.labelled, "it cannot be learned"),
        ("val", data.validation, left_out),
    ):
        labels = labels_of(data.prepared, rows)
        absent = [name for name, count in zip(data.classes, labels.sum(axis=0), strict=True) if not count]
        if len(absent) == len(data.classes):
            raise TraplineError(
                f"{data.prepared.folder}: no image of {part} has a label; prepare it with other "
                f"{prepare_option('shares')}"
            )
        if absent:
            print(f"note: no image of {part} has {name_some(absent)}: {effect}", flush=True)


def note_few_steps(learner: Learner, data: Data, report: WeightsReport) -> None:
    """Say where running statistics that began anew would still be far from the data's at the end."""
    if not learner.ranks.is_main or not any(name.endswith("running_mean") for name in report.new):
        return
    steps = learner.config.epochs * len(data.train.batches)
    layers = [layer for layer in learner.model.modules() if isinstance(layer, BATCH_NORMS)]
    share = max(((1 - (layer.momentum or 1.0)) ** steps for layer in layers), default=0.0)
    if share > START_LEFT:
        print(
            f"note: {steps} steps leave the running statistics of batch normalisation to {share:.0%} what "
            "they began with, so validation shows the model worse than it is; take more epochs or a smaller "
            "batch_size",
            flush=True,
        )
