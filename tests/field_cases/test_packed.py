"""Archives as people hand them on: read, or refused in words that name the cause and the way out."""

import io
import struct
import tarfile
import zipfile

import pytest

from tests.conftest import write_jpeg
from tests.support.disk import prepared

IMAGES = [f"{label}/{number}.jpg" for label in ("fox", "owl") for number in range(4)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The bytes of each of IMAGES."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(IMAGES):
        write_jpeg(folder / name, number, side=16)
    return {name: (folder / name).read_bytes() for name in IMAGES}


def zipped(path, entries, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name) if "\\" in name else name, content, compression)
    return path


def tarred(path, entries, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def packed_with(path, method):
    """The zip at `path`, as if its members were packed with `method`."""
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.find(mark)
        while at >= 0:
            struct.pack_into("<H", data, at + place, method)
            at = data.find(mark, at + 4)
    path.write_bytes(data)
    return path


def renamed(pictures, change):
    return {change(name): content for name, content in pictures.items()}


READ = {
    "tar.xz": lambda place, p: tarred(place / "set.tar.xz", p, "w:xz"),
    "tar.bz2": lambda place, p: tarred(place / "set.tar.bz2", p, "w:bz2"),
    "txz": lambda place, p: tarred(place / "set.txz", p, "w:xz"),
    "an xz that is called tar.gz": lambda place, p: tarred(place / "set.tar.gz", p, "w:xz"),
    "zip with bzip2": lambda place, p: zipped(place / "set.zip", p, zipfile.ZIP_BZIP2),
    "zip with lzma": lambda place, p: zipped(place / "set.zip", p, zipfile.ZIP_LZMA),
    "backslashes": lambda place, p: zipped(
        place / "set.zip", renamed(p, lambda name: name.replace("/", "\\"))
    ),
    "no-break spaces": lambda place, p: zipped(
        place / "set.zip", renamed(p, lambda name: name.replace("/", "/a\u00a0b "))
    ),
    "names of another encoding": lambda place, p: tarred(
        place / "set.tar", renamed(p, lambda name: name.replace("/", "/caf\udce9 "))
    ),
    "macOS": lambda place, p: zipped(
        place / "set.zip", {**p, **renamed(p, lambda name: "__MACOSX/" + name.replace("/", "/._"))}
    ),
    "a folder around all": lambda place, p: zipped(
        place / "set.zip", renamed(p, lambda name: f"my set/{name}")
    ),
}  # fmt: skip


@pytest.mark.parametrize("pack", READ.values(), ids=READ.keys())
def test_archives_of_any_system_are_read(tmp_path, pictures, call_script, pack):
    archive = pack(tmp_path, pictures)
    done = call_script("prepare.py", "--input", archive, "--output", tmp_path / "out", "--processes", "1")
    assert done.returncode == 0, done.stderr
    ids, summary = prepared(tmp_path / "out")
    assert sum(len(part) for part in ids.values()) == len(IMAGES)
    assert (list(summary["classes"]["train"]), summary["quarantined"]) == (["fox", "owl"], {})


def bytes_at(name, content):
    def write(place, pictures):
        (place / name).write_bytes(content)
        return place / name

    return write


SEVEN_ZIP, RAR = b"7z\xbc\xaf\x27\x1c" + bytes(30), b"Rar!\x1a\x07\x01\x00" + bytes(30)
REFUSED = {
    "7z": (bytes_at("set.7z", SEVEN_ZIP), "7-Zip archive, which is not read; unpack it"),
    "rar": (bytes_at("set.rar", RAR), "RAR archive, which is not read; unpack it"),
    "a rar that is called zip": (bytes_at("set.zip", RAR), "RAR archive"),
    "Deflate64": (lambda place, p: packed_with(zipped(place / "set.zip", p), 9), "Deflate64"),
    "Zstandard in a zip": (lambda place, p: packed_with(zipped(place / "set.zip", p), 93), "Zstandard|zstd"),
    "a name that is too long": (
        lambda place, p: tarred(place / "set.tar", {"fox/" + "a" * 300 + ".jpg": b"x"}),
        "which no file system takes",
    ),
    "a climbing name": (
        lambda place, p: zipped(place / "set.zip", {"..\\..\\a.jpg": b"x"}), "lies outside its folder"
    ),
    "half an xz": (
        lambda place, p: bytes_at("set.tar.xz", tarred(place / "a", p, "w:xz").read_bytes()[:-40])(place, p),
        "is truncated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("given", ["file", "folder"])
@pytest.mark.parametrize(("pack", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_read_is_refused_by_name(tmp_path, pictures, call_script, pack, words, given):
    (tmp_path / "in").mkdir()
    archive = pack(tmp_path / "in", pictures)
    (tmp_path / "in" / "a").unlink(missing_ok=True)
    source = archive if given == "file" else archive.parent
    done = call_script("prepare.py", "--input", source, "--output", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert archive.name in done.stderr
    assert any(word in done.stderr for word in words.split("|")), done.stderr
