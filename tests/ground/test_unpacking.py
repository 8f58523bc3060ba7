"""An archive is unpacked whole into its own folder, or refused."""

import bz2
import errno
import gzip
import io
import lzma
import os
import random
import re
import stat
import subprocess
import sys
import tarfile
import tracemalloc

import pytest

from tests.support.runs import archive_of, special
from trapline.errors import TraplineError
from trapline.launching.fetching import staging_folder
from trapline.unpacking import Limits, read_text, unpack

noise = random.Random(0).randbytes
TIGHT = Limits(members=5, unpacked=1 << 20, ratio=20, ratio_from=1 << 16)


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def unpacked(path, target, limits=None):
    with path.open("rb") as stream:
        return unpack(stream, "model.tar.gz", target, limits)


def everything_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_files_and_folders_arrive_with_plain_modes_whatever_the_archive_says(tmp_path, target):
    entry = tarfile.TarInfo("./code/serve.py")
    entry.mode = 0o6777
    folder = tarfile.TarInfo("empty")
    folder.type, folder.mode = tarfile.DIRTYPE, 0
    path = archive_of(
        tmp_path / "a", (special(".", tarfile.DIRTYPE)), (folder, b""), (entry, b"x = 1"), ("zero", b"")
    )
    umask = os.umask(0o077)
    try:
        assert unpacked(path, target) == 2
    finally:
        os.umask(umask)
    assert everything_below(target) == {"code", "code/serve.py", "empty", "zero"}
    assert (target / "code" / "serve.py").read_bytes() == b"x = 1"
    modes = {
        name: stat.S_IMODE((target / name).stat().st_mode) for name in ("code", "code/serve.py", "empty")
    }
    assert modes == {"code": 0o755, "code/serve.py": 0o644, "empty": 0o755}


ODD_NAMES = {
    "no-break space": "a\xa0b.jpg",
    "wide space": "\u3000a.jpg",
    "line separator": "a\u2028b.jpg",
    "zero width": "a\u200bb.jpg",
    "byte order mark": "\ufeffa.jpg",
    "right to left": "a\u202eb.jpg",
    "private use": "\ue000.jpg",
    "unassigned": "\u0378.jpg",
    "no UTF-8": "caf\udce9.jpg",
    "no UTF-8, with a backslash": "\udc95\\.jpg",
    "255 bytes": 251 * "n" + ".jpg",
}


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_a_name_that_a_file_system_takes_is_read(target, name, kind):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=kind) as archive:
        archive.addfile(tarfile.TarInfo(f"folder/{name}"))
    stream.seek(0)
    assert unpack(stream, "model.tar.gz", target) == 1
    assert [os.fsencode(path.name) for path in (target / "folder").iterdir()] == [os.fsencode(name)]


def test_names_that_differ_in_their_unicode_form_are_two_files(tmp_path, target):
    path = archive_of(tmp_path / "a", ("caf\xe9", b"one"), ("cafe\u0301", b"two"))
    assert unpacked(path, target) == 2
    assert {file.read_bytes() for file in target.iterdir()} == {b"one", b"two"}


def test_backslashes_of_a_tar_made_on_windows_part_folders(tmp_path, target):
    path = archive_of(
        tmp_path / "a",
        special("set\\leopard\\", tarfile.DIRTYPE),
        ("set\\empty\\", b""),
        ("set\\leopard\\1.jpg", b"1"),
        ("set\\Füchse\\2.jpg", b"2"),
    )
    assert unpacked(path, target) == 2
    assert everything_below(target / "set") == {
        "leopard", "empty", "Füchse", "leopard/1.jpg", "Füchse/2.jpg"
    }  # fmt: skip


def test_a_path_twice_is_refused_whichever_way_it_parts_folders(tmp_path, target):
    path = archive_of(tmp_path / "a", ("a/b", b"1"), ("a\\b", b"2"))
    with pytest.raises(TraplineError, match="holds 'a/b' twice"):
        unpacked(path, target)


@pytest.mark.parametrize("number", ["ENAMETOOLONG", "EILSEQ", "EINVAL"])
def test_a_name_that_this_file_system_does_not_take_is_not_the_disks_fault(
    tmp_path, target, monkeypatch, number
):
    def refuse(path, *_):
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), str(path))

    packed = archive_of(tmp_path / "a", ("folder/one", b"1")).read_bytes()
    monkeypatch.setattr("trapline.unpacking.Path.open", refuse)
    with io.BytesIO(packed) as stream, pytest.raises(TraplineError, match=r"'folder/one', a name that the"):
        unpack(stream, "model.tar.gz", target)


def test_an_archive_that_cannot_be_read_is_not_a_disk_that_cannot_be_written(target):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(TraplineError, match=r"^model.tar.gz: cannot be read \(Input/output error\)"):
        unpack(Broken(), "model.tar.gz", target)


class Streamed(io.RawIOBase):
    """A tar of `count` empty files, made while it is read."""

    def __init__(self, count):
        self.blocks = self.made(count)

    def made(self, count):
        for number in range(count):
            yield tarfile.TarInfo(f"set/class/{number:09d}.jpg").tobuf(tarfile.GNU_FORMAT)
        yield from (bytes(512), bytes(512))

    def read(self, size=-1):
        return next(self.blocks, b"")


def peak_of_reading(members):
    tracemalloc.start()
    try:
        assert read_text(Streamed(members), "a", ("absent",), Limits(members=members)) is None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_reading_many_members_takes_no_more_memory_than_few():
    few, many = (peak_of_reading(members) for members in (1_000, 10_000))
    assert many < few + 100_000


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
every_packer = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)


def small_tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("one", "two"):
            entry = tarfile.TarInfo(name)
            entry.size = 3000
            archive.addfile(entry, io.BytesIO(noise(3000)))
    return stream.getvalue()


@pytest.mark.parametrize("pack", [*PACKERS.values(), bytes], ids=[*PACKERS, "not at all"])
def test_a_tar_is_read_however_it_is_packed(target, pack):
    assert unpack(io.BytesIO(pack(small_tar())), "model.tar.gz", target) == 2
    assert everything_below(target) == {"one", "two"}


@every_packer
def test_several_packed_streams_and_zeros_after_them_are_one_archive(target, pack):
    tar = small_tar()
    packed = pack(tar[:1000]) + pack(b"") + pack(tar[1000:]) + bytes(512)
    assert unpack(io.BytesIO(packed), "model.tar.gz", target) == 2


@every_packer
def test_a_packed_tar_that_is_damaged_is_refused_in_the_same_words(tmp_path, pack):
    whole = pack(small_tar())
    damaged = {f"cut at {length}": whole[:length] for length in range(20, len(whole), 97)}
    damaged |= {
        f"changed at {place}": whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        for place in range(20, len(whole), 97)
    }
    damaged |= {f"with {junk} after it": whole + junk for junk in (b"x", b"junk" * 9, b"\0\0x", whole[:50])}
    for number, (what, content) in enumerate(damaged.items()):
        (tmp_path / f"{number}").mkdir()
        with pytest.raises(
            TraplineError, match=rf"^{re.escape(what)}: is (truncated|damaged|no tar archive, or damaged)"
        ):
            unpack(io.BytesIO(content), what, tmp_path / f"{number}")


def test_an_xz_that_takes_more_memory_than_it_may_is_refused(target):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    packed = lzma.compress(small_tar(), filters=filters)
    with pytest.raises(TraplineError, match="takes more than 256 MiB of memory to unpack; pack it again"):
        unpack(io.BytesIO(packed), "model.tar.xz", target)


def test_the_largest_xz_of_the_usual_tool_is_read(target):
    assert unpack(io.BytesIO(lzma.compress(small_tar(), preset=9 | lzma.PRESET_EXTREME)), "a", target) == 2


@every_packer
def test_a_bomb_is_stopped_however_it_is_packed(target, pack):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("zeros")
        entry.size = 8 << 20
        archive.addfile(entry, io.BytesIO(bytes(8 << 20)))
    with pytest.raises(TraplineError, match="more than 20 times its own size"):
        unpack(io.BytesIO(pack(tar.getvalue())), "a", target, Limits(ratio=20, ratio_from=1 << 16))


def test_global_headers_cannot_fill_the_memory(target):
    def global_header(number):
        return tarfile.TarInfo.create_pax_global_header({f"key{number}": "x" * 200_000})

    headers = b"".join(global_header(number) for number in range(40))
    with pytest.raises(TraplineError, match="absurd size"):
        unpack(io.BytesIO(headers + small_tar()), "a", target)


def test_content_of_several_chunks_is_the_same_byte_for_byte(tmp_path, target):
    content = noise((1 << 20) + 12345)
    unpacked(archive_of(tmp_path / "a", ("first", content), ("second", b"2" * 512)), target)
    assert (target / "first").read_bytes() == content
    assert (target / "second").read_bytes() == b"2" * 512


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (("../out", b"x"), "'../out', which lies outside its folder"),
        (("code/../../out", b"x"), "outside its folder"),
        (("/tmp/out", b"x"), "'/tmp/out', which lies outside"),
        (special("link", tarfile.SYMTYPE, "/etc/passwd"), "'link', a symbolic link"),
        (special("link", tarfile.LNKTYPE, "model.json"), "'link', a hard link"),
        (special("pipe", tarfile.FIFOTYPE), "'pipe', a pipe"),
        (special("disk", tarfile.BLKTYPE), "'disk', a device"),
        (special("tty", tarfile.CHRTYPE), "'tty', a device"),
        (special("odd", b"V"), "something unknown"),
        (("good", b"again"), "twice"),
        (("./good", b"again"), "twice"),
        (("good/below", b"x"), "two things in the place of 'good'"),
        (special("good", tarfile.DIRTYPE), "two things in the place of 'good'"),
        (("\x1b[2Jname", b"x"), "control characters"),
        (("name\x7f", b"x"), "control characters"),
        (("name\x85", b"x"), "control characters"),
        ((".", b"x"), "without a name"),
        (("..\\..\\out", b"x"), "outside its folder"),
        (("\\out", b"x"), "outside its folder"),
        (("\\\\server\\out", b"x"), "outside its folder"),
        (("C:\\out", b"x"), "outside its folder"),
        (("c:/out", b"x"), "outside its folder"),
        (("folder/" + 256 * "n", b"x"), "a name of 256 bytes, 'nnn.*no file system takes; shorten it"),
        ((100 * "木" + ".jpg", b"x"), "a name of 304 bytes"),
    ],
)
def test_what_is_no_plain_file_in_its_own_place_is_refused(tmp_path, target, member, reason):
    path = archive_of(tmp_path / "a", ("good", b"1"), member)
    with pytest.raises(TraplineError, match=f"^model.tar.gz: .*{reason}"):
        unpacked(path, target)
    assert everything_below(tmp_path) <= {"a", "target", "target/good"}


def test_a_link_cannot_lead_a_later_file_outside(tmp_path, target):
    (tmp_path / "outside").mkdir()
    path = archive_of(tmp_path / "a", special("way", tarfile.SYMTYPE, "../outside"), ("way/file", b"x"))
    with pytest.raises(TraplineError, match="symbolic link"):
        unpacked(path, target)
    assert not list((tmp_path / "outside").iterdir())


def test_a_sparse_file_is_refused(tmp_path, target):
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 30)
    subprocess.run(["tar", "-C", tmp_path, "-czSf", tmp_path / "a", "holes"], check=True)
    with pytest.raises(TraplineError, match="sparse file"):
        unpacked(tmp_path / "a", target)


def test_a_bomb_of_zeros_is_stopped_long_before_it_has_filled_the_disk(tmp_path, target):
    path = archive_of(tmp_path / "a", ("zeros", bytes(8 << 20)))
    with pytest.raises(TraplineError, match="more than 20 times its own size"):
        unpacked(path, target, Limits(ratio=20, ratio_from=1 << 16))
    assert sum(file.stat().st_size for file in target.rglob("*")) < 2 << 20


def test_the_bytes_that_come_out_count_not_the_size_in_the_header(tmp_path, target):
    path = archive_of(tmp_path / "a", ("noise", noise(2 << 20)))
    with pytest.raises(TraplineError, match=r"unpacks to more than 0.000977 GiB"):
        unpacked(path, target, TIGHT)


def test_too_many_files_are_refused(tmp_path, target):
    path = archive_of(tmp_path / "a", *((f"file{number}", b"") for number in range(6)))
    with pytest.raises(TraplineError, match="holds more than 5 files"):
        unpacked(path, target, TIGHT)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path, target):
    entry = tarfile.TarInfo("name")
    entry.pax_headers = {"comment": "x" * (3 << 20)}
    with tarfile.open(tmp_path / "a", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry)
    with pytest.raises(TraplineError, match="a header of absurd size"):
        unpacked(tmp_path / "a", target)


def test_thousands_of_nested_headers_are_damage_not_a_crash(tmp_path, target):
    block = tarfile.TarInfo("long")
    block.type, block.size = tarfile.GNUTYPE_LONGNAME, 4
    one = block.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")
    (tmp_path / "a").write_bytes(gzip.compress(one * 5000, 1))
    with pytest.raises(TraplineError, match="damaged"):
        unpacked(tmp_path / "a", target, Limits(ratio=10_000))


def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path, target):
    whole = archive_of(tmp_path / "a", ("one", noise(3000)), ("two", noise(3000))).read_bytes()
    for length in range(1, len(whole), 97):
        with pytest.raises(TraplineError, match=r"truncated|damaged"):
            unpack(io.BytesIO(whole[:length]), "model.tar.gz", target)
        for path in target.iterdir():
            path.unlink()


def test_a_changed_byte_never_passes_unnoticed(tmp_path, target):
    content = noise(2000)
    whole = archive_of(tmp_path / "a", ("one", content), ("two", content)).read_bytes()
    for position in range(20, len(whole), 53):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        with pytest.raises(TraplineError, match=r"^model.tar.gz: "):
            unpack(io.BytesIO(bytes(changed)), "model.tar.gz", target)
        for path in target.iterdir():
            path.unlink()


def test_a_broken_header_inside_is_not_taken_for_the_end(tmp_path, target):
    plain = bytearray(gzip.decompress(archive_of(tmp_path / "a", ("one", b"1"), ("two", b"2")).read_bytes()))
    plain[1024] ^= 0xFF  # the name of the second member: its check sum no longer fits
    with pytest.raises(TraplineError, match="a broken header inside"):
        unpack(io.BytesIO(gzip.compress(bytes(plain))), "model.tar.gz", target)
    again = tmp_path / "again"
    again.mkdir()
    ended_early = gzip.compress(bytes(plain[:1024]))
    with pytest.raises(TraplineError, match="truncated"):
        unpack(io.BytesIO(ended_early), "model.tar.gz", again)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive at all", gzip.compress(b"text" * 500)],
    ids=["empty", "text", "gzip of text"],
)
def test_what_is_no_archive_is_said_to_be_none(target, content):
    with pytest.raises(TraplineError, match=r"^model.tar.gz: is (no|truncated)"):
        unpack(io.BytesIO(content), "model.tar.gz", target)
    assert everything_below(target) == set()


def test_a_full_disk_is_reported(tmp_path, target, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trapline.unpacking.os.fchmod", full)
    with pytest.raises(TraplineError, match=r"No space left on device.*check the free space"):
        unpacked(archive_of(tmp_path / "a", ("one", b"1")), target)


def test_a_text_is_read_without_the_rest_of_the_archive(tmp_path):
    path = archive_of(tmp_path / "a", ("./model.json", b"{}"), ("weights", noise(4 << 20)))
    with path.open("rb") as stream:
        assert read_text(stream, "a", ("model.json",)) == "{}"
        assert stream.tell() < 1 << 20


def test_a_text_is_found_behind_large_files_and_missed_where_there_is_none(tmp_path):
    path = archive_of(tmp_path / "a", ("weights", noise(3 << 20)), ("data/metrics.csv", b"epoch"))
    with path.open("rb") as stream:
        assert read_text(stream, "a", ("metrics.csv", "data/metrics.csv")) == "epoch"
    with path.open("rb") as stream:
        assert read_text(stream, "a", ("model.json",)) is None


def test_a_text_that_is_none_is_refused(tmp_path):
    path = archive_of(tmp_path / "a", ("model.json", b"\xff\xfe"))
    with (
        path.open("rb") as stream,
        pytest.raises(TraplineError, match=r"a: holds a model\.json that is no UTF-8"),
    ):
        read_text(stream, "a", ("model.json",))


def test_the_folder_appears_at_the_end_with_all_that_is_in_it(tmp_path):
    with staging_folder(tmp_path / "new" / "model") as staging:
        (staging / "file").write_text("x")
        assert not (tmp_path / "new" / "model").exists()
    assert everything_below(tmp_path / "new") == {"model", "model/file"}


def test_an_empty_folder_is_taken_and_a_full_one_or_a_file_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with staging_folder(tmp_path / "empty") as staging:
        (staging / "file").write_text("x")
    for name, reason in (("empty", "is not empty"), ("empty/file", "is a file")):
        with (
            pytest.raises(TraplineError, match=f"{name}: {reason}.*--to"),
            staging_folder(tmp_path / name),
        ):
            pass
    assert everything_below(tmp_path) == {"empty", "empty/file"}


def test_what_is_put_there_meanwhile_is_kept(tmp_path):
    def fill_while_unpacking():
        with staging_folder(tmp_path / "model") as staging:
            (staging / "file").write_text("mine")
            (tmp_path / "model").mkdir()
            (tmp_path / "model" / "file").write_text("theirs")

    with pytest.raises(TraplineError, match="cannot be put in its place"):
        fill_while_unpacking()
    assert (tmp_path / "model" / "file").read_text() == "theirs"
    assert everything_below(tmp_path) == {"model", "model/file"}


def test_a_kill_leaves_nothing_under_the_name_and_the_next_call_cleans_up(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from trapline.launching.fetching import staging_folder\n"
        "with staging_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "model"], check=False)
    assert not (tmp_path / "model").exists()
    assert len(list(tmp_path.iterdir())) == 1
    with staging_folder(tmp_path / "model"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
