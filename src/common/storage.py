"""Files: atomic writes, digests, and reading from a path or an S3 URI."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from common.errors import TraplineError

CHUNK = 1 << 20


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


def is_s3(uri: str) -> bool:
    """Whether `uri` names an object or a prefix in S3."""
    return uri.startswith("s3://")


def fetch(uri: str, target: Path) -> Path:
    """Copy an object in S3 to the local file `target` and return it.

    Credentials, region and endpoint come from the usual AWS settings. Raises TraplineError when the
    object is missing or cannot be read.
    """
    import s3fs

    try:
        with s3fs.S3FileSystem(anon=False).open(uri, "rb") as source, atomic_file(target) as file:
            shutil.copyfileobj(source, file, CHUNK)
    except FileNotFoundError:
        raise TraplineError(f"{uri}: no such object in S3") from None
    except Exception as error:  # botocore, aiohttp and s3fs each raise their own
        raise TraplineError(f"{uri}: cannot be read from S3 ({type(error).__name__}: {error})") from error
    return target
