"""Sets whose images have any number of labels, from their tables to the parts."""

import json

import pandas as pd
import pytest

from tests.support.mosaics import class_folder_images, drawn_images, make_mosaics
from trapline.data.prepared import open_prepared

MOSAICS = 40


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory):
    """40 labelled and 4 unlabelled mosaics of 16 px in five classes, 1, 2, 3, 5 and 6. Read it only."""
    folder = tmp_path_factory.mktemp("mosaics") / "raw"
    make_mosaics(drawn_images(5, 12, 8, seed=0), folder, MOSAICS, seed=0)
    (folder / "names.txt").write_text("Label,Name\n1,fox\n6,owl\n")
    return folder


@pytest.fixture
def prepare(tmp_path, call_script):
    """Prepare a source: (source, *flags) -> the open set."""

    def run(source, *flags):
        output = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        done = call_script("prepare.py", "--input", source, "--output", output, "--processes", "1", *flags)
        assert done.returncode == 0, done.stderr
        return open_prepared(output)

    return run


def labels_by_id(prepared):
    names = prepared.description.class_codes or prepared.description.classes
    return {
        name: " ".join(names[label] for label in labels)
        for part in ("train", "val", "test")
        for name, labels in zip(
            *(prepared.part(part).table[column].to_pylist() for column in ("id", "labels")), strict=True
        )
    }


def summary_of(prepared):
    return json.loads((prepared.folder / "summary.json").read_text())


def test_every_image_keeps_its_labels_and_every_part_gets_its_share(mosaics, prepare):
    prepared = prepare(mosaics)
    description = prepared.description
    assert (description.task, description.classes) == ("multilabel", ["1", "2", "3", "5", "6"])
    table = pd.read_csv(mosaics / "train.csv", dtype=str)
    assert labels_by_id(prepared) == dict(zip(table["ImageID"], table["Labels"], strict=True))
    assert description.split.shares == {"train": 0.7, "val": 0.15, "test": 0.15}
    assert [description.parts[part].images for part in ("train", "val", "test")] == pytest.approx(
        [28, 6, 6], abs=3
    )
    assert min(min(counts.values()) for counts in description.counts.values()) > 0
    unlabeled = prepared.part("unlabeled").table
    assert unlabeled["id"].to_pylist() == ["40.jpg", "41.jpg", "42.jpg", "43.jpg"]
    assert unlabeled["labels"].to_pylist() == [[]] * 4
    assert prepared.part("train").label_matrix(5).sum(axis=0).tolist() == list(
        description.counts["train"].values()
    )


def test_the_summary_counts_labels_and_their_companions_and_suggests_names(mosaics, prepare):
    prepared = prepare(mosaics)
    found = summary_of(prepared)
    every = [set(labels.split()) for labels in labels_by_id(prepared).values()]
    assert found["label_counts"] == prepared.description.counts
    assert found["co_occurrence"]["2"]["5"] == sum({"2", "5"} <= labels for labels in every)
    assert found["co_occurrence"]["2"]["2"] == sum("2" in labels for labels in every)
    assert sum(found["labels_per_image"].values()) == MOSAICS
    suggested = {label: words[0] for label, words in found["suggested_names"].items()}
    assert suggested == {"1": "red", "2": "green", "3": "blue", "5": "yellow", "6": "purple"}


def test_names_are_taken_from_a_file_in_the_input_and_labels_stay_the_codes(mosaics, prepare):
    description = prepare(mosaics, "--label-names", "names.txt").description
    assert description.classes == ["fox", "2", "3", "5", "owl"]
    assert description.class_codes == ["1", "2", "3", "5", "6"]
    assert list(description.counts["val"]) == description.classes


def test_with_sites_no_site_is_in_two_parts_and_the_gap_is_told(mosaics, prepare):
    prepared = prepare(mosaics, "--site-regex", r"(?P<site>\d)\.jpg")
    sites = [set(prepared.part(part).table["site"].to_pylist()) for part in ("train", "val", "test")]
    assert sum(map(len, sites)) == len(set.union(*sites)) == 10
    assert prepared.description.split.unseen_sites
    found = summary_of(prepared)
    assert "of the labels on a random split" in found["leakage_gap"]["explanation"]
    counted = pd.DataFrame([site["classes"] for site in found["sites"].values()]).sum()
    assert counted.to_dict() == pd.DataFrame(prepared.description.counts).sum(axis=1).to_dict()


def test_images_without_labels_copies_and_changed_labels_are_all_taken_into_account(
    mosaics, prepare, tmp_path
):
    (tmp_path / "raw" / "data").mkdir(parents=True)
    for path in (mosaics / "data").iterdir():
        (tmp_path / "raw" / "data" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "raw" / "data" / "1.jpg").write_bytes((mosaics / "data" / "0.jpg").read_bytes())
    rows = pd.read_csv(mosaics / "train.csv", dtype=str)
    prints = []
    for labels in ("", "6"):
        rows.loc[[1, 2], "Labels"] = labels
        rows.to_csv(tmp_path / "raw" / "train.csv", index=False)
        prepared = prepare(tmp_path / "raw")
        assert labels_by_id(prepared)["2.jpg"] == labels
        duplicates = summary_of(prepared)["duplicates"]
        assert (duplicates["groups_across_parts"], duplicates["different_labels"]) == (
            0,
            [["0.jpg", "1.jpg"]],
        )
        prints.append(prepared.description.fingerprint)
    assert prints[0] != prints[1]


@pytest.mark.slow
def test_mosaics_of_real_images_are_prepared_whole(real_data, tmp_path, prepare):
    import tarfile

    with tarfile.open(real_data / "cifar10_test2000.tar") as archive:
        archive.extractall(tmp_path / "cifar", filter="data")
    images = class_folder_images(tmp_path / "cifar" / "test")
    prepared = prepare(make_mosaics(images, tmp_path / "raw", 300, seed=1))
    assert prepared.description.classes == ["1", "2", "3", "5", "6", "7", "9", "10", "11", "13"]
    assert len(labels_by_id(prepared)) == 300
    suggested = summary_of(prepared)["suggested_names"]
    assert [suggested[label][0] for label in ("1", "9", "13")] == ["airplane", "frog", "truck"]
