"""torch.compile of the model as training calls it, where it is asked for and works.

Only the calls are compiled: the model itself, its tensors and their names stay as they are, and validation,
checkpoints and the artefact know nothing of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trapline.config import TrainingConfig
from trapline.training.execution import Execution
from trapline.training.resources import out_of_memory

VOLTA = 7  # the first CUDA compute capability that Triton compiles for
# Compiling takes a minute or two of the first batches: of fewer steps it could not save as much.
STEPS_THAT_PAY = 1000


@dataclass
class Compiled:
    """A compiled model that goes on uncompiled, and says so, where compiling fails at the first call."""

    model: Callable[[Tensor], Tensor]
    eager: Callable[[Tensor], Tensor]
    tried: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """(batch, classes) from normalised images (batch, 3, height, width)."""
        if self.tried:
            return self.model(images)
        try:
            outputs = self.model(images)
        except Exception as error:  # each stage has its own; a fault of the model comes again
            if out_of_memory(error):  # a matter of the batch, which will be smaller when it is tried again
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
    if execution.device.type != "cuda" or execution.precision == "fp32" or steps < STEPS_THAT_PAY:
        return False
    return torch.cuda.get_device_capability(execution.device)[0] >= VOLTA


def _compile_a_trifle(device: torch.device) -> None:
    """Find out, forwards and backwards, whether this machine can compile at all."""

    def trifle(values: Tensor) -> Tensor:
        return (values.sin() * values).sum()

    values = torch.ones(8, device=device, requires_grad=True)
    torch.compile(trifle)(values).backward()


def _note_failure(error: Exception) -> None:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    print(f"compile: not possible here, going on without it ({reason.strip()[:160]})", flush=True)
