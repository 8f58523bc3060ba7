"""A model's predictions over batches of a part of the data."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from trapline.data.loader import Batch
from trapline.data.view_batches import stack_views
from trapline.models.build import Normalisation
from trapline.scoring.predictions import Predictions
from trapline.training.execution import Execution
from trapline.views import PLAIN


@torch.inference_mode()
def predict(
    model: nn.Module,
    batches: Iterable[Batch],
    execution: Execution,
    normalisation: Normalisation,
    views: Sequence[str] = (PLAIN,),
) -> Predictions:
    """The model's logits over `batches`, in evaluation mode, in their order: the means over `views`."""
    model.eval()
    logits, labels = [], []
    for batch in batches:
        seen = (stack_views(batch.images[:, None], [view])[:, 0] for view in views)
        with execution.autocast():
            outputs = [model(execution.inputs(images, normalisation)).float() for images in seen]
        logits.append(torch.stack(outputs).mean(dim=0) if len(outputs) > 1 else outputs[0])
        labels.append(batch.labels)
    return Predictions(torch.cat(logits).cpu().numpy(), torch.cat(labels).numpy())
