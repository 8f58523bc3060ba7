"""What a person may name to be predicted, and what is known of it."""

import json
import zipfile

import pandas as pd
import pytest

from tests.support.predicting import options, put_pictures
from trapline.errors import TraplineError
from trapline.job_options import PrepareOptions
from trapline.predicting.inputs import listed

CARDS = ["north/DCIM/100MEDIA/IMG_1.jpg", "north/DCIM/100MEDIA/IMG_2.jpg", "south/DCIM/100MEDIA/IMG_1.jpg"]


def rows(tmp_path, *inputs, **more):
    """The listing of inputs, by file."""
    chosen = options(tmp_path / "out", *inputs, **more)
    with listed(PrepareOptions.model_validate(chosen.input_fields()), tmp_path / "work") as found:
        return found.rows.set_index("file"), list(found.notes)


@pytest.fixture(autouse=True)
def _work(tmp_path):
    (tmp_path / "work").mkdir()


def test_a_folder_of_images_needs_no_labels_and_no_classes(tmp_path):
    put_pictures(tmp_path / "photos", ["a.jpg", "b.jpg"])
    found, _ = rows(tmp_path, tmp_path / "photos")
    assert list(found.index) == ["a.jpg", "b.jpg"]
    assert found["site"].isna().all()


def test_sites_are_the_folders_of_cameras(tmp_path):
    put_pictures(tmp_path / "photos", CARDS)
    found, notes = rows(tmp_path, tmp_path / "photos")
    assert found["site"].to_dict() == dict(zip(CARDS, ["north", "north", "south"], strict=True))
    assert "sites are the folders of cameras, as 'north' (2 in all)" in notes


def test_a_person_says_which_folder_is_the_site(tmp_path):
    put_pictures(tmp_path / "photos", ["2019/ridge/a.jpg", "2019/pond/b.jpg", "2020/ridge/c.jpg"])
    found, _ = rows(tmp_path, tmp_path / "photos", folders="*/site")
    assert list(found["site"]) == ["pond", "ridge", "ridge"]


def test_folders_named_like_classes_are_images_all_the_same(tmp_path):
    put_pictures(tmp_path / "photos", ["fox/a.jpg", "owl/b.jpg", "unlabeled/c.jpg", "loose.jpg"])
    found, _ = rows(tmp_path, tmp_path / "photos")
    assert sorted(found.index) == ["fox/a.jpg", "loose.jpg", "owl/b.jpg", "unlabeled/c.jpg"]


def test_single_images_are_named_by_their_paths_as_far_as_these_differ(tmp_path):
    put_pictures(tmp_path / "photos", ["one/a.jpg", "two/a.jpg"])
    files = [tmp_path / "photos" / "one" / "a.jpg", tmp_path / "photos" / "two" / "a.jpg"]
    found, _ = rows(tmp_path, *files)
    assert list(found.index) == ["one/a.jpg", "two/a.jpg"]
    assert list(rows(tmp_path, files[0])[0].index) == ["a.jpg"]


def test_archives_and_folders_are_named_apart(tmp_path):
    put_pictures(tmp_path / "photos", ["a.jpg"])
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as archive:
        archive.write(tmp_path / "photos" / "a.jpg", "a.jpg")
    found, _ = rows(tmp_path, tmp_path / "photos", tmp_path / "card.zip")
    assert list(found.index) == ["photos/a.jpg", "card.zip/a.jpg"]
    assert found["id"].is_unique


def test_a_table_says_sites_and_times_without_labels_and_no_image_of_the_folder_is_lost(tmp_path):
    put_pictures(tmp_path / "photos", ["a.jpg", "b.jpg", "c.jpg"])
    table = "path,site,datetime\na.jpg,ridge,2020-01-02 03:04:05\nb.jpg,pond,2020-01-02 04:04:05\n"
    (tmp_path / "photos" / "images.csv").write_text(table)
    found, notes = rows(tmp_path, tmp_path / "photos")
    assert found["site"].to_dict() == {"a.jpg": "ridge", "b.jpg": "pond", "c.jpg": None}
    assert found["time"]["a.jpg"] == "2020-01-02 03:04:05"
    assert "1 images are named by no row of a table; they are predicted all the same" in notes


def test_of_a_table_that_is_named_itself_only_its_images_are_predicted(tmp_path):
    put_pictures(tmp_path / "photos", ["a.jpg", "b.jpg"])
    (tmp_path / "photos" / "images.csv").write_text("path,species\na.jpg,fox\n")
    found, _ = rows(tmp_path, tmp_path / "photos" / "images.csv")
    assert list(found.index) == ["a.jpg"]


def test_an_image_of_a_table_that_is_not_there_keeps_its_row_and_says_why(tmp_path):
    put_pictures(tmp_path / "photos", ["a.jpg"])
    (tmp_path / "photos" / "images.csv").write_text("path,species\na.jpg,fox\ngone.jpg,owl\nlost.jpg,\n")
    found, _ = rows(tmp_path, tmp_path / "photos")
    assert found["reason"].to_dict() == {"a.jpg": None, "gone.jpg": "missing", "lost.jpg": "missing"}


def test_timelapse_without_a_column_of_labels_is_read(tmp_path):
    put_pictures(tmp_path / "photos", ["st1/1.jpg", "st2/2.jpg"])
    header = "RootFolder,File,RelativePath,DateTime,DeleteFlag"
    lines = ["photos,1.jpg,st1,2019-05-31 14:02:11,false", "photos,2.jpg,st2,2019-05-31 14:03:11,true"]
    (tmp_path / "photos" / "TimelapseData.csv").write_text("\n".join([header, *lines]) + "\n")
    found, _ = rows(tmp_path, tmp_path / "photos")
    assert found["site"]["st1/1.jpg"] == "st1"
    assert found["reason"].to_dict() == {"st1/1.jpg": None, "st2/2.jpg": "deleted"}


def test_videos_and_texts_beside_images_do_not_pass_for_them(tmp_path):
    put_pictures(tmp_path / "photos", ["a.jpg", "cam/clip.mp4", "cam/notes.txt", "cam/damaged.jpg"])
    found, notes = rows(tmp_path, tmp_path / "photos")
    assert found["reason"].to_dict() == {"a.jpg": None, "cam/clip.mp4": "video", "cam/damaged.jpg": None}
    assert any("notes.txt" in note for note in notes)


def test_an_empty_folder_and_one_that_is_not_there_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(TraplineError, match="no image is there"):
        rows(tmp_path, tmp_path / "photos")
    with pytest.raises(TraplineError, match="no such folder or file"):
        rows(tmp_path, tmp_path / "nowhere")


def test_the_listing_is_the_same_whatever_the_order_of_the_disk(tmp_path):
    names = [f"cam{number % 3}/{number:03d}.jpg" for number in range(12)]
    put_pictures(tmp_path / "one", names)
    put_pictures(tmp_path / "two", names[::-1])
    first, second = (rows(tmp_path, tmp_path / name)[0].drop(columns="path") for name in ("one", "two"))
    pd.testing.assert_frame_equal(first, second)


# --- tables beside the images that are of no use, or say labels ---------------------------------------------


@pytest.mark.parametrize(("name", "content", "said"), [
    ("labels.csv", "path,species\nelsewhere/9.jpg,fox\n", "names none of the images"),
    ("labels.json", '{"images": [{"id": "1", "file_name": "9.jpg"}], "annotations": [], "categories": '
     '[{"id": 1, "name": "fox"}]}', "none of its 1 images is in"),
    ("labels.csv", "path,species,Path\na.jpg,fox,b.jpg\n", "has two columns of one name"),
])  # fmt: skip
def test_a_table_that_is_of_no_use_is_noted_and_the_images_are_predicted_without_it(
    tmp_path, name, content, said
):
    put_pictures(tmp_path / "photos", ["a.jpg", "b.jpg"])
    (tmp_path / "photos" / name).write_text(content)
    found, notes = rows(tmp_path, tmp_path / "photos")
    assert sorted(found.index[found["reason"].isna()]) == ["a.jpg", "b.jpg"]
    assert said in " ".join(notes)


def test_what_a_person_names_is_refused_where_it_is_of_no_use(tmp_path):
    put_pictures(tmp_path / "photos", ["a.jpg"])
    (tmp_path / "photos" / "labels.csv").write_text("path,species,Path\na.jpg,fox,b.jpg\n")
    for given, more in (
        (tmp_path / "photos" / "labels.csv", {}),
        (tmp_path / "photos", {"layout": "csv"}),
        (tmp_path / "photos", {"columns": ("site=place",)}),
    ):
        with pytest.raises(TraplineError, match=r"two columns of one name|no such column"):
            rows(tmp_path, given, **more)


def test_a_table_in_the_one_folder_of_a_folder_is_read(tmp_path):
    put_pictures(tmp_path / "card" / "set", ["x/a.jpg", "x/b.jpg"])
    (tmp_path / "card" / "set" / "images.csv").write_text("path,site\nx/a.jpg,ridge\nx/b.jpg,pond\n")
    found, _ = rows(tmp_path, tmp_path / "card")
    assert sorted(found["site"]) == ["pond", "ridge"]


@pytest.mark.parametrize(("labels", "sites"), [
    (["cat", "cat", "dog", "dog"], {None}), (["cat", "dog", "cat", "dog"], {"A", "B"}),
    ([""] * 4, {"A", "B"}), (["\u202e", "\u202e", "b", "b"], {None}),
])  # fmt: skip
def test_folders_of_one_label_each_are_no_cameras_and_the_labels_are_not_kept(tmp_path, labels, sites):
    names = ["A/1.jpg", "A/2.jpg", "B/1.jpg", "B/2.jpg"]
    put_pictures(tmp_path / "photos", names)
    lines = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    found, _ = rows(tmp_path, tmp_path / "photos")
    assert set(found["site"]) == sites
    assert found["reason"].isna().all()


def test_a_package_of_a_machines_labels_needs_no_true_ones(tmp_path):
    put_pictures(tmp_path / "photos", ["a.jpg"])
    tables = {
        "datapackage.json": json.dumps(
            {
                "profile": "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json",
                "resources": [
                    {"name": name, "path": f"{name}.csv"} for name in ("deployments", "media", "observations")
                ],
            }
        ),
        "deployments.csv": "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd\n"
        "d1,ridge,1,2,2024-05-01T00:00:00Z,2024-06-01T00:00:00Z\n",
        "media.csv": "mediaID,deploymentID,timestamp,filePath,filePublic,fileMediatype\n"
        "m1,d1,2024-05-11T14:02:10Z,a.jpg,true,image/jpeg\n",
        "observations.csv": "observationID,deploymentID,mediaID,eventStart,eventEnd,observationLevel,"
        "observationType,scientificName,classificationMethod\no1,d1,m1,2024-05-11T14:02:10Z,"
        "2024-05-11T14:02:10Z,media,animal,Vulpes vulpes,machine\n",
    }
    for name, text in tables.items():
        (tmp_path / "photos" / name).write_text(text)
    found, _ = rows(tmp_path, tmp_path / "photos")
    assert found["site"].tolist() == ["ridge"]
