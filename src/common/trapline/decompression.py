"""Compressed bytes of archives from elsewhere: gzip, bzip2 and xz, told by the first bytes, never by a name.

Bytes are read once, forwards, and counted as they lie in the file, so that what comes out of them can be held
against it.
"""

import bz2
import functools
import gzip
import io
import lzma
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

BLOCK = 1 << 16
XZ_MEMORY = 256 << 20  # bytes; xz -9 takes 65 MiB
FIRST_BYTES = 10  # that tell how a file is compressed
GZIP = re.compile(rb"\x1f\x8b")
Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor
STREAMS: Mapping[re.Pattern[bytes], Callable[[], Decompressor]] = {
    re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"): bz2.BZ2Decompressor,
    re.compile(rb"\xfd7zXZ\0"): functools.partial(
        lzma.LZMADecompressor, format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY
    ),
}


class Refused(Exception):
    """Why an archive is not unpacked, without its name."""


@dataclass
class Packed:
    """The bytes of an archive as they lie in the file, counted; its start can be looked at first."""

    stream: IO[bytes]
    count: int = 0
    start: bytes = b""

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end. Raises Refused where the file cannot be read."""
        block, self.start = (self.start, b"") if size < 0 else (self.start[:size], self.start[size:])
        if len(block) != size:
            block += self._fresh(size - len(block) if size >= 0 else -1)
        self.count += len(block)
        return block

    def peek(self) -> bytes:
        """The first bytes, which `read` will give once more."""
        self.start = self.start or self._fresh(FIRST_BYTES)
        return self.start

    def _fresh(self, size: int) -> bytes:
        try:
            block = self.stream.read(size)
            while 0 < len(block) < size and (more := self.stream.read(size - len(block))):
                block += more
        except OSError as error:
            raise Refused(f"cannot be read ({error.strerror or error}); copy or download it again") from None
        return block


def decompressed(packed: Packed) -> IO[bytes]:
    """What gzip, bzip2 or xz has packed, or the bytes as they are; `damage` words the errors of reading."""
    start = packed.peek()
    if GZIP.match(start):
        return cast(IO[bytes], gzip.GzipFile(fileobj=cast(Any, packed)))
    for first_bytes, new in STREAMS.items():
        if first_bytes.match(start):
            return cast(IO[bytes], io.BufferedReader(_Streams(packed, new), BLOCK))
    return cast(IO[bytes], packed)


def is_compressed(start: bytes) -> bool:
    """Whether a file that begins with `start` is one that `decompressed` unpacks."""
    return any(first_bytes.match(start) for first_bytes in (GZIP, *STREAMS))


def damage(error: Exception, member: str | None = None) -> Refused:
    """What a decompressor's `error` says about the archive, or about one `member` of it."""
    if "memory usage limit" in str(error).lower():
        return Refused(
            f"takes more than {XZ_MEMORY >> 20} MiB of memory to unpack; pack it again with xz -9 or less"
        )
    reason = " ".join(str(error).split())[:120] or "it ends early"
    place = "" if member is None else f" in {member[:120]!r}"
    return Refused(f"is damaged{place} ({reason}); copy or download it again")


class _Streams(io.RawIOBase):
    """What several compressed streams, one after the other, hold; zeros between and after them are padding.

    Python's own readers take anything after a stream for its end, and so a damaged archive for a whole one.
    """

    def __init__(self, packed: Packed, new: Callable[[], Decompressor]) -> None:
        super().__init__()
        self.packed, self.new = packed, new
        self.decompressor, self.pending = new(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As of any stream: nothing at the end. Raises EOFError where the file ends within a packed one."""
        while True:
            if self.decompressor.eof and not self._begin_another():
                return 0
            if self.decompressor.needs_input and not self.pending:
                self.pending = self.packed.read(BLOCK)
                if not self.pending:
                    raise EOFError
            block = self.decompressor.decompress(self.pending, len(buffer))
            self.pending = b""
            if block:
                buffer[: len(block)] = block
                return len(block)

    def _begin_another(self) -> bool:
        rest = self.decompressor.unused_data.lstrip(b"\0")
        while not rest and (block := self.packed.read(BLOCK)):
            rest = block.lstrip(b"\0")
        if rest:
            self.decompressor, self.pending = self.new(), rest
        return bool(rest)
