"""Somebody's own split, in folders and in a column: it is kept, and never taken for classes."""

import pytest

from tests.support.disk import competition, divided, prepared, put, read
from trapline.errors import TraplineError

TREES = {
    "valid": ("train", "valid", "test"),
    "capitals": ("Train", "Val", "Test"),
    "shouted": ("TRAIN", "VALID", "TEST"),
    "dev": ("training", "dev", "testing"),
    "validation": ("train", "validation", "test"),
    "validate": ("Train", "Validate", "Test"),
    "sets": ("training_set", "validation_set", "test_set"),
    "glued": ("trainset", "valset", "testset"),
    "images": ("train_images", "val_images", "test_images"),
    "blank": ("train ", "val", " test"),
}


@pytest.mark.parametrize("names", TREES.values(), ids=TREES.keys())
def test_folders_of_a_split_are_parts_under_any_of_their_names(tmp_path, names):
    for part in names:
        put(tmp_path, {f"{part}/{label}/{number}.jpg": "" for label in ("cat", "dog") for number in "01"})
    found = read(tmp_path)
    assert found.classes == ["cat", "dog"]
    assert found.images.groupby("given").size().to_dict() == {"train": 4, "val": 4, "test": 4}


def test_class_folders_of_the_parts_may_differ_in_case(tmp_path):
    put(tmp_path, {"Train/Cat/1.jpg": "", "Train/Dog/1.jpg": "", "Val/cat/2.jpg": "", "Val/dog/2.jpg": ""})
    found = read(tmp_path)
    assert found.classes == ["Cat", "Dog"]
    assert found.labels["Val/cat/2.jpg"] == "Cat"
    assert found.quarantined == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "val", "valid"], "val and valid are both folders of val"),
        (["train", "eval"], "eval: means val or test"),
        (["train", "holdout"], "holdout: means val or test"),
        (["train", "test", "cats"], "but cats lies beside them"),
        (["cats", "dogs", "test"], "but cats lies beside them"),
        (["cats", "dogs", "Validation"], "but cats lies beside them"),
        (["val", "test"], "there is no train"),
    ],
)
def test_half_a_split_is_refused_by_name(tmp_path, names, message):
    put(tmp_path, {f"{name}/{label}/1.jpg": "" for name in names for label in ("a", "b")})
    with pytest.raises(TraplineError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("inner", [["cat", "dog"], ["train/cat", "train/dog", "val/cat", "val/dog"]])
def test_a_data_set_in_a_folder_of_its_own_is_found(tmp_path, inner):
    put(tmp_path, {f"my set/{place}/1.jpg": "" for place in inner})
    assert read(tmp_path).classes == ["cat", "dog"]


def test_parts_without_class_folders_are_no_classes(tmp_path):
    put(tmp_path, {"train/cat.1.jpg": "", "train/dog.1.jpg": "", "test/1.jpg": ""})
    with pytest.raises(TraplineError, match="holds no class folders"):
        read(tmp_path)


def test_a_photographed_train_is_a_class(tmp_path):
    put(tmp_path, {"train/1.jpg": "", "bus/1.jpg": "", "car/1.jpg": ""})
    assert read(tmp_path).classes == ["bus", "car", "train"]


def test_train_alone_is_read_by_its_classes_and_divided(tmp_path):
    put(tmp_path, {f"train/{label}/{number}.jpg": "" for label in ("a", "b") for number in range(8)})
    found = read(tmp_path)
    assert found.classes == ["a", "b"]
    assert "given" not in found.images
    assert set(divided(tmp_path, "random").values()) == {"train", "val", "test"}


@pytest.mark.parametrize("name", ["unlabeled", "unlabelled", "Unlabeled", "UNLABELLED "])
def test_unlabelled_images_are_no_class_however_the_folder_is_spelt(tmp_path, name):
    put(tmp_path, {"cat/1.jpg": "", "dog/1.jpg": "", f"{name}/1.jpg": ""})
    found = read(tmp_path)
    assert found.classes == ["cat", "dog"]
    assert found.labels[f"{name}/1.jpg"] is None


COLUMNS = ["split", "Split", " SPLIT ", "subset", "set", "partition"]
VALUES = [("train", "val", "test"), ("Train", "validate", "TEST"), ("training", "dev", "testing"),
          ("train", "valid", "test"), ("train ", "validation", "test")]  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("values", VALUES, ids="/".join)
def test_a_tables_own_split_is_kept(tmp_path, column, values):
    rows = [f"i{number},img/i{number}.jpg,s{number},{values[number % 3]}" for number in range(6)]
    put(tmp_path, competition(rows, f"id,filepath,site,{column}"))
    assert divided(tmp_path) == {f"i{n}": ("train", "val", "test")[n % 3] for n in range(6)}


def test_a_table_beside_class_folders_gives_its_split_and_its_sites(tmp_path):
    put(tmp_path, {f"{label}/{n}.jpg": "" for label in ("cat", "dog") for n in range(3)})
    rows = [
        f"{label}/{n}.jpg,{label},{('train', 'validate', 'test')[n]},cam{n}"
        for label in ("cat", "dog")
        for n in range(3)
    ]
    put(tmp_path, {"labels.csv": "\n".join(["path,label,split,location", *rows])})
    found = read(tmp_path)
    assert found.images["given"].to_dict()["dog/1.jpg"] == "val"
    assert found.images["site"].to_dict()["cat/2.jpg"] == "cam2"
    assert "its columns location as site, split as split" in found.notes


def test_a_split_that_sites_and_sequences_straddle_is_kept_counted_and_nothing_is_claimed(
    tmp_path, call_script
):
    values = ["train", "val", "train", "test", "train", "val"]
    rows = [f"i{n},img/i{n}.jpg,s{n // 2},q{n // 2},{values[n]}" for n in range(6)]
    put(tmp_path / "raw", competition(rows, "id,filepath,site,sequence,split"))
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--processes", "1"
    )
    assert done.returncode == 0, done.stderr
    ids, summary = prepared(tmp_path / "out")
    assert ids == {"train": {"i0", "i2", "i4"}, "val": {"i1", "i5"}, "test": {"i3"}, "unlabeled": set()}
    assert "nothing can be claimed" in summary["claim"]
    assert any("3 sites and 3 sequences" in note for note in summary["notes"])


@pytest.mark.parametrize("kind", ["site", "random"])
def test_the_data_sets_own_split_is_overridden_by_word_and_said(tmp_path, call_script, kind):
    values = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    rows = [f"i{n},img/i{n}.jpg,s{n % 6},{values[n]}" for n in range(12)]
    put(tmp_path / "raw", competition(rows, "id,filepath,site,split"))
    done = call_script(
        "prepare.py",
        "--input",
        tmp_path / "raw",
        "--output",
        tmp_path / "out",
        "--split",
        kind,
        "--processes",
        "1",
    )
    assert done.returncode == 0, done.stderr
    assert f"the data set's own split (train 6, val 3, test 3) was not used: --split {kind}" in done.stdout


def test_a_column_that_is_no_split_is_left_alone_and_said(tmp_path):
    rows = [f"i{n},img/i{n}.jpg,s{n},{'AB'[n % 2]}" for n in range(6)]
    put(tmp_path, competition(rows, "id,filepath,site,set"))
    found = read(tmp_path)
    assert "given" not in found.images
    assert "the column set is no split" in found.notes


@pytest.mark.parametrize(("column", "value"), [("split", "holdout"), ("set", "eval"), ("split", "A")])
def test_a_value_that_names_no_part_is_refused(tmp_path, column, value):
    rows = [f"i{n},img/i{n}.jpg,s{n},{value if n == 4 or value == 'A' else 'train'}" for n in range(6)]
    put(tmp_path, competition(rows, f"id,filepath,site,{column}"))
    with pytest.raises(TraplineError, match=f"column {column}: '{value}' is none of train, val and test"):
        read(tmp_path)


def test_an_image_without_a_part_is_quarantined(tmp_path, call_script):
    rows = [f"i{n},img/i{n}.jpg,{['train', 'val', ''][n % 3]}" for n in range(9)]
    put(tmp_path / "raw", competition(rows, "id,filepath,split"))
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--max-quarantine", "1",
        "--processes", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert prepared(tmp_path / "out")[1]["quarantined"] == {"unknown_part": 3}


def test_a_split_that_names_one_part_alone_is_none(tmp_path):
    rows = [f"i{n},img/i{n}.jpg,s{n},train" for n in range(6)]
    put(tmp_path, competition(rows, "id,filepath,site,split"))
    assert "given" not in read(tmp_path).images
    assert "of train: that is no split" in read(tmp_path).notes


def test_several_labels_an_image_keep_their_split_too(tmp_path):
    parts = ["train", "train", "val", "test"]
    rows = [f"{n}.jpg,{n % 2} 2,{parts[n % 4]}" for n in range(12)]
    put(
        tmp_path,
        {**{f"data/{n}.jpg": "" for n in range(12)}, "all.csv": "\n".join(["ImageID,Labels,split", *rows])},
    )
    assert divided(tmp_path) == {f"{n}.jpg": parts[n % 4] for n in range(12)}


MORE_NAMES = [
    ("train2017", "val2017"), ("train_dataset", "test_dataset"), ("Train_Data_Set", "Test_Data_Set"),
    ("Train (1)", "Test (1)"), ("data_train", "data_test"), ("1_train", "2_test"), ("train80", "test20"),
    ("train.v2", "valid.v2"), ("train_labeled", "test_labeled"), ("trn", "tst"),
]  # fmt: skip


@pytest.mark.parametrize("names", MORE_NAMES, ids="/".join)
def test_what_people_add_to_the_names_of_parts_makes_no_classes_of_them(tmp_path, names):
    put(tmp_path, {f"{name}/{label}/{n}.jpg": "" for name in names for label in ("fox", "owl") for n in "01"})
    found = read(tmp_path)
    assert found.classes == ["fox", "owl"]
    assert found.images["given"].nunique() == 2


ORDINARY = [("valley", "forest"), ("test tube", "bottle"), ("freight train", "bus"), ("dataset a", "b")]


@pytest.mark.parametrize("names", ORDINARY)
def test_classes_that_hold_such_a_word_stay_classes(tmp_path, names):
    put(tmp_path, {f"{name}/1.jpg": "" for name in names})
    assert read(tmp_path).classes == sorted(names)


def test_a_split_inside_the_classes_is_refused_by_name(tmp_path):
    put(tmp_path, {f"{label}/{part}/1.jpg": "" for label in ("fox", "owl") for part in ("train", "test")})
    with pytest.raises(TraplineError, match="fox: holds test and train, by their names parts of a split"):
        read(tmp_path)


def test_a_test_part_of_other_classes_is_refused_and_unlabelled_images_of_train_are_no_class(tmp_path):
    put(tmp_path, {f"train/{label}/1.jpg": "" for label in ("fox", "owl", "unlabeled")})
    assert read(tmp_path).classes == ["fox", "owl"]
    assert read(tmp_path).labels["train/unlabeled/1.jpg"] is None
    put(tmp_path, {"test/foxes/1.jpg": "", "test/owls/1.jpg": ""})
    with pytest.raises(TraplineError, match="test: holds none of the class folders of train"):
        read(tmp_path)


def test_no_image_of_tiny_imagenets_layout_is_lost(tmp_path):
    put(
        tmp_path,
        {"wnids.txt": "n1\nn2\n", **{f"train/{code}/images/{code}.JPEG": "" for code in ("n1", "n2")}},
    )
    put(tmp_path, {"val/images/v.JPEG": "", "val/val_annotations.txt": "v.JPEG\tn1\t0\n", "test/t.JPEG": "",
                   "unlabeled/u.JPEG": "", "extra/e.JPEG": "", "train/n1/more.JPEG": "",
                   "val/w.JPEG": ""})  # fmt: skip
    found = read(tmp_path)
    assert {"test/t.JPEG", "unlabeled/u.JPEG"} <= {
        name for name, label in found.labels.items() if label is None
    }
    assert set(found.quarantined) == {"extra/e.JPEG", "train/n1/more.JPEG", "val/w.JPEG"}
