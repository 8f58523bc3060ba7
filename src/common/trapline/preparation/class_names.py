"""The classes of a source from their names, which several folders, columns or cells may spell differently."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trapline.names import Kind, keys, merged, refuse


@dataclass(frozen=True)
class Classes:
    """Classes in their order: what they are called, their keys, and the class index of each spelling.

    `spellings`: for each class that came in several spellings, every one with its number.
    """

    names: list[str]
    keys: list[str]
    index: Mapping[str, int]
    spellings: dict[str, dict[str, int]]


def named(order: Sequence[str], used: Sequence[str] = (), place: object = "the labels") -> Classes:
    """The classes that the names in `order` are, in that order, each under its commonest spelling.

    `used`: names as often as they come, one an image, which say what is common; `order` alone without them.
    Raises TraplineError for a name that none may be (`trapline.names.fault`), found in `place`.
    """
    refuse(dict.fromkeys([*order, *used]), Kind.CLASS, str(place))
    counted = [*used, *(name for name in order if name not in set(used))] if used else list(order)
    found = merged(counted, Kind.CLASS)
    name_of = dict(zip(counted, found.names, strict=True))
    key_of = dict(zip(counted, keys(counted, Kind.CLASS), strict=True))
    classes = list(dict.fromkeys(own for name in order if (own := key_of[name]) is not None))
    place = {own: index for index, own in enumerate(classes)}
    shown = {own: name_of[name] for name, own in key_of.items()}
    index = {name: place[own] for name, own in key_of.items() if own in place}
    return Classes([str(shown[own]) for own in classes], classes, index, found.spellings)
