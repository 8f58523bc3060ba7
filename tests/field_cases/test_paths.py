"""A data set reads its own files, and no other of the machine."""

import os
import zipfile

import pandas as pd
import pytest

from tests.support.disk import competition, prepared, put, read
from trapline.errors import TraplineError

SOUND = [f"i{number},img/i{number}.jpg,s{number}" for number in range(4)]


@pytest.fixture
def elsewhere(tmp_path):
    """A folder beside the input, with a picture, a text, a pipe and a link to a device."""
    put(tmp_path / "elsewhere", {"secret.jpg": 5, "secret.txt": "password=1"})
    os.mkfifo(tmp_path / "elsewhere" / "pipe.jpg")
    (tmp_path / "elsewhere" / "device.jpg").symlink_to("/dev/zero")
    return tmp_path / "elsewhere"


PATHS = [
    "/proc/self/environ", "/etc/passwd", "/dev/zero", "../elsewhere/secret.jpg",
    "img/../../elsewhere/secret.txt", "..\\elsewhere\\secret.jpg", "C:\\Users\\me\\secret.jpg",
    "\\\\server\\share\\secret.jpg",
    "s3://bucket/secret.jpg", "https://example.org/secret.jpg", "file:///etc/passwd", "img/link.jpg",
    "linked/secret.jpg", "img/pipe.jpg", "img/device.jpg",
]  # fmt: skip


def with_links(folder, elsewhere):
    (folder / "img" / "link.jpg").symlink_to(elsewhere / "secret.jpg")
    (folder / "img" / "pipe.jpg").symlink_to(elsewhere / "pipe.jpg")
    (folder / "img" / "device.jpg").symlink_to("/dev/zero")
    (folder / "linked").symlink_to(elsewhere)
    return folder


@pytest.mark.parametrize("labelled", [True, False], ids=["labelled", "unlabelled"])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_leads_out_of_the_input_is_quarantined_unread(tmp_path, elsewhere, path, labelled):
    source = put(tmp_path / "raw", competition([*SOUND, *([f"x,{path},s9"] if labelled else [])]))
    put(source, {} if labelled else {"test_features.csv": f"id,filepath,site\nx,{path},s9\n"})
    with_links(source, elsewhere)
    assert read(source).quarantined == {"x": "outside"}


def test_nothing_of_the_machine_is_copied_for_the_transform(tmp_path, elsewhere, call_script):
    source = put(tmp_path / "raw", competition([f"i{n},img/i{n}.jpg,s{n % 4}" for n in range(8)]))
    with_links(source, elsewhere)
    rows = [f"x{number},{path}," for number, path in enumerate(PATHS)]
    put(
        source,
        {"test_features.csv": "\n".join(["id,filepath,site", *rows, "t,notes.txt,", "d,img/half.jpg,"])},
    )
    put(source, {"notes.txt": "no picture"})
    (source / "img" / "half.jpg").write_bytes((source / "img" / "i0.jpg").read_bytes()[:200])
    done = call_script(
        "prepare.py",
        "--input",
        source,
        "--output",
        tmp_path / "out",
        "--max-quarantine",
        "1",
        "--processes",
        "1",
    )
    assert done.returncode == 0, done.stderr
    index = pd.read_csv(tmp_path / "out" / "transform" / "index.csv", keep_default_na=False)
    copies = [path.name for path in (tmp_path / "out" / "transform" / "images").iterdir()]
    assert copies == [name for name in index["name"] if name] == ["0000016-half.jpg"]
    assert index["reason"].tolist() == ["outside"] * len(PATHS) + ["not_an_image", "truncated"]
    assert prepared(tmp_path / "out")[1]["quarantined"]["outside"] == len(PATHS)


def test_links_and_paths_that_stay_inside_are_followed(tmp_path):
    paths = ["img/link.jpg", f"{tmp_path}/raw/img/2.jpg", "img/../img/3.jpg", "again/4.jpg"]
    source = put(tmp_path / "raw", competition([f"{i},{p},s" for i, p in zip("abcd", paths, strict=True)]))
    put(source, {f"img/{n}.jpg": "" for n in range(1, 5)})
    (source / "img" / "link.jpg").symlink_to("1.jpg")
    (source / "again").symlink_to("img")
    assert read(source).quarantined == {}
    assert set(read(source).images.index) == {"a", "b", "c", "d"}


def test_an_input_that_is_a_link_itself_is_read(tmp_path):
    put(tmp_path / "raw", competition(SOUND))
    (tmp_path / "link").symlink_to("raw")
    assert read(tmp_path / "link").quarantined == {}


def test_links_to_the_outside_are_followed_where_asked(tmp_path, elsewhere):
    source = put(tmp_path / "raw", {"fox/a.jpg": "", "owl/b.jpg": ""})
    (source / "fox" / "link.jpg").symlink_to(elsewhere / "secret.jpg")
    (source / "fox" / "linked").symlink_to(elsewhere)
    found = read(source)
    assert found.quarantined == {"fox/link.jpg": "outside", "fox/linked": "outside"}
    assert "--follow-links" in found.details
    found = read(source, follow_links=True)
    assert {"fox/link.jpg", "fox/linked/secret.jpg"} <= set(found.images.index)
    assert read(
        put(source, competition(["x,../elsewhere/secret.jpg,s", *SOUND])), follow_links=True
    ).quarantined == {"x": "outside"}


def test_wnids_name_no_folder_outside(tmp_path):
    put(
        tmp_path / "raw",
        {"train/n1/images/a.jpg": "", "val/images/b.jpg": "", "wnids.txt": "n1\n../../secret\n"},
    )
    put(tmp_path / "secret", {"images/x.jpg": ""})
    with pytest.raises(TraplineError, match=r"wnids\.txt: '\.\./\.\./secret' is no class"):
        read(tmp_path / "raw")


@pytest.mark.parametrize(
    "name", ["train_features.csv", "train_labels.csv", "submission_format.csv", "words.txt"]
)
def test_a_table_that_leads_out_of_the_input_ends_the_run(tmp_path, name):
    source = put(tmp_path / "raw", competition(SOUND))
    if name == "words.txt":
        source = put(
            tmp_path / "tiny", {"train/n1/images/a.jpg": "", "val/n1/b.jpg": "", "wnids.txt": "n1\n"}
        )
    (source / name).unlink(missing_ok=True)
    (source / name).symlink_to("/etc/passwd")
    with pytest.raises(TraplineError, match=rf"{name}: a link that leads out of the input folder"):
        read(source)


def test_an_archive_that_leads_out_of_the_input_folder_ends_the_run(tmp_path, call_script):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("fox/a.jpg", "")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "set.zip").symlink_to(tmp_path / "other.zip")
    done = call_script("prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out")
    assert "set.zip: a link that leads out of the input folder" in done.stderr


def test_a_device_or_a_pipe_inside_never_blocks(tmp_path, call_script):
    source = put(tmp_path / "raw", {f"{label}/{n}.jpg": n for label in ("fox", "owl") for n in range(8)})
    os.mkfifo(source / "fox" / "pipe.jpg")
    done = call_script(
        "prepare.py",
        "--input",
        source,
        "--output",
        tmp_path / "out",
        "--max-quarantine",
        "1",
        "--processes",
        "1",
    )
    assert done.returncode == 0, done.stderr
    assert prepared(tmp_path / "out")[1]["quarantined"] == {"unreadable": 1}


def test_a_folder_that_cannot_be_opened_ends_the_run_by_name(tmp_path, monkeypatch):
    source = put(tmp_path / "raw", {"fox/deep/a.jpg": "", "owl/b.jpg": ""})
    scan = os.scandir

    def refusing(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(TraplineError, match=r"fox/deep: the folder cannot be opened \(Permission denied\)"):
        read(source)


PATH_SPELLINGS = {
    "backslashes": ("img/a 1.jpg", "img\\a 1.jpg"),
    "composed in the table": ("img/e\u0301.jpg", "img/\u00e9.jpg"),
    "decomposed in the table": ("img/\u00e9.jpg", "img/e\u0301.jpg"),
    "decomposed folder": ("ima\u0308ge/1.jpg", "im\u00e4ge\\1.jpg"),
    "no-break space": ("img/a\u00a01.jpg", "img/a 1.jpg"),
    "trailing blank": ("img/1.jpg", "img/1.jpg "),
    "leading dot": ("img/1.jpg", ".\\img\\1.jpg"),
}


@pytest.mark.parametrize(("disk", "table"), PATH_SPELLINGS.values(), ids=PATH_SPELLINGS.keys())
def test_paths_of_other_systems_find_their_files(tmp_path, disk, table):
    put(tmp_path, {**competition(SOUND), disk: "", "test_features.csv": f"id,filepath,site\nx,{table},s\n"})
    found = read(tmp_path)
    assert found.quarantined == {}
    assert found.images["path"]["x"] == f"{tmp_path}/{disk}"
    assert found.images["filepath"]["x"] == table


def test_case_is_never_folded_in_a_path_and_the_other_file_is_named(tmp_path):
    put(
        tmp_path,
        {
            **competition(SOUND),
            "img/IMG_1.JPG": "",
            "test_features.csv": "id,filepath,site\nx,img/img_1.jpg,s\n",
        },
    )
    found = read(tmp_path)
    assert found.quarantined == {"x": "missing"}
    assert "there is 'IMG_1.JPG', in another case" in found.details


def test_a_path_that_two_files_are_like_is_not_guessed(tmp_path):
    put(tmp_path, {**competition(SOUND), "img/a  b.jpg": "", "img/a\u00a0b.jpg": "",
                   "test_features.csv": "id,filepath,site\nx,img/a b.jpg,s\n"})  # fmt: skip
    assert read(tmp_path).quarantined == {"x": "missing"}


def test_endless_names_are_no_longer_than_a_file_system_takes(tmp_path, call_script):
    source = put(tmp_path / "raw", {f"{label}/{n}.jpg": n for label in ("fox", "owl") for n in range(8)})
    picture = (source / "fox" / "1.jpg").read_bytes()
    put(source, {"unlabeled/a." + "x" * 250: picture, f"unlabeled/{'b' * 251}.jpg": picture})
    done = call_script("prepare.py", "--input", source, "--output", tmp_path / "out", "--processes", "1")
    assert done.returncode == 0, done.stderr
    index = pd.read_csv(tmp_path / "out" / "transform" / "index.csv", keep_default_na=False)
    assert len(list((tmp_path / "out" / "transform" / "images").iterdir())) == 2
    assert (index["name"] != "").all()


@pytest.mark.parametrize("length", [200, 240, 255])
def test_an_output_folder_with_a_long_name_is_prepared(tmp_path, call_script, length):
    put(tmp_path / "raw", {f"{label}/{n}.jpg": n for label in ("fox", "owl") for n in range(8)})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "raw").rglob("*.jpg")):
            archive.write(path, path.relative_to(tmp_path / "raw"))
    done = call_script(
        "prepare.py",
        "--input",
        tmp_path / "set.zip",
        "--output",
        tmp_path / ("o" * length),
        "--processes",
        "1",
    )
    assert done.returncode == 0, done.stderr


def test_links_in_a_circle_end_and_list_nothing_twice(tmp_path):
    put(tmp_path, {"fox/a.jpg": "", "owl/b.jpg": ""})
    (tmp_path / "fox" / "loop").symlink_to("../fox")
    (tmp_path / "owl" / "up").symlink_to("..")
    found = read(tmp_path)
    assert set(found.images.index) == {"fox/a.jpg", "owl/b.jpg"}
    assert found.quarantined == {}


def test_an_image_that_a_link_puts_into_two_classes_is_ambiguous(tmp_path):
    put(tmp_path, {"fox/a.jpg": "", "fox/b.jpg": "", "owl/c.jpg": ""})
    (tmp_path / "owl" / "link.jpg").symlink_to("../fox/a.jpg")
    found = read(tmp_path)
    assert found.quarantined == {"fox/a.jpg": "ambiguous_label", "owl/link.jpg": "ambiguous_label"}
    assert "class 'fox' (fox/a.jpg) and 'owl' (owl/link.jpg)" in found.details


@pytest.mark.parametrize("layout", [["fox", "owl"], ["train/fox", "train/owl", "val/fox"]])
def test_a_folder_of_images_that_a_link_leads_to_is_not_lost_without_a_word(tmp_path, elsewhere, layout):
    source = put(tmp_path / "raw", {f"{place}/a.jpg": "" for place in layout})
    (source / ("test" if "/" in layout[0] else "hare")).symlink_to(elsewhere)
    if "/" in layout[0]:
        with pytest.raises(
            TraplineError, match="test: a link that leads out of the input folder; --follow-links"
        ):
            read(source)
    else:
        assert read(source).quarantined == {"hare": "outside"}
        assert "hare: a link that leads out of the input folder" in read(source).notes


def test_a_path_that_climbs_after_a_link_leads_where_the_system_leads_it(tmp_path, elsewhere, call_script):
    source = put(tmp_path / "raw", competition([f"i{n},img/i{n}.jpg,s{n % 4}" for n in range(8)]))
    (source / "away").symlink_to(elsewhere)
    put(source, {"test_features.csv": "id,filepath,site\nx,away/../elsewhere/secret.jpg,s\n"})
    flags = ["--max-quarantine", "1", "--processes", "1"]
    done = call_script("prepare.py", "--input", source, "--output", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out" / "transform" / "images").iterdir()) == []
    assert prepared(tmp_path / "out")[1]["quarantined"] == {"outside": 1}


def test_a_table_that_is_a_pipe_is_refused_and_never_blocks(tmp_path, call_script):
    source = put(tmp_path / "raw", {"fox/a.jpg": "", "owl/b.jpg": ""})
    os.mkfifo(tmp_path / "sites.csv")
    done = call_script(
        "prepare.py", "--input", source, "--output", tmp_path / "out", "--site-csv", tmp_path / "sites.csv"
    )
    assert "sites.csv: cannot be read (not a regular file)" in done.stderr
