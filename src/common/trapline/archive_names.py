"""Archives by their names: those that are read, and those that are not."""

import re
from collections.abc import Mapping

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
STORED = 0  # gzip's level for models: any other makes weights smaller by 7% and takes eight times as long
READ_ARCHIVES = ".zip, .tar, .tar.gz, .tar.bz2 or .tar.xz"
UNREAD_SUFFIXES: Mapping[str, tuple[str, ...]] = {  # kind of archive that is not read -> its suffixes
    "a 7-Zip archive": (".7z",),
    "a RAR archive": (".rar",),
    "packed with Zstandard": (".zst", ".tzst"),
    "packed with LZ4": (".lz4",),
    "packed with compress": (".z", ".taz"),
    "packed with lzip": (".lz", ".tlz"),
    "packed with lzop": (".lzo",),
    "packed with LZMA": (".lzma",),
    "an archive of WinZip's own kind": (".zipx",),
    "a disc image": (".iso", ".dmg"),
    "a packed file, but no .tar by its name": (".gz", ".bz2", ".xz"),
}
PART = re.compile(
    r"\.(zip|7z|rar|tar|tgz|gz|bz2|xz|zst)\.(\d{2,}|(?![glx]z$)[a-z]{2})$|\.[rz]\d\d$|\.part\d+\.rar$"
)


def is_archive(name: str) -> bool:
    """Whether a file or S3 key is an archive that is read, by its name."""
    return name.lower().endswith(SUFFIXES)


def unread_kind(name: str) -> str | None:
    """What kind of archive that is not read has such a name; None where it is none."""
    if is_archive(name):
        return None
    return next((kind for kind, ends in UNREAD_SUFFIXES.items() if name.lower().endswith(ends)), None)


def is_part(name: str) -> bool:
    """Whether it is one of the files of an archive that was split, by its name alone."""
    return bool(PART.search(name.lower()))
