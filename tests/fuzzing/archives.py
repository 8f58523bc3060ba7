"""Archives: zip and tar in every compression that is read, sound ones and such as lead elsewhere."""

import bz2
import functools
import gzip
import io
import lzma
import os
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from unittest.mock import patch

from tests.fuzzing.inputs import Failure, Input, Kind
from tests.fuzzing.mutations import mutated
from trapline.errors import TraplineError
from trapline.preparation import archives
from trapline.unpacking import Limits

TARGET = "archive"
LIMITS = Limits(members=2_000, unpacked=4 << 20, ratio=100, ratio_from=1 << 20)
NAMES = (
    "a.jpg", "folder/b.jpg", "../out.jpg", "../../out.jpg", "/etc/out", "C:/out", "folder\\c.jpg",
    "..\\out.jpg", "d/" * 90 + "e.jpg", "d/" * 120 + "e.jpg", "n" * 300, "new\nline.jpg", "\x1b[31mred.jpg",
    "caf\u00e9.jpg", "caf\udce9.jpg", "a.jpg/b.jpg", ".", "..", "./a.jpg", "folder//f.jpg", "nul\0.jpg",
    "folder/",
)  # fmt: skip
TYPES = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE,
         tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE, b"?")  # fmt: skip
WORDS = (b"../", b"/", b"..", b"\0", b"\\", b"C:", b"/etc/passwd", b"PK\3\4", b"PK\1\2", b"PK\5\6",
         b"ustar\0", b"27 path=../../out.jpg\n", b"30 mtime=99999999999999999999\n", b"GNU.sparse.major=1\n",
         b"7777777777", b"\x80\xff\xff\xff\xff\xff\xff\xff", b"x" * 300)  # fmt: skip
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes, ".tar.gz": functools.partial(gzip.compress, compresslevel=1, mtime=0),
    ".tar.bz2": functools.partial(bz2.compress, compresslevel=1),
    ".tar.xz": functools.partial(lzma.compress, preset=0), ".tgz": functools.partial(gzip.compress, mtime=0),
}  # fmt: skip
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
BLOCK, SOUND = 512, 6  # bytes of a tar's block; archives at the start of each list, which can be unpacked


def make(chance: Random) -> Input:
    """A mutated archive: within its compression, as a whole, or both; its suffix may be another's."""
    suffix = chance.choice([*PACK, ".zip", ".zip", ".zip"])
    own, others = (zips(), tars()) if suffix == ".zip" else (tars(), zips())
    data = chance.choice(own[:SOUND] if chance.random() < 0.5 else own)
    inside = chance.random() < 0.6
    if suffix == ".zip":
        return Input(TARGET, mutated(data, chance, own + others[:2], WORDS), f"in{suffix}")
    if inside:
        data = mutated(data, chance, own + others[:2], WORDS)
        data = _with_check_sums(data) if chance.random() < 0.7 else data
    data = PACK[suffix](data)
    if not inside or chance.random() < 0.2:
        data = mutated(data, chance, own[:3], WORDS)
    return Input(TARGET, data, f"in{chance.choice([suffix] * 9 + ['.zip'])}")


def check(given: Input, folder: Path) -> str:
    """Unpack it as a preparation does; a TraplineError, and nothing else, may come out instead."""
    archive = folder / given.called
    archive.write_bytes(given.data)
    with patch.object(archives, "LIMITS", LIMITS):
        try:
            if archives.archive_in(archive) is None:
                return "no archive"
            archives.unpack_images(archive, folder / "unpacked")
            outcome = "unpacked"
        except TraplineError:
            outcome = "refused"
    _check_files(folder / "unpacked", outcome == "unpacked")
    return outcome


def _check_files(folder: Path, is_whole: bool) -> None:
    """Only plain files and folders may be there, with their modes, and no more than the limits allow."""
    entries = list(_walked(str(folder))) if folder.is_dir() else []
    written = sum(entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file())
    if written > LIMITS.unpacked + (1 << 20) or len(entries) > 150 * LIMITS.members:
        raise Failure(f"wrote {len(entries)} files and folders of {written} bytes")
    for entry in entries:
        mode = entry.stat(follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise Failure(f"wrote {entry.path!r}, which is neither file nor folder")
        if is_whole and stat.S_IMODE(mode) != (0o755 if stat.S_ISDIR(mode) else 0o644):
            raise Failure(f"wrote {entry.path!r} with the mode {stat.S_IMODE(mode):o}")


def _walked(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walked(entry.path)


def examples(target: str) -> Sequence[Input]:
    """A whole archive of each kind."""
    packed = [Input(target, pack(tars()[0]), f"in{suffix}") for suffix, pack in PACK.items()]
    return [*packed, *(Input(target, data, "in.zip") for data in zips()[:6])]


@functools.cache
def tars() -> list[bytes]:
    """Archives that are not compressed: sound ones first."""
    sound = [
        ("a.jpg", tarfile.REGTYPE),
        ("folder/b.jpg", tarfile.REGTYPE),
        ("folder/deeper/", tarfile.DIRTYPE),
    ]
    formats = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)
    made = [_tar(sound, form) for form in formats]
    made += [
        _tar([("a.jpg", tarfile.REGTYPE), (name, tarfile.REGTYPE)]) for name in NAMES if "\0" not in name
    ]
    made += [_tar([("a.jpg", tarfile.REGTYPE), ("b.jpg", kind)]) for kind in TYPES]
    made += [_tar([("folder", tarfile.SYMTYPE), ("folder/out.jpg", tarfile.REGTYPE)]), _tar([])]
    made += [_tar([("zeros", tarfile.REGTYPE)], size=3 << 17), _tar(sound * 2), _tar(sound * 20)]
    return made


def _tar(members: Sequence[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT, size: int = 9) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form, errors="surrogateescape") as archive:
        for name, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = (
                kind,
                "../../out" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "",
            )
            member.size = size if kind in (tarfile.REGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE) else 0
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return stream.getvalue().rstrip(b"\0").ljust(BLOCK, b"\0") + bytes(4 * BLOCK)


@functools.cache
def zips() -> list[bytes]:
    """Zip archives: sound ones first."""
    made = [_zip(["a.jpg", "folder/b.jpg", "folder/"], method) for method in ZIP_METHODS]
    made += [_zip(["a.jpg"], comment=b"by hand"), b"MZ a program" + _zip(["a.jpg"]), _zip([])]
    made += [_zip(["a.jpg", name]) for name in NAMES]
    made += [_zip(["a.jpg", "b.jpg"], mode=mode) for mode in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR)]
    made += [
        _zip(["a.jpg", "a.jpg"]),
        _zip(["zeros"], zipfile.ZIP_DEFLATED, size=3 << 17),
        _zip(["a.jpg"] * 50),
    ]
    made += [_zip(["a.jpg", "b.jpg"], flags=flag) for flag in (0x1, 0x8, 0x20, 0x40, 0x800)]
    return made


def _zip(
    names: Sequence[str],
    method: int = zipfile.ZIP_STORED,
    *,
    comment: bytes = b"",
    mode: int = 0,
    flags: int = 0,
    size: int = 9,
) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        archive.comment = comment
        for number, name in enumerate(names):
            member = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            member.compress_type, member.external_attr = method, (mode | 0o644) << 16 if number else 0
            archive.writestr(member, bytes(0 if name.endswith("/") else size))
    return _with_flags(stream.getvalue(), flags) if flags else stream.getvalue()


def _with_flags(data: bytes, flags: int) -> bytes:
    """The flags in all headers of members (APPNOTE.TXT, 4.4.4), which zipfile would set itself."""
    changed = bytearray(data)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = -1
        while (start := data.find(signature, start + 1)) >= 0:
            changed[start + offset] |= flags & 0xFF
            changed[start + offset + 1] |= flags >> 8
    return bytes(changed)


def _with_check_sums(data: bytes) -> bytes:
    """A tar whose headers, where they still lie right, have their check sums (POSIX.1-2017, pax) again."""
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    return b"".join(_with_check_sum(block) if block[257:262] == b"ustar" else block for block in blocks)


def _with_check_sum(block: bytes) -> bytes:
    if len(block) < BLOCK:
        return block
    total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


KIND = Kind("archives", make, check, examples, leaves_files=True)
