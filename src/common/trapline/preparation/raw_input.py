"""Raw images as local files: where they lie, unpacked from an archive or batches, copied from S3, or drawn.

Copies lie beside the results and not in them (a platform may upload what lies there while it is made), and go
when the block ends.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trapline.data.quarantine import MISSING, UNREADABLE
from trapline.errors import TraplineError
from trapline.preparation.archives import archive_in, is_archive, unpack_images
from trapline.preparation.cifar_batches import batches_in, write_class_folders
from trapline.preparation.demo import DemoSettings, draw_demo
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import SiteRule, Source
from trapline.preparation.packing import Unusable
from trapline.preparation.raw_places import raw_place
from trapline.preparation.sources import read_source
from trapline.s3 import fetch, is_s3
from trapline.s3_folder import fetch_folder, remove_copy

DEMO = "demo"
MAX_NAME_LENGTH = 200  # bytes; a file system takes 255, and more is added


@dataclass(frozen=True)
class RawInput:
    """Where the raw images lie, the rule for sites, and the files of which S3 gave no bytes, by path.

    shown: the copies, and what messages call them. exact: the images came as pixels, small and uncompressed,
    and are worth packing without loss.
    """

    folder: Path
    rule: SiteRule
    lost: Mapping[str, Unusable] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False
    follow_links: bool = False

    def read(self) -> Source:
        """List the inputs; messages name the original, not its copy. Raises as `read_source` does."""
        with _naming_originals(self.shown):
            return read_source(self.folder, self.rule, follow_links=self.follow_links)


@contextlib.contextmanager
def _naming_originals(shown: Mapping[str, str]) -> Iterator[None]:
    """Let messages name the originals of copies, as `RawInput.shown` says."""
    try:
        yield
    except TraplineError as error:
        message = str(error)
        for copy, original in shown.items():
            message = message.replace(copy, original)
        raise type(error)(message) from None


@contextlib.contextmanager
def raw_input(
    given: str,
    output: Path,
    work: Path,
    rule: SiteRule,
    demo: DemoSettings,
    *,
    processes: int | None = None,
    follow_links: bool = False,
) -> Iterator[RawInput]:
    """What `given` names, a folder, an archive, an S3 URI of either, or `demo`, as local files.

    `output` is the folder of the results, `work` one for what is unfinished. `processes` draw the demo images
    (None: one for each core). `follow_links`: whether links in the folder may lead out of it. Raises
    TraplineError where it cannot be read.
    """
    place = output.resolve()
    copy, unpacked, single = (_beside(place, what) for what in ("s3", "unpacked", "images"))
    shown = {}
    if is_s3(str(rule.csv)):
        shown[str(work / "sites.csv")] = str(rule.csv)
        rule = replace(rule, csv=fetch(str(rule.csv), work / "sites.csv"))
    for folder in (unpacked, single):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    try:
        folder, lost = _found(given, copy, work, demo, processes)
        if is_s3(given):
            shown[str(folder)] = given.rstrip("/")
        with _naming_originals(shown):
            archive = archive_in(folder)
            if archive is not None:
                _check_inside(folder, [archive], follow_links)
                folder = unpack_images(archive, unpacked)
        if archive is not None:
            shown[str(folder)] = given.rstrip("/")
        batches = batches_in(folder)
        if batches is not None:
            _check_inside(folder, sorted(batches.iterdir()), follow_links)
            with _naming_originals(shown):
                folder = write_class_folders(batches, single)
            shown[str(folder)] = given.rstrip("/")
        yield RawInput(folder, rule, lost, shown, exact=batches is not None, follow_links=follow_links)
    finally:
        remove_copy(copy)
        for folder in (unpacked, single):
            shutil.rmtree(folder, ignore_errors=True)


def _beside(place: Path, what: str) -> Path:
    """A hidden folder beside `place`, of its name; of a long one's digest, for names have an end."""
    name = place.name.encode(errors="surrogateescape")
    return (
        place.parent
        / f".{place.name if len(name) <= MAX_NAME_LENGTH else hashlib.sha256(name).hexdigest()}.{what}"
    )


def _check_inside(folder: Path, files: Sequence[Path], follow_links: bool) -> None:
    """Raise TraplineError where one of the `files` found in `folder` leads out of it."""
    if not folder.is_dir():
        return
    place = InputFolder(folder, follow_links)
    for path in files:
        place.table(path.relative_to(folder).as_posix())


def _found(
    given: str, copy: Path, work: Path, demo: DemoSettings, processes: int | None
) -> tuple[Path, dict[str, Unusable]]:
    if is_s3(given):
        place = raw_place(given)
        if place.kind == "object":
            return fetch(place.uri, work / place.name), {}
        return copy, _copied_from_s3(given, copy)
    if given != DEMO:
        return Path(given), {}
    print(f"drawing {demo.images} demo images: artificial, not photographs", flush=True)
    draw_demo(work / "raw", demo, processes)
    return work / "raw", {}


def _copied_from_s3(uri: str, folder: Path) -> dict[str, Unusable]:
    """Copy the raw images; an object that gives no bytes becomes a link to nowhere, listed but unreadable.

    Tables at the top must be there: without its labels a set would pass for an unlabelled one.
    """
    problems = fetch_folder(uri, folder, may_fail=_may_fail)
    lost = {}
    for name, problem in problems.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(folder / "no bytes from S3" / "no such file")
        lost[str(path)] = Unusable(MISSING if problem.missing else UNREADABLE, problem.detail)
    return lost


def _may_fail(name: str) -> bool:
    """Whether the set can be read without this object: tables, words and archives are no single images."""
    return not name.endswith((".csv", ".txt")) and not is_archive(name) if "/" not in name else True
