"""What of this machine a training job takes: loader processes, threads, images per batch."""

from dataclasses import dataclass

import torch

MAX_WORKERS = 16
MIN_CORES_TO_SHARE = 4  # below, a core for the loader alone is too much of what trains
MAX_BATCH_ON_GPU, MIN_BATCH_ON_GPU, PER_GIB = 64, 16, 8
MAX_BATCH_ON_CPU, PER_WORKER = 32, 4
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "DefaultCPUAllocator")  # CUDA and MPS; CPU


@dataclass(frozen=True)
class Resources:
    """Loader processes of one thread each, and the training process's threads."""

    workers: int
    threads: int


def choose_resources(device_type: str, cores: int, ranks_here: int = 1) -> Resources:
    """The processes and threads that use `cores`, shared by the training processes on this machine, once.

    Beside a GPU every core loads, up to 16. Where the CPU trains, a quarter of the cores loads and the others
    train: together as many as there are. With fewer than 4 cores one process loads beside threads on all of
    them, which is the one case of more threads than cores.

    The threads decide in which order sums are taken, so they follow from the cores alone: a job with another
    `num_workers` ends with the same weights.
    """
    own = max(1, cores // ranks_here)
    if device_type != "cpu":
        workers = min(MAX_WORKERS, own)
        return Resources(workers, max(1, own - workers))
    workers = min(MAX_WORKERS, max(1, own // 4))
    return Resources(workers, own - workers if own >= MIN_CORES_TO_SHARE else own)


def use_threads(threads: int) -> None:
    """Let torch calculate with that many threads, or fewer where OMP_NUM_THREADS or torchrun says so."""
    torch.set_num_threads(min(threads, torch.get_num_threads()))


@dataclass(frozen=True)
class BatchPlan:
    """Images of a micro-batch in each process, and micro-batches of an optimizer step."""

    size: int
    accumulation: int

    def __str__(self) -> str:
        return f"{self.size} x {self.accumulation}"

    def smaller(self) -> "BatchPlan | None":
        """Half the images, twice the micro-batches: the same images a step; None where one is left.

        An odd size is divided by its smallest factor instead.
        """
        if self.size == 1:
            return None
        factor = next(number for number in range(2, self.size + 1) if self.size % number == 0)
        return BatchPlan(self.size // factor, self.accumulation * factor)


def automatic_batch_size(device: torch.device, cores: int, memory_share: float = 1.0) -> int:
    """Images per batch for `device`, by the formula of the enhanced ResNet-18's trainer.

    GPU: 8 for each GiB of the `memory_share` (0 to 1) that may be used of its memory, from 16 to 64. CPU: 4
    for each loader process, which that trainer takes to be one for each core up to 16; at most 32.
    """
    gib = _gpu_gib(device)
    if gib is not None:
        return min(MAX_BATCH_ON_GPU, max(MIN_BATCH_ON_GPU, int(PER_GIB * gib * memory_share)))
    return min(MAX_BATCH_ON_CPU, PER_WORKER * min(MAX_WORKERS, cores))


def _gpu_gib(device: torch.device) -> float | None:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory) / 2**30
    if device.type == "mps":
        return float(torch.mps.recommended_max_memory()) / 2**30
    return None


def out_of_memory(error: BaseException) -> str | None:
    """The first line of what `error` says, if it says that memory ran out, on a GPU or here; else None."""
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)
    ):
        return next(iter(text.splitlines()), "") or type(error).__name__
    return None
