"""What a listing of raw images is made of, whatever their layout.

Listing opens no image. What is wrong with a listing (an id twice, a label that is none) is quarantined, so
that every input of the source is either an image or a quarantined row.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from common.data.quarantine import UNKNOWN_LABEL, Quarantined
from common.errors import TraplineError, UsageError

UNLABELED = -1
UNLABELED_FOLDER = "unlabeled"
GIVEN = "given"  # the column of a split that the data set comes with
LABELS, CAPTION = "labels", "caption"  # the columns of a set whose images may have several labels
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
COLUMNS = ["id", "filepath", "path", "label", "site", "sequence"]

Task: TypeAlias = Literal["multiclass", "multilabel"]


@dataclass(frozen=True)
class SiteRule:
    """Where class folders get their sites from: a CSV (filepath, site) or a pattern on the relative path.

    `csv` may be an S3 URI, which whoever reads the source replaces by a local copy.
    """

    csv: Path | str | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Source:
    """The inputs of a raw data set.

    `images` has the columns id, filepath (as the source names it), path (to open), label (index into
    `classes`, or UNLABELED), site and sequence (None where unknown), and, where the data set comes with a
    split of its own, `given`: train, val or test (None for unlabelled images). `class_codes`: what the source
    calls the classes, such as WordNet's ids, where `classes` are other names for them.

    Where an image may have several labels there are two more columns: `labels`, a tuple of all its class
    indices, ascending, and `caption`, a text. `label` then is a number that images of the same labels share.
    """

    images: pd.DataFrame
    classes: list[str]
    quarantined: list[Quarantined] = field(default_factory=list)
    submission_format: Path | None = None
    class_codes: list[str] | None = None

    @property
    def task(self) -> Task:
        """Whether an image has one label, or any number of them."""
        return "multilabel" if LABELS in self.images.columns else "multiclass"

    @property
    def has_split(self) -> bool:
        """Whether the data set comes with a split of its own."""
        return GIVEN in self.images.columns

    @property
    def lacks_val(self) -> bool:
        """Whether the data set comes with a split of its own in which nothing is for validation."""
        return self.has_split and not (self.images[GIVEN] == "val").any()

    @property
    def has_sites(self) -> bool:
        """Whether any labelled image has a site."""
        labelled = self.images["label"] != UNLABELED
        return bool(self.images.loc[labelled, "site"].notna().any())


def label_indices(labelled: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The class indices of labelled images, one after another: of each image its label, or all of them."""
    if LABELS not in labelled.columns:
        return labelled["label"].to_numpy(dtype=np.int64)
    return np.array([label for labels in labelled[LABELS] for label in labels], dtype=np.int64)


def label_matrix(labelled: pd.DataFrame, classes: int) -> npt.NDArray[np.bool_]:
    """Whether an image has a class, shape (images, classes), of images that may have several labels."""
    matrix = np.zeros((len(labelled), classes), dtype=bool)
    lengths = [len(labels) for labels in labelled[LABELS]]
    matrix[np.repeat(np.arange(len(labelled)), lengths), label_indices(labelled)] = True
    return matrix


def limited(source: Source, most: int, seed: int) -> Source:
    """`most` images of each class at the most, drawn by `seed`; unlabelled images count as a class.

    Where the data set comes with a split, so many in each of its parts. An image of several labels is left
    out where there are `most` of each of them already.
    """
    order = np.random.default_rng(seed).permutation(len(source.images))
    images = source.images.iloc[order]
    if source.task == "multilabel":
        drawn = pd.Series(_wanted(images, most), index=images.index)
    else:
        groups = ["label", *([GIVEN] if source.has_split else [])]
        drawn = images.groupby(groups, dropna=False).cumcount() < most
    return replace(source, images=source.images[drawn.sort_index()].reset_index(drop=True))


def _wanted(images: pd.DataFrame, most: int) -> list[bool]:
    """Whether fewer than `most` images before it have one of an image's labels, or none as itself."""
    held: Counter[tuple[int, int]] = Counter()  # by whether labelled at all, and by class
    wanted = []
    for label, labels in zip(images["label"], images[LABELS], strict=True):
        keys = [(0, index) for index in labels] or [(1, -1 if label == UNLABELED else 0)]
        wanted.append(any(held[key] < most for key in keys))
        held.update(keys if wanted[-1] else [])
    return wanted


def read_table(path: Path, required: list[str]) -> pd.DataFrame:
    """Read a CSV as text, empty cells included. Raises TraplineError naming the file and what is wrong."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TraplineError(f"{path}: not a readable CSV ({str(error).strip().splitlines()[-1]})") from None
    absent = [name for name in required if name not in table.columns]
    if absent:
        raise TraplineError(
            f"{path}: no column {', '.join(absent)} (its columns: {', '.join(map(str, table.columns[:8]))})"
        )
    return table


def first(ids: pd.Series) -> str:
    """The first of some names, for a message."""
    return repr(ids.iloc[0]) if len(ids) else "no rows"


def printable(name: str) -> str:
    """A file's name as valid Unicode: bytes of another encoding become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def files_below(folder: Path) -> Iterator[str]:
    """Relative paths of the files below `folder`, sorted, links followed (but never in a circle)."""
    seen = set()
    for place, subfolders, files in os.walk(folder, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower() not in SYSTEM_FILES:
                yield (Path(place) / name).relative_to(folder).as_posix()


def loose_images(folder: Path) -> list[Quarantined]:
    """The image files directly in `folder`, told by their suffixes, as quarantined rows."""
    from PIL import Image

    suffixes = Image.registered_extensions()
    loose = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [
        Quarantined(printable(name), printable(name), UNKNOWN_LABEL, "lies in no class folder")
        for name in loose
        if Path(name).suffix.lower() in suffixes and not name.startswith(".")
    ]


def with_sites(images: pd.DataFrame, folder: Path, rule: SiteRule) -> pd.DataFrame:
    """`images` with the sites that `rule` gives them, if any.

    Raises TraplineError where it gives none of them a site, UsageError for a pattern without a group.
    """
    if rule.csv is not None:
        return _sites_from_csv(images, folder, Path(rule.csv))
    if rule.pattern is not None:
        return _sites_from_pattern(images, rule.pattern)
    return images


def _sites_from_csv(images: pd.DataFrame, folder: Path, path: Path) -> pd.DataFrame:
    table = read_table(path, ["site"])
    key = next((name for name in ("filepath", "path", "id") if name in table.columns), None)
    if key is None:
        raise TraplineError(f"{path}: no column filepath; it must name each image relative to {folder}")
    table = table.drop_duplicates(key).set_index(key)
    for name in ("site", "sequence"):
        if name in table.columns:
            images[name] = images["filepath"].map(table[name])
    if images["site"].isna().all():
        raise TraplineError(
            f"{path}: names none of the images in {folder} "
            f"({first(pd.Series(table.index))} against {first(images['filepath'])})"
        )
    return images


def _sites_from_pattern(images: pd.DataFrame, pattern: re.Pattern[str]) -> pd.DataFrame:
    if not pattern.groups:
        raise UsageError(f"--site-regex {pattern.pattern}: has no group; enclose the site in (?P<site>...)")
    found = [pattern.search(filepath) for filepath in images["filepath"]]
    site: int | str = "site" if "site" in pattern.groupindex else 1
    images["site"] = [match.group(site) if match else None for match in found]
    if "sequence" in pattern.groupindex:
        images["sequence"] = [match.group("sequence") if match else None for match in found]
    if images["site"].isna().all():
        raise TraplineError(
            f"--site-regex {pattern.pattern}: matches no path, for instance {first(images['filepath'])}"
        )
    return images
