"""The project's own architectures, by name, beside torchvision's: to add one, enter it in OWN."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from common.models.cifar_fast import CifarFast, whiten
from common.models.enhanced_resnet18 import enhanced_resnet18
from common.models.resnet18_32px import resnet18_32px
from common.models.resnet50 import ResNet50


@dataclass(frozen=True)
class Architecture:
    """An architecture of one's own.

    build: from the number of classes to a model with new weights, whose outputs are logits.
    head: what the names of the head's tensors begin with; empty: those whose shape depends on the classes.
    imagenet: torchvision's architecture whose ImageNet weights fit all but the head; None: there is none.
    channels_last_on_cuda: whether that memory format is faster on a GPU in bf16 and fp16.
    image_size: the only side of the input that it is made for, pixels; None: any that its layers take.
    start_from_data: sets what a model begins with from normalised training images (images, 3, side, side),
    where it has no other weights to start from.
    """

    build: Callable[[int], nn.Module]
    head: str = ""
    imagenet: str | None = None
    channels_last_on_cuda: bool = False
    image_size: int | None = None
    start_from_data: Callable[[nn.Module, Tensor], None] | None = None


OWN: dict[str, Architecture] = {
    "cifar_fast": Architecture(CifarFast, channels_last_on_cuda=True, image_size=32, start_from_data=whiten),
    # Dense convolutions, as in torchvision's ResNets, for which channels_last was measured.
    "enhanced_resnet18": Architecture(
        enhanced_resnet18, head="fc.", imagenet="resnet18", channels_last_on_cuda=True
    ),
    "resnet18_32px": Architecture(resnet18_32px, channels_last_on_cuda=True),
    "resnet50_imagenet": Architecture(ResNet50, imagenet="resnet50", channels_last_on_cuda=True),
    "resnet50_64px": Architecture(
        lambda classes: ResNet50(classes, stem=3, use_maxpool=False), channels_last_on_cuda=True
    ),
}
