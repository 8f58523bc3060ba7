"""Where and how the arithmetic runs: device, precision, memory format."""

import contextlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from trapline.config import TrainingConfig
from trapline.console import resident_mb
from trapline.environment import best_device
from trapline.errors import UsageError
from trapline.images.grey import greyed
from trapline.models.build import Normalisation
from trapline.training.distributed import ALONE, Ranks

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # x86 and Arm; without them bf16 is emulated
AMPERE = 8  # the first CUDA compute capability with bf16 in hardware


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
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

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


def plain_execution(config: TrainingConfig, ranks: Ranks = ALONE) -> Execution:
    """What `config` asks for on this machine, and fp32 and row-major tensors where it leaves that open.

    Raises UsageError where it cannot be had.
    """
    return possible_executions(training_device(ranks), config.precision, config.channels_last)[0]


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
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= AMPERE else "fp16"
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else None


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512, AMX, Arm's BF16); known on Linux only."""
    path = Path("/proc/cpuinfo")
    flags = path.read_text().split() if path.exists() else []
    return any(flag in flags for flag in CPU_FLAGS)


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
    on_device = f"gpu_mb={taken:.0f} gpu_reserved_mb={reserved:.0f}"
    print(f"[MEMORY] point={point} rss_mb={resident_mb():.0f} {on_device}", flush=True)
