"""The drawn camera-trap set: its files, its rules, and that it is harder at sites never seen."""

from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, UnidentifiedImageError
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score

from trapline.errors import UsageError
from trapline.preparation.demo import CLASSES, DemoSettings, draw_demo

Thumbnails = tuple[np.ndarray, pd.DataFrame]
SMALL = DemoSettings(images=600, unlabeled=100, sites=20, unlabeled_sites=5, width=128, height=72)
TINY = replace(SMALL, images=24, unlabeled=6, sites=6, unlabeled_sites=2, damaged=0.1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "set"
    draw_demo(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def labelled(demo: Path) -> pd.DataFrame:
    features = pd.read_csv(demo / "train_features.csv")
    labels = pd.read_csv(demo / "train_labels.csv").set_index("id")[list(CLASSES)]
    return features.assign(label=features["id"].map(labels.idxmax(axis=1)))


def tables(folder: Path) -> list[pd.DataFrame]:
    return [pd.read_csv(folder / f"{name}.csv") for name in ("train_features", "test_features")]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def damage(path: Path) -> str:
    if not path.exists():
        return "missing"
    content = path.read_bytes()
    if not content:
        return "empty"
    try:
        Image.open(BytesIO(content)).load()
    except UnidentifiedImageError:
        return "text"
    except OSError:
        return "truncated"
    return ""


def thumbnail(path: Path) -> np.ndarray:
    picture = Image.open(path).convert("RGB")
    above_the_strip = picture.crop((0, 0, picture.width, int(picture.height * 0.9)))
    return np.asarray(above_the_strip.resize((24, 14)), dtype=np.float32)


@pytest.fixture(scope="module")
def thumbnails(demo: Path, labelled: pd.DataFrame) -> Thumbnails:
    sound = labelled[[not damage(demo / path) for path in labelled["filepath"]]]
    return np.stack([thumbnail(demo / path) for path in sound["filepath"]]), sound


def test_every_row_asked_for_is_in_the_tables(demo: Path) -> None:
    train, test = tables(demo)
    assert list(train.columns) == list(test.columns) == ["id", "filepath", "site", "sequence"]
    assert train["id"].tolist() == [f"ZJ{index:06d}" for index in range(600)]
    assert test["id"].tolist() == [f"ZJ{index:06d}" for index in range(600, 700)]
    assert train["filepath"].tolist() == [f"train_features/{name}.jpg" for name in train["id"]]
    assert (train["site"].nunique(), test["site"].nunique()) == (20, 5)


def test_every_labelled_image_has_exactly_one_class(demo: Path) -> None:
    labels = pd.read_csv(demo / "train_labels.csv")
    assert tuple(labels.columns) == ("id", *CLASSES)
    assert labels["id"].tolist() == tables(demo)[0]["id"].tolist()
    values = labels[list(CLASSES)].to_numpy()
    assert set(np.unique(values)) == {0.0, 1.0}
    assert (values.sum(axis=1) == 1).all()


def test_the_submission_format_names_the_unlabelled_images(demo: Path) -> None:
    submission = pd.read_csv(demo / "submission_format.csv")
    assert tuple(submission.columns) == ("id", *CLASSES)
    assert submission["id"].tolist() == tables(demo)[1]["id"].tolist()
    assert np.allclose(submission[list(CLASSES)].sum(axis=1), 1)


def test_the_set_says_that_it_is_drawn(demo: Path) -> None:
    assert "DRAWN" in (demo / "README.txt").read_text()


def test_pictures_have_the_size_asked_for(demo: Path, thumbnails: Thumbnails) -> None:
    sizes = {Image.open(demo / path).size for path in thumbnails[1]["filepath"]}
    assert sizes == {(128, 72)}


def test_no_site_is_both_labelled_and_unlabelled(demo: Path) -> None:
    train, test = tables(demo)
    assert not set(train["site"]) & set(test["site"])


def test_the_frames_of_a_burst_share_site_and_label(labelled: pd.DataFrame) -> None:
    bursts = labelled.groupby("sequence")
    assert (bursts["site"].nunique() == 1).all()
    assert (bursts["label"].nunique() == 1).all()
    assert set(bursts.size()) == {1, 2, 3, 4}


def test_every_class_is_seen_at_five_sites_or_more(labelled: pd.DataFrame) -> None:
    sites = labelled.groupby("label")["site"].nunique()
    assert set(sites.index) == set(CLASSES)
    assert sites.min() >= 5


def test_the_site_alone_predicts_much_more_than_the_commonest_class(labelled: pd.DataFrame) -> None:
    commonest = labelled["label"].value_counts(normalize=True).max()
    by_site = labelled.groupby("site")["label"].agg(lambda labels: labels.value_counts().iloc[0]).sum()
    assert 0.35 < by_site / len(labelled) < 0.65
    assert by_site / len(labelled) > commonest + 0.15


@pytest.mark.parametrize("part", [0, 1])
def test_each_part_holds_every_kind_of_damage_and_little_of_it(demo: Path, part: int) -> None:
    kinds = [damage(demo / path) for path in tables(demo)[part]["filepath"]]
    assert set(kinds) == {"", "empty", "text", "truncated", "missing"}
    assert len(kinds) - kinds.count("") == 4


def test_a_share_of_damage_is_met(tmp_path: Path) -> None:
    draw_demo(tmp_path / "set", TINY)
    kinds = [damage(tmp_path / "set" / path) for path in tables(tmp_path / "set")[0]["filepath"]]
    assert len(kinds) - kinds.count("") == 2


def test_no_damage_is_done_when_none_is_asked_for(tmp_path: Path) -> None:
    draw_demo(tmp_path / "set", replace(TINY, damaged=0))
    paths = [path for table in tables(tmp_path / "set") for path in table["filepath"]]
    assert not any(damage(tmp_path / "set" / path) for path in paths)


def test_a_set_without_unlabelled_images_has_empty_tables(tmp_path: Path) -> None:
    draw_demo(tmp_path / "set", replace(TINY, unlabeled=0))
    assert tables(tmp_path / "set")[1].empty
    assert pd.read_csv(tmp_path / "set" / "submission_format.csv").empty


def test_the_number_of_processes_changes_no_byte(tmp_path: Path) -> None:
    settings = replace(TINY, images=90, sites=8)
    draw_demo(tmp_path / "pool", settings, processes=2)
    draw_demo(tmp_path / "alone", settings, processes=1)
    assert contents(tmp_path / "pool") == contents(tmp_path / "alone")


def test_another_seed_draws_another_set(tmp_path: Path) -> None:
    draw_demo(tmp_path / "first", TINY)
    draw_demo(tmp_path / "again", TINY)
    draw_demo(tmp_path / "other", replace(TINY, seed=1))
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    first, other = contents(tmp_path / "first"), contents(tmp_path / "other")
    pictures = [
        name for name in first.keys() & other.keys() if name.endswith(".jpg") and len(first[name]) > 100
    ]
    assert pictures
    assert all(first[name] != other[name] for name in pictures)


def test_a_site_looks_like_itself_and_unlike_the_others(thumbnails: Thumbnails) -> None:
    pictures, table = thumbnails
    colour = np.ptp(pictures, axis=3).mean(axis=(1, 2))
    shapes = pictures.mean(axis=3)[colour > 6].reshape((colour > 6).sum(), -1)
    shapes = (shapes - shapes.mean(axis=1, keepdims=True)) / shapes.std(axis=1, keepdims=True)
    likeness = shapes @ shapes.T / shapes.shape[1]
    sites = table["site"].to_numpy()[colour > 6]
    same = sites[:, None] == sites[None, :]
    assert np.median(likeness[same]) > 0.75
    assert np.median(likeness[~same]) < 0.5


def test_night_frames_are_grey(thumbnails: Thumbnails) -> None:
    colour = np.ptp(thumbnails[0], axis=3).mean(axis=(1, 2))
    assert 0.2 < (colour < 2).mean() < 0.7


@pytest.mark.slow
def test_a_classifier_does_clearly_worse_at_sites_it_has_not_seen(thumbnails: Thumbnails) -> None:
    pictures, table = thumbnails
    model = ExtraTreesClassifier(60, random_state=0)
    inputs = pictures.reshape(len(pictures), -1)
    split_at_random = StratifiedKFold(4, shuffle=True, random_state=0)
    random = cross_val_score(model, inputs, table["label"], cv=split_at_random).mean()
    unseen = cross_val_score(
        model, inputs, table["label"], groups=table["site"], cv=StratifiedGroupKFold(4)
    ).mean()
    assert random > unseen + 0.15


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", 19),
        ("unlabeled", 4),
        ("sites", 0),
        ("unlabeled_sites", 0),
        ("seed", -1),
        ("width", 20),
        ("height", 20),
        ("damaged", 0.9),
        ("damaged", float("nan")),
    ],
)
def test_an_impossible_setting_is_refused_by_name(name: str, value: Any) -> None:
    assert name in {field.name for field in fields(DemoSettings)}
    with pytest.raises(UsageError, match=f"^{name}: .* out of range"):
        replace(SMALL, **{name: value})


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        draw_demo(tmp_path, TINY)
    assert contents(tmp_path) == {"notes.txt": b"mine"}
