"""A trained model ready to predict: pixels in, logits and calibrated probabilities out.

The road from an image file's bytes is the one of packing, `canonicalise` with the settings in model.json. The
packed images that the model learnt from went through JPEG once more; what is served does not. Compressing
again would cost time to bring back a loss that the photograph does not have, and would tie the answer to a
quality that only the data set knows. What the difference comes to is measured in
tests/common/inference/test_packed_and_served.py.
"""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from common.config import make_config
from common.data.canonical import PixelSettings, canonicalise
from common.errors import TraplineError
from common.inference.views import check_views, make_squares, stack_views
from common.models.artefact import DESCRIPTION, ModelDescription, load_model
from common.models.build import TRANSFORMERS
from common.training.execution import Execution, choose_execution
from common.unpacking import unpack

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]
Averaging: TypeAlias = Literal["logits", "probabilities"]

# Views of images that go through the model at once: what bounds the memory. On a CPU more are no faster.
ROWS_TOGETHER = {"cpu": 32}
ROWS_TOGETHER_ON_GPU = 256


@dataclass(frozen=True)
class Predictor:
    """A model on its device, with all that turns an image into an answer."""

    model: nn.Module
    description: ModelDescription
    execution: Execution
    views: tuple[str, ...]
    pixels: PixelSettings

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the logits."""
        return self.description.classes

    def decode(self, data: bytes) -> np.ndarray:
        """uint8 (height, width, 3) from an image file's bytes, as the model knows them.

        Raises common.data.canonical.ImageProblem, and nothing else, where there is no whole picture.
        """
        return canonicalise(data, self.pixels).pixels

    def squares(self, pixels: np.ndarray) -> np.ndarray:
        """All that the views need of one image: uint8 (squares, side, side, 3) of `make_squares`."""
        described = self.description
        return make_squares(pixels, described.image_size, self.views, described.eval_crop)

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
        found = [self._forward(batch) for batch in _chunks(squares, max(1, rows // len(self.views)))]
        shape = (0, len(self.views), len(self.classes))
        return torch.cat(found).cpu().numpy() if found else np.empty(shape, dtype=np.float32)

    def logits(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """float32 (images, classes): averaged over the views, temperature not applied."""
        return average_views(self.view_logits(images), self.description.averaging)

    def logits_of_squares(self, squares: Iterable[np.ndarray]) -> np.ndarray:
        """The same from what `squares` makes of each image."""
        return average_views(self.view_logits_of_squares(squares), self.description.averaging)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """float64 (images, classes) at the model's temperature; see `calibrated`."""
        return calibrated(logits, self.description.temperature)

    def _forward(self, squares: list[np.ndarray]) -> torch.Tensor:
        on_device = torch.from_numpy(np.stack(squares)).to(self.execution.device)
        images = stack_views(on_device, self.views).flatten(0, 1)
        with self.execution.autocast():
            logits = self.model(self.execution.inputs(images, self.description.normalisation))
        return logits.float().unflatten(0, (len(squares), len(self.views)))


def load_predictor(
    model: Path, *, precision: Precision = "auto", views: Sequence[str] | None = None
) -> Predictor:
    """The best weights of an artefact, a folder with model.json or a model.tar.gz, ready on the device.

    `precision` as in training; `views` instead of those in model.json. Raises TraplineError when the artefact
    is missing, damaged, or for several labels an image, UsageError for unknown views or a precision that the
    device lacks.
    """
    if model.is_dir():
        return _load_folder(model, precision, views)
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        try:
            with model.open("rb") as archive:
                unpack(archive, str(model), Path(folder))
        except FileNotFoundError:
            raise TraplineError(f"{model}: no such file; give a model folder or a model.tar.gz") from None
        return _load_folder(Path(folder), precision, views)


def _load_folder(folder: Path, precision: Precision, views: Sequence[str] | None) -> Predictor:
    model, description = load_model(folder)
    if description.task != "multiclass":
        raise TraplineError(
            f"{folder / DESCRIPTION}: task {description.task!r}; predictions are made for one label an image"
        )
    try:
        pixels = PixelSettings(**description.pixels)
    except TypeError as error:
        raise TraplineError(f"{folder / DESCRIPTION}: pixels: {error}; update Trapline") from None
    execution = choose_inference_execution(description.architecture, precision)
    chosen = check_views(description.views if views is None else views)
    return Predictor(execution.place(model), description, execution, chosen, pixels)


def choose_inference_execution(arch: str, precision: Precision = "auto") -> Execution:
    """Device, precision and memory format for predictions. Raises UsageError where they cannot be had.

    As in training, but for the memory format of convolutions in fp32 on a CPU: with two threads at 224 px,
    channels_last takes resnet18 from 46 to 59 images/s here and loses time in training.
    """
    execution = choose_execution(make_config({"arch": arch, "precision": precision}))
    on_cpu_in_fp32 = execution.device.type == "cpu" and execution.precision == "fp32"
    if on_cpu_in_fp32 and not arch.startswith(TRANSFORMERS):
        return replace(execution, channels_last=True)
    return execution


def average_views(view_logits: np.ndarray, averaging: Averaging) -> np.ndarray:
    """One row an image, float32 (images, classes), from float32 (images, views, classes).

    `logits`: their mean, which is the renormalised geometric mean of the views' probabilities.
    `probabilities`: the logarithm of the mean of the views' probabilities.
    """
    if view_logits.shape[1] == 1:
        return view_logits[:, 0]
    logits = torch.from_numpy(view_logits).double()
    if averaging == "logits":
        return logits.mean(dim=1).float().numpy()
    log_probabilities = torch.log_softmax(logits, dim=2)
    return (torch.logsumexp(log_probabilities, dim=1) - np.log(logits.shape[1])).float().numpy()


def finite_rows(logits: np.ndarray) -> np.ndarray:
    """bool (images,): whether all of an image's logits (images, classes) are numbers."""
    return np.isfinite(logits).all(axis=1)


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of logits (images, classes) over a temperature: float64, each row sums to 1, none is NaN.

    Temperature scaling: Guo et al., On Calibration of Modern Neural Networks, 2017. Raises TraplineError
    naming the rows whose logits are no numbers.
    """
    bad = np.flatnonzero(~finite_rows(logits))
    if len(bad):
        raise TraplineError(
            f"the model's outputs are no numbers for {len(bad)} of {len(logits)} images, the first in row"
            f" {bad[0]}; use precision fp32, or train again"
        )
    return torch.softmax(torch.from_numpy(logits).double() / temperature, dim=1).numpy()


def _chunks(items: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
