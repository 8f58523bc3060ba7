"""Labels that are tags in the images: `--label-tag Species` takes Leopard Cat from Species|Leopard Cat.

The tags are those that Lightroom, digiKam, darktable, ACDSee and others write (`preparation.image_keywords`).
Of several levels below the tag the last is the label; several tags are several labels; an image without one
is unlabelled. Sites are folders, those that `--folders` says or those that tell cameras apart.
"""

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from trapline.console import progress
from trapline.data.quarantine import BAD_NAME, Quarantined
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import prepare_option
from trapline.names import Kind, fault, key, shown
from trapline.preparation.image_keywords import DamagedMetadata, Tag, tags_in
from trapline.preparation.input_folder import InputFolder, NotInside
from trapline.preparation.listed_rows import source_of, statements
from trapline.preparation.listing import Reading, Source, printable
from trapline.preparation.mapped_tables import with_folders
from trapline.preparation.media import Media
from trapline.preparation.splits import count
from trapline.preparation.station_folders import LABEL, images_below, places

LAYOUT = "tags"
WHERE = "the images"  # in the place of a table's name, in messages
SIDECARS = (".xmp", ".XMP")
AT_ONCE, CHUNK = 16, 64  # threads, and images that one takes at a time
SHOWN = 5


@dataclass(frozen=True)
class Tagged:
    """What metadata say of an image: its labels, the topmost of other tags, and what is wrong with them."""

    labels: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    problem: str | None = None


@dataclass
class _Seen:
    """What is counted of all images: other tags, and those whose metadata cannot be read, with the reason."""

    others: Counter[str] = field(default_factory=Counter)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    labelled: int = 0


def is_tagged(folder: InputFolder, reading: Reading) -> bool:
    """Whether a person says that labels are tags, of a folder."""
    return reading.table is None and reading.label_tag is not None


def read_tagged(folder: InputFolder, reading: Reading) -> Source:
    """List the images below `folder`, with the labels that their tags below `--label-tag` say.

    The id is the relative path. Images with a label that none may have are quarantined. Raises TraplineError
    where no image has such a tag, with the tags that there are, if it is the only input; UsageError where
    `--folders` says labels as well.
    """
    levels = _levels(reading)
    wanted = tuple(key(part, Kind.CLASS) for part in _parts(str(reading.label_tag)))
    files, notes = images_below(folder)
    seen = _Seen()
    quarantined: list[Quarantined] = []
    pairs: list[tuple[str, str | None]] = []
    for file, tagged in zip(files, _every_tagged(folder, files, wanted), strict=True):
        _count(seen, file, tagged)
        if bad := next((name for name in tagged.labels if fault(name, Kind.CLASS)), None):
            detail = f"its label {shown(bad)} {fault(bad, Kind.CLASS)}"
            quarantined.append(Quarantined(printable(file), printable(file), BAD_NAME, detail))
            continue
        pairs += [(file, label) for label in tagged.labels or (None,)]
    notes += _told(folder, reading, seen, len(files))
    media = Media(folder)
    source = _source(pairs, levels, media, notes)
    source = replace(source, quarantined=[*quarantined, *source.quarantined])
    return source if levels else with_folders(source, media, prepare_option("folders", "site"))


def _levels(reading: Reading) -> list[str]:
    """What --folders says of the levels. Raises UsageError where it says labels."""
    levels = reading.folders.split("/") if reading.folders else []
    if LABEL in levels:
        raise UsageError(
            f"{prepare_option('folders', '/'.join(levels))}: labels are tags, as "
            f"{prepare_option('label-tag', reading.label_tag)} says; write * in the place of label, or "
            "leave out one of both"
        )
    return levels


def _source(
    pairs: Sequence[tuple[str, str | None]], levels: Sequence[str], media: Media, notes: Sequence[str]
) -> Source:
    """The source of images and their labels, a pair for each label."""
    files = [file for file, _ in pairs]
    place_of = places(files, levels, is_said=True)
    said = [place_of[file.rpartition("/")[0]] for file in files]
    rows = statements(
        WHERE,
        range(1, len(pairs) + 1),
        file=files,
        label=[label for _, label in pairs],
        site=[place.site for place in said],
        sequence=[place.sequence for place in said],
    )
    return source_of(rows, media, notes=notes)


# --- reading tags -------------------------------------------------------------------------------------------


def _every_tagged(folder: InputFolder, files: Sequence[str], wanted: Tag) -> Iterator[Tagged]:
    """What the metadata of each file say, in their order; read by several threads."""
    beside = {name for name in folder.files() if name.endswith(SIDECARS)}
    read = functools.partial(_all_tagged, folder, beside, wanted)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
        found = itertools.chain.from_iterable(threads.map(read, chunks))
        yield from progress(found, "reading tags", len(files))


def _all_tagged(
    folder: InputFolder, beside: Iterable[str], wanted: Tag, files: Sequence[str]
) -> list[Tagged]:
    return [_tagged(folder, beside, wanted, file) for file in files]


def _tagged(folder: InputFolder, beside: Iterable[str], wanted: Tag, file: str) -> Tagged:
    """What the metadata of an image say; nothing of one that may not be opened."""
    stem = file[: file.rfind(".")] if "." in file.rpartition("/")[2] else file
    sidecars = [f"{name}{suffix}" for name in dict.fromkeys((file, stem)) for suffix in SIDECARS]
    try:
        path = folder.full(folder.find(file))
        found = [folder.full(folder.find(name)) for name in sidecars if name in beside]
        every = tags_in(path, found)
    except NotInside:
        return Tagged()
    except DamagedMetadata as problem:
        return Tagged(problem=str(problem))
    labels = next((labels for tags in every if (labels := labels_of(tags, wanted))), ())
    others = () if labels else tuple({tag[0] for tags in every[:1] for tag in tags if tag})
    return Tagged(labels, others)


def labels_of(tags: Sequence[Tag], wanted: Tag) -> tuple[str, ...]:
    """The labels of an image: of each tag that goes on below `wanted`, keys of names, the last level.

    A tag that another one goes on below is none, as programs write those above beside them.
    """
    below = {}
    for tag in tags:
        names = tuple(key(part, Kind.CLASS) for part in tag)
        starts = range(len(names) - len(wanted) + 1)
        start = next((at for at in starts if names[at : at + len(wanted)] == wanted), None)
        if start is not None and len(names) > start + len(wanted):
            below[names[start + len(wanted) :]] = tag[-1]
    last = {names: label for names, label in below.items() if not _goes_on(names, below)}
    return tuple(dict.fromkeys(last.values()))


def _goes_on(names: Tag, every: Iterable[Tag]) -> bool:
    return any(len(other) > len(names) and other[: len(names)] == names for other in every)


def _parts(tag: str) -> list[str]:
    """The levels of --label-tag, as a person types them."""
    return [part for part in re.split(r"[|/]", tag) if part.strip()] or [tag]


# --- what is said of it -------------------------------------------------------------------------------------


def _count(seen: _Seen, file: str, tagged: Tagged) -> None:
    seen.labelled += bool(tagged.labels)
    seen.others.update(tagged.others)
    if tagged.problem:
        seen.damaged.append((file, tagged.problem))


def _told(folder: InputFolder, reading: Reading, seen: _Seen, images: int) -> list[str]:
    """How many images have labels, and whose metadata cannot be read.

    Raises TraplineError where none has, if there is no other input.
    """
    asked = prepare_option("label-tag", reading.label_tag)
    most = sorted(seen.others.items(), key=lambda found: (-found[1], found[0]))[:SHOWN]
    other = ", ".join(f"{shown(name)} ({number})" for name, number in most)
    notes = [f"{asked}: {count(seen.labelled, 'image')} of {images} have such a tag"]
    if seen.damaged:
        file, problem = seen.damaged[0]
        notes.append(
            f"the tags of {count(len(seen.damaged), 'image')} cannot be read, as of "
            f"{shown(printable(file))}: {problem}"
        )
    if seen.labelled:
        return notes
    said = f"the tags that there are begin with {other}" if other else "they have no tags at all"
    if not reading.among_others:
        more = "".join(f"; {note}" for note in notes[1:])
        way_out = (
            "name one of them"
            if other
            else "tags of JPEG and PNG files, and in XMP files beside images, are read: write them there, or "
            "sort the images into folders"
        )
        raise TraplineError(
            f"{folder.path}: {asked}: no image of {images} has a tag below it; {said}{more}; {way_out}"
        )
    return [*notes, f"{asked}: no image has a tag below it, all are unlabelled; {said}"]
