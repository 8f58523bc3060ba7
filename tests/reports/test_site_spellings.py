"""A site that is spelt in several ways is one: it is grouped as one, and no claim is made behind its back."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluation.test_measured import CLASSES, PRIOR, QUICK, report, section
from tests.support.report_examples import outputs
from trapline.data.prepared import SCHEMA, open_prepared
from trapline.errors import TraplineError
from trapline.evaluation.measured import clusters_of, measure, merged_sites
from trapline.evaluation.result_files import UNSEEN, shared_sites, with_claims
from trapline.scoring.scores import cluster_sums, per_site, scored

DESCRIPTION = {
    "format_version": 1, "task": "multiclass", "classes": ["cat"], "source": "x", "drawn": False,
    "pixels": {},
    "split": {"kind": "site", "shares": {}, "seed": 0, "unseen_sites": True}, "jpeg_quality": 90,
    "counts": {}, "fingerprint": "f", "versions": {},
}  # fmt: skip


ROW = {"image": b"", "labels": [0], "width": 8, "height": 8, "sha256": "", "weight": 1.0}


@pytest.fixture
def prepared(tmp_path):
    """A prepared set whose images, without pixels, are at the given sites."""

    def write(unseen=True, **sites_of):
        description = json.loads(json.dumps(DESCRIPTION)) | {"parts": {}}
        description["split"]["unseen_sites"] = unseen
        for part, sites in sites_of.items():
            (tmp_path / part).mkdir()
            name = f"{part}/{part}-00000.arrow"
            rows = [{**ROW, "id": f"{part}{number}", "site": site} for number, site in enumerate(sites)]
            with pa.OSFile(str(tmp_path / name), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
            description["parts"][part] = {"images": len(rows), "files": [name]}
        (tmp_path / "dataset.json").write_text(json.dumps(description))
        return tmp_path

    return write


def clusters_at(prepared, sites):
    return clusters_of(open_prepared(prepared(val=sites), parts=["val"]).part("val"))


def test_spellings_of_one_site_are_one_cluster_under_the_commonest(prepared):
    found = clusters_at(prepared, ["cam 1", "CAM 1 ", "cam 1", "cam\u200b 1", "caf\u00e9", "cafe\u0301", "z"])
    assert found.names == ["caf\u00e9", "cam 1", "z"]
    assert found.numbers.tolist() == [1, 1, 1, 1, 0, 0, 2]
    assert found.counted == "3 sites"


def test_whole_numbers_with_and_without_a_point_are_one_site_and_others_are_not(prepared):
    assert clusters_at(prepared, ["2", "2.0", "10"]).names == ["10", "2"]


def test_numbers_with_fractions_stay_apart(prepared):
    assert clusters_at(prepared, ["2.1", "2.10", "x"]).names == ["2.1", "2.10", "x"]


@pytest.mark.parametrize("empty", [None, "", " ", "\u200b"])
def test_where_an_image_has_no_site_each_is_alone(prepared, empty):
    assert clusters_at(prepared, ["S1", empty, "S1"]).names is None


def test_the_names_of_one_site_are_one_in_tables_of_images(prepared):
    part = open_prepared(prepared(test=["S1", "s1", "S1", None]), parts=["test"]).part("test")
    assert merged_sites(part).names == ["S1", "S1", "S1", None]


def test_the_table_of_sites_has_a_row_for_each_site(prepared):
    logits, labels, _ = outputs(images=6, sites=2)
    clusters = clusters_at(prepared, ["S1", "s1 ", "S2", "S1", "S2", "S2"])
    rows = per_site(cluster_sums(scored(logits, labels, clusters.numbers)), clusters.names)
    assert [(row["site"], row["images"]) for row in rows] == [("S1", 3), ("S2", 3)]
    assert measure(logits, labels, clusters, 1.0, CLASSES, PRIOR, QUICK)["sites"] == 2


SHARED = {
    "a blank": ({"train": ["S1"], "val": ["S2"], "test": ["S1 "]}, ["S1"]),
    "case": ({"train": ["Cam"], "val": ["CAM", "S3"], "test": ["S4"]}, ["Cam"]),
    "val and test": ({"train": ["S1"], "val": ["S2"], "test": ["s2", "S3"]}, ["S2"]),
    "numbers": ({"train": ["1"], "val": ["2"], "test": ["1.0"]}, ["1"]),
    "the same text": ({"train": ["S1"], "val": ["S2"], "test": ["S1"]}, ["S1"]),
    "none": ({"train": ["S1", "S1"], "val": ["S2"], "test": ["S3", None]}, []),
    "no site": ({"train": [None], "val": [None]}, []),
    "numbers among others": ({"train": ["1"], "val": ["x"], "test": ["1.0"]}, []),
}


@pytest.mark.parametrize(("sites_of", "shared"), SHARED.values(), ids=SHARED)
def test_cameras_of_several_parts_are_found_however_they_are_spelt(prepared, sites_of, shared):
    assert shared_sites(prepared(**sites_of)) == shared


def test_cameras_can_be_looked_for_in_some_of_the_parts_alone(prepared):
    folder = prepared(train=["S1", "S2"], val=["s2", "S3"], test=["s3"])
    assert shared_sites(folder, ("train", "val")) == ["S2"]
    assert shared_sites(folder) == ["S2", "S3"]


def test_where_nothing_is_said_of_unseen_cameras_there_is_nothing_to_find(prepared):
    assert shared_sites(prepared(unseen=False, train=["S1"], val=["S1"])) == []


def test_a_part_that_is_not_there_is_passed_over_and_a_damaged_one_is_named(prepared):
    folder = prepared(train=["S1"], val=["S2"], test=["s2"])
    (folder / "train" / "train-00000.arrow").unlink()
    assert shared_sites(folder) == ["S2"]
    (folder / "test" / "test-00000.arrow").write_bytes(b"x")
    with pytest.raises(TraplineError, match="test: damaged"):
        shared_sites(folder)


def test_with_a_shared_camera_nothing_is_claimed_of_unseen_ones():
    before = with_claims(report(section()), [])
    assert "cameras that it was not trained on" in before["claimed"][0]
    checked = with_claims(before, ["S1", "caf\u200be"])
    assert checked["data"]["unseen_sites"] is False
    assert checked["data"]["shared_sites"] == ["S1", "caf\u200be"]
    assert "cameras" not in checked["claimed"][0]
    assert UNSEEN in checked["not_claimed"]
    assert any(r"test: 2 ('S1', 'caf\u200be'). Prepare" in sentence for sentence in checked["not_claimed"])
    assert np.isfinite(checked["test"]["log_loss"])
