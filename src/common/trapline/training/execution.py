"""Where and how the arithmetic runs: device, precision, memory format, threads and batches, torch.compile."""

import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from trapline.config import TrainingConfig
from trapline.console import resident_mb
from trapline.errors import UsageError
from trapline.images.canonical import greyed
from trapline.machine import best_device
from trapline.models.build import Normalisation
from trapline.training.distributed import ALONE, Ranks

Precision = Literal["fp32", "bf16", "fp16"]
MAX_WORKERS = 16


@dataclass(frozen=True)
class Execution:
    """Device, precision and memory format of one job."""

    device: torch.device
    precision: Precision
    channels_last: bool

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Mixed precision for the forward pass; does nothing in fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        lower = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=lower)

    def scaler(self) -> torch.amp.GradScaler:
        """The loss scaler that fp16 needs; passes everything through otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def place(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model on the device, in the memory format."""
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        return model.to(self.device).to(memory_format=memory_format)

    def inputs(self, images: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
        """uint8 (batch, height, width, 3) to normalised float32 (batch, 3, height, width) on the device.

        The one place where images become what a model sees, in training and in all uses of the model.
        """
        mean = torch.tensor(normalisation.mean, device=self.device).view(1, 3, 1, 1) * 255
        scale = 1 / (torch.tensor(normalisation.std, device=self.device).view(1, 3, 1, 1) * 255)
        images = images.to(self.device, non_blocking=True)
        pixels = (greyed(images) if normalisation.grey else images).permute(0, 3, 1, 2)
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        return pixels.to(torch.float32, memory_format=memory_format).sub_(mean).mul_(scale)


def training_device(ranks: Ranks = ALONE) -> torch.device:
    """The device that this process trains on."""
    return torch.device(best_device()) if ranks.world_size == 1 else ranks.device


def possible_executions(
    device: torch.device, precision: Precision | Literal["auto"] = "auto", channels_last: bool | None = None
) -> list[Execution]:
    """The ways to calculate that are asked for and that `device` can run, the plainest first.

    `auto` and None leave open what they speak of: fp32 or the lower precision of the device, row-major or
    channels_last. Raises UsageError where there is none.
    """
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("precision fp16: needs a GPU; use auto, bf16 or fp32 on a CPU")
    lower = lower_precision(device)
    either: list[Precision] = ["fp32", lower] if lower else ["fp32"]
    precisions = either if precision == "auto" else [precision]
    formats = [False, True] if channels_last is None else [channels_last]
    if device.type == "mps":  # where channels_last is not safe in all versions
        formats = formats[:1]
    return [Execution(device, *way) for way in itertools.product(precisions, formats)]


def limit_gpu_memory(device: torch.device, fraction: float | None) -> None:
    """Let this process use no more than `fraction` of the GPU's memory: beyond it, memory has run out.

    None sets no limit, and where there is no CUDA device there is nothing to limit.
    """
    if device.type == "cuda" and fraction is not None:
        torch.cuda.set_per_process_memory_fraction(fraction, device)


def lower_precision(device: torch.device) -> Precision | None:
    """The precision below fp32 that the device calculates in by itself; None without one.

    That it can does not mean that it is faster: see `trapline.training.speed`.
    """
    if device.type == "cuda":
        # Ampere, 8.0, is the first CUDA compute capability with bf16 in hardware.
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else None


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512, AMX, Arm's BF16); known on Linux only."""
    path = Path("/proc/cpuinfo")
    flags = path.read_text().split() if path.exists() else []
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)  # x86 and Arm; else emulated


def seed_everything(seed: int, deterministic: bool, benchmark: bool | None = None) -> None:
    """Seed initialisation and dropout, and choose deterministic kernels or the fastest ones, never both.

    `benchmark`: whether cuDNN tries its kernels on each new shape; None: unless `deterministic`.
    """
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic and benchmark is not False
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it


def peak_gpu_mb(device: torch.device) -> float:
    """The most GPU memory that tensors have taken so far, MiB; 0 without a CUDA device."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


def log_memory(point: str, device: torch.device | None = None) -> None:
    """Print resident and GPU memory at a named point of the job, MiB; 0 without a CUDA device.

    gpu_mb is what tensors take, gpu_reserved_mb what torch has taken from the GPU for them and for later.
    """
    on_gpu = device is not None and device.type == "cuda"
    taken = torch.cuda.memory_allocated(device) / 2**20 if on_gpu else 0.0
    reserved = torch.cuda.memory_reserved(device) / 2**20 if on_gpu else 0.0
    print(
        f"[MEMORY] point={point} rss_mb={resident_mb():.0f} gpu_mb={taken:.0f} "
        f"gpu_reserved_mb={reserved:.0f}",
        flush=True,
    )


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
    # Of fewer than 4 cores one for the loader alone is too much of what trains.
    return Resources(workers, own - workers if own >= 4 else own)


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
        return min(64, max(16, int(8 * gib * memory_share)))
    return min(32, 4 * min(MAX_WORKERS, cores))


def _gpu_gib(device: torch.device) -> float | None:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory) / 2**30
    if device.type == "mps":
        return float(torch.mps.recommended_max_memory()) / 2**30
    return None


def out_of_memory(error: BaseException) -> str | None:
    """The first line of what `error` says, if it says that memory ran out, on a GPU or here; else None."""
    text = str(error)
    said = ("out of memory", "can't allocate memory", "DefaultCPUAllocator")  # by CUDA and MPS; on a CPU
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in said)
    ):
        return next(iter(text.splitlines()), "") or type(error).__name__
    return None


@dataclass
class Compiled:
    """A compiled model that goes on uncompiled, and says so, where compiling fails at the first call.

    Only the calls are compiled: the model itself, its tensors and their names stay as they are, and
    validation, checkpoints and the artefact know nothing of it.
    """

    model: Callable[[Tensor], Tensor]
    eager: Callable[[Tensor], Tensor]
    tried: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """(batch, classes) from normalised images (batch, 3, height, width)."""
        try:
            outputs = self.model(images)
        except Exception as error:  # each stage has its own; a fault of the model comes again
            # Memory is a matter of the batch, which will be smaller when it is tried again.
            if self.tried or out_of_memory(error):
                raise
            _note_failure(error)
            self.model = self.eager
            outputs = self.eager(images)
        self.tried = True
        return outputs


def compiled(config: TrainingConfig, model: nn.Module, execution: Execution, steps: int) -> Compiled | None:
    """`model` compiled, where `config` says so and the machine can; else None.

    `auto` compiles where it should pay, see `compiling_pays`; `steps` are those of the whole training.
    """
    if config.compile == "false" or (config.compile == "auto" and not compiling_pays(execution, steps)):
        return None
    try:
        _compile_a_trifle(execution.device)
    except Exception as error:  # no compiler, one too old, a folder that cannot be written, and more
        _note_failure(error)
        return None
    print("compile: the training step is compiled; the first batches take longer", flush=True)
    return Compiled(torch.compile(model), model)


def compiling_pays(execution: Execution, steps: int) -> bool:
    """Whether compiling is expected to pay: on a CUDA GPU, in mixed precision, over enough steps.

    For GPUs that rests on what PyTorch publishes; on CPUs nothing was gained where it was tried.
    benchmarks/compiling.py measures a machine.

    By device and not by timing the first steps: a job that is killed and goes on must choose the same again,
    for compiled kernels round differently.
    """
    # Compiling takes a minute or two of the first batches: of fewer steps it could not save as much.
    if execution.device.type != "cuda" or execution.precision == "fp32" or steps < 1000:
        return False
    # Volta, 7.0, is the first CUDA compute capability that Triton compiles for.
    return torch.cuda.get_device_capability(execution.device)[0] >= 7


def _compile_a_trifle(device: torch.device) -> None:
    """Find out, forwards and backwards, whether this machine can compile at all."""
    values = torch.ones(8, device=device, requires_grad=True)
    torch.compile(lambda values: (values.sin() * values).sum())(values).backward()


def _note_failure(error: Exception) -> None:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    print(f"compile: not possible here, going on without it ({reason.strip()[:160]})", flush=True)
