"""Where and how the arithmetic runs: device, precision, memory format."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from common.config import TrainingConfig
from common.console import resident_mb
from common.environment import best_device
from common.errors import UsageError
from common.models.build import Normalisation, channels_last_pays
from common.training.distributed import ALONE, Ranks

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_FLAGS = ("avx512_bf16", "amx_bf16")  # without them bf16 is emulated, and slower than fp32
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
        """uint8 (batch, height, width, 3) to normalised float32 (batch, 3, height, width) on the device."""
        mean = torch.tensor(normalisation.mean, device=self.device).view(1, 3, 1, 1) * 255
        scale = 1 / (torch.tensor(normalisation.std, device=self.device).view(1, 3, 1, 1) * 255)
        pixels = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        return pixels.to(torch.float32, memory_format=memory_format).sub_(mean).mul_(scale)


def choose_execution(config: TrainingConfig, ranks: Ranks = ALONE) -> Execution:
    """The execution that `config` asks for on this machine. Raises UsageError where it cannot be had."""
    device = torch.device(best_device()) if ranks.count == 1 else ranks.device
    precision = _fastest_precision(device) if config.precision == "auto" else config.precision
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("precision fp16: needs a GPU; use auto, bf16 or fp32 on a CPU")
    channels_last = config.channels_last
    if channels_last is None:
        channels_last = channels_last_pays(config.arch, device.type, precision)
    return Execution(device, precision, channels_last)


def limit_gpu_memory(device: torch.device, fraction: float | None) -> None:
    """Let this process use no more than `fraction` of the GPU's memory: beyond it, memory has run out.

    None sets no limit, and where there is no CUDA device there is nothing to limit.
    """
    if device.type == "cuda" and fraction is not None:
        torch.cuda.set_per_process_memory_fraction(fraction, device)


def _fastest_precision(device: torch.device) -> Precision:
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= AMPERE else "fp16"
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX); known on Linux only."""
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
    """Print resident and GPU memory at a named point of the job, MiB."""
    on_gpu = device is not None and device.type == "cuda"
    gpu_mb = torch.cuda.memory_allocated(device) / 2**20 if on_gpu else 0.0
    print(f"[MEMORY] point={point} rss_mb={resident_mb():.0f} gpu_mb={gpu_mb:.0f}", flush=True)
