"""torchvision's ResNets with the stem for small images.

He et al., Deep Residual Learning for Image Recognition, 2016, whose CIFAR-10 networks have that stem. The
tensors bear torchvision's names, so that its ImageNet weights fit where the stem is its own.
"""

import torchvision
from torch import nn


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
    """`model` with a new first convolution, 3x3, that keeps the image's size, and no pooling after it."""
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
    model.maxpool = nn.Identity()
    return model
