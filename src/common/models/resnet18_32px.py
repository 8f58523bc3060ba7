"""ResNet-18 with a stem for images of 32 px.

He et al., Deep Residual Learning for Image Recognition, 2016, with the stem that its CIFAR-10 networks have.
"""

import torchvision
from torch import nn


def resnet18_32px(classes: int) -> nn.Module:
    """Logits (batch, classes) from images (batch, 3, height, width); all tensors are new.

    torchvision's ResNet-18, whose first convolution is 3x3 and keeps the image's size, without the pooling
    after it. The tensors bear torchvision's names.
    """
    model: nn.Module = torchvision.models.resnet18(weights=None, num_classes=classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
    model.maxpool = nn.Identity()
    return model
