"""Files and folders: atomic writes, JSON, digests, archives by name, the CSV tables that people open, locks.

What a spreadsheet would run as a formula is text, and stays text. Excel and LibreOffice take a cell for a
formula that begins with `=`, `+`, `-`, `@`, a tab, the end of a line, or a wide form of the signs: a class or
a file called `=HYPERLINK(...)` would be one. Such a cell is written with an apostrophe before it, and one
that has apostrophes there already with one more, so that whoever reads takes exactly one away. Plain numbers
stay numbers.
"""

import contextlib
import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from trapline.errors import TraplineError

MAX_JSON_BYTES = 256 << 20  # bytes
DEEPEST_JSON = 100  # brackets inside one another
TOO_DEEP = f"more than {DEEPEST_JSON} brackets inside one another"
CHUNK = 1 << 20  # bytes that are in memory while a file is copied
IDS = ("id", "ImageID")  # columns that other tables are joined by: their cells are never touched
FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan|inf)")
ATTEMPTS = 100  # each fails only where another process removes the folder at that very moment
# Why a folder stays: it is not empty (systems differ), is gone already, another disk's place, a link to one.
STAYS = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EBUSY, errno.ENOTDIR)


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of `path` only when the block ends without an error.

    A reader, or a process started after a kill, sees the old content or the new one, never a part.
    `mode` and `options` are those of `open`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open(mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as readable JSON, atomically; NaN and infinity are refused (ValueError)."""
    with atomic_file(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file as `parse_json` does; a missing or damaged one is a TraplineError that names it."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise TraplineError(
                f"{path}: more than {MAX_JSON_BYTES >> 20} MiB, which no JSON of this project has"
            )
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise TraplineError(f"{path}: no such file") from None
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except ValueError as error:
        raise TraplineError(f"{path}: not valid JSON ({error}); write or download it again") from None


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON in UTF-8, with a byte order mark or without.

    Raises ValueError, and nothing else, for what is none or cannot be relied on: NaN and infinity, a key
    twice in one object, more than DEEPEST_JSON brackets inside one another, a number of thousands of digits.
    """
    decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    try:
        content = json.loads(
            decoded.removeprefix("\ufeff"),
            parse_constant=_refuse_constant,
            object_pairs_hook=without_repetition,
        )
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    check_depth(content)
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a key that comes twice in it."""
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice[:80]!r} comes twice in one object")
    return content


def check_depth(content: Any) -> None:
    """Raise ValueError for more than DEEPEST_JSON brackets inside one another: a reader may recurse."""
    level = [content]
    for _ in range(DEEPEST_JSON + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(TOO_DEEP)


def json_digest(content: Any) -> str:
    """SHA-256 of plain JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_files(folder: Path) -> list[Path]:
    """The Python files below `folder` that make up its code, sorted; never `__pycache__`."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


# --- what an archive's name says ----------------------------------------------------------------------------

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


# --- tables that people open --------------------------------------------------------------------------------


def neutralised(text: str) -> str:
    """`text`, with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def restored(cell: str) -> str:
    """The text of which `neutralised` made `cell`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def joined(labels: Sequence[str]) -> str:
    """Labels in one cell: a space between them, and an underscore for a space in one."""
    return " ".join("_".join(label.split()) for label in labels)


def write_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    exact: Collection[str] | None = IDS,
    line_end: str = "\r\n",
) -> None:
    """Write a CSV file in UTF-8, atomically, with its texts neutralised but for the columns in `exact`.

    `exact` None: nothing is touched, for what programs alone read. A cell of None is empty. Names that are
    not valid UTF-8 are written with escapes. Raises OSError.
    """
    kept = [exact is None or column in exact for column in columns]
    with atomic_file(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator=line_end)
        writer.writerow(_cells(columns, kept))
        writer.writerows(_cells(row, kept) for row in rows)


def _cells(row: Sequence[object], kept: Sequence[bool]) -> list[object]:
    return [
        neutralised(cell) if isinstance(cell, str) and not exact else cell
        for cell, exact in zip(row, kept, strict=True)
    ]


@contextlib.contextmanager
def work_folder(place: Path) -> Iterator[Path]:
    """An empty folder at `place` that goes with the block; what a killed run left there goes first."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


# --- folders that several processes hold one after another, and that go when nobody needs them --------------
# A lock is good only while what is locked is still what lies at its path: between making a folder and locking
# it, whoever held it before may have removed it. So whoever locks looks again and makes it anew, and whoever
# removes holds the lock.


def hold(folder: Path, name: str | None = None, *, wait: bool = True, mode: int = 0o777) -> int:
    """A descriptor that holds the lock on `folder`, which is made where needed; closing it lets go.

    `name`: a file in the folder that is locked in its place. `mode`: of a folder that is made. Raises
    BlockingIOError where another process holds it and `wait` is false, OSError where the folder cannot be
    made or opened.
    """
    path = folder / name if name else folder
    for _ in range(ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):  # removed since it was made, or the folder above it was
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT if name else os.O_RDONLY, 0o666)
            with contextlib.ExitStack() as stack:
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    stack.pop_all()
                    return descriptor
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


@contextlib.contextmanager
def held(folder: Path, name: str | None = None, *, mode: int = 0o777, waiting: str = "") -> Iterator[None]:
    """Hold `folder` while the block runs, once nobody else does. It goes at the end where it is empty.

    `name` and `mode`: as for `hold`. `waiting` is printed where another process holds it.
    """
    try:
        descriptor = hold(folder, name, wait=not waiting, mode=mode)
    except BlockingIOError:
        print(waiting, flush=True)
        descriptor = hold(folder, name, mode=mode)
    try:
        yield
    finally:
        remove_empty(folder)
        os.close(descriptor)


def remove_empty(folder: Path) -> None:
    """Remove a folder that nobody needs; one that has content stays. Hold it, or make it as `hold` does."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in STAYS:
            print(f"note: {folder}: empty, and cannot be removed ({error.strerror})", flush=True)
