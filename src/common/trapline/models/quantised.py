"""Dynamic int8 quantisation: linear layers with 8-bit weights, for predictions on a CPU.

The weights of a linear layer become int8 with a scale for each of its outputs, and its inputs are quantised
as they come, with a scale of their own for each batch; between the layers all stays float32. Convolutions and
what else there is stay as they are. So nothing is gained for a ResNet, whose only linear layer is its head
(45 MB stay 45), and more for a transformer: Swin-T takes 54 MB instead of 110. Layers whose weights are used
without calling them, as the projections in the attention of Swin and ViT, cannot be quantised this way and
stay as they are too.

The scales depend on what goes through the model together, so that an image's answer depends, a little, on the
others in its batch.
"""

import copy
import io
import warnings
from typing import Any

import torch
from torch import nn

from trapline.errors import UsageError

MB = 1e6
MISSING = "precision int8: {}; use auto, bf16 or fp32"


def quantised(model: nn.Module, image_size: int) -> nn.Module:
    """A copy of `model`, which is on the CPU, whose linear layers calculate in int8.

    `image_size`: side of its input, pixels; one image goes through it to see which layers are called. Raises
    UsageError where this torch or this CPU has no int8 arithmetic.
    """
    with warnings.catch_warnings():
        # torch announces that this module will go, and speaks of tensors that we never see. Which versions
        # still have it the tests say; where it is gone, the import fails.
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor", UserWarning)
        quantize_dynamic, settings = _from_torch()
        layers = dict.fromkeys(called_linear_layers(model, image_size), settings)
        converted: nn.Module = quantize_dynamic(copy.deepcopy(model), layers)
    return converted


def _from_torch() -> tuple[Any, Any]:
    if torch.backends.quantized.engine == "none":
        raise UsageError(MISSING.format("torch has no int8 arithmetic for this CPU"))
    try:
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
    except ImportError:
        message = f"torch {torch.__version__} has dynamic quantisation no more"
        raise UsageError(MISSING.format(message)) from None
    return quantize_dynamic, per_channel_dynamic_qconfig


@torch.inference_mode()
def called_linear_layers(model: nn.Module, image_size: int) -> list[str]:
    """The names of the linear layers that are called as layers in a forward pass of `model`."""
    called: set[str] = set()
    hooks = [
        layer.register_forward_hook(lambda *_, name=name: called.add(name))
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear
    ]
    try:
        model(torch.zeros(1, 3, image_size, image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return sorted(called)


def state_megabytes(model: nn.Module) -> float:
    """Megabytes (10^6 bytes) of the model's state as torch saves it, packed int8 weights included."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell() / MB
