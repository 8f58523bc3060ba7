"""Files: atomic writes and digests."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from common.errors import TraplineError

CHUNK = 1 << 20  # bytes that are in memory while a file is copied


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
    """Read a JSON file; a missing or damaged one is a TraplineError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TraplineError(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TraplineError(f"{path}: not valid JSON ({error})") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_files(folder: Path) -> list[Path]:
    """The Python files below `folder` that make up its code, sorted; never `__pycache__`."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def folder_digest(folders: list[Path]) -> str:
    """SHA-256 over names and contents of the Python files in `folders`: equal code, equal digest."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in source_files(folder):
            digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()
