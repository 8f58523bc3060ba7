"""Test-time views of an image by name, as specifications without the libraries that make them.

They stand on the ground floor because the configuration and the pipeline check names against them.
`trapline.data.view_batches` makes the pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from trapline.errors import UsageError

ROWS, COLUMNS = -3, -2  # axes of (..., height, width, 3)


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


AUTO_VIEWS = "auto"  # chosen on validation
PLAIN = "plain"  # what training's validation sees
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
    known = ", ".join(VIEWS)
    unknown = [name for name in views if name not in VIEWS]
    if unknown:
        raise UsageError(f"views: no view is called {', '.join(map(repr, unknown))}; known: {known}")
    if not views or len(set(views)) < len(views):
        raise UsageError(f"views: {list(views)} must hold at least one view and none twice; known: {known}")
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
