"""The training step compiled by torch.compile against the same step without, on this machine's device.

Run: python benchmarks/compiling.py [--arch enhanced_resnet18] [--size 224] [--batch 32] [--rounds 5]
What the first, compiling step takes is printed too: from it and the ratio follows after how many steps
`compile` pays, which is what `compiling_pays` in trapline.training.execution has a figure for.
"""

import argparse
import time

import torch
from side_by_side import compare, describe_machine

from trapline.config import TrainingConfig, make_config
from trapline.data.loader import Batch
from trapline.models.build import IMAGENET_NORMALISATION, build_model
from trapline.training.execution import compiled, possible_executions, training_device
from trapline.training.loop import Learner, train_epoch
from trapline.training.optimisation import make_loss, make_optimizer, make_schedule

STEPS, CLASSES = 4, 8


def main() -> None:
    """Compile, say how long it took, then time both in turn."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--arch", default="enhanced_resnet18")
    arguments.add_argument("--size", type=int, default=224)
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--rounds", type=int, default=5)
    flags = arguments.parse_args()
    describe_machine()
    batches = [make_batch(flags.batch, flags.size) for _ in range(STEPS)]
    shared = {
        "arch": flags.arch,
        "weights": "none",
        "image_size": flags.size,
        "batch_size": flags.batch,
    }
    epochs = {}
    for switch in ("false", "true"):
        config = make_config({**shared, "compile": switch})
        started = time.perf_counter()
        epochs[switch] = make_epoch(config, batches)
        print(f"compile {switch}: the first {STEPS} steps took {time.perf_counter() - started:.1f} s")
    plain, fast = epochs["false"], epochs["true"]
    what = f"{flags.arch}, {flags.size} px, batch {flags.batch}"
    compare(what, ("plain", plain), ("compiled", fast), flags.rounds)


def make_batch(images: int, size: int) -> Batch:
    """uint8 images, as the loader hands them over."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, size, size, 3), dtype=torch.uint8, generator=generator)
    return Batch(pixels, torch.randint(0, CLASSES, (images,), generator=generator), torch.ones(images))


def make_epoch(config: TrainingConfig, batches: list[Batch]):
    """A function that trains on the batches; it has run once."""
    execution = possible_executions(training_device(), config.precision, config.channels_last)[0]
    model = execution.place(build_model(config.arch, CLASSES, image_size=config.image_size))
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
        compiled=compiled(config, model, execution, steps=10_000),
    )
    sizes = [len(batch.labels) for batch in batches]

    def epoch() -> int:
        images = train_epoch(learner, batches, sizes, epoch=1).images
        if execution.device.type == "cuda":
            torch.cuda.synchronize(execution.device)
        return images

    epoch()
    return epoch


if __name__ == "__main__":
    main()
