"""Batches that fit into memory: chosen for the machine, and made smaller where memory runs out.

With `batch_size auto` an epoch in which memory runs out begins again, from the state before it, with half the
images in a micro-batch and twice the micro-batches in a step. What is learned is then what a job with that
setting learns: without batch normalisation the same as before up to rounding, for a step has the same images.
"""

import gc
from collections.abc import Callable

import torch

from trapline.config import TrainingConfig, pseudo_rows, read_batch_sizes
from trapline.errors import TraplineError, UsageError
from trapline.models.build import trains_on_one
from trapline.training.distributed import Ranks, from_all
from trapline.training.loop import Learner
from trapline.training.resources import BatchPlan, automatic_batch_size, out_of_memory

AUTO = "auto"


def first_plan(config: TrainingConfig, device: torch.device, cores: int, ranks: Ranks) -> BatchPlan:
    """The batches that `config` asks for; with `auto` the most that every rank's machine takes.

    Raises UsageError where it names other types of device than the one that trains.
    """
    if isinstance(config.batch_size, int):
        return BatchPlan(config.batch_size, config.accumulation)
    if config.batch_size != AUTO:
        return BatchPlan(_size_for(config.batch_size, device.type), config.accumulation)
    own = automatic_batch_size(
        device, max(1, cores // ranks.local_world_size), config.gpu_memory_fraction or 1.0
    )
    return BatchPlan(min(from_all(own, ranks)), config.accumulation)


def _size_for(batch_sizes: str, device_type: str) -> int:
    sizes = read_batch_sizes(batch_sizes)
    if device_type not in sizes:
        raise UsageError(
            f"hyperparameter batch_size: {batch_sizes} says nothing of {device_type}, which this job trains "
            f"on; add {device_type}:NUMBER"
        )
    return sizes[device_type]


def with_batches(config: TrainingConfig, plan: BatchPlan) -> TrainingConfig:
    """`config` with the numbers of `plan` in place of what was asked for."""
    return config.model_copy(update={"batch_size": plan.size, "accumulation": plan.accumulation})


def plan_of(config: TrainingConfig) -> BatchPlan:
    """The batches of a configuration that `with_batches` has made."""
    assert isinstance(config.batch_size, int)
    return BatchPlan(config.batch_size, config.accumulation)


def lack_of_memory(work: Callable[[], None]) -> str | None:
    """Do the work; return what was said if memory ran out in it, else None. Other errors pass through.

    On return the tensors of the failed step are free: the error, whose traceback holds them, is gone.
    """
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        lack = out_of_memory(error)
        if lack is None:
            raise
    else:
        return None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return lack


def smaller_plan(
    config: TrainingConfig, plan: BatchPlan, lack: str, *, ranks: Ranks, pseudo: bool
) -> BatchPlan:
    """The batches to go on with after memory has run out with `plan`.

    `config` is the configuration as it was asked for, `lack` what was said, `pseudo` whether pseudo-labelled
    images are mixed in. Raises TraplineError where there is nothing to go on with, saying what to do.
    """
    if config.batch_size != AUTO:
        raise TraplineError(
            f"memory has run out with batch_size {plan.size} ({lack}): lower it, and raise accumulation for "
            "as many images a step, or set batch_size=auto"
        )
    if ranks.world_size > 1:  # the others wait in the middle of a step, for ever
        raise TraplineError(
            f"memory has run out with {plan.size} images a batch, of batch_size auto ({lack}); with several "
            f"processes it cannot be halved on the way: set batch_size={max(1, plan.size // 2)} "
            f"accumulation={2 * plan.accumulation}"
        )
    smaller = plan.smaller()
    if smaller is None:
        raise TraplineError(
            f"memory has run out with a single image ({lack}): lower image_size, or take a smaller arch"
        )
    if smaller.size == 1 and not trains_on_one(
        config.arch, config.image_size, auxiliary=config.aux_weight > 0
    ):
        raise TraplineError(
            f"memory has run out with {plan.size} images a batch ({lack}), and {config.arch} cannot be "
            f"trained on one at image_size {config.image_size}, where its batch normalisation gets a single "
            "value of each channel: take a smaller arch, or a machine with more memory"
        )
    if pseudo and not _keeps_share(config.pseudo_share, plan, smaller):
        raise TraplineError(
            f"memory has run out with {plan.size} images a batch ({lack}), and {smaller.size} cannot hold "
            "the same share of pseudo-labelled images: lower image_size, or change pseudo_share"
        )
    return smaller


def _keeps_share(share: float, plan: BatchPlan, smaller: BatchPlan) -> bool:
    """Whether a step has as many pseudo-labelled images in smaller batches."""
    rows = round(share * smaller.size)
    factor = plan.size // smaller.size
    return 0 < rows < smaller.size and rows * factor == pseudo_rows(share, plan.size)


def drop_step(learner: Learner) -> None:
    """Forget what a step has left that did not end."""
    learner.optimizer.zero_grad(set_to_none=True)
    learner.scaler = learner.execution.scaler()
