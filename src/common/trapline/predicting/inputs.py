"""The images that are to be predicted: whatever a person names, listed as preparation does, without labels.

Image files, folders of images however they lie, archives, S3 addresses, and every layout with a table that
`prepare.py` reads. A table says where and when; what it does not name in its folder is predicted as well.
Every input is one row: what cannot be read has its reason.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from trapline.data.quarantine import DELETED, OUTSIDE, VIDEO
from trapline.errors import TraplineError, UsageError
from trapline.job_options import PrepareOptions
from trapline.preparation.camera_folders import sites_of
from trapline.preparation.facts import with_sites
from trapline.preparation.input_folder import InputFolder, is_image_name
from trapline.preparation.listed_rows import VIDEOS
from trapline.preparation.listing import COLUMNS, TIME, UNLABELED, Reading, SiteRule, Source, printable
from trapline.preparation.raw_input import DEMO, LISTS, raw_input
from trapline.preparation.sources import LAYOUTS, read_source, unwrapped
from trapline.preparation.station_folders import ANY, LABEL, images_below, places
from trapline.preparation.together import INPUT
from trapline.s3 import is_s3
from trapline.storage import is_archive

# Layouts in which a table or a JSON names the images, and folders mean nothing.
BY_TABLE = ("competition", "label-tables", "coco", "camtrap-dp", "timelapse", "csv")


@dataclass(frozen=True)
class Listing:
    """What is to be predicted: a row for each image, indexed from 0, and notes on how they were found.

    rows: id, file (relative, with forward slashes), path (to open), site, sequence, time (as a table writes
    it; None), input (which of several), reason and detail (of what is not opened; None).
    """

    rows: pd.DataFrame
    notes: Sequence[str]


@contextlib.contextmanager
def listed(options: PrepareOptions, work: Path) -> Iterator[Listing]:
    """List the images of `options.input`, as local files for the length of the block.

    `work` is a folder for what is copied or unpacked. Raises TraplineError where an input cannot be read or
    there is no image, UsageError for an option that does not fit it.
    """
    alone = [given for given in options.input if _is_single(given)]
    others = tuple(given for given in options.input if given not in alone)
    frames, notes = [_of_files(alone)], []
    with contextlib.ExitStack() as stack:
        if others:
            rest = options.model_copy(update={"input": others})
            source, _, _ = stack.enter_context(raw_input(rest, work, read_images))
            frames.append(_of_source(source, several=len(others) > 1))
            notes += source.notes
        rows = pd.concat(frames, ignore_index=True)
        if rows.empty:
            raise TraplineError(f"{', '.join(options.input)}: no image is there")
        yield Listing(_apart(rows), notes)


def _is_single(given: str) -> bool:
    """Whether an input is one image file, by its name: no table, no archive, no folder."""
    named_otherwise = given == DEMO or is_s3(given) or given.lower().endswith(LISTS) or is_archive(given)
    return not named_otherwise and Path(given).is_file()


def _of_files(files: Sequence[str]) -> pd.DataFrame:
    """Rows of image files that are named themselves, called by their paths as far as these differ."""
    paths = [Path(given).absolute() for given in files]
    folders = [path.parent.parts for path in paths]
    depth = min(map(len, folders), default=0)
    common = next((level for level in range(depth) if len({parts[level] for parts in folders}) > 1), depth)
    names = [printable(PurePosixPath(*path.parts[common:]).as_posix()) for path in paths]
    cells = {"id": names, "file": names, "path": list(map(str, paths)), INPUT: [""] * len(names)}
    return _frame(cells, len(names))


def _frame(cells: Mapping[str, Sequence[Any]], count: int) -> pd.DataFrame:
    columns = ("id", "file", "path", "site", "sequence", TIME, INPUT, "reason", "detail")
    nothing = [None] * count
    return pd.DataFrame({name: list(cells.get(name, nothing)) for name in columns}, dtype=object)


def _of_source(source: Source, *, several: bool) -> pd.DataFrame:
    """The rows of a listing: its images, with the reason where one is not opened, and what was set aside."""
    images = source.images
    owners = list(images[INPUT]) if INPUT in images.columns else [""] * len(images)
    problems = [source.barred.get(path, (None, None)) for path in images["path"]]
    files = [
        f"{owner}/{file}" if several and owner else file
        for owner, file in zip(owners, images["filepath"], strict=True)
    ]
    told: dict[str, Sequence[Any]] = {
        "id": list(images["id"]),
        "file": files,
        "path": list(images["path"]),
        "site": list(images["site"]),
        "sequence": list(images["sequence"]),
        INPUT: owners,
        "reason": [reason for reason, _ in problems],
        "detail": [detail for _, detail in problems],
    }
    if TIME in images.columns:
        told[TIME] = list(images[TIME])
    aside = source.quarantined
    lost = {
        "id": [row.id for row in aside],
        "file": [row.filepath or row.id for row in aside],
        "path": [""] * len(aside),
        INPUT: [""] * len(aside),
        "reason": [row.reason for row in aside],
        "detail": [row.detail for row in aside],
    }
    frames = [_frame(told, len(images)), _frame(lost, len(aside))]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _apart(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with ids and files that tell them apart: of equal ones the second gets a number."""
    for name in ("id", "file"):
        again = rows.groupby(name, sort=False).cumcount()
        if again.any():
            rows[name] = [
                f"{text} ({number + 1})" if number else text
                for text, number in zip(rows[name], again, strict=True)
            ]
    return rows


# --- one input ----------------------------------------------------------------------------------------------


def read_images(
    folder: Path,
    rule: SiteRule,
    *,
    follow_links: bool = False,
    columns: Mapping[str, str] | None = None,
    reading: Reading | None = None,
) -> Source:
    """List the images of a folder, as `read_source` does, whatever labels they have or have not.

    Where a table names images, the others of the folder are listed too. What a table sets aside for its
    labels alone is an image like any other. A table of the folder that cannot be read, or is about other
    images, is noted, and the images are listed without it. Raises as `read_source` does for what a person
    names: a table, a layout, columns.
    """
    reading = replace(reading or Reading(), needs_labels=False)
    top = InputFolder(folder, follow_links, columns or {})
    if not folder.is_dir():
        raise TraplineError(f"{folder}: no such folder or file; give images, or a folder or table of them")
    by_table = reading.table is not None or _is_listed(unwrapped(top), reading)
    if not by_table:
        return with_sites(_below(top, reading), top, rule)
    own = replace(reading, folders=None, label_tag=None)
    try:
        source = read_source(folder, rule, follow_links=follow_links, columns=columns, reading=own)
    except TraplineError as error:
        is_asked = reading.table is not None or reading.layout is not None or bool(columns)
        if is_asked or isinstance(error, UsageError):
            raise
        found = with_sites(_below(top, reading), top, rule)
        return replace(found, notes=[f"{error}; the images are predicted without it", *found.notes])
    return _with_others(source, reading.media or top) if reading.table is None else source


def _is_listed(folder: InputFolder, reading: Reading) -> bool:
    """Whether a table or a JSON in the folder names the images, as is seen or as a person says."""
    if reading.layout is not None:
        return reading.layout in BY_TABLE
    if reading.folders:
        return False
    return any(layout.fits(folder, reading) for layout in LAYOUTS if layout.name in BY_TABLE)


def _below(folder: InputFolder, reading: Reading) -> Source:
    """All images below a folder; sites are what a person says of its folders, else the cameras' folders."""
    files, notes = images_below(folder)
    files = [file for file in files if "/" in file or is_image_name(file)]
    if reading.folders:
        levels = [ANY if level == LABEL else level for level in reading.folders.split("/")]
        found = places(files, levels, is_said=True)
        sites = [found[file.rpartition("/")[0]].site for file in files]
        sequences = [found[file.rpartition("/")[0]].sequence for file in files]
    else:
        sites = [
            None if site is None else printable(site)
            for site in sites_of([file.rpartition("/")[0] for file in files])
        ]
        sequences = [None] * len(files)
    names = [printable(file) for file in files]
    cells = {
        "id": names,
        "filepath": names,
        "path": [folder.full(file) for file in files],
        "label": [UNLABELED] * len(files),
        "site": sites,
        "sequence": sequences,
    }
    videos = {
        folder.full(file): (VIDEO, "a video, which is not read; give frames of it")
        for file in files
        if file.rpartition(".")[2].lower() in VIDEOS
    }
    outside = {path: (OUTSIDE, detail) for path, detail in folder.outside.items()}
    frame = pd.DataFrame(cells, columns=COLUMNS, dtype=object)
    known = sorted({site for site in sites if site})
    if known:
        notes = [*notes, f"sites are the folders of cameras, as {known[0]!r} ({len(known)} in all)"]
    return Source(frame, [], barred={**videos, **outside}, notes=notes)


def _with_others(source: Source, folder: InputFolder) -> Source:
    """`source` with the images of the folder that no table names, or names only to set them aside."""
    start = len(str(folder.path)) + 1
    named = {path[start:] for path in source.images["path"] if path.startswith(f"{folder.path}/")}
    deleted = {row.filepath for row in source.quarantined if row.reason == DELETED}
    below = _below(folder, Reading())
    relative = below.images["path"].str[start:]
    more = below.images[~relative.isin(named) & ~below.images["filepath"].isin(deleted)]
    more = more[[is_image_name(file) for file in more["filepath"]]]
    if more.empty:
        return source
    again = set(more["filepath"])
    kept = [row for row in source.quarantined if row.filepath not in again]
    alone = len(more) - (len(source.quarantined) - len(kept))
    if source.images["site"].notna().any():  # the table's own words for cameras, and no others
        more = more.assign(site=None)
    columns = {name: None for name in source.images.columns if name not in more.columns}
    images = pd.concat([source.images, more.assign(**columns)], ignore_index=True).astype(object)
    images = images.where(images.notna(), None)
    notes = [*source.notes]
    if alone:
        notes = [note for note in notes if "named by no row" not in note]
        notes.append(f"{alone} images are named by no row of a table; they are predicted all the same")
    barred = {**below.barred, **source.barred}
    return replace(source, images=images, quarantined=kept, barred=barred, notes=notes)
