"""Augmentation chains, the framing of evaluation and test-time views, without the libraries that run them.

They stand on the ground floor because the configuration and the pipeline take and check names from here: to
add a chain, write its steps and enter it in CHAINS. `trapline.data.augment` runs the chains and makes the
views.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from trapline.errors import UsageError, refuse_any

BLACK = 0  # OpenCV's BORDER_CONSTANT
REFLECTED = 4  # OpenCV's BORDER_REFLECT_101: the frame mirrored at its edge, the edge itself not repeated
# The standard deviation at which the weights at -1, 0 and 1 are 1/4, 1/2 and 1/4, as OpenCV has them for a
# kernel of 3 whose deviation it is left to choose.
SIGMA_OF_KERNEL_3 = (2 * math.log(2)) ** -0.5
ROWS, COLUMNS = -3, -2  # axes of (..., height, width, 3)
AUTO_VIEWS = "auto"  # chosen on validation
PLAIN = "plain"  # what training's validation sees

# From the module albumentations and the side of the model's square to transforms of uint8 RGB pixels.
Steps: TypeAlias = Callable[[Any, int], list[Any]]


@dataclass(frozen=True)
class Moves:
    """A shift by up to `pixels` in both directions, with a mirrored border, and a flip from left to right.

    flip: "random": for every second image of an epoch, by chance. "alternating": for every second image in
    one epoch and the others in the next, so that both sides of an image come equally often: Keller Jordan,
    94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024. "none": never.
    """

    pixels: int = 0
    flip: Literal["none", "random", "alternating"] = "none"


@dataclass(frozen=True)
class Chain:
    """What happens to a frame in training.

    frame: what the steps get. "evaluated": the square that evaluation sees; "whole": the frame as it is
    packed; a number: the frame resized to a square of so many times the model's side. What the last step
    leaves has the model's side.
    moves: what happens to evaluation's square in place of steps; it can be done to whole batches in memory.
    grey: whether the model sees grey images, in training and wherever it is used afterwards. The steps get
    the frame in grey; the model's normalisation carries it on (see `trapline.models.build.Normalisation`).
    """

    frame: Literal["evaluated", "whole"] | float
    steps: Steps
    moves: Moves | None = None
    grey: bool = False

    @property
    def in_memory(self) -> bool:
        """Whether the chain can be run on whole batches of evaluation's squares."""
        return self.frame == "evaluated" and self.steps is _none


def _none(library: Any, size: int) -> list[Any]:
    return []


def _flip(library: Any, size: int) -> list[Any]:
    return [library.HorizontalFlip(p=0.5)]


def _crops(library: Any, size: int) -> list[Any]:
    """The camera-trap system's variation: crops of 75-100%, flip, rotation by 10 degrees, jitter 0.2."""
    return [
        library.RandomResizedCrop((size, size), scale=(0.75, 1.0), ratio=(0.9, 1.1)),
        library.HorizontalFlip(p=0.5),
        library.Rotate(limit=10, border_mode=REFLECTED, p=1.0),
        library.ColorJitter(
            brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(0, 0), p=1.0
        ),
    ]


def _grey(library: Any, size: int) -> list[Any]:
    """The camera-trap system's first chain: grey, flip, rotation by 10 degrees, jitter 0.2.

    Grey has neither hue nor saturation: of the jitter, brightness and contrast are left.
    """
    return [
        library.HorizontalFlip(p=0.5),
        library.Rotate(limit=10, border_mode=REFLECTED, p=1.0),
        library.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(1, 1), hue=(0, 0), p=1.0),
    ]


def _heavy(library: Any, size: int) -> list[Any]:
    """The enhanced ResNet-18's twelve transforms, in today's names at equivalent strengths.

    The first, the resize to 256 px, is the chain's frame. Lengths are for 224 px and scale with `size`.

    `GaussianBlur(blur_limit=3)` meant a kernel of 3 pixels whose deviation OpenCV chooses; today's default
    would draw one of 0.5 to 3. `GaussNoise(var_limit=0.01)` drew a variance of at most 0.01 in the units of
    pixels from 0 to 255, so a standard deviation of at most 0.1, which moves a pixel by one grey level or not
    at all. To be noise, ours has the variances that were the library's default, 10 to 50: a deviation of 3.2
    to 7.1 grey levels.

    The old `CoarseDropout(max_holes=8, max_height=32, max_width=32)` took its least number and size from the
    largest where none was given, so that it and `Cutout` both cut a fixed number of holes of a fixed size.
    """
    hole = max(1, round(size * 32 / 224))
    square = {"hole_height_range": (hole, hole), "hole_width_range": (hole, hole), "fill": 0}
    return [
        library.RandomCrop(size, size),
        library.HorizontalFlip(p=0.5),
        library.VerticalFlip(p=0.2),
        library.RandomRotate90(p=0.3),
        library.Affine(
            translate_percent=(-0.1, 0.1),
            scale=(0.9, 1.1),
            rotate=(-15, 15),
            keep_ratio=True,
            border_mode=REFLECTED,
            p=0.5,
        ),
        library.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        library.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=20, val_shift_limit=10, p=0.5),
        library.GaussianBlur(blur_limit=(3, 3), sigma_limit=(SIGMA_OF_KERNEL_3, SIGMA_OF_KERNEL_3), p=0.3),
        library.GaussNoise(std_range=(10**0.5 / 255, 50**0.5 / 255), p=0.3),
        library.CoarseDropout((8, 8), **square, p=0.3),
        library.CoarseDropout((4, 4), **square, p=0.3),
    ]


def _imagenet(library: Any, size: int) -> list[Any]:
    """The ImageNet system's chain. The crop (8 to 100% of the area, 3:4 to 4:3) is that of Szegedy et al.,
    Going deeper with convolutions, 2015; the frame's own aspect ratio is kept, as in evaluation with
    eval_crop=centre. Holes are of up to 16 px at 224 px and scale with `size`.
    """
    hole = max(1, round(size * 16 / 224))
    return [
        library.RandomResizedCrop((size, size), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)),
        library.HorizontalFlip(p=0.5),
        library.VerticalFlip(p=0.1),
        library.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, p=0.5),
        library.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=20, val_shift_limit=10, p=0.3),
        library.ToGray(p=0.2),
        library.Blur(blur_limit=3, p=0.1),
        library.CoarseDropout((1, 8), hole_height_range=(1, hole), hole_width_range=(1, hole), fill=0, p=0.3),
    ]


def _multilabel(library: Any, size: int) -> list[Any]:
    """The multi-label system's chain; the first step, the resize to 256 px, is the chain's frame.

    Its crop is of 224 px and scales with `size`. What a rotation by up to 45 degrees uncovers is black.
    """
    return [
        library.RandomCrop(size, size),
        library.ColorJitter(brightness=(0.5, 1.5), contrast=(1, 1), saturation=(1, 1), hue=(0, 0), p=1.0),
        library.Rotate(limit=45, border_mode=BLACK, fill=0, p=1.0),
        library.HorizontalFlip(p=0.5),
        library.VerticalFlip(p=0.05),
        library.ToGray(p=0.2),
    ]


CHAINS: Mapping[str, Chain] = MappingProxyType(
    {
        "none": Chain("evaluated", _none),
        "flip": Chain("evaluated", _flip),
        "crops": Chain(0.75**-0.5, _crops),
        "grey": Chain("evaluated", _grey, grey=True),
        "heavy": Chain(256 / 224, _heavy),
        "imagenet": Chain("whole", _imagenet),
        "multilabel": Chain(256 / 224, _multilabel),
        "shift_flip": Chain("evaluated", _none, Moves(2, "alternating")),
        "crop_flip": Chain("evaluated", _none, Moves(4, "random")),  # a crop of the padded image is a shift
    }
)

# How evaluation fits a frame into the model's square. None: the whole frame, without regard to its aspect
# ratio. A number: its short side is resized to so many times the model's side, and the centre is kept.
EVAL_CROPS: Mapping[str, float | None] = MappingProxyType({"none": None, "centre": 256 / 224})


# --- test-time views ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """One way to look at an image.

    margin: the image becomes a square of `margin` times the model's side, of which the centre is kept.
    shift: how many pixels it is then moved down and right; what that uncovers is the image mirrored.
    flipped: the axes that are then reversed.
    """

    margin: float = 1.0
    shift: tuple[int, int] = (0, 0)
    flipped: tuple[int, ...] = ()


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        PLAIN: View(),
        "horizontal_flip": View(flipped=(COLUMNS,)),
        "vertical_flip": View(flipped=(ROWS,)),
        "centre_crop": View(margin=256 / 224),
        "shift_up_left": View(shift=(-1, -1)),
        "shift_down_right": View(shift=(1, 1)),
        "shift_up_left_flip": View(shift=(-1, -1), flipped=(COLUMNS,)),
        "shift_down_right_flip": View(shift=(1, 1), flipped=(COLUMNS,)),
    }
)

# "enhanced" is the enhanced ResNet-18's four. Animals stand on the ground: flip is the default for them.
# "shifts" are the six of Keller Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, where those
# without a shift weigh twice as much as the others; here all views weigh the same.
VIEW_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "none": (PLAIN,),
        "flip": (PLAIN, "horizontal_flip"),
        "enhanced": (PLAIN, "horizontal_flip", "centre_crop", "vertical_flip"),
        "shifts": (
            PLAIN,
            "horizontal_flip",
            "shift_up_left",
            "shift_down_right",
            "shift_up_left_flip",
            "shift_down_right_flip",
        ),
    }
)


def check_views(views: Sequence[str]) -> tuple[str, ...]:
    """`views` as a tuple. Raises UsageError where it is empty or names an unknown view, or one twice."""
    unknown = [name for name in views if name not in VIEWS]
    refusals = (
        (unknown, f"no view is called {', '.join(map(repr, unknown))}"),
        (
            not views or len(set(views)) < len(views),
            f"{list(views)} must hold at least one view and none twice",
        ),
    )
    refuse_any((found, f"views: {fault}; known: {', '.join(VIEWS)}") for found, fault in refusals)
    return tuple(views)


def read_views(text: str) -> tuple[str, ...]:
    """The views of a named set (as none, flip, enhanced) or of a list with commas. Raises UsageError."""
    if text in VIEW_SETS:
        return VIEW_SETS[text]
    names = [name.strip() for name in text.split(",")]
    if all(name in VIEWS for name in names):
        return check_views(names)
    raise UsageError(
        f"views: {text!r} is neither a set ({', '.join(VIEW_SETS)}) nor a list of {', '.join(VIEWS)}"
    )
