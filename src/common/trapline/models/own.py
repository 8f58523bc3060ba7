"""The project's own architectures, by name, beside torchvision's: to add one, enter it in OWN."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from trapline.models.cifar_fast import CifarFast, whiten
from trapline.models.enhanced_resnet18 import enhanced_resnet18
from trapline.models.resnets import resnet18_32px, resnet50


@dataclass(frozen=True)
class Architecture:
    """An architecture of one's own.

    build: from the number of classes to a model with new weights, whose outputs are logits.
    head: what the names of the head's tensors begin with; empty: those whose shape depends on the classes.
    imagenet: torchvision's architecture whose ImageNet weights fit all but the head; None: there is none.
    image_size: the only side of the input that it is made for, pixels; None: any that its layers take.
    start_from_data: sets what a model begins with from normalised training images (images, 3, side, side),
    where it has no other weights to start from.
    """

    build: Callable[[int], nn.Module]
    head: str = ""
    imagenet: str | None = None
    image_size: int | None = None
    start_from_data: Callable[[nn.Module, Tensor], None] | None = None


OWN: dict[str, Architecture] = {
    "cifar_fast": Architecture(CifarFast, image_size=32, start_from_data=whiten),
    "enhanced_resnet18": Architecture(enhanced_resnet18, head="fc.", imagenet="resnet18"),
    "resnet18_32px": Architecture(resnet18_32px),
    "resnet50_imagenet": Architecture(resnet50, imagenet="resnet50"),
    "resnet50_64px": Architecture(lambda classes: resnet50(classes, small_stem=True)),
}
