import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest

from trapline.errors import TraplineError
from trapline.preparation.archives import READ_ARCHIVES, archive_in, is_archive, unpack_images, unread_archive
from trapline.unpacking import Limits
from trapline.unpacking_zip import unpack_zip

FILES = {"set/train/a/1.jpg": b"one", "set/train/b/2.jpg": b"two" * 1000, "set/words.txt": b"words"}


def make_tar(path, mode="w", files=FILES):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def make_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_archive(folder, name):
    if name.endswith(".zip"):
        return make_zip(folder / name)
    modes = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".txz": "w:xz"}
    return make_tar(folder / name, next((mode for end, mode in modes.items() if name.endswith(end)), "w:bz2"))


def raw_zip(path, *members, volume=0):
    """A zip of stored members: the bytes of the name, and what else their headers say."""
    bodies, directory = b"", b""
    for name, more in members:
        content, extra = more.get("content", b"x"), more.get("extra", b"")
        sizes = zlib.crc32(content), len(content), len(content), len(name)
        header = struct.pack("<HHHHHIIIH", 20, more.get("flags", 0), more.get("method", 0), 0, 33, *sizes)
        place = struct.pack("<HHHHII", len(extra), 0, volume, 0, 0, len(bodies))
        bodies += b"PK\x03\x04" + header + b"\0\0" + name + content
        directory += b"PK\x01\x02\x14\0" + header + place + name + extra
    counts = struct.pack(
        "<HHHHIIH", volume, volume, len(members), len(members), len(directory), len(bodies), 0
    )
    path.write_bytes(bodies + directory + b"PK\x05\x06" + counts)
    return path


def unpacked_names(path, folder):
    unpack_images(path, folder / "out")
    return set(below(folder / "out"))


def below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.txz", "a.tar.bz2", "a.tbz2", "a.tbz"]
)
def test_an_archive_unpacks_to_the_folder_that_it_holds(tmp_path, name):
    assert is_archive(name)
    top = unpack_images(make_archive(tmp_path, name), tmp_path / "out")
    assert top == tmp_path / "out" / "set"
    assert below(tmp_path / "out") == FILES
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*.jpg")}
    assert modes == {0o644}


def test_files_at_the_top_of_an_archive_stay_there(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"train/a/1.jpg": b"1", "val/a/2.jpg": b"2", "__MACOSX/._x": b""})
    assert unpack_images(archive, tmp_path / "out") == tmp_path / "out"


def test_a_folder_with_an_archive_alone_stands_for_it(tmp_path):
    archive = make_zip(tmp_path / "set.zip")
    (tmp_path / ".hidden").touch()
    assert archive_in(tmp_path) == archive
    assert archive_in(archive) == archive
    (tmp_path / "other.jpg").touch()
    assert archive_in(tmp_path) is None
    assert archive_in(tmp_path / "other.jpg") is None
    assert archive_in(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../outside", "lies outside"),
        ("/etc/x", "lies outside"),
        ("a\nb", "control characters"),
        ("x/../../y", "outside"),
        ("..\\..\\outside", "lies outside"),
        ("a/..\\..\\outside", "lies outside"),
        ("\\x", "lies outside"),
        ("\\\\server\\x", "lies outside"),
        ("C:\\x", "lies outside"),
        ("C:/x", "lies outside"),
        ("a/" + 300 * "n" + ".jpg", "a name of 304 bytes, 'nnn.*which no file system takes; shorten it"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name, message):
    for number, make in enumerate((make_zip, make_tar)):
        archive = make(tmp_path / f"{number}{'.zip' if make is make_zip else '.tar'}", files={name: b"x"})
        with pytest.raises(TraplineError, match=message):
            unpack_images(archive, tmp_path / f"out{number}")
    assert not (tmp_path / "outside").exists()


def test_links_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(TraplineError, match=r"a\.zip: holds 'link', a symbolic link"):
        unpack_images(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "1")
        archive.writestr("x", "2")
    with pytest.raises(TraplineError, match="'x' twice"):
        unpack_images(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("limits", "message"),
    [(Limits(members=2), "more than 2 files"), (Limits(ratio=2, ratio_from=1000), "unpacks to more than")],
)
def test_a_zip_beyond_the_limits_is_refused(tmp_path, limits, message):
    archive = make_zip(tmp_path / "a.zip", {f"{number}": bytes(100_000) for number in range(3)})
    (tmp_path / "out").mkdir()
    with pytest.raises(TraplineError, match=message):
        unpack_zip(archive, "a.zip", tmp_path / "out", limits)
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written <= 200_000


def test_no_cut_or_changed_archive_passes_for_a_whole_one(tmp_path):
    for name in ("a.zip", "a.tar.gz"):
        whole = make_archive(tmp_path, name).read_bytes()
        for number, length in enumerate(range(0, len(whole), 37)):
            cut = tmp_path / f"cut-{name}"
            cut.write_bytes(whole[:length])
            with pytest.raises(TraplineError, match=rf"^cut-{name}: is "):
                unpack_images(cut, tmp_path / f"{name}-out{number}")


def test_every_changed_byte_of_a_zip_is_noticed_or_harmless(tmp_path):
    whole = make_zip(tmp_path / "a.zip").read_bytes()
    changed = tmp_path / "changed.zip"
    for number, place in enumerate(range(0, len(whole), 7)):
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        out = tmp_path / f"out{number}"
        with contextlib.suppress(TraplineError):  # any other error would be a defect
            unpack_images(changed, out)
            assert set(below(out).values()) <= set(FILES.values())


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip", "a.tar", "a.txz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_is_known_by_its_content_whatever_its_name_says(tmp_path, name, pack):
    tar = make_tar(tmp_path / "plain").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(pack(tar))
    archive = archive_in(tmp_path / "in")
    assert archive is not None
    unpack_images(archive, tmp_path / "out")
    assert below(tmp_path / "out") == FILES


def test_a_zip_behind_a_program_is_read_and_another_file_called_so_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip")
    archive.write_bytes(b"MZ a program that unpacks itself" + archive.read_bytes())
    assert unpacked_names(archive, tmp_path) == set(FILES)
    (tmp_path / "b.zip").write_bytes(b"<html>Please log in</html>")
    with pytest.raises(TraplineError, match=r"b\.zip: is no zip archive, or damaged"):
        unpack_images(tmp_path / "b.zip", tmp_path / "out2")


def test_a_tar_of_a_folder_called_pk_is_no_zip(tmp_path):
    archive = make_tar(tmp_path / "a.tar", files={"PK/a/1.jpg": b"1", "PK/b/2.jpg": b"2"})
    assert unpacked_names(archive, tmp_path) == {"PK/a/1.jpg", "PK/b/2.jpg"}


def test_a_zip_under_another_name_is_read(tmp_path):
    for name in ("a.tar.gz", "b.rar"):
        archive = make_zip(tmp_path / name)
        assert archive_in(archive) == archive
        unpack_images(archive, tmp_path / f"out-{name}")
        assert below(tmp_path / f"out-{name}") == FILES


UNREAD = {
    "a.7z": (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    "a.rar": (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
    "a.tar.zst": (b"\x28\xb5\x2f\xfd", "packed with Zstandard"),
    "a.zst": (b"\x50\x2a\x4d\x18", "packed with Zstandard"),
    "a.tar.lz4": (b"\x04\x22\x4d\x18", "packed with LZ4"),
    "a.tar.Z": (b"\x1f\x9d\x90", "packed with compress"),
    "a.tar.lz": (b"LZIP\x01", "packed with lzip"),
    "a.tar.lzo": (b"\x89LZO\0\r\n\x1a\n", "packed with lzop"),
}


@pytest.mark.parametrize("content", ["its own", "unknown", "under the name of a zip"])
@pytest.mark.parametrize("name", UNREAD)
def test_an_archive_that_is_not_read_is_refused_with_the_way_out(tmp_path, name, content):
    start, what = UNREAD[name]
    shown = "a.zip" if content == "under the name of a zip" else name
    archive = tmp_path / shown
    archive.write_bytes((b"" if content == "unknown" else start) + b"rest")
    (tmp_path / ".DS_Store").touch()
    for given in (archive, tmp_path):
        with pytest.raises(TraplineError, match=f"{shown}: is {what}, which is not read; unpack it and give"):
            archive_in(given)


@pytest.mark.parametrize(
    "names",
    [
        ["a.zip.001", "a.zip.002"],
        ["a.7z.001"],
        ["a.z01", "a.zip"],
        ["a.z01", "a.z02", "A.ZIP"],
        ["a.part1.rar", "a.part2.rar"],
        ["a.r00", "a.rar"],
        ["a.tar.gz.aa", "a.tar.gz.ab"],
        ["a.tar.00", "a.tar.01"],
    ],
)
def test_one_part_of_a_split_archive_is_refused_whichever_is_given(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"PK\x03\x04rest")
    for given in (tmp_path, tmp_path / names[0]):
        with pytest.raises(TraplineError, match=r"a\.\S+: is one part of several.*join and unpack them"):
            archive_in(given)


def test_the_last_part_of_a_split_zip_is_refused(tmp_path):
    (tmp_path / "a.z01").touch()
    make_zip(tmp_path / "a.zip")
    with pytest.raises(TraplineError, match=r"a\.zip: is one part of several"):
        archive_in(tmp_path / "a.zip")
    alone = raw_zip(tmp_path / "b.zip", (b"1.jpg", {}), volume=1)
    alone.write_bytes(b"the rest of a file" + alone.read_bytes())
    with pytest.raises(TraplineError, match=r"b\.zip: is one part of several"):
        unpack_images(alone, tmp_path / "out")


def test_names_alone_tell_what_is_not_read_in_s3(tmp_path):
    for name in ("a.7z", "a.tar.zst", "a.zip.001"):
        assert "not read" in unread_archive(tmp_path / "nowhere" / name)
    for name in ("a.zip", "a.tar.gz", "a.tar.xz", "a.jpg", "folder", "train_features.csv"):
        assert unread_archive(tmp_path / "nowhere" / name) is None
    assert all(is_archive("A" + suffix.upper()) for suffix in READ_ARCHIVES.replace(" or", ",").split(", "))
    assert not any(is_archive(name) for name in ("a.7z", "a.gz", "a.xz", "a.zip.001", "azip"))


def test_several_archives_and_nothing_else_are_refused_by_name(tmp_path):
    for name in ("a.zip", "b.tar.xz", "c.7z"):
        (tmp_path / name).touch()
    (tmp_path / "Thumbs.db").touch()
    with pytest.raises(
        TraplineError, match=r"holds 'a\.zip', 'b\.tar\.xz', 'c\.7z' and nothing else; give one"
    ):
        archive_in(tmp_path)
    (tmp_path / "1.jpg").touch()
    assert archive_in(tmp_path) is None


@pytest.mark.parametrize("beside", ["Thumbs.db", "desktop.ini", "~$words.docx", "._set.zip", "__MACOSX/x"])
def test_what_systems_leave_beside_an_archive_does_not_count(tmp_path, beside):
    archive = make_zip(tmp_path / "set.zip")
    (tmp_path / beside).parent.mkdir(exist_ok=True)
    (tmp_path / beside).touch()
    assert archive_in(tmp_path) == archive
    inside = make_zip(tmp_path / "in.zip", {"set/a/1.jpg": b"1", "set/b/2.jpg": b"2", beside: b""})
    assert unpack_images(inside, tmp_path / "out") == tmp_path / "out" / "set"


def test_an_archive_of_archives_is_refused_by_name(tmp_path):
    archive = make_tar(tmp_path / "a.tar", files={"set/n01.tar": b"1", "set/n02.tar": b"2"})
    with pytest.raises(TraplineError, match=r"a\.tar: holds nothing but 'n01\.tar', 'n02\.tar'; unpack all"):
        unpack_images(archive, tmp_path / "out")


def test_folders_in_folders_without_end_are_refused(tmp_path):
    """Python cannot even remove a thousand of them."""
    archive = make_zip(tmp_path / "a.zip", {"d/" * 1200 + "1.jpg": b"1"})
    with pytest.raises(TraplineError, match="1200 folders inside one another"):
        unpack_images(archive, tmp_path / "out")
    assert below(tmp_path / "out") == {}
    deep = make_tar(tmp_path / "b.tar", files={"d/" * 90 + "x/1.jpg": b"1"})
    assert unpack_images(deep, tmp_path / "out2").name == "x"


METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    93: "Zstandard",
    95: "XZ",
    98: "PPMd",
    99: "AES",
    55: "55",
}


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_packed_in_a_way_that_is_not_read_is_refused_before_anything_is_written(tmp_path, method):
    archive = raw_zip(tmp_path / "a.zip", (b"1.jpg", {}), (b"b/2.jpg", {"method": method}))
    with pytest.raises(
        TraplineError, match=rf"'b/2\.jpg', packed with .*{METHODS[method]}.*again with Deflate"
    ):
        unpack_images(archive, tmp_path / "out")
    assert below(tmp_path / "out") == {}


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x2001])
def test_an_encrypted_zip_is_refused_before_anything_is_written(tmp_path, flags):
    archive = raw_zip(tmp_path / "a.zip", (b"1.jpg", {}), (b"2.jpg", {"flags": flags, "method": 99}))
    with pytest.raises(TraplineError, match=r"'2\.jpg', which is encrypted; give an archive without"):
        unpack_images(archive, tmp_path / "out")
    assert below(tmp_path / "out") == {}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_otherwise_is_read_and_its_damage_named(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    unpack_images(tmp_path / "a.zip", tmp_path / "out")
    assert below(tmp_path / "out") == FILES
    whole = (tmp_path / "a.zip").read_bytes()
    for number, place in enumerate(range(0, len(whole), 7)):
        changed = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        (tmp_path / "b.zip").write_bytes(changed)
        with contextlib.suppress(TraplineError):  # any other error would be a defect
            unpack_images(tmp_path / "b.zip", tmp_path / f"out{number}")
            assert set(below(tmp_path / f"out{number}").values()) <= set(FILES.values())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_inside_a_zip_is_not_a_disk_that_cannot_be_written(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("1.jpg", os.urandom(3000))
    damaged = bytearray((tmp_path / "a.zip").read_bytes())
    damaged[60:70] = bytes(10)
    (tmp_path / "a.zip").write_bytes(damaged)
    with pytest.raises(TraplineError, match=r"^a\.zip: is .*damaged"):
        unpack_images(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["a\xa0b.jpg", "\u3000a.jpg", "a\u200bb.jpg", "\ufeffa.jpg", "a\u2028b.jpg"])
def test_odd_blanks_and_invisible_characters_in_names_are_read(tmp_path, name):
    archive = raw_zip(tmp_path / "a.zip", (name.encode(), {"flags": 0x800}))
    assert unpacked_names(archive, tmp_path) == {name}


@pytest.mark.parametrize("name", [b"a\x7f", b"a\0.jpg", "a\x85".encode(), b"", b"a\x1b[2J"])
def test_control_characters_and_empty_names_in_a_zip_are_refused(tmp_path, name):
    archive = raw_zip(tmp_path / "a.zip", (name, {"flags": 0x800}))
    with pytest.raises(TraplineError, match=r"a\.zip: holds .*(control characters|without a name)"):
        unpack_images(archive, tmp_path / "out")


def unicode_path(name, raw):
    field = b"\x01" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(field)) + field


OTHER_EXTRA = struct.pack("<HHI", 0x5455, 4, 0)
CYRILLIC = "Лиса".encode("cp866")


@pytest.mark.parametrize(
    ("raw", "more", "name"),
    [
        ("Füchse/1.jpg".encode(), {"flags": 0x800}, "Füchse/1.jpg"),
        ("Füchse/1.jpg".encode(), {}, "Füchse/1.jpg"),  # macOS
        ("Fu\u0308chse/1.jpg".encode(), {}, "Fu\u0308chse/1.jpg"),
        ("Füchse/1.jpg".encode("cp437"), {}, "Füchse/1.jpg"),
        (CYRILLIC + b".jpg", {"extra": unicode_path("Лиса.jpg", CYRILLIC + b".jpg")}, "Лиса.jpg"),
        (
            CYRILLIC + b".jpg",
            {"extra": OTHER_EXTRA + unicode_path("Лиса.jpg", CYRILLIC + b".jpg")},
            "Лиса.jpg",
        ),
        (b"a?.jpg", {"extra": unicode_path("aß.jpg", b"a?.jpg")}, "aß.jpg"),
        (b"new.jpg", {"extra": unicode_path("old.jpg", b"old.jpg")}, "new.jpg"),  # renamed since
        (b"a.jpg", {"extra": b"\x75\x70\x03\0\x01\0\0"}, "a.jpg"),
    ],
)
def test_names_in_a_zip_are_read_in_the_encoding_that_they_have(tmp_path, raw, more, name):
    assert unpacked_names(raw_zip(tmp_path / "a.zip", (raw, more)), tmp_path) == {name}


def test_names_in_an_unstated_code_page_are_said_to_be_guessed(tmp_path, capsys):
    names = [CYRILLIC + b"/1.jpg", CYRILLIC + b"/" + "é.jpg".encode(), "Füchse/2.jpg".encode(), b"a/3.jpg"]
    archive = raw_zip(tmp_path / "a.zip", *((name, {}) for name in names))
    guessed = CYRILLIC.decode("cp437")
    found = unpacked_names(archive, tmp_path)
    assert found == {f"{guessed}/1.jpg", f"{guessed}/é.jpg", "Füchse/2.jpg", "a/3.jpg"}
    lines = [line for line in capsys.readouterr().out.splitlines() if "code page" in line]
    assert len(lines) == 1
    assert lines[0].startswith(
        f"a.zip: 2 of 4 names are in an unstated code page, read as 437, such as '{guessed}"
    )


def test_nothing_is_said_of_names_that_are_not_guessed(tmp_path, capsys):
    unpack_images(
        raw_zip(tmp_path / "a.zip", ("Füchse/1.jpg".encode(), {}), (b"b/2.jpg", {})), tmp_path / "out"
    )
    assert "code page" not in capsys.readouterr().out


@pytest.mark.parametrize("flags", [0, 0x800])
def test_backslashes_in_a_zip_part_folders(tmp_path, flags):
    names = [b"set\\empty\\", b"set\\leopard\\1.jpg", "set\\Füchse\\2.jpg".encode(), b"set/hog\\3.jpg"]
    archive = raw_zip(tmp_path / "a.zip", *((name, {"flags": flags}) for name in names))
    assert unpacked_names(archive, tmp_path) == {"set/leopard/1.jpg", "set/Füchse/2.jpg", "set/hog/3.jpg"}
    assert (tmp_path / "out" / "set" / "empty").is_dir()


SHIFT_JIS = "表".encode("shift_jis")  # its second byte is a backslash


def test_a_backslash_that_may_belong_to_a_character_parts_nothing_where_slashes_do(tmp_path):
    names = [SHIFT_JIS + b"/1.jpg", b"a/2.jpg", b"b\\" + SHIFT_JIS + b".jpg"]
    archive = raw_zip(tmp_path / "a.zip", *((name, {}) for name in names))
    character = SHIFT_JIS.decode("cp437")
    assert unpacked_names(archive, tmp_path) == {f"{character}/1.jpg", "a/2.jpg", f"b/{character}.jpg"}


@pytest.mark.parametrize("name", [SHIFT_JIS + b"\\1.jpg", SHIFT_JIS + b".jpg", "café\\1.jpg".encode("cp850")])
def test_a_backslash_that_may_belong_to_a_character_is_refused_where_no_slash_tells(tmp_path, name):
    archive = raw_zip(tmp_path / "a.zip", (b"a\\0.jpg", {}), (name, {}))
    with pytest.raises(
        TraplineError, match=r"a\.zip: holds .*a backslash may part folders.*cu=on.*give the folder"
    ):
        unpack_images(archive, tmp_path / "out")
    assert below(tmp_path / "out") == {}


def test_legacy_names_whose_backslashes_are_clear_are_read(tmp_path):
    archive = raw_zip(tmp_path / "a.zip", ("Füchse\\1.jpg".encode("cp437"), {}))
    assert unpacked_names(archive, tmp_path) == {"Füchse/1.jpg"}


@pytest.mark.parametrize(
    "name", [b"..\\..\\x\x81", b"\\x\x81", b"\\\\server\\x\x81", b"C:\\x\x81", b"a\\..\\..\\x\x81"]
)
def test_legacy_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(TraplineError, match="lies outside"):
        unpack_images(raw_zip(tmp_path / "a.zip", (name, {})), tmp_path / "out")


def test_names_of_different_unicode_forms_are_two_files_and_one_path_twice_is_refused(tmp_path):
    two = raw_zip(tmp_path / "a.zip", ("é.jpg".encode(), {}), ("e\u0301.jpg".encode(), {}))
    assert unpacked_names(two, tmp_path) == {"é.jpg", "e\u0301.jpg"}
    same = raw_zip(tmp_path / "b.zip", (b"a/1.jpg", {}), (b"a\\1.jpg", {}))
    with pytest.raises(TraplineError, match=r"b\.zip: holds 'a/1\.jpg' twice"):
        unpack_images(same, tmp_path / "out2")


def test_an_archive_whose_own_name_is_no_utf8_is_read(tmp_path):
    archive = make_zip(tmp_path / os.fsdecode(b"caf\xe9.zip"))
    assert archive_in(tmp_path) == archive
    assert unpack_images(archive, tmp_path / "out") == tmp_path / "out" / "set"


def test_an_archive_that_may_not_be_opened_is_named(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip")
    monkeypatch.setattr("trapline.preparation.archives.Path.open", refuse_to_open)
    with pytest.raises(TraplineError, match=r"a\.zip: cannot be read \(Permission denied\); check its perm"):
        archive_in(archive)


def refuse_to_open(path, *_):
    raise PermissionError(13, "Permission denied", str(path))
