"""The records of a large JSON, one after another: the metadata of a million images.

Such a file is an object that holds lists of records. Only one record of it is in memory at a time. NaN and
infinity, which pandas writes into JSON, are read as nothing.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from trapline.errors import TraplineError
from trapline.storage import DEEPEST_JSON, TOO_DEEP, check_depth, without_repetition

MAX_BYTES = 4 << 30  # of a file; that of seven million images has half of that
MAX_RECORD = 64 << 20  # characters
CHUNK = 1 << 20  # characters that are read at once
MEMBER = object()  # stands for the beginning of a member of the object
SPACE = re.compile(r"[ \t\n\r]*")
BETWEEN = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
DECODER = json.JSONDecoder(parse_constant=lambda _: None, object_pairs_hook=without_repetition)


def records(path: Path, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The members of the object in the JSON `path`: of each (name, MEMBER), then of `lists` their records.

    Raises TraplineError, naming the file and the line, where it cannot be read, is no JSON in UTF-8, holds no
    object, has one of `lists` that is no list, a key twice in one object, more than DEEPEST_JSON brackets
    inside one another in a record, a record of more than MAX_RECORD characters, or more than MAX_BYTES.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TraplineError(f"{path}: more than {MAX_BYTES >> 30} GiB; divide it, and give its parts")
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _members(_Text(file), lists)
    except FileNotFoundError:
        raise TraplineError(f"{path}: no such file") from None
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except UnicodeDecodeError:
        raise TraplineError(f"{path}: is no UTF-8, as JSON is; save it as such") from None
    except ValueError as error:
        raise TraplineError(f"{path}: not valid JSON ({error}); write or download it again") from None


def _members(text: "_Text", lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    text.take("{", "an object, { ... }")
    seen: set[str] = set()
    is_last = text.sign() == "}"
    while not is_last:
        name = text.value()
        if not isinstance(name, str) or name in seen:
            raise ValueError(
                f"line {text.line()}: {str(name)[:80]!r} is no key, or comes twice in one object"
            )
        seen.add(name)
        yield name, MEMBER
        text.take(":", "a colon")
        if name in lists and text.sign() != "[":
            raise ValueError(f"line {text.line()}: its {name!r} is no list")
        if text.sign() == "[":
            is_wanted = name in lists
            for record in text.records():
                if is_wanted:
                    yield name, record
        else:
            text.value()
        is_last = text.take(",}", "a comma or }") == "}"
    if not seen:
        text.take("}", "the end")
    if text.sign():
        raise ValueError(f"line {text.line()}: something follows after its end")


class _Text:
    """The text of a JSON, of which a part is in memory: from where it was read to the end of a chunk."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.text, self.at = file, "", 0
        self.lines = 1  # before the part

    def line(self, place: int | None = None) -> int:
        """The line of a place in the part, or of where it was read to."""
        return self.lines + self.text.count("\n", 0, self.at if place is None else place)

    def sign(self) -> str:
        """The next character that is no blank, which stays to be read; none at the end of the file."""
        while True:
            self.at = SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._read_on():
                return ""

    def take(self, signs: str, called: str) -> str:
        """The next character, which must be one of `signs`. Raises ValueError, saying what it should be."""
        found = self.sign()
        if not found or found not in signs:
            where = "ends too early" if not found else f"line {self.line()}: not {found!r}"
            raise ValueError(f"{where}: {called} should follow")
        self.at += 1
        return found

    def value(self) -> Any:
        """The next value, whole. Raises ValueError where it is none."""
        self.sign()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
                fault = None
            except json.JSONDecodeError as error:
                fault, end = error, len(self.text)  # perhaps only because its end is not read yet
            except RecursionError:
                raise ValueError(f"line {self.line()}: {TOO_DEEP}") from None
            if end == len(self.text) and self._has_room() and self._read_on():
                continue
            if fault is not None:
                raise ValueError(f"line {self.line(fault.pos)}: {fault.msg}")
            return self._taken(value, end)

    def records(self) -> Iterator[Any]:
        """The values of the list that follows."""
        self.take("[", "a list")
        if self.sign() == "]":
            self.at += 1
            return
        while True:
            yield self.value()
            found = BETWEEN.match(self.text, self.at)  # most often in the part that is read
            if found and found.end() < len(self.text):
                self.at = found.end()
            elif self.take(",]", "a comma or ]") == "]":
                return

    def _taken(self, value: Any, end: int) -> Any:
        # Only what has so many brackets can have so many inside one another.
        if self.text.count("[", self.at, end) + self.text.count("{", self.at, end) > DEEPEST_JSON:
            check_depth(value)
        self.at = end
        return value

    def _has_room(self) -> bool:
        return len(self.text) - self.at <= MAX_RECORD

    def _read_on(self) -> bool:
        """Read a chunk, or as much again as is not done with; False at the end of the file."""
        rest = self.text[self.at :]
        new = self.file.read(max(CHUNK, len(rest)))
        if new:
            self.lines = self.line()
            self.text, self.at = rest + new, 0
        return bool(new)
