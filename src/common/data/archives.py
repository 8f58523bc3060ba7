"""Raw images in an archive: recognised, and unpacked into a folder that the caller removes."""

import os
import shutil
from pathlib import Path

from common.errors import TraplineError
from common.unpacking import GIB, Limits, unpack
from common.unpacking_zip import unpack_zip

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
ZIP, GZIP = b"PK", b"\x1f\x8b"
# ImageNet has 1.4 million files in 150 GB; drawn pictures and bitmaps in a tar.gz can shrink to a fiftieth.
LIMITS = Limits(members=20_000_000, unpacked=4096 * GIB, ratio=100)


def is_archive(name: str) -> bool:
    """Whether a file or S3 key is an archive, by its name."""
    return name.lower().endswith(SUFFIXES)


def archive_in(path: Path) -> Path | None:
    """`path` where it is an archive, the archive in a folder that holds nothing else; None otherwise.

    A platform that takes folders alone mounts a single file as a folder with that file.
    """
    if path.is_file():
        return path if is_archive(path.name) else None
    if not path.is_dir():
        return None
    with os.scandir(path) as entries:
        first = next((entry for entry in entries if not entry.name.startswith(".")), None)
        others = any(not entry.name.startswith(".") for entry in entries)
    alone = first is not None and not others and first.is_file() and is_archive(first.name)
    return path / first.name if first is not None and alone else None


def unpack_images(archive: Path, folder: Path) -> Path:
    """Unpack `archive` into the new `folder`; return the folder with the images.

    That is `folder`, or the one folder in which an archive holds everything. Raises TraplineError as
    `common.unpacking.unpack` does, and where there is too little space for the images.
    """
    folder.mkdir(parents=True)
    packed, free = archive.stat().st_size, shutil.disk_usage(folder).free
    if packed > free:
        raise TraplineError(
            f"{folder.parent}: {packed / 1e9:.2f} GB from {archive.name} do not fit, {free / 1e9:.2f} GB are "
            "free; choose an --output on a larger disk"
        )
    print(f"unpacking {archive.name} ({packed / 1e6:.1f} MB)", flush=True)
    with archive.open("rb") as stream:
        begin = stream.read(2)
        stream.seek(0)
        if begin == ZIP:
            unpack_zip(archive, archive.name, folder, LIMITS)
        else:
            unpack(stream, archive.name, folder, LIMITS, compressed=begin == GZIP)
    return _top(folder)


def _top(folder: Path) -> Path:
    """Below folders that hold a single folder and nothing else, as archives of a whole folder do."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    return _top(entries[0]) if len(entries) == 1 and entries[0].is_dir() else folder
