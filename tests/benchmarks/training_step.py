"""A training step of resnet18 at 224 px against the plain loop in fp32.

Run: python tests/benchmarks/training_step.py
"""

import torch
from side_by_side import compare, describe_machine
from torch import nn
from torchvision.models import resnet18

from common.config import make_config
from common.data.loader import Batch
from common.models.build import IMAGENET_NORMALISATION, build_model
from common.training.execution import Execution, choose_execution
from common.training.loop import Learner, train_epoch
from common.training.optimisation import make_loss, make_optimizer, make_schedule

SIZE, BATCH, STEPS, ROUNDS, CLASSES = 224, 32, 2, 8, 8


def main() -> None:
    """Compare in the precision that `auto` chooses, in fp32, and the plain loop with itself: the noise."""
    describe_machine()
    batches = make_batches()
    plain = ("plain loop, fp32", plain_loop(batches))
    compare(plain, ("plain loop, fp32, once more", plain_loop(batches)), ROUNDS)
    for precision in ("auto", "fp32"):
        config = make_config({"precision": precision, "weights": "none", "num_workers": 0})
        execution = choose_execution(config)
        name = f"train.py, {precision}: {execution.precision}, channels_last={execution.channels_last}"
        compare(plain, (name, our_loop(batches, execution, precision)), ROUNDS)


def make_batches() -> list[Batch]:
    """uint8 images, as the loader hands them over."""
    generator = torch.Generator().manual_seed(0)
    return [
        Batch(
            torch.randint(0, 256, (BATCH, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator),
            torch.randint(0, CLASSES, (BATCH,), generator=generator),
            torch.ones(BATCH),
        )
        for _ in range(STEPS)
    ]


def plain_loop(batches: list[Batch]):
    """What most scripts do; normalisation, which they do in the loader, is not timed."""
    model, criterion = resnet18(num_classes=CLASSES), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    execution = Execution(torch.device("cpu"), "fp32", channels_last=False)
    inputs = [execution.inputs(batch.images, IMAGENET_NORMALISATION) for batch in batches]

    def epoch() -> int:
        model.train()
        for images, batch in zip(inputs, batches, strict=True):
            optimizer.zero_grad()
            loss = criterion(model(images), batch.labels)
            loss.backward()
            optimizer.step()
            loss.item()
        return STEPS * BATCH

    epoch()
    return epoch


def our_loop(batches: list[Batch], execution: Execution, precision: str):
    """The loop of `train.py`."""
    config = make_config({"precision": precision, "weights": "none"})
    model = execution.place(build_model("resnet18", CLASSES))
    optimizer = make_optimizer(config, model, frozenset())
    labels = torch.arange(CLASSES).numpy()
    learner = Learner(
        model=model,
        optimizer=optimizer,
        schedule=make_schedule(config, optimizer, STEPS),
        scaler=execution.scaler(),
        loss=make_loss(config, labels, [str(label) for label in labels], execution.device),
        config=config,
        execution=execution,
        normalisation=IMAGENET_NORMALISATION,
    )

    def epoch() -> int:
        return train_epoch(learner, batches, [BATCH] * STEPS, epoch=1).images

    epoch()
    return epoch


if __name__ == "__main__":
    main()
