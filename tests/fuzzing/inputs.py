"""What the kinds of input have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from trapline.images.budget import DecodeBudget

BUDGET = DecodeBudget(max_pixels=4_000_000, max_seconds=10.0)


class Failure(Exception):
    """Something that the code under test has promised, and not kept."""


@dataclass(frozen=True)
class Input:
    """target: what reads it, such as a kind of table. data: the bytes. called: what comes with them, such as
    a content type or a file's name."""

    target: str
    data: bytes
    called: str = ""


def never(given: Input) -> bool:
    """No input of the kind may need more time than the limit."""
    return False


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    make: an input, by chance. check: gives it to the code under test, in a folder of its own, and returns
    what came out in a word or two; what it raises is a failure. examples: undamaged inputs of a target, after
    which everything that is imported late is there. may_be_ended: whether an input may take more time than
    there is. leaves_files: whether the folder is to be emptied after each.
    """

    name: str
    make: Callable[[Random], Input]
    check: Callable[[Input, Path], str]
    examples: Callable[[str], Sequence[Input]]
    may_be_ended: Callable[[Input], bool] = never
    leaves_files: bool = False
