"""A trained model ready to predict: pixels in, logits and calibrated probabilities out.

With one label an image the probabilities of its classes sum to 1; with several each class has its own, and
the image has the labels whose probability reaches their threshold.

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
from torch.nn import functional

from common.config import make_config
from common.data.canonical import PixelSettings, canonicalise
from common.data.views import make_squares, stack_views
from common.environment import best_device
from common.errors import TraplineError, UsageError
from common.models.artefact import DESCRIPTION, ModelDescription, load_model
from common.models.build import TRANSFORMERS
from common.models.quantised import quantised
from common.training.execution import Execution, choose_execution
from common.unpacking import unpack
from common.views import check_views

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Averaging: TypeAlias = Literal["logits", "probabilities"]
Task: TypeAlias = Literal["multiclass", "multilabel"]

# Views of images that go through the model at once: what bounds the memory. On a CPU more are no faster.
ROWS_TOGETHER = {"cpu": 32}
ROWS_TOGETHER_ON_GPU = 256
DEFAULT_LABEL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Predictor:
    """A model on its device, with all that turns an image into an answer.

    int8: whether its linear layers are quantised; `execution` is that of the rest.
    """

    model: nn.Module
    description: ModelDescription
    execution: Execution
    views: tuple[str, ...]
    pixels: PixelSettings
    int8: bool = False

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
        return self._averaged(self.view_logits(images))

    def logits_of_squares(self, squares: Iterable[np.ndarray]) -> np.ndarray:
        """The same from what `squares` makes of each image."""
        return self._averaged(self.view_logits_of_squares(squares))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """float64 (images, classes) at the model's temperature; see `calibrated`."""
        return calibrated(logits, self.description.temperature, self.description.task)

    def _averaged(self, view_logits: np.ndarray) -> np.ndarray:
        return average_views(view_logits, self.description.averaging, self.description.task)

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

    `precision` as in training, or int8 (see common.models.quantised); `views` instead of those in model.json.
    Raises TraplineError when the artefact is missing or damaged, UsageError for unknown views or a precision
    that the device lacks.
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
    try:
        pixels = PixelSettings(**description.pixels)
    except TypeError as error:
        raise TraplineError(f"{folder / DESCRIPTION}: pixels: {error}; update Trapline") from None
    execution = choose_inference_execution(_deciding_architecture(description), precision)
    chosen = check_views(description.views if views is None else views)
    int8 = precision == "int8"
    if int8:
        model = quantised(model, description.image_size)
    return Predictor(execution.place(model), description, execution, chosen, pixels, int8)


def _deciding_architecture(description: ModelDescription) -> str:
    """The architecture that decides the memory format: of an ensemble a transformer, if there is one."""
    members = [member.architecture for member in description.members]
    transformers = [name for name in members if name.startswith(TRANSFORMERS)]
    return [*transformers, *members, description.architecture][0]


def choose_inference_execution(arch: str, precision: Precision = "auto") -> Execution:
    """Device, precision and memory format for predictions. Raises UsageError where they cannot be had.

    As in training, but for the memory format of convolutions in fp32 on a CPU: with two threads at 224 px,
    channels_last takes resnet18 from 46 to 59 images/s here and loses time in training. What int8 leaves as
    it is runs in fp32.
    """
    if precision == "int8":
        check_int8()
    numbers = "fp32" if precision == "int8" else precision
    execution = choose_execution(make_config({"arch": arch, "precision": numbers}))
    on_cpu_in_fp32 = execution.device.type == "cpu" and execution.precision == "fp32"
    if on_cpu_in_fp32 and not arch.startswith(TRANSFORMERS):
        return replace(execution, channels_last=True)
    return execution


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
    log_probabilities = torch.log_softmax(logits, dim=2)
    return (torch.logsumexp(log_probabilities, dim=1) - np.log(logits.shape[1])).float().numpy()


def finite_rows(logits: np.ndarray) -> np.ndarray:
    """bool (images,): whether all of an image's logits (images, classes) are numbers."""
    return np.isfinite(logits).all(axis=1)


def calibrated(logits: np.ndarray, temperature: float, task: Task = "multiclass") -> np.ndarray:
    """Probabilities of logits (images, classes) at a temperature: float64, none is NaN.

    For one label an image their softmax, each row sums to 1; for several the sigmoid of each. Temperature
    scaling: Guo et al., On Calibration of Modern Neural Networks, 2017. Raises TraplineError
    naming the rows whose logits are no numbers.
    """
    bad = np.flatnonzero(~finite_rows(logits))
    if len(bad):
        raise TraplineError(
            f"the model's outputs are no numbers for {len(bad)} of {len(logits)} images, the first in row"
            f" {bad[0]}; use precision fp32, or train again"
        )
    scaled = torch.from_numpy(logits).double() / temperature
    return (torch.sigmoid(scaled) if task == "multilabel" else torch.softmax(scaled, dim=1)).numpy()


def thresholds_of(description: ModelDescription) -> np.ndarray | None:
    """From which probability each class is a label, float64 (classes,); None for one label an image."""
    if description.task == "multiclass":
        return None
    if description.thresholds is None:
        return np.full(len(description.classes), DEFAULT_LABEL_THRESHOLD)
    return np.asarray(description.thresholds, dtype=np.float64)


def _chunks(items: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
