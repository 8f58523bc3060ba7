"""Folds for cross-validation: every image validates once, cameras and copies stay whole, labels spread."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.model_selection import StratifiedGroupKFold

from tests.preparation.test_splits import simulated
from trapline.data.loader import LoaderSettings, make_loader
from trapline.data.parts import MixedPart, PartRows, fold_of_each_image, spread, training_parts
from trapline.data.prepared import (
    SCHEMA,
    DatasetDescription,
    PackedPart,
    PartFiles,
    PreparedSet,
    Split,
    open_prepared,
)
from trapline.errors import UsageError


def made(folder, rows, *, by_site, classes=3, ids=None, **split):
    """A prepared set of (part, labels, site, content, sequence if any) rows, without pictures.

    `ids`: those of the images of a part; `split`: more fields of the split.
    """
    parts = {}
    for part in ("train", "val", "test", "unlabeled"):
        own = [row for row in rows if row[0] == part]
        columns = {
            "id": (ids or {}).get(part, [f"{part} {number}" for number in range(len(own))]),
            "image": [b""] * len(own),
            "labels": [row[1] for row in own],
            "site": [row[2] for row in own],
            "sequence": [row[4] if len(row) > 4 else None for row in own],
            "width": [1] * len(own),
            "height": [1] * len(own),
            "sha256": [row[3] for row in own],
            "weight": [float(number) for number in range(len(own))],
        }
        arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
        with pa.ipc.new_file(str(folder / f"{part}.arrow"), SCHEMA) as writer:
            writer.write_batch(pa.record_batch(arrays, SCHEMA))
        parts[part] = PartFiles(images=len(own), files=[f"{part}.arrow"])
    description = DatasetDescription(
        format_version=1,
        task="multilabel",
        classes=[f"class{index}" for index in range(classes)],
        source="drawn",
        drawn=True,
        split=Split(kind="site" if by_site else "random", shares={}, seed=0, unseen_sites=by_site, **split),
        pixels={},
        jpeg_quality=90,
        parts=parts,
        counts={},
        fingerprint="x",
        versions={},
    )
    return PreparedSet(folder, description)


def labelled_rows(least=8):
    """Rows of train and val with any labels, at a few sites, some of them copies; a test row besides."""
    row = st.tuples(
        st.sampled_from(["train", "val"]),
        st.lists(st.integers(0, 2), max_size=3, unique=True).map(sorted),
        st.integers(0, 9).map("cam{}".format),
        st.integers(0, 30).map("hash{}".format),
    )
    return st.lists(row, min_size=least, max_size=60).map(lambda rows: [*rows, ("test", [0], "cam99", "t")])


@settings(deadline=None, max_examples=15)
@given(labelled_rows(), st.integers(2, 5), st.booleans())
def test_every_image_of_train_and_val_is_in_one_fold_with_its_camera_or_its_copies(
    tmp_path_factory, rows, folds, by_site
):
    prepared = made(tmp_path_factory.mktemp("set"), rows, by_site=by_site)
    used = [row for name in ("train", "val") for row in rows if row[0] == name]
    units = np.array([row[2 if by_site else 3] for row in used])
    if len(set(units)) < folds:
        with pytest.raises(UsageError, match="take fewer folds"):
            fold_of_each_image(prepared, folds)
        return
    fold_of = fold_of_each_image(prepared, folds)
    assert set(fold_of) == set(range(1, folds + 1))
    assert all(len(set(fold_of[units == unit])) == 1 for unit in units)
    validated = []
    for fold in range(1, folds + 1):
        train, val = training_parts(prepared, folds, fold)
        assert sorted([*train.rows, *val.rows]) == list(range(len(used)))
        validated += list(val.rows)
    assert sorted(validated) == list(range(len(used)))


@settings(deadline=None, max_examples=8)
@given(labelled_rows(), st.randoms(use_true_random=False))
def test_the_folds_do_not_depend_on_the_order_of_the_images(tmp_path_factory, rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    found = []
    for order in (rows, shuffled):
        used = [row for name in ("train", "val") for row in order if row[0] == name]
        if len({row[3] for row in used}) < 2:
            return
        fold_of = fold_of_each_image(made(tmp_path_factory.mktemp("set"), order, by_site=False), 2)
        found.append({row[3]: fold for row, fold in zip(used, fold_of, strict=True)})
    assert found[0] == found[1]


# Six cameras, each of which shares a sequence with the next one.
CHAIN = [
    ("train", [number % 3], f"cam{number}", f"hash{2 * number + side}", f"q{number + side}")
    for number in range(6)
    for side in (0, 1)
]


@pytest.mark.parametrize("by_site", [True, False])
def test_folds_that_need_more_units_than_sequences_leave_name_the_kind_of_unit(tmp_path, by_site):
    prepared = made(tmp_path, CHAIN, by_site=by_site, sequences="global")
    what = "sites" if by_site else "different images"
    units = 1 if by_site else 7
    message = (
        rf"8 folds need as many {what} \(those that a sequence joins count as one\).* have {units}; take"
    )
    with pytest.raises(UsageError, match=message):
        fold_of_each_image(prepared, 8)


def test_the_scope_of_sequences_is_that_of_the_set_and_an_older_set_is_asked_itself(tmp_path):
    for name, scope in {"kept": {"sequences": "by_site"}, "older": {}}.items():
        (tmp_path / name).mkdir()
        prepared = made(tmp_path / name, CHAIN, by_site=True, **scope)
        assert len(set(fold_of_each_image(prepared, 6).tolist())) == 6
    with pytest.raises(UsageError, match="6 folds need as many sites"):
        fold_of_each_image(made(tmp_path, CHAIN, by_site=True, sequences="global"), 6)


def test_a_camera_that_an_older_set_spells_two_ways_is_in_one_fold(tmp_path):
    spelt = ["Cam A", "cam a ", "B", "C", "c"] * 2
    rows = [("train" if number % 2 else "val", [0], site, f"{number}") for number, site in enumerate(spelt)]
    fold_of = fold_of_each_image(made(tmp_path, rows, by_site=True), 3)
    used = [row[2].strip().lower() for part in ("train", "val") for row in rows if row[0] == part]
    assert len(set(zip(used, fold_of.tolist(), strict=True))) == 3


def test_an_empty_val_is_folded_as_well(tmp_path):
    rows = [("train", [0], "a", "1"), ("train", [1], "b", "2")]
    assert sorted(fold_of_each_image(made(tmp_path, rows, by_site=True), 2)) == [1, 2]


def counted(labels, unit_of, classes):
    counts = csr_array(
        (np.ones(len(labels), dtype=np.int64), (unit_of, labels)), shape=(max(unit_of) + 1, classes)
    )
    counts.sum_duplicates()
    return counts, np.bincount(unit_of)


def uneven(labels, fold_of, classes, folds):
    """Mean over folds and classes of how far a fold's fraction of a class is from its fair share."""
    held = np.array([np.bincount(labels[fold_of == fold], minlength=classes) for fold in range(folds)])
    return np.abs(held / held.sum(axis=0) - 1 / folds).mean()


def test_whole_cameras_spread_the_classes_about_as_well_as_scikit_learn_does():
    ours, theirs = [], []
    for seed in range(4):
        labels, sites = simulated(seed)
        _, unit_of = np.unique(sites, return_inverse=True)
        ours.append(uneven(labels, spread(*counted(labels, unit_of, 8), 5)[unit_of], 8, 5))
        other = np.empty(len(labels), dtype=int)
        for fold, (_, rows) in enumerate(StratifiedGroupKFold(5).split(labels, labels, sites)):
            other[rows] = fold
        theirs.append(uneven(labels, other, 8, 5))
    assert np.mean(ours) < 1.5 * np.mean(theirs) < 0.01


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 4), min_size=10, max_size=200), st.integers(2, 5))
def test_single_images_are_dealt_out_to_the_image(labels, folds):
    labels = np.array(labels)
    fold_of = spread(*counted(labels, np.arange(len(labels)), 5), folds)
    for label in range(5):
        held = np.bincount(fold_of[labels == label], minlength=folds)
        assert held.max() - held.min() <= 1
    sizes = np.bincount(fold_of, minlength=folds)
    assert sizes.max() - sizes.min() <= 2


def test_every_label_of_images_with_several_is_spread():
    generator = np.random.default_rng(0)
    matrix = generator.random((600, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
    rows, labels = np.nonzero(matrix)
    counts = csr_array((np.ones(len(rows), dtype=np.int64), (rows, labels)), shape=matrix.shape)
    fold_of = spread(counts, np.ones(600, dtype=np.int64), 5)
    for label in range(6):
        held = np.bincount(fold_of[matrix[:, label]], minlength=5)
        assert held.max() - held.min() <= 2


def test_rows_of_parts_read_as_one_part(tmp_path):
    rows = [
        ("train", [0, 2], "a", "1"),
        ("train", [1], "b", "2"),
        ("val", [], "c", "3"),
        ("val", [2], "d", "4"),
    ]
    prepared = made(tmp_path, rows, by_site=True)
    part = PartRows((prepared.part("train"), prepared.part("val")), np.array([0, 3, 1]))
    assert part.label_matrix(3).tolist() == [[1, 0, 1], [0, 0, 1], [0, 1, 0]]
    assert part.weights.tolist() == [0, 1, 1]
    assert [part.located(row)[1] for row in range(3)] == [0, 1, 1]
    assert part.located(1)[0] == prepared.part("val")
    copy = pickle.loads(pickle.dumps(part))
    assert len(copy) == 3
    assert copy.weights.tolist() == [0, 1, 1]
    assert len(pickle.dumps(part)) < 1500  # no column travels


def test_a_fold_gives_the_images_of_its_rows(small_demo):
    prepared = open_prepared(small_demo)
    train, val = training_parts(prepared, 3, 2)
    assert not set(sites(train)) & set(sites(val))
    whole = PartRows((prepared.part("train"), prepared.part("val")), np.arange(len(train) + len(val)))
    own, all_of_them = (batch_of(part) for part in (val, whole))
    assert torch.equal(own.images, all_of_them.images[val.rows])
    assert torch.equal(own.labels, all_of_them.labels[val.rows])
    mixed = MixedPart(train, prepared.part("unlabeled"), np.array([4]), np.array([1]), 0.5)
    assert mixed.located(len(train)) == (prepared.part("unlabeled"), 4)
    assert (
        mixed.located(1)[0].table["sha256"][mixed.located(1)[1]]
        == whole_column(prepared, "sha256")[train.rows[1]]
    )


def sites(part):
    return [part.located(row)[0].table["site"][part.located(row)[1]].as_py() for row in range(len(part))]


def whole_column(prepared, name):
    return [value for part in ("train", "val") for value in prepared.part(part).table[name]]


def batch_of(part):
    loader = make_loader(part, LoaderSettings(size=32, batch_size=len(part)))
    (batch,) = loader.epoch(1)
    return batch


def test_without_folds_the_parts_are_the_sets_own(small_demo):
    prepared = open_prepared(small_demo)
    train, val = training_parts(prepared, 0, None)
    assert isinstance(train, PackedPart)
    assert (train, val) == (prepared.part("train"), prepared.part("val"))
