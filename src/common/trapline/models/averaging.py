"""Several models as one: their outputs averaged."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn


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
        return torch.stack(
            [
                self._of_one(member(images).float() / temperature)
                for member, temperature in zip(self.members, self.temperatures, strict=True)
            ]
        ).mean(dim=0)

    def _of_one(self, logits: Tensor) -> Tensor:
        return logits if self.task == "multilabel" else logits.log_softmax(dim=1)
