"""What one value of an option may be: texts as they are typed, read or refused."""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from trapline.augmentation import AUTO_VIEWS
from trapline.config import known_views

# How raw images can lie, and what `trapline.preparation.sources` calls each way.
LAYOUTS = (
    "competition", "label-tables", "coco", "camtrap-dp", "timelapse", "sorted", "csv", "tiny-imagenet",
    "parts", "tags", "folders", "class-folders",
)  # fmt: skip
FORMATS = ("csv", "parquet", "megadetector", "camtrap-dp", "timelapse", "coco")  # of `trapline.formats`
# What a column of a table, or the level of a folder, may say of an image.
MAPPED_COLUMNS = ("path", "id", "label", "labels", "site", "sequence", "time", "date", "split", "deleted")
GROUPS = ("site", "sequence", "camera", "date")  # what --group-by knows, besides columns
NEW_DIVISION = "new"  # in the place of one that is kept
LEVELS = ("site", "label", "sequence", "*")
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|min|m|h)?")
SECONDS_OF = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}


def _read_by(read: Callable[[str], object]) -> BeforeValidator:
    """What reads a text with `read`; values that are none stay what they are."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def _three_numbers(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(share) for share in text.split(","))
    except ValueError:
        raise ValueError("is not three numbers, as in 0.65,0.20,0.15") from None
    return train, val, test


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression ({error})") from None
    return text


def _known_views(text: str) -> str:
    if text != AUTO_VIEWS:
        known_views(text)
    return text


def _count_or_share(text: str) -> float | int:
    """A text with a point is a share, one without a count."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ValueError("is neither a whole number of images, as in 500, nor a share, as in 0.3") from None


def _one_or_several(value: object) -> object:
    """One place as a list of one: an input may be several."""
    return (value,) if isinstance(value, str) else value


def _duration(text: str) -> float | None:
    if text.strip().casefold() == "none":
        return None
    found = DURATION.fullmatch(text.strip())
    if not found or not (seconds := float(found[1]) * SECONDS_OF[found[2] or "s"]):
        raise ValueError("is no length of time, as in 60s, 5min, 1h or none")
    return seconds


def _column(text: str) -> str:
    known, equals, column = text.partition("=")
    if known not in MAPPED_COLUMNS or not equals or not column.strip():
        raise ValueError(
            f"is no pair as in path=filename; before the = stands one of {', '.join(MAPPED_COLUMNS)}"
        )
    return text


def named_twice(columns: Iterable[str]) -> list[str]:
    """What several of `columns`, pairs as path=filename, name."""
    names = [text.partition("=")[0] for text in columns]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _levels(text: str) -> str:
    levels = text.strip("/").split("/")
    if wrong := [level for level in levels if level not in LEVELS]:
        raise ValueError(f"has the level {wrong[0]!r}; a level is one of {', '.join(LEVELS)} (* is any)")
    if twice := [level for level in LEVELS[:-1] if levels.count(level) > 1]:
        raise ValueError(f"has the level {twice[0]} twice")
    return "/".join(levels)


Place = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1)]
Duration = Annotated[float | None, _read_by(_duration)]
Column = Annotated[str, AfterValidator(_column)]
Levels = Annotated[str, AfterValidator(_levels)]
Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Shares = Annotated[tuple[float, float, float], _read_by(_three_numbers)]
Pattern = Annotated[str, AfterValidator(_regular_expression)]
Quality = Annotated[int, Field(ge=1, le=100)] | Literal["lossless", "auto"]
Cap = Annotated[
    Annotated[int, Field(strict=True, ge=1)] | Annotated[float, Field(strict=True, gt=0, le=1)],
    _read_by(_count_or_share),
]
Views = Annotated[str, AfterValidator(_known_views)]
Inputs = Annotated[tuple[Place, ...], BeforeValidator(_one_or_several), Field(min_length=1)]
