"""What the folders above an image mean, where nobody says it: by what repeats, and by what names look like.

In station/species the names of species repeat below stations, in species/station those of stations below
species: what repeats tells that there are two levels, and not which is which. That is told by names (cameras
are called Station01, CAM-3, A12), by the folders that cameras make (DCIM, 100MEDIA) and by the names of files
(StationA__2009-04-21__00-40-00(1).JPG). Sites are taken from folders with such evidence alone.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.names import Kind, key, shown
from trapline.preparation.camera_folders import is_camera_made, is_no_camera
from trapline.preparation.folder_names import (
    NO_SITES,
    has_station_word,
    looks_like_label,
    looks_like_station,
    tells_no_site,
)
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import is_unlabeled, part_folders

SITE_LABEL, LABEL_SITE, LABEL_ALONE = "site/label", "label/site", "label"
DEEPEST = 6  # folders that say nothing, one inside another, before one that does
MOST = 0.7  # of the names of a level, for what the level is taken for
SOME = 0.3  # of the names, for words of species: many have none of our words
REPEATED = 0.5  # of the folders at the second level, to be called a level
FOLDERS_LOOKED_AT = 200


def says_nothing(name: str) -> bool:
    """Whether a folder is passed over where levels are found: a card's, a date's, a visit's, a collection."""
    return is_no_camera(name) and not is_unlabeled(name)


def telling(folder: str) -> list[str]:
    """The names in a relative path of a folder that are neither a card's, a date's nor a visit's."""
    return [name for name in folder.split("/") if name and not says_nothing(name)]


def _share(names: Collection[str], test: Callable[[str], bool]) -> float:
    return sum(map(test, names)) / len(names) if names else 0.0


# --- what lies there ----------------------------------------------------------------------------------------


@dataclass
class Level:
    """The folders of a level: their names, and how many of those looked at say that they are cameras'.

    `looked_at`: folders with images in them or below, `named`: those whose files are called by their name
    and a date, `made`: those that hold a folder which a camera made.
    """

    names: set[str] = field(default_factory=set)
    looked_at: int = 0
    named: int = 0
    made: int = 0

    def add(self, name: str, files: Sequence[str], inner: Sequence[str]) -> None:
        """Count a folder by the names of some files, at any depth in it, and of the folders in it."""
        self.names.add(name)
        dated = re.compile(re.escape(name) + r"[\s_.-]+(19|20)\d\d\D?[01]\d", re.IGNORECASE)
        self.looked_at += 1
        self.named += bool(files) and all(dated.match(file) for file in files)
        self.made += any(map(is_camera_made, inner))

    def are_surely_sites(self) -> bool:
        """Whether the folders are cameras' by a word for them, by those inside them, or by their files."""
        counted = max(self.named, self.made) >= MOST * max(1, self.looked_at)
        return counted or _share(self.names, has_station_word) >= MOST

    def are_sites(self) -> bool:
        """The same, or by codes."""
        return self.are_surely_sites() or _share(self.names, looks_like_station) >= MOST

    def are_labels(self) -> bool:
        """Whether the names are words for what is on an image."""
        if _share(self.names, looks_like_station) >= MOST:
            return False
        has_none = any(key(name, Kind.CLASS) in NO_SITES for name in self.names)
        return has_none or _share(self.names, looks_like_label) >= SOME


@dataclass
class Outline:
    """The folders at the top, and below each the next that tell something: `below`, by those above.

    `first`, `second`: what is known of these levels. `are_visits`: whether those at the top tell nothing, but
    all hold folders that do.
    """

    below: dict[str, list[str]]
    first: Level = field(default_factory=Level)
    second: Level = field(default_factory=Level)
    are_visits: bool = False

    @property
    def repeats(self) -> bool:
        """Whether most folders of the second level have a name that comes below several of the first."""
        counts = Counter(key(name, Kind.CLASS) for names in self.below.values() for name in set(names))
        repeated = sum(count for count in counts.values() if count > 1)
        return bool(counts) and repeated >= REPEATED * sum(counts.values())

    @property
    def nests(self) -> bool:
        """Whether most folders at the top have folders that tell something."""
        return sum(map(bool, self.below.values())) > len(self.below) / 2


class _Glance:
    """What lies in folders: the folders, and the names of some images."""

    def __init__(self, folder: InputFolder) -> None:
        self._folder = folder

    def folders(self, place: str) -> list[str]:
        return self._folder.glance(place)[0]

    def files(self, place: str) -> list[str]:
        """The names of some images in a folder, or in the first of those in it."""
        for _ in range(DEEPEST):
            inner, files = self._folder.glance(place)
            if files or not inner:
                return files
            place = f"{place}/{inner[0]}"
        return []


def outline(folder: InputFolder) -> Outline:
    """What the two topmost levels of `folder` are made of."""
    look = _Glance(folder)
    tops = [name for name in folder.folders() if not is_unlabeled(name)]
    found = {top: _telling_below(look, top) for top in tops}
    made = Outline({top: [name.rpartition("/")[2] for name in inner] for top, inner in found.items()})
    visits = [top for top in tops if says_nothing(top)]
    made.are_visits = len(tops) > 1 and len(visits) == len(tops) and all(found.values())
    step = -(-len(tops) // FOLDERS_LOOKED_AT)
    for top in tops[:: step or 1]:
        inner = found[top]
        seen: list[str] = []
        for place in inner[: max(1, FOLDERS_LOOKED_AT // len(tops))]:
            files = look.files(place)
            made.second.add(place.rpartition("/")[2], files, look.folders(place))
            seen += files
        made.first.add(top, seen or look.files(top), look.folders(top))
    made.first.names |= set(tops)
    made.second.names |= {name for names in made.below.values() for name in names}
    return made


def _telling_below(look: _Glance, top: str) -> list[str]:
    """The next folders below `top`, relative, that are neither a card's, a date's nor a visit's."""
    found: list[str] = []
    waiting = [(top, 0)]
    while waiting:
        place, depth = waiting.pop()
        for name in look.folders(place):
            inner = f"{place}/{name}"
            if not says_nothing(name):
                found.append(inner)
            elif depth < DEEPEST:
                waiting.append((inner, depth + 1))
    return sorted(name for name in found if not is_unlabeled(name.rpartition("/")[2]))


# --- what is made of it -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What the levels of folders were found to be: `levels` as --folders has them, None for class folders.

    `site`: the camera that the whole folder is of. `note`: what a person should know where they are classes.
    """

    levels: str | None = None
    site: str | None = None
    note: str | None = None


def found_levels(folder: InputFolder) -> Found:
    """The levels of a folder of class folders, or of stations.

    Raises TraplineError where classes could be cameras and nothing tells which they are.
    """
    if part_folders(folder) is not None:
        return Found()
    seen = outline(folder)
    if len(seen.below) < 2:
        return Found()
    if seen.are_visits:
        raise TraplineError(
            f"{folder.path}: its folders ({_names(seen.below)}) look like dates, visits or cards and no "
            f"classes; say what the levels are, as with {_asked('*/site/label')}, or {_asked(LABEL_ALONE)} "
            "if they are classes"
        )
    if not seen.nests:
        _refuse_cameras(folder, seen)
        return Found(LABEL_ALONE, site=_name_of_site(folder, seen))
    if seen.repeats:
        return _repeating(folder, seen)
    if seen.first.are_surely_sites() or (seen.first.are_sites() and seen.second.are_labels()):
        return Found(SITE_LABEL)
    return Found(LABEL_ALONE, site=_name_of_site(folder, seen))


def doubt(folder: InputFolder) -> str | None:
    """What a person should know where folders are read as classes, if their levels may be others."""
    try:
        return found_levels(folder).note
    except TraplineError:  # a person says that they are classes
        return None


def _refuse_cameras(folder: InputFolder, seen: Outline) -> None:
    """Raise TraplineError where the folders at the top are cameras', and none is in them."""
    level = seen.first
    made = level.made >= MOST * max(1, level.looked_at)
    if made or _share(level.names, has_station_word) >= MOST:
        raise TraplineError(
            f"{folder.path}: its folders ({_names(seen.below)}) look like cameras, and there are no folders "
            "of labels in them; where labels are tags in the images say "
            f"{prepare_option('label-tag', 'TAG')}, where a table has them give the table itself, beside a "
            f"labelled input say {_asked('site')}, and if they are classes {_asked(LABEL_ALONE)}"
        )


def _repeating(folder: InputFolder, seen: Outline) -> Found:
    """What two levels are, of which the lower repeats below the upper."""
    first, second = seen.first, seen.second
    are_numbers = all(map(str.isdecimal, first.names)) and not any(map(str.isdecimal, second.names))
    sites = (first.are_sites() or are_numbers, second.are_sites())
    labels = (first.are_labels(), second.are_labels())
    if sites[0] != sites[1] and not labels[0 if sites[0] else 1]:
        return Found(SITE_LABEL if sites[0] else LABEL_SITE)
    if sites == (False, False) and labels == (False, True):
        return Found(SITE_LABEL)
    if not any(sites) and (labels[0] or _share(second.names, tells_no_site) >= MOST) and not labels[1]:
        example = sorted(second.names)[0]
        return Found(
            note=f"folders below classes, as {shown(example)}, repeat and count for nothing; if they are "
            f"cameras, say {_asked(LABEL_SITE)}, and if the classes are cameras {_asked(SITE_LABEL)}"
        )
    top = min(seen.below, key=lambda name: (-len(seen.below[name]), name))
    raise TraplineError(
        f"{folder.path}: in {shown(f'{top}/{seen.below[top][0]}')} it is not certain which folder is the "
        "camera and which the label, for the lower ones come again below others; say "
        f"{_asked(SITE_LABEL)} or {_asked(LABEL_SITE)}, or {_asked(LABEL_ALONE)} where the upper one is the "
        "label and the lower ones are no cameras"
    )


def _name_of_site(folder: InputFolder, seen: Outline) -> str | None:
    """The name of `folder` where it is the one camera's: by the word for one, or by its files and dates."""
    own, look = Level(), _Glance(folder)
    for top in list(seen.below)[:FOLDERS_LOOKED_AT]:
        if files := look.files(top):
            own.add(folder.path.name, files, [])
    is_named = own.looked_at and own.named == own.looked_at
    is_site = is_named or has_station_word(folder.path.name, with_code=True)
    return folder.path.name if is_site and not seen.first.are_sites() else None


def _names(names: Mapping[str, object] | Iterable[str]) -> str:
    found = list(names)
    return ", ".join(map(shown, found[:3])) + (", ..." if len(found) > 3 else "")


def _asked(levels: str) -> str:
    return prepare_option("folders", f"'{levels}'" if "*" in levels else levels)
