"""A trained model ready to predict: pixels in, logits and calibrated probabilities out.

With one label an image the probabilities of its classes sum to 1; with several each class has its own, and
the image has the labels whose probability reaches their threshold.

The road from an image file's bytes is the one of packing, `canonicalise` with the settings in model.json. The
packed images that the model learnt from went through JPEG once more; what is served does not. Compressing
again would cost time to bring back a loss that the photograph does not have, and would tie the answer to a
quality that only the data set knows. What the difference comes to is measured in
tests/inference/test_packed_and_served.py.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from trapline.augmentation import check_views
from trapline.data.augment import make_squares, stack_views
from trapline.errors import TraplineError, UsageError
from trapline.images.budget import PREPARATION, DecodeBudget
from trapline.images.canonical import PixelSettings, canonicalise
from trapline.learning import Task
from trapline.machine import best_device
from trapline.models.artefact import DESCRIPTION, ModelDescription, load_model, opened_artefact
from trapline.models.build import quantised
from trapline.scoring.predictions import calibrated
from trapline.training.execution import Execution, possible_executions, training_device
from trapline.training.speed import Speed, Work, choose_speed

ServingPrecision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Averaging: TypeAlias = Literal["logits", "probabilities"]
Item = TypeVar("Item")

# Views of images that go through the model at once: what bounds the memory. On a CPU more are no faster.
ROWS_TOGETHER = {"cpu": 32}
ROWS_TOGETHER_ON_GPU = 256
DEFAULT_LABEL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Predictor:
    """A model on its device, with all that turns an image into an answer.

    int8: whether its linear layers are quantised; `execution` is that of the rest. speed: where that comes
    from.
    """

    model: nn.Module
    description: ModelDescription
    execution: Execution
    views: tuple[str, ...]
    pixels: PixelSettings
    int8: bool = False
    speed: Speed | None = None

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the logits."""
        return self.description.classes

    @property
    def runs_in(self) -> str:
        """The precision: fp32, bf16, fp16, or int8 for linear layers with fp32 for the rest."""
        return "int8" if self.int8 else self.execution.precision

    @property
    def thresholds(self) -> np.ndarray | None:
        """From which probability each class is a label, (classes,); None for one label an image."""
        return thresholds_of(self.description)

    def decode(self, data: bytes, budget: DecodeBudget = PREPARATION) -> np.ndarray:
        """uint8 (height, width, 3) from an image file's bytes, as the model knows them.

        Raises ImageProblem, and nothing else, where there is no whole picture, or the
        header announces more than the budget allows.
        """
        return canonicalise(data, self.pixels, budget).pixels

    def squares(self, pixels: np.ndarray) -> np.ndarray:
        """All that the views need of one image: uint8 (squares, side, side, 3) of `make_squares`."""
        return make_squares(pixels, self.description.image_size, self.views, self.description.eval_crop)

    def view_logits(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """float32 (images, views, classes) from canonical images, uint8 (height, width, 3) each.

        `images` may be a list, an array (images, height, width, 3) or a generator, of which only a few are
        in memory at a time.
        """
        return self.view_logits_of_squares(self.squares(pixels) for pixels in images)

    @torch.inference_mode()
    def view_logits_of_squares(self, squares: Iterable[np.ndarray]) -> np.ndarray:
        """The same from what `squares` makes of each image."""
        rows = ROWS_TOGETHER.get(self.execution.device.type, ROWS_TOGETHER_ON_GPU)
        found = [self._forward(batch) for batch in chunks(squares, max(1, rows // len(self.views)))]
        nothing = np.empty((0, len(self.views), len(self.classes)), dtype=np.float32)
        return torch.cat(found).cpu().numpy() if found else nothing

    def logits(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """float32 (images, classes): averaged over the views, temperature not applied."""
        return self.logits_of_squares(self.squares(pixels) for pixels in images)

    def logits_of_squares(self, squares: Iterable[np.ndarray]) -> np.ndarray:
        """The same from what `squares` makes of each image."""
        return average_views(
            self.view_logits_of_squares(squares), self.description.averaging, self.description.task
        )

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """float64 (images, classes) at the model's temperature; see `calibrated`."""
        return calibrated(logits, self.description.temperature, self.description.task)

    def _forward(self, squares: list[np.ndarray]) -> torch.Tensor:
        on_device = torch.from_numpy(np.stack(squares)).to(self.execution.device)
        images = stack_views(on_device, self.views).flatten(0, 1)
        with self.execution.autocast():
            logits = self.model(self.execution.inputs(images, self.description.normalisation))
        return logits.float().unflatten(0, (len(squares), len(self.views)))


def load_predictor(
    model: Path | str,
    *,
    precision: ServingPrecision = "auto",
    views: Sequence[str] | None = None,
    images: int | None = None,
    speed: Speed | None = None,
) -> Predictor:
    """The best weights of an artefact, ready on the device; `model` is what `opened_artefact` takes.

    `precision` as in training, or int8 (see models.quantised); `views` instead of those in model.json.
    `images`: how many will be predicted, None: not known, but many; where they are worth it, what is left
    open is measured, unless the training was deterministic. `speed`: what an earlier predictor of the same
    run has found; it is taken as it is.
    Raises TraplineError when the artefact is missing or damaged, UsageError for unknown views or a precision
    that the device lacks.
    """
    if not Path(model).exists():
        raise TraplineError(f"{model}: no such file; give a model folder or a model.tar.gz")
    with opened_artefact(Path(model)) as folder:
        network, description = load_model(folder)
        try:
            pixels = PixelSettings(**description.pixels)
        except TypeError as error:
            raise TraplineError(f"{folder / DESCRIPTION}: pixels: {error}; update Trapline") from None
    views = check_views(description.views if views is None else views)
    if speed is None:
        speed = _speed_of(network, description, precision, None if images is None else images * len(views))
    int8 = precision == "int8"
    if int8:
        network = quantised(network, description.image_size)
    execution = speed.execution(training_device())
    return Predictor(execution.place(network), description, execution, views, pixels, int8, speed)


def _speed_of(
    model: nn.Module, description: ModelDescription, precision: ServingPrecision, images: int | None
) -> Speed:
    """Precision and memory format for `images` in all views. Raises UsageError where they cannot be had.

    What int8 leaves as it is runs in fp32, so that there the memory format alone is chosen.
    """
    if precision == "int8":
        check_int8()
    device = training_device()
    ways = possible_executions(device, "fp32" if precision == "int8" else precision)
    architectures = [member.architecture for member in description.members] or [description.architecture]
    work = Work(
        kind="inference",
        architecture="+".join(architectures),
        size=description.image_size,
        batch=ROWS_TOGETHER.get(device.type, ROWS_TOGETHER_ON_GPU),
        images=images,
    )
    speed = choose_speed(
        ways, work, model, description.normalisation, deterministic=description.deterministic
    )
    print(speed, flush=True)
    return speed


def check_int8() -> None:
    """Raise UsageError where int8 cannot be had, for the arithmetic runs on another device than the CPU."""
    device = best_device()
    if device != "cpu":
        raise UsageError(
            f"int8: runs on a CPU, and this machine has a {device} device; use another precision, or hide "
            "the device with CUDA_VISIBLE_DEVICES="
        )


def average_views(view_logits: np.ndarray, averaging: Averaging, task: Task = "multiclass") -> np.ndarray:
    """One row an image, float32 (images, classes), from float32 (images, views, classes).

    `logits`: their mean, which is the renormalised geometric mean of the views' probabilities, for several
    labels an image label by label. `probabilities`: the logits of the mean of the views' probabilities.
    """
    if view_logits.shape[1] == 1:
        return view_logits[:, 0]
    logits = torch.from_numpy(view_logits).double()
    if averaging == "logits":
        return logits.mean(dim=1).float().numpy()
    if task == "multilabel":
        yes, no = (functional.logsigmoid(sign * logits).logsumexp(dim=1) for sign in (1, -1))
        return (yes - no).float().numpy()
    together = torch.log_softmax(logits, dim=2).logsumexp(dim=1)
    return (together - np.log(logits.shape[1])).float().numpy()


def thresholds_of(description: ModelDescription) -> np.ndarray | None:
    """From which probability each class is a label, float64 (classes,); None for one label an image."""
    if description.task == "multiclass":
        return None
    return np.asarray(
        description.thresholds or [DEFAULT_LABEL_THRESHOLD] * len(description.classes), dtype=np.float64
    )


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last of which may be shorter; each is taken when it is asked for."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
