"""Raw images: from what a person names to local files, and a listing of them.

They become local files first: unpacked from an archive or batches, copied from S3, or drawn. Copies lie
beside the results and not in them (a platform may upload what lies there while it is made), and go when the
block ends. Then they are listed, in whichever layout they have (`preparation.sources`). Several inputs are
one set.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trapline.column_names import numbered
from trapline.data.quarantine import MISSING, UNREADABLE
from trapline.errors import TraplineError
from trapline.job_options import PrepareOptions
from trapline.large_tables import collection_paused
from trapline.preparation.archives import archive_in, is_archive, raw_place, unpack_images
from trapline.preparation.cifar_batches import batches_in, write_class_folders
from trapline.preparation.demo import DemoSettings, draw_demo
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import Reading, SiteRule, Source
from trapline.preparation.sources import read_source
from trapline.preparation.together import named_inputs, together
from trapline.s3 import as_file, fetch, is_s3
from trapline.s3_copies import fetch_folder, remove_copy

DEMO = "demo"
MAX_NAME_LENGTH = 200  # bytes; a file system takes 255, and more is added
LISTS = (".json", ".csv", ".tsv", ".txt")  # what names images, and may be given itself
# What a KNOWN column is called by --columns, where that is another name.
OWN_NAMES = {"path": "filepath"}


@dataclass(frozen=True)
class Given:
    """An input as local files: its `folder`, and the table or JSON in it that was given itself, if any.

    `origin`: the s3:// URI that the folder is a copy of. `lost`: paths that gave no bytes, with the reason.
    `is_exact`: whether images came as pixels, small and uncompressed, and are worth packing without loss.
    """

    folder: Path
    table: Path | None = None
    origin: str | None = None
    lost: Mapping[str, tuple[str, str]] | None = None
    is_exact: bool = False


@contextlib.contextmanager
def raw_input(
    options: PrepareOptions, work: Path, read: Callable[..., Source] | None = None
) -> Iterator[tuple[Source, InputFolder, bool]]:
    """List what `input` names, folders, archives, tables, S3 URIs of them, or `demo`, as local files.

    Gives the listing, the folder of the first input, and whether all images came as pixels, small and
    uncompressed, and are worth packing without loss. `work` is a folder for what is unfinished, `read` lists
    a folder in the place of `read_source`. Messages name originals, not their copies. Raises TraplineError
    where it cannot be read.
    """
    called: dict[str, str] = {}  # copies, and what messages call them
    columns, rule = _columns(options), _site_rule(options, work, called)
    with contextlib.ExitStack() as stack:
        reading = Reading(
            layout=options.layout,
            copies=work / "media",
            folders=options.folders,
            label_tag=options.label_tag,
            machine_labels=options.machine_labels,
            among_others=len(options.input) > 1,
        )
        stack.enter_context(_naming_originals(called))
        if options.media:
            place = _local(options.media, "media", options, work, called, stack)
            media = InputFolder(place.folder, options.follow_links)
            reading = replace(reading, media=media, origin=place.origin)
        sources, folders, exact = [], [], []
        for number, given in enumerate(options.input):
            place = _local(given, f"{number}" if number else "", options, work, called, stack)
            own = replace(reading, table=place.table, origin=reading.origin or place.origin)
            with collection_paused():
                source = (read or read_source)(
                    place.folder, rule, follow_links=options.follow_links, columns=columns, reading=own
                )
            sources.append(replace(source, barred={**source.barred, **(place.lost or {})}))
            folders.append(InputFolder(place.folder, options.follow_links, columns))
            exact.append(place.is_exact)
        source = sources[0]
        if len(sources) > 1:
            named = zip(named_inputs(options.input), sources, strict=True)
            source = together(dict(named), options.same_sites)
        yield source, folders[0], all(exact)


def _columns(options: PrepareOptions) -> dict[str, str]:
    """What --columns, and --group-by where it means a column, say that columns are called."""
    found: dict[str, str] = {}
    for known, _, column in (text.partition("=") for text in options.columns):
        name = OWN_NAMES.get(known, known)
        number = sum(other.partition(" ")[0] == name for other in found) + 1
        found[numbered(name, number)] = column
    if options.group_by not in (None, "site", "sequence", "date"):
        found["group"] = options.group_by
    return found


def _site_rule(options: PrepareOptions, work: Path, called: dict[str, str]) -> SiteRule:
    csv: Path | str | None = options.site_csv
    if is_s3(str(csv)):
        called[str(work / "sites.csv")] = str(csv)
        csv = fetch(str(csv), work / "sites.csv")
    return SiteRule(csv, re.compile(options.site_regex) if options.site_regex else None)


@contextlib.contextmanager
def _naming_originals(called: Mapping[str, str]) -> Iterator[None]:
    """Let messages name the originals of copies, as `called` says."""
    try:
        yield
    except TraplineError as error:
        message = str(error)
        for copy, original in called.items():
            message = message.replace(copy, original)
        raise type(error)(message) from None


def _beside(place: Path, what: str) -> Path:
    """A hidden folder beside `place`, of its name; of a long one's digest, for names have an end."""
    name = place.name.encode(errors="surrogateescape")
    return (
        place.parent
        / f".{place.name if len(name) <= MAX_NAME_LENGTH else hashlib.sha256(name).hexdigest()}.{what}"
    )


def _check_inside(folder: Path, files: Sequence[Path], follow_links: bool) -> None:
    """Raise TraplineError where one of the `files` found in `folder` leads out of it."""
    place = InputFolder(folder, follow_links)
    for path in files if folder.is_dir() else ():
        place.table(path.relative_to(folder).as_posix())


def _local(
    given: str,
    what: str,
    options: PrepareOptions,
    work: Path,
    called: dict[str, str],
    stack: contextlib.ExitStack,
) -> Given:
    """One input, or the media, as local files, which go when `stack` ends; `what` tells copies apart."""
    output, original = Path(options.output).resolve(), given.rstrip("/")
    copy, unpacked, single = (_beside(output, f"{kind}{what}") for kind in ("s3", "unpacked", "images"))
    for folder in (unpacked, single):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stack.callback(remove_copy, copy)
    place = _found(given, copy, work / (what or "raw"), options)
    if is_s3(given):
        called[str(place.folder)] = original
    folder = place.folder
    if archive := archive_in(folder):
        _check_inside(folder, [archive], options.follow_links)
        folder = unpack_images(archive, unpacked)
        called[str(folder)] = original
        place = replace(place, folder=folder, table=_list_alone(folder))
    if batches := batches_in(folder):
        _check_inside(folder, sorted(batches.iterdir()), options.follow_links)
        folder = write_class_folders(batches, single)
        called[str(folder)] = original
        place = replace(place, folder=folder, is_exact=True)
    return place


def _list_alone(folder: Path) -> Path | None:
    """The one file of a folder, where it names images that lie elsewhere: a zipped JSON."""
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    alone = len(files) == 1 and files[0].is_file() and files[0].name.lower().endswith(LISTS)
    return files[0] if alone else None


def _found(given: str, copy: Path, work: Path, options: PrepareOptions) -> Given:
    if is_s3(given):
        return _found_in_s3(given, copy, work, options)
    if given != DEMO:
        path = Path(given)
        if path.is_file() and path.name.lower().endswith(LISTS):
            return Given(path.parent, table=path)
        return Given(path)
    demo = DemoSettings(
        images=options.demo_images,
        unlabeled=options.demo_unlabeled,
        sites=options.demo_sites,
        seed=options.seed,
    )
    print(f"drawing {demo.images} demo images: artificial, not photographs", flush=True)
    draw_demo(work, demo, options.processes)
    return Given(work)


def _found_in_s3(uri: str, copy: Path, work: Path, options: PrepareOptions) -> Given:
    """Copies from S3: of an archive, of a folder, or of a table with, unless there is --media, its folder."""
    if uri.lower().endswith(LISTS):
        place = as_file(uri)
        if options.media:
            return Given(work, table=fetch(place.uri, work / place.name))
        above = f"{place.uri.rpartition('/')[0]}/"
        lost = _copied_from_s3(above, copy)
        return Given(copy, copy / place.name, above, lost)
    place = raw_place(uri)
    if place.kind == "object":
        return Given(fetch(place.uri, work / place.name))
    return Given(copy, origin=place.uri, lost=_copied_from_s3(uri, copy))


def _copied_from_s3(uri: str, folder: Path) -> dict[str, tuple[str, str]]:
    """Copy the raw images; an object that gives no bytes becomes a link to nowhere, listed but unreadable.

    Tables at the top must be there: without its labels a set would pass for an unlabelled one.
    """
    lost = {}
    for name, problem in fetch_folder(uri, folder, may_fail=_may_fail).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(folder / "no bytes from S3" / "no such file")
        lost[str(path)] = (MISSING if problem.missing else UNREADABLE, problem.detail)
    return lost


def _may_fail(name: str) -> bool:
    """Whether the set can be read without this object: tables, words and archives are no single images."""
    return not name.lower().endswith(LISTS) and not is_archive(name) if "/" not in name else True
