"""Folders in folders: `station/species/image`, `species/station/image`, and deeper.

What the levels are a person says (`--folders site/label`), or it is found (`preparation.folder_levels`).
Folders that cameras make (DCIM, 100MEDIA) are neither a site nor a label; images may lie deeper than the last
level.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pandas as pd

from trapline.data.quarantine import OUTSIDE, UNKNOWN_LABEL, VIDEO, Quarantined
from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.names import shown
from trapline.preparation.camera_folders import is_camera_made
from trapline.preparation.folder_levels import LABEL_ALONE, Found, found_levels, telling
from trapline.preparation.input_folder import InputFolder, is_image_name
from trapline.preparation.listed_rows import VIDEOS
from trapline.preparation.listing import (
    COLUMNS,
    UNLABELED,
    Classes,
    Reading,
    Source,
    is_unlabeled,
    named,
    part_of,
    printable,
)
from trapline.preparation.splits import count

LAYOUT = "folders"
SITE, LABEL, SEQUENCE, ANY = "site", "label", "sequence", "*"
# Suffixes of what lies beside images and is none: tables, texts, sidecars, databases of programs, sound.
COMPANIONS = frozenset(
    ("xmp", "csv", "tsv", "json", "txt", "md", "xml", "pdf", "html", "htm", "xlsx", "xls", "ods", "doc",
     "docx", "odt", "db", "ddb", "tdb", "sqlite", "log", "ini", "kml", "gpx", "wav", "mp3", "zip")
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """What the folders of an image say of it; None: nothing. `is_unlabeled`: whether one says that it has no
    label.
    """

    site: str | None = None
    label: str | None = None
    sequence: str | None = None
    is_unlabeled: bool = False


# --- recognising --------------------------------------------------------------------------------------------


def is_station_folders(folder: InputFolder, reading: Reading) -> bool:
    """Whether a person says what the folders are, or several levels of them are found, or a camera's name.

    Raises TraplineError where classes could be cameras and nothing tells which they are.
    """
    if reading.table is not None or reading.label_tag:
        return False
    if reading.folders or reading.layout == LAYOUT:
        return True
    found = found_levels(folder)
    return found.site is not None or found.levels not in (None, LABEL_ALONE)


def below_wrappers(folder: InputFolder, levels: str) -> InputFolder:
    """The folder where `levels` begin: below a single folder, where all images lie deeper than they say.

    Data sets are often handed on in a folder more. What cameras make, dates and visits are no depth.
    """
    inner = folder.folders()
    if len(inner) != 1 or levels.startswith(ANY) or folder.loose():
        return folder
    within = InputFolder(folder.path / inner[0], folder.follow_links, folder.columns)
    needed = len(levels.split("/"))
    folders = {name.rpartition("/")[0] for name in within.files() if is_image_name(name)}
    if not folders or any(len(telling(place)) < needed for place in folders):
        return folder
    return below_wrappers(within, levels)


# --- reading ------------------------------------------------------------------------------------------------


def read_station_folders(folder: InputFolder, reading: Reading) -> Source:
    """List the images below `folder`, with the sites, labels and sequences that their folders say.

    The id is the relative path. A folder `unlabeled` holds images without labels; so do all folders where no
    level is a label. An image that lies in no folder of a label is quarantined. A sequence is called by its
    folder's path. Raises TraplineError where levels with labels hold no image, or one class alone.
    """
    found = Found(reading.folders) if reading.folders else found_levels(folder)
    levels = (found.levels or LABEL_ALONE).split("/")
    files, notes = images_below(folder)
    place_of = places(files, levels, found.site, is_said=bool(reading.folders))
    kept, quarantined = _sorted_out(folder, files, place_of, levels)
    labels = [place_of[_above(file)].label for file in kept]
    if LABEL in levels and not any(labels):
        return _without_labels(folder, reading, kept + [row.filepath for row in quarantined], levels)
    classes = _classes(folder, labels, reading)
    source = Source(_frame(folder, kept, place_of, classes.index), classes.names, quarantined)
    told = _told(source, "/".join(levels), found.site) + _parts_passed_over(folder, levels)
    return replace(source, merged=classes.merged, notes=[*notes, *told])


def images_below(folder: InputFolder) -> tuple[list[str], list[str]]:
    """The files below `folder` that could be images, relative; and a note on those that are none."""
    files: list[str] = []
    others: list[str] = []
    for name in folder.files():
        is_companion = name.rpartition(".")[2].lower() in COMPANIONS
        (others if is_companion or ("/" not in name and not is_image_name(name)) else files).append(name)
    others = [name for name in others if name not in folder.closed]
    files += sorted(name for name in folder.closed if "/" not in name)
    inner = [name for name in others if "/" in name and not name.lower().endswith(".xmp")]
    if not inner:
        return files, []
    said = (
        "file beside the images is none and is"
        if len(inner) == 1
        else "files beside the images are none and are"
    )
    return files, [f"{len(inner)} {said} not read, as {shown(printable(inner[0]))}"]


def _above(file: str) -> str:
    return file.rpartition("/")[0]


def places(
    files: Sequence[str], levels: Sequence[str], site: str | None = None, *, is_said: bool
) -> dict[str, Place]:
    """What each of the folders of `files` says, by its relative path.

    `is_said`: whether a person says the levels, so that they are those from the top; else folders that say
    nothing are passed over. `site`: that of all images.
    """
    found = {}
    for folder in dict.fromkeys(map(_above, files)):
        names = [name for name in folder.split("/") if name] if is_said else telling(folder)
        place = _place(names, levels)
        found[folder] = replace(place, site=site) if site else place
    return found


def _place(names: Sequence[str], levels: Sequence[str]) -> Place:
    """What folders say, from the top, of which each level has its name."""
    at = next((number for number, name in enumerate(names) if is_unlabeled(name)), None)
    if at is not None and (at >= len(levels) or levels[at] != LABEL):  # a branch of its own: no label in it
        names = [*names[:at], *names[at + 1 :]]
        levels = [level for level in levels if level != LABEL]
    said: dict[str, str] = {}
    for number, (name, level) in enumerate(zip(names, levels, strict=False)):
        if level == SEQUENCE:
            said[level] = printable("/".join(names[: number + 1]))
        elif not is_camera_made(name):
            said[level] = printable(name)
    label = said.get(LABEL) if at is None else None
    return Place(said.get(SITE), label, said.get(SEQUENCE), at is not None)


def _sorted_out(
    folder: InputFolder, files: Sequence[str], place_of: Mapping[str, Place], levels: Sequence[str]
) -> tuple[list[str], list[Quarantined]]:
    """The files that are listed, and those set aside: videos, and what lies in no folder of a label."""
    kept, quarantined = [], []
    for file in files:
        place = place_of[_above(file)]
        if file.rpartition(".")[2].lower() in VIDEOS:
            problem = (VIDEO, "a video, which is not read; give frames of it")
        elif LABEL in levels and place.label is None and not place.is_unlabeled:
            detail = f"lies in no folder of a label, where folders are {'/'.join(levels)}"
            barred = folder.outside.get(folder.full(file))
            problem = (OUTSIDE, barred) if barred else (UNKNOWN_LABEL, detail)
        else:
            kept.append(file)
            continue
        quarantined.append(Quarantined(printable(file), printable(file), *problem))
    return kept, quarantined


def _classes(folder: InputFolder, labels: Sequence[str | None], reading: Reading) -> Classes:
    """The classes of the labels, sorted. Raises TraplineError where there is one alone."""
    used = [label for label in labels if label is not None]
    classes = named(sorted(set(used)), used, folder.path)
    if len(classes.names) == 1 and not reading.among_others:
        raise TraplineError(
            f"{folder.path}: only one class ({classes.names[0]}): a classifier needs at least two; "
            f"if folders are others, say it with {prepare_option('folders', 'site/label')} or the like"
        )
    return classes


def _frame(
    folder: InputFolder, files: Sequence[str], place_of: Mapping[str, Place], index: Mapping[str, int]
) -> pd.DataFrame:
    """The rows of a `Source`."""
    said = [place_of[_above(file)] for file in files]
    paths = [printable(file) for file in files]
    cells = {
        "id": paths,
        "filepath": paths,
        "path": [folder.full(file) for file in files],
        "label": [UNLABELED if place.label is None else index.get(place.label, UNLABELED) for place in said],
        "site": [place.site for place in said],
        "sequence": [place.sequence for place in said],
    }
    return pd.DataFrame(cells, columns=COLUMNS, dtype=object)


def _without_labels(
    folder: InputFolder, reading: Reading, files: Sequence[str], levels: Sequence[str]
) -> Source:
    """An input beside others of which no image lies in a folder of a label: unlabelled images, with sites.

    Raises TraplineError where it is the only input.
    """
    said = prepare_option("folders", "/".join(levels))
    example = f"for instance {shown(printable(files[0]))}" if files else "for there is none"
    if not reading.among_others or not files:
        raise TraplineError(
            f"{folder.path}: no image lies in a folder of a label, {example}, as {said} has it; say what the "
            "folders are from the top, as site/label, label/site or */site/label"
        )
    unlabelled = replace(reading, folders="/".join(level for level in levels if level != LABEL) or ANY)
    source = read_station_folders(folder, unlabelled)
    note = f"no image lies in a folder of a label, as {said} has it, {example}: all are unlabelled"
    return replace(source, notes=[*source.notes, note])


def _told(source: Source, levels: str, site: str | None) -> list[str]:
    """How folders were read, with an example, and the option that says otherwise."""
    example = next(_examples(source), None)
    if example is None:
        return []
    sites = source.images["site"].nunique()
    where = f", all of site {shown(site)}, as the folder is called" if site else f" ({count(sites, 'site')})"
    return [
        f"folders are read as {levels}{where}: {example}; {prepare_option('folders')} "
        "says what they are otherwise"
    ]


def _parts_passed_over(folder: InputFolder, levels: Sequence[str]) -> list[str]:
    """A note where folders at the top have the names of parts, which a person says are other levels."""
    parts = [name for name in folder.folders() if part_of(name)]
    if len(parts) < 2:
        return []
    return [f"the folders {parts[0]} and {parts[1]} are read as level {levels[0]}, and not as a split"]


def _examples(source: Source) -> Iterator[str]:
    """What was read of the first labelled image, or of the first one."""
    images = source.images
    labelled = images[images["label"] != UNLABELED]
    for row in (labelled if len(labelled) else images).head(1).itertuples():
        label = (
            "no label" if row.label == UNLABELED else f"label {shown(source.classes[int(str(row.label))])}"
        )
        place = "no site" if row.site is None else f"site {shown(str(row.site))}"
        yield f"{shown(str(PurePosixPath(str(row.filepath))))} has {place} and {label}"
