"""ResNet-50, with a stem for large or for small images.

He et al., Deep Residual Learning for Image Recognition, 2016. The tensors bear torchvision's names, so that
its ImageNet weights fit where the stem is the same.
"""

from typing import Literal

import torch
from torch import Tensor, nn

BLOCKS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """Three convolutions (1x1, 3x3, 1x1) around a shortcut; the output has `expansion` x `width` channels.

    The 3x3 convolution has the stride, as in torchvision ("ResNet v1.5"); the paper has it in the first 1x1.
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, 4 x width, height / stride, width / stride) from (batch, channels, height, width)."""
        shortcut = features if self.downsample is None else self.downsample(features)
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        result: Tensor = self.relu(self.bn3(self.conv3(inner)) + shortcut)
        return result


class ResNet50(nn.Module):
    """Logits (batch, classes) from images (batch, in_channels, height, width).

    stem: the side of the first convolution. 7 halves the image, as published; 3 keeps its size, for small
    images. use_maxpool: halve it once more before the blocks.
    """

    def __init__(
        self, classes: int, *, in_channels: int = 3, stem: Literal[3, 7] = 7, use_maxpool: bool = True
    ) -> None:
        super().__init__()
        stride = 2 if stem == 7 else 1
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], stem, stride, padding=stem // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if use_maxpool else nn.Identity()
        channels = WIDTHS[0]
        for number, (blocks, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), 1):
            self.add_module(f"layer{number}", _stage(channels, width, blocks, 1 if number == 1 else 2))
            channels = width * Bottleneck.expansion
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, classes)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for number in range(1, len(BLOCKS) + 1):
            features = self.get_submodule(f"layer{number}")(features)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(features), 1))
        return logits


def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, width, stride)
    others = [Bottleneck(width * Bottleneck.expansion, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *others)


def _initialise(model: nn.Module) -> None:
    """He et al., Delving Deep into Rectifiers, 2015, for the convolutions; norms begin as the identity.

    But for the last norm of each block, which begins at zero, so that the block begins as its shortcut: Goyal
    et al., Accurate, Large Minibatch SGD, 2017. Without it the outputs of 16 blocks add up, and a training of
    few steps spends them on coming down again.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
