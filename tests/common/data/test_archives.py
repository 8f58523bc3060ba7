import contextlib
import io
import stat
import tarfile
import zipfile

import pytest

from common.data.archives import archive_in, is_archive, unpack_images
from common.errors import TraplineError
from common.unpacking import Limits
from common.unpacking_zip import unpack_zip

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
    return make_tar(folder / name, "w" if name.endswith(".tar") else "w:gz")


def below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
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
        ("a\nb", "unprintable"),
        ("x/../../y", "outside"),
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
