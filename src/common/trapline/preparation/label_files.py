"""Where the images of tables of labels lie: a table names them with or without folder and suffix."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath

from trapline.data.quarantine import MISSING, OUTSIDE, Quarantined
from trapline.names import Kind, key
from trapline.preparation.input_folder import InputFolder, NotInside

TABLE = ".csv"
PLACES = ("", "data", "images", "train", "test")


def _without_suffix(names: Sequence[str]) -> dict[str, str]:
    """The files by their names without suffix: images first, and none where several could be meant."""
    from PIL import Image

    suffixes = Image.registered_extensions()
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(name)
    images = {
        short: [name for name in alike if PurePosixPath(name).suffix.lower() in suffixes] or alike
        for short, alike in found.items()
    }
    return {short: alike[0] for short, alike in images.items() if len(alike) == 1}


@dataclass(frozen=True)
class Finder:
    """Where the images of a folder lie. `files`: relative paths, by themselves and without their suffix.

    alike: the same by their keys, None where several paths have one.
    """

    folder: InputFolder
    files: dict[str, str]
    alike: dict[str, str | None]

    @classmethod
    def of(cls, folder: InputFolder) -> "Finder":
        """Of all files below `folder`."""
        names = [name for name in folder.files() if not name.lower().endswith(TABLE)]
        files = {**_without_suffix(names), **{name: name for name in names}}
        alike: dict[str, str | None] = {}
        for spelling, name in files.items():
            own = key(spelling, Kind.PATH)
            alike[own] = name if alike.setdefault(own, name) == name else None
        return cls(folder, files, alike)

    def find(self, image: str, table: str) -> str | None:
        """The file that `image` of the table named `table` means, relative to the folder, or None."""
        places = (table, *PLACES, *(f"{place}/{table}" for place in PLACES[1:]))
        spellings = [f"{place}/{image}" if place else image for place in places if image]
        exact = (self.files.get(spelling) for spelling in spellings)
        alike = (self.alike.get(key(spelling, Kind.PATH)) for spelling in spellings)
        return next((name for name in chain(exact, alike) if name is not None), None)

    def absent(self, image: str, place: str) -> Quarantined:
        """The row of an image of which there is no file among those of the folder."""
        try:
            self.folder.find(image)
        except NotInside as problem:
            if problem.reason == OUTSIDE:
                return Quarantined(image, image, OUTSIDE, f"{place}: {problem.detail}")
        return Quarantined(image, image, MISSING, f"{place} names it; no such file")
