"""Files: atomic writes and digests."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from trapline.errors import TraplineError

MAX_JSON_BYTES = 256 << 20  # bytes
DEEPEST_JSON = 100  # brackets inside one another
TOO_DEEP = f"more than {DEEPEST_JSON} brackets inside one another"
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
            object_pairs_hook=_without_repetition,
        )
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_depth(content)
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice[:80]!r} comes twice in one object")
    return content


def _check_depth(content: Any) -> None:
    """Whoever reads on may recurse: what is deeper than any JSON of this project ends here."""
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


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_files(folder: Path) -> list[Path]:
    """The Python files below `folder` that make up its code, sorted; never `__pycache__`."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
