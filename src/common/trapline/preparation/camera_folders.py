"""Which of the folders above an image is its camera's: cameras, programs and people make others as well.

A site is the topmost folder that tells images apart, so that several visits to one camera stay one site.
"""

import re
from collections.abc import Iterable, Sequence

from trapline.names import Kind, key
from trapline.preparation.listing import is_unlabeled, part_of

# DCIM and 100MEDIA, 101_PANA, 100RECNX: what the standard for cameras (DCF) names, in capitals.
CAMERA_MADE = re.compile(r"DCIM\w*|[1-9]\d\d[A-Z0-9_]{5}|MISC|PRIVATE")
DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d([-_. ]?\d\d)?)?|\d\d?[-_.]\d\d?[-_.](19|20)\d\d")
VISIT = re.compile(r"(visit|check|card|sd|sdcard|round|session|retrieval|service|survey|season)s?[ _-]*\d*")
COLLECTIONS = frozenset(
    ("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pics", "frames", "raw",
     "rawimages", "data", "dataset", "media", "jpg", "jpgs", "jpeg", "jpegs", "files", "originals", "crops")
)  # fmt: skip


def is_camera_made(name: str) -> bool:
    """Whether a folder's name is one that cameras give: DCIM, 100MEDIA and the like."""
    return CAMERA_MADE.fullmatch(name) is not None


def is_no_camera(name: str) -> bool:
    """Whether a folder's name is surely no camera's: a card's, a date, a visit, a part, a collection."""
    own = key(name, Kind.SITE)
    return bool(
        is_camera_made(name)
        or DATE.fullmatch(own)
        or VISIT.fullmatch(own)
        or re.sub(r"[\s_-]+", "", own) in COLLECTIONS
        or part_of(name)
        or is_unlabeled(name)
    )


def sites_of(folders: Sequence[str]) -> list[str | None]:
    """The camera of each image by its folder, a relative path with slashes; None where no folder tells it.

    Folders that are surely no camera's do not count, nor does what all have in common before them.
    """
    levels = {
        folder: [name for name in folder.split("/") if name and not is_no_camera(name)]
        for folder in dict.fromkeys(folders)
    }
    common = _common(levels.values())
    site_of = {folder: names[common] if len(names) > common else None for folder, names in levels.items()}
    return [site_of[folder] for folder in folders]


def _common(levels: Iterable[Sequence[str]]) -> int:
    """How many folders all paths that have any begin with alike."""
    paths = [[key(name, Kind.SITE) for name in names] for names in levels if names]
    shortest = min(map(len, paths), default=0)
    return next((depth for depth in range(shortest) if len({path[depth] for path in paths}) > 1), shortest)
