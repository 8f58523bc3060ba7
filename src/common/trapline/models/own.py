"""The project's own architectures, by name, beside torchvision's: to add one, enter it in OWN."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

PATCH = 2  # side of a whitened patch, pixels
COMPONENTS = 3 * PATCH**2
LOGIT_SCALE = 1 / 9
WHITENED = 2 * COMPONENTS  # each component and its negative: what follows lets little of the negative through


class Whitening(nn.Conv2d):
    """A convolution whose filters are set once, see `whiten`, and whose bias is learnt.

    The bias is added apart: there is then no backward pass through the convolution.
    """

    def __init__(self) -> None:
        super().__init__(3, WHITENED, PATCH)
        self.weight.requires_grad_(False)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> Tensor:
        """(batch, 24, height - 1, width - 1) from (batch, 3, height, width)."""
        filtered = functional.conv2d(input, self.weight)
        assert self.bias is not None
        return filtered + self.bias.to(filtered.dtype).view(1, -1, 1, 1)


class BiasNorm(nn.BatchNorm2d):
    """Batch normalisation with a bias to learn and a scale of 1."""

    def __init__(self, channels: int) -> None:
        # Much of a new batch in the running statistics: few steps follow each other.
        super().__init__(channels, momentum=0.4, eps=1e-12)
        self.weight.requires_grad_(False)


class CifarFast(nn.Sequential):
    """A small network for 32 px images that reaches its accuracy in few passes: 94% on CIFAR-10 in about ten.

    Keller Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024. Its first layer whitens patches of
    2 x 2 pixels: its weights come from the training images before training (`whiten`) and stay as they are.
    """

    def __init__(self, classes: int) -> None:
        layers: dict[str, nn.Module] = {
            "whitening": Whitening(),
            "activation": nn.GELU(),
            "group1": _group(WHITENED, 64),
            "group2": _group(64, 256),
            "group3": _group(256, 256),
            "pool": nn.MaxPool2d(3),
            "flatten": nn.Flatten(),
            "head": nn.Linear(256, classes, bias=False),
        }
        super().__init__(OrderedDict(layers))

    def forward(self, input: Tensor) -> Tensor:
        """Logits (batch, classes) from images (batch, 3, 32, 32)."""
        logits: Tensor = super().forward(input)
        return logits * LOGIT_SCALE


def _group(inputs: int, outputs: int) -> nn.Module:
    """Two 3x3 convolutions, each normalised, and a pooling that halves the image after the first.

    (batch, outputs, height // 2, width // 2) from (batch, inputs, height, width).
    """
    layers: dict[str, nn.Module] = {
        "conv1": _identity_convolution(inputs, outputs),
        "pool": nn.MaxPool2d(2),
        "norm1": BiasNorm(outputs),
        "activation1": nn.GELU(),
        "conv2": _identity_convolution(outputs, outputs),
        "norm2": BiasNorm(outputs),
        "activation2": nn.GELU(),
    }
    return nn.Sequential(OrderedDict(layers))


def _identity_convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution whose first filters begin by passing their channel on (Dirac); others are random."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    shared = min(inputs, outputs)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:shared])
    return convolution


@torch.no_grad()
def whiten(model: nn.Module, images: Tensor) -> None:
    """Set a CifarFast's first layer from normalised training images (images, 3, height, width).

    Its filters are the eigenvectors of the patches' covariance, each divided by the root of its eigenvalue,
    and their negatives: its outputs are uncorrelated and of variance near 1.
    """
    sums, count = torch.zeros(COMPONENTS, COMPONENTS, dtype=torch.double, device=images.device), 0
    for some in images.float().split(500):
        patches = functional.unfold(some, PATCH).transpose(1, 2).reshape(-1, COMPONENTS)
        sums += (patches.T @ patches).double()
        count += len(patches)
    variances, directions = torch.linalg.eigh(sums / count)
    filters = (directions / (variances + 5e-4).sqrt()).T.flip(0).reshape(COMPONENTS, 3, PATCH, PATCH)
    whitening = model.get_submodule("whitening")
    assert isinstance(whitening, Whitening)
    whitening.weight.copy_(torch.cat([filters, -filters]))


class HeadNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a batch of one image too.

    One image has no spread to be normalised by, and the last batch of an epoch may be as small: it is
    normalised by the running statistics and leaves them as they are. The tensors are BatchNorm1d's.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(batch, features) to the same shape."""
        if self.training and len(input) == 1:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


def enhanced_resnet18(classes: int) -> nn.Module:
    """ResNet-18 with a head of two layers, the enhanced camera-trap system's model; all tensors are new.

    Logits (batch, classes) from images (batch, 3, height, width). torchvision's ResNet-18 ends in adaptive
    average pooling and a flattening. Then comes the head, under the name `fc`: dropout, linear 512-256, ReLU,
    batch normalisation, dropout, linear 256-classes, its linear layers by Xavier initialisation (Glorot and
    Bengio 2010). The other tensors bear torchvision's names.
    """
    model: nn.Module = torchvision.models.resnet18(weights=None, num_classes=classes)
    head = nn.Sequential(
        nn.Dropout(0.3),
        nn.Linear(512, 256),
        nn.ReLU(inplace=True),
        HeadNorm(256),
        nn.Dropout(0.15),
        nn.Linear(256, classes),
    )
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    model.fc = head
    return model


def resnet50(classes: int, *, small_stem: bool = False) -> nn.Module:
    """Logits (batch, classes) from images (batch, 3, height, width); all tensors are new.

    The last norm of each block begins at zero, so that the block begins as its shortcut: Goyal et al.,
    Accurate, Large Minibatch SGD, 2017. Without it the outputs of 16 blocks add up, and a training of few
    steps spends them on coming down again.
    """
    model = torchvision.models.resnet50(weights=None, num_classes=classes, zero_init_residual=True)
    return with_small_stem(model) if small_stem else model


def resnet18_32px(classes: int) -> nn.Module:
    """Logits (batch, classes) from images (batch, 3, height, width), of 32 px; all tensors are new."""
    return with_small_stem(torchvision.models.resnet18(weights=None, num_classes=classes))


def with_small_stem(model: nn.Module) -> nn.Module:
    """torchvision's ResNet with the stem for small images, as in the CIFAR-10 networks of He et al., Deep
    Residual Learning for Image Recognition, 2016: a new first convolution, 3x3, that keeps the image's size,
    and no pooling after it.

    The tensors bear torchvision's names, so that its ImageNet weights fit where the stem is its own.
    """
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
    model.maxpool = nn.Identity()
    return model


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
