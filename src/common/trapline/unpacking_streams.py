"""The bytes of a compressed file, whichever way it is compressed: its first bytes say so, not its name."""

import bz2
import gzip
import io
import lzma
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

from trapline.unpacking_names import Refused

GZIP = re.compile(rb"\x1f\x8b")
BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
XZ = re.compile(rb"\xfd7zXZ\0")
START = 10  # bytes that tell which it is
BLOCK = 1 << 16
XZ_MEMORY = 256 << 20  # bytes; xz -9 takes 65 MiB

Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor


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
        self.start = self.start or self._fresh(START)
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
    if BZIP2.match(start):
        return cast(IO[bytes], io.BufferedReader(_Streams(packed, bz2.BZ2Decompressor), BLOCK))
    if XZ.match(start):
        return cast(IO[bytes], io.BufferedReader(_Streams(packed, _new_xz), BLOCK))
    return cast(IO[bytes], packed)


def is_compressed(start: bytes) -> bool:
    """Whether a file that begins with `start` is one that `decompressed` unpacks."""
    return any(kind.match(start) for kind in (GZIP, BZIP2, XZ))


def damage(error: Exception, member: str | None = None) -> Refused:
    """What a decompressor's `error` says about the archive, or about one `member` of it."""
    if "memory usage limit" in str(error).lower():
        return Refused(
            f"takes more than {XZ_MEMORY >> 20} MiB of memory to unpack; pack it again with xz -9 or less"
        )
    reason = " ".join(str(error).split())[:120] or "it ends early"
    place = "" if member is None else f" in {member[:120]!r}"
    return Refused(f"is damaged{place} ({reason}); copy or download it again")


def _new_xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


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
        block = self._next(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def _next(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Raises EOFError where the file ends within a stream."""
        while True:
            if self.decompressor.eof and not self._begin_another():
                return b""
            if self.decompressor.needs_input and not self.pending:
                self.pending = self.packed.read(BLOCK)
                if not self.pending:
                    raise EOFError
            block = self.decompressor.decompress(self.pending, size)
            self.pending = b""
            if block:
                return block

    def _begin_another(self) -> bool:
        rest = self.decompressor.unused_data.lstrip(b"\0")
        while not rest and (block := self.packed.read(BLOCK)):
            rest = block.lstrip(b"\0")
        if rest:
            self.decompressor, self.pending = self.new(), rest
        return bool(rest)
