"""A training step against the plain loop in fp32, in the way that is chosen and in every other.

Run: python benchmarks/training_step.py [--arch resnet18] [--batch 32] [--hours 1] [--rounds 8]
224 px, 8 classes. --hours: the length of the job that the choice is made for, which may take 2% of it.
"""

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the entry points do; read when torch loads

import torch
from side_by_side import Work, describe_machine, judge
from torch import nn

from trapline.config import make_config
from trapline.data.loader import Batch
from trapline.models.build import IMAGENET_NORMALISATION, build_model
from trapline.training.execution import Execution, possible_executions
from trapline.training.loop import Learner, train_epoch
from trapline.training.optimisation import make_loss, make_optimizer, make_schedule
from trapline.training.speed import Work as Job
from trapline.training.speed import choose_speed

SIZE, CLASSES = 224, 8
PLAIN_RATE = 10  # images/s, about: how many images make a job of so many hours


def main() -> None:
    """Choose, and compare the choice with the plain loop, with that once more, and with the others."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--arch", default="resnet18")
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--hours", type=float, default=1)
    arguments.add_argument("--rounds", type=int, default=8)
    flags = arguments.parse_args()
    describe_machine()
    print(f"{flags.arch}, batch {flags.batch}")
    batch = make_batch(flags.batch)
    ways = possible_executions(torch.device("cpu"))
    job = Job("training", flags.arch, SIZE, flags.batch, flags.hours * 3600 * PLAIN_RATE)
    model = build_model(flags.arch, CLASSES, image_size=SIZE)
    speed = choose_speed(ways, job, model, IMAGENET_NORMALISATION, anew=True)
    fixed = {way: our_loop(batch, way, flags.arch) for way in ways}
    plain, again = (plain_loop(batch, flags.arch) for _ in range(2))
    judge(
        f"{flags.arch}, {SIZE} px, batch {flags.batch}",
        speed,
        fixed,
        ("plain loop, fp32", plain),
        again,
        flags.rounds,
    )


def make_batch(images: int) -> Batch:
    """uint8 images, as the loader hands them over."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    return Batch(pixels, torch.randint(0, CLASSES, (images,), generator=generator), torch.ones(images))


def plain_loop(batch: Batch, arch: str) -> Work:
    """What most scripts do; normalisation, which they do in the loader, is not timed."""
    model, criterion = build_model(arch, CLASSES, image_size=SIZE), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    execution = Execution(torch.device("cpu"), "fp32", channels_last=False)
    images = execution.inputs(batch.images, IMAGENET_NORMALISATION)

    def epoch() -> int:
        model.train()
        optimizer.zero_grad()
        loss = criterion(model(images), batch.labels)
        loss.backward()
        optimizer.step()
        loss.item()
        return len(images)

    epoch()
    return epoch


def our_loop(batch: Batch, execution: Execution, arch: str) -> Work:
    """The loop of `train.py`."""
    config = make_config({"arch": arch, "weights": "none"})
    model = execution.place(build_model(arch, CLASSES, image_size=SIZE))
    optimizer = make_optimizer(config, model, frozenset())
    labels = torch.arange(CLASSES).numpy()
    learner = Learner(
        model=model,
        optimizer=optimizer,
        schedule=make_schedule(config, optimizer, 10_000),
        scaler=execution.scaler(),
        loss=make_loss(config, labels, [str(label) for label in labels], execution.device),
        config=config,
        execution=execution,
        normalisation=IMAGENET_NORMALISATION,
    )

    def epoch() -> int:
        return train_epoch(learner, [batch], [len(batch.labels)], epoch=1).images

    epoch()
    return epoch


if __name__ == "__main__":
    main()
