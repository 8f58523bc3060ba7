"""Architectures by name: building them, their heads, and what an optimizer or a device must know of them."""

import copy
import difflib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.ops import StochasticDepth

from trapline.errors import UsageError, refuse_any
from trapline.learning import Outputs
from trapline.models.own import OWN

# What the names of the auxiliary heads' tensors begin with, by architecture.
AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Normalisation:
    """How pixels become a model's input, in training and ever after.

    mean, std: mean and standard deviation of the red, green and blue channel, for pixels scaled to 0..1.
    grey: whether all three channels are the image in grey (see `trapline.images.canonical`).
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    grey: bool = False


NAMED_NORMALISATIONS = {
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar10_half": Normalisation((0.4914, 0.4822, 0.4465), (0.5, 0.5, 0.5)),
}
IMAGENET_NORMALISATION = NAMED_NORMALISATIONS["imagenet"]


class DropoutLinear(nn.Linear):
    """A linear layer with dropout on its input; its tensors bear the names of a plain linear layer's."""

    def __init__(self, linear: nn.Linear, rate: float) -> None:
        # On the meta device the layer draws no random numbers: dropout does not change the weights of a seed.
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.rate = rate

    def forward(self, input: Tensor) -> Tensor:
        """Logits [..., out_features] from features [..., in_features]."""
        return super().forward(nn.functional.dropout(input, self.rate, self.training))


class _ParametersOnMeta(TorchFunctionMode):
    """Parameters take no memory, yet RegNet's builder can still compute its widths with real tensors."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if function is torch.empty:
            options["device"] = "meta"
        # There is nothing to initialise, and torch would take half of the building time to find that out.
        if getattr(function, "__module__", None) == "torch.nn.init" and "tensor" in options:
            return options["tensor"]
        if function in (Tensor.normal_, Tensor.uniform_) and args[0].is_meta:
            return args[0]
        return function(*args, **options)


@lru_cache(maxsize=1)
def _torchvisions() -> tuple[str, ...]:
    return tuple(torchvision.models.list_models(module=torchvision.models))


def architectures() -> list[str]:
    """The names of torchvision's classification architectures and of the project's own, sorted."""
    return sorted((*_torchvisions(), *OWN))


def check_architecture(arch: str) -> None:
    """Raise UsageError, with the names that come close, when there is no such architecture."""
    known = architectures()
    if arch not in known:
        close = difflib.get_close_matches(arch, known, n=4)
        advice = f"did you mean {', '.join(close)}?" if close else "for instance resnet18 or swin_t"
        raise UsageError(f"arch: no architecture is called {arch!r}; {advice}")


def imagenet_source(arch: str) -> str | None:
    """The architecture of torchvision whose ImageNet weights fit `arch`, but for the head.

    None where there are none. Raises UsageError for an unknown name.
    """
    check_architecture(arch)
    source = OWN[arch].imagenet if arch in OWN else arch
    return source if source and len(torchvision.models.get_model_weights(source)) else None


def build_model(
    arch: str,
    classes: int,
    *,
    image_size: int = 224,
    dropout: float | None = None,
    stochastic_depth: float | None = None,
    output: Outputs = "logits",
    auxiliary: bool = False,
) -> nn.Module:
    """Build a classification architecture with new weights and a head for `classes` outputs.

    The model maps float32 [batch, 3, image_size, image_size] to logits [batch, classes], or to their
    log-softmax where `output` says so. `dropout` (before the last layer; where a head has several, theirs
    keep their proportions) and `stochastic_depth` are rates in 0..1; None leaves the architecture's own. The
    names of the tensors depend on none of these.

    GoogLeNet and Inception v3 come without auxiliary heads, unless `auxiliary`: then a model in training mode
    returns a tuple, the logits first and those of the heads after them.

    Raises UsageError for an unknown name, a rate out of range, an `image_size` that the architecture cannot
    be built for, or `stochastic_depth` or `auxiliary` where it has no residual branches to drop, or no heads.
    """
    for name, rate in (("dropout", dropout), ("stochastic_depth", stochastic_depth)):
        if rate is not None and not 0 <= rate < 1:
            raise UsageError(f"{name}: {rate} is not a rate; give a number from 0 to below 1")
    model = _construct(arch, classes, image_size, auxiliary)
    if dropout is not None:
        _set_dropout(model, dropout)
    if stochastic_depth is not None:
        _set_stochastic_depth(model, stochastic_depth, arch)
    set_output(model, output)
    return model


def set_output(model: nn.Module, output: Outputs) -> None:
    """Let a model of logits end in `output`; its tensors and their names stay as they are.

    A log-softmax is the logits less a number for each image: valid logits of the same probabilities, at any
    temperature and averaged over any views, for each of these ends in a softmax that takes that number out.
    """
    if output == "log_softmax":
        model.register_forward_hook(_log_softmax)


def _log_softmax(model: nn.Module, inputs: Any, logits: Tensor) -> Tensor:
    return logits.float().log_softmax(dim=1)


def build_on_meta(arch: str, classes: int, *, image_size: int = 224, auxiliary: bool = False) -> nn.Module:
    """The model of `build_model` on the meta device: names and shapes without memory or initialisation."""
    with torch.random.fork_rng(devices=[]), _ParametersOnMeta():
        model = _construct(arch, classes, image_size, auxiliary)
    return model.to("meta")


def in_auxiliary_head(arch: str, name: str) -> bool:
    """Whether the tensor `name` is of an auxiliary head, which only training has."""
    return name.startswith(AUXILIARY_HEADS.get(arch, ()))


def _construct(arch: str, classes: int, image_size: int, auxiliary: bool = False) -> nn.Module:
    check_architecture(arch)
    heads = " and ".join(AUXILIARY_HEADS)
    refuse_any([
        (
            auxiliary and arch not in AUXILIARY_HEADS,
            f"aux_weight: {arch} has no auxiliary heads, as {heads} have; set it to 0",
        ),
        (classes < 1, f"classes: {classes} is too few; a model needs at least one"),
    ])  # fmt: skip
    if arch in OWN:
        return OWN[arch].build(classes)
    options: dict[str, Any] = {"num_classes": classes}
    if arch in AUXILIARY_HEADS:
        # transform_input as for torchvision's ImageNet weights: it belongs to the weights, and so to serving.
        options |= {"aux_logits": auxiliary, "transform_input": True, "init_weights": False}
    if arch.startswith("vit_"):
        options["image_size"] = image_size
    if arch.startswith("maxvit"):
        options["input_size"] = (image_size, image_size)
    try:
        return cast(nn.Module, torchvision.models.get_model(arch, weights=None, **options))
    except (AssertionError, ValueError) as error:
        raise _image_size_error(arch, image_size, error) from None


def _image_size_error(arch: str, image_size: int, error: Exception, form: str = "") -> UsageError:
    source = imagenet_source(arch)
    usual = torchvision.models.get_model_weights(source).DEFAULT.transforms().crop_size[0] if source else 224
    reason = (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")
    return UsageError(
        f"image_size: {arch}{form} cannot take images of {image_size} px ({reason}); try {usual}"
    )


def check_image_size(arch: str, image_size: int, classes: int, *, auxiliary: bool = False) -> None:
    """Raise UsageError when the architecture cannot take square images of `image_size` pixels.

    With `auxiliary` its auxiliary heads, which run in training alone, must take them too.
    """
    only = OWN[arch].image_size if arch in OWN else None
    refuse_any([
        (image_size < 1, f"image_size: {image_size} is not a number of pixels; give 1 or more"),
        (
            only not in (None, image_size),
            f"image_size: {arch} takes images of {only} px, not of {image_size}; set it to {only}",
        ),
    ])  # fmt: skip
    model = build_on_meta(arch, classes, image_size=image_size, auxiliary=auxiliary).train(auxiliary)
    try:
        _call_on_meta(model, 2, image_size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _image_size_error(arch, image_size, error, " with its auxiliary heads" * auxiliary) from None


def trains_on_one(arch: str, image_size: int, *, auxiliary: bool = False) -> bool:
    """Whether a batch of one image trains the architecture, with its auxiliary heads where `auxiliary`.

    Batch normalisation needs two values of each channel: one image has only one where maps are 1 x 1 pixel.
    """
    model = build_on_meta(arch, 2, image_size=image_size, auxiliary=auxiliary).train()
    try:
        _call_on_meta(model, 1, image_size)
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        return False
    return True


def _call_on_meta(model: nn.Module, images: int, image_size: int) -> None:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        model(torch.empty(images, 3, image_size, image_size, device="meta"))


def _set_dropout(model: nn.Module, rate: float) -> None:
    path = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    owner_path, _, name = path.rpartition(".")
    owner = model.get_submodule(owner_path)
    own = [module for module in owner.children() if isinstance(module, nn.Dropout)]
    largest = max((module.p for module in own), default=0.0)
    for module in own:
        module.p = rate * (module.p / largest) if largest else rate
    last = model.get_submodule(path)
    if not own and isinstance(last, nn.Linear):
        setattr(owner, name, DropoutLinear(last, rate))


def _set_stochastic_depth(model: nn.Module, rate: float, arch: str) -> None:
    """Linear over the blocks, from 0 to `rate`: Huang et al., Deep Networks with Stochastic Depth, 2016."""
    modules = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    if not modules:
        raise UsageError(f"stochastic_depth: {arch} has no stochastic depth; leave it out")
    # A block may hold several (MaxViT); torchvision's own rates rise from block to block and tell them apart.
    blocks = sorted({module.p for module in modules})
    for module in modules:
        module.p = rate * blocks.index(module.p) / (len(blocks) - 1)


@lru_cache(maxsize=128)
def head_parameters(arch: str, image_size: int = 224, *, auxiliary: bool = False) -> frozenset[str]:
    """The names of the tensors that ImageNet's weights do not fill, and that may learn at their own rate.

    They are those whose shape depends on the number of classes, or all of a head that `OWN` names. With
    `auxiliary` the last layers of the auxiliary heads are among them.
    """
    two, three = (
        build_on_meta(arch, classes, image_size=image_size, auxiliary=auxiliary).state_dict()
        for classes in (2, 3)
    )
    start = OWN[arch].head if arch in OWN else ""
    if start:
        return frozenset(name for name in two if name.startswith(start))
    return frozenset(name for name in two if two[name].shape != three[name].shape)


def count_parameters(model: nn.Module, arch: str = "") -> int:
    """The number of trainable weights, those of the auxiliary heads of `arch` left out."""
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not in_auxiliary_head(arch, name)
    )


def normalisation_for(arch: str, weights: str) -> Normalisation:
    """The normalisation that torchvision's ImageNet weights of `arch` were trained with.

    For `weights` other than `imagenet`, ImageNet's own mean and standard deviation.
    """
    source = imagenet_source(arch)
    if weights != "imagenet" or source is None:
        return IMAGENET_NORMALISATION
    preset = torchvision.models.get_model_weights(source).DEFAULT.transforms()
    red, green, blue = (float(value) for value in preset.mean)
    spread_red, spread_green, spread_blue = (float(value) for value in preset.std)
    return Normalisation((red, green, blue), (spread_red, spread_green, spread_blue))


class Averaged(nn.Module):
    """Models of the same classes whose outputs are averaged, each at its own temperature.

    For one label an image their log-softmax, for several their logits: valid logits either way, of the
    renormalised geometric mean of the models' probabilities (label by label for several), as test-time views
    are averaged. A temperature takes part because a model that is surer than it is right would otherwise
    outvote the others. The tensors of model i bear names that begin with `members.i.`.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        temperatures: Sequence[float],
        task: Literal["multiclass", "multilabel"],
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.temperatures = tuple(temperatures)
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        """float32 (batch, classes) from float32 (batch, 3, side, side)."""
        scaled = [
            member(images).float() / temperature
            for member, temperature in zip(self.members, self.temperatures, strict=True)
        ]
        if self.task == "multiclass":
            scaled = [logits.log_softmax(dim=1) for logits in scaled]
        return torch.stack(scaled).mean(dim=0)


def quantised(model: nn.Module, image_size: int) -> nn.Module:
    """A copy of `model`, which is on the CPU, whose linear layers calculate in int8: dynamic quantisation.

    Their weights become int8 with a scale for each of its outputs, and their inputs are quantised as they
    come, with a scale of their own for each batch; between the layers all stays float32. Convolutions and
    what else there is stay as they are. So nothing is gained for a ResNet, whose only linear layer is its
    head (45 MB stay 45), and more for a transformer: Swin-T takes 54 MB instead of 110. Layers whose weights
    are used without calling them, as the projections in the attention of Swin and ViT, cannot be quantised
    this way and stay as they are too.

    The scales depend on what goes through the model together, so that an image's answer depends, a little, on
    the others in its batch.

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
    missing = "precision int8: {}; use auto, bf16 or fp32"
    if torch.backends.quantized.engine == "none":
        raise UsageError(missing.format("torch has no int8 arithmetic for this CPU"))
    try:
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
    except ImportError:
        reason = f"torch {torch.__version__} has dynamic quantisation no more"
        raise UsageError(missing.format(reason)) from None
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
    return buffer.tell() / 1e6
