"""ResNet-18 with a head of two layers: the enhanced camera-trap system's model."""

import torchvision
from torch import Tensor, nn
from torch.nn import functional

FEATURES, HIDDEN = 512, 256
DROPOUT_BEFORE, DROPOUT_BETWEEN = 0.3, 0.15


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
    """Logits (batch, classes) from images (batch, 3, height, width); all tensors are new.

    torchvision's ResNet-18 ends in adaptive average pooling and a flattening. Then comes the head, under the
    name `fc`: dropout, linear 512-256, ReLU, batch normalisation, dropout, linear 256-classes, its linear
    layers by Xavier initialisation (Glorot and Bengio 2010). The other tensors bear torchvision's names.
    """
    model: nn.Module = torchvision.models.resnet18(weights=None, num_classes=classes)
    head = nn.Sequential(
        nn.Dropout(DROPOUT_BEFORE),
        nn.Linear(FEATURES, HIDDEN),
        nn.ReLU(inplace=True),
        HeadNorm(HIDDEN),
        nn.Dropout(DROPOUT_BETWEEN),
        nn.Linear(HIDDEN, classes),
    )
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    model.fc = head
    return model
