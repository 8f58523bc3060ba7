"""What three quick guesses gain on a random split: much where cameras differ, nothing where they do not."""

import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.data.groups import Sequences
from trapline.data.leakage import IMAGE, PRIOR, SITE, LeakageGap, summarised_gap
from trapline.images.canonical import PixelSettings, encode_jpeg, encode_png
from trapline.preparation.demo import CLASSES, DemoSettings, draw_demo, plan_part
from trapline.preparation.image_features import FEATURES, ImageFeatures, features_of, image_features
from trapline.preparation.leakage import (
    drawn_rows,
    leakage_gap,
    measured_gap,
    why_no_gap,
)
from trapline.preparation.packing import pack_file, write_packed
from trapline.preparation.splits import SplitPolicy, split

REAL_DATA = os.environ.get("TRAPLINE_REAL_DATA")
DRAWN = DemoSettings(images=900, unlabeled=0, sites=30, width=160, height=96, damaged=0)
LARGE, SMALL = 0.05, 0.04  # of accuracy


def simulated(concentration):
    """100 sites of 40 images in 4 classes; a small concentration gives each site a class of its own."""
    generator = np.random.default_rng(3)
    mixes = generator.dirichlet(np.full(4, concentration), 100)
    labels = np.concatenate([generator.choice(4, 40, p=mix) for mix in mixes])
    return labels, np.repeat([f"cam{index:03d}" for index in range(100)], 40)


def parts_of(labels, sites, classes=4, kind="site"):
    return split(labels, sites, None, SplitPolicy(kind), [str(label) for label in range(classes)]).part


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The demo's labelled images: a table of them, and the file in which they are packed."""
    folder = tmp_path_factory.mktemp("leakage")
    draw_demo(folder / "raw", DRAWN, processes=1)
    shots = plan_part(DRAWN, 0)
    pixels = PixelSettings(short_side=64)
    packed = (pack_file(str(folder / "raw" / shot.filepath), pixels, 90) for shot in shots)
    results = list(packed)
    write_packed(folder / "packed.arrow", iter([(row, each.image) for row, each in enumerate(results)]))
    table = pd.DataFrame(
        {
            "id": [shot.name for shot in shots],
            "label": [shot.label for shot in shots],
            "site": [shot.site for shot in shots],
            "sequence": [shot.sequence for shot in shots],
            "sha256": [each.sha256 for each in results],
        }
    )
    labels, sites = table["label"].to_numpy(), table["site"].to_numpy(dtype=object)
    table["part"] = parts_of(labels, sites, len(CLASSES))
    return table, folder / "packed.arrow"


@pytest.fixture(scope="module")
def seen(drawn):
    """The features of all of the demo's images."""
    table, packed = drawn
    rows = np.arange(len(table))
    return ImageFeatures(rows, image_features(packed, rows))


def measured(table, packed, seed=0):
    return measured_gap(table, table["label"].to_numpy(), len(CLASSES), seed, "global", packed)


# --- where cameras differ, and where they do not ------------------------------------------------------------


@pytest.mark.slow
def test_on_the_demo_the_camera_and_the_look_of_its_images_gain_much_on_a_random_split_and_it_is_said(drawn):
    gap, reason = measured(*drawn)
    assert reason is None
    for name in (SITE, IMAGE):
        found = gap.predictors[name]
        assert found.accuracy_gap > LARGE
        assert found.log_loss_gap > 0.1
        assert f"up to {round(100 * found.accuracy_gap)} points" in found.explanation
    assert abs(gap.predictors[PRIOR].accuracy_gap) < LARGE


@pytest.mark.slow
def test_where_the_sites_are_shuffled_among_the_same_images_nothing_is_gained(drawn, seen):
    table, _ = drawn
    labels, gaps = table["label"].to_numpy(), {SITE: [], IMAGE: []}
    for seed in range(8):
        sites = np.random.default_rng(seed).permutation(table["site"].to_numpy(dtype=object))
        part = parts_of(labels, sites, len(CLASSES))
        gap = leakage_gap(labels, sites, len(CLASSES), part, seed, seen)
        for name, found in gaps.items():
            found.append(gap.predictors[name].accuracy_gap)
    assert abs(np.mean(gaps[SITE])) < SMALL
    assert abs(np.mean(gaps[IMAGE])) < SMALL


def test_a_burst_of_frames_on_both_sides_does_not_count_as_recognising_the_camera(drawn, seen):
    table, _ = drawn
    labels, sites = table["label"].to_numpy(), table["site"].to_numpy(dtype=object)
    part, sequences = table["part"].to_numpy(dtype=str), Sequences.of(table["sequence"], sites, "global")
    divided = leakage_gap(labels, sites, len(CLASSES), part, 0, seen)
    whole = leakage_gap(labels, sites, len(CLASSES), part, 0, seen, sequences=sequences)
    assert whole.predictors[IMAGE].random.accuracy < divided.predictors[IMAGE].random.accuracy
    assert whole.predictors[IMAGE].site == divided.predictors[IMAGE].site


def test_sites_with_their_own_classes_show_a_wide_gap():
    labels, sites = simulated(concentration=0.1)
    gap = leakage_gap(labels, sites, 4, parts_of(labels, sites))
    assert gap.random_accuracy > 0.7
    assert gap.site_accuracy < 0.45
    assert gap.accuracy_gap == pytest.approx(gap.random_accuracy - gap.site_accuracy)
    assert gap.random_log_loss < 0.8 < gap.site_log_loss
    assert gap.log_loss_gap == pytest.approx(gap.site_log_loss - gap.random_log_loss)


def test_sites_with_equal_mixes_show_no_gap():
    labels, sites = simulated(concentration=1e6)
    gap = leakage_gap(labels, sites, 4, parts_of(labels, sites))
    assert abs(gap.accuracy_gap) < 0.05
    assert gap.random_log_loss == pytest.approx(math.log(4), abs=0.02)
    assert gap.site_log_loss == pytest.approx(math.log(4), abs=0.02)


def test_the_class_prior_gains_nothing_where_each_site_has_its_own_classes():
    labels, sites = simulated(concentration=0.1)
    prior = leakage_gap(labels, sites, 4, parts_of(labels, sites)).predictors[PRIOR]
    assert abs(prior.accuracy_gap) < 0.03
    assert abs(prior.log_loss_gap) < 0.03


def test_an_unseen_site_is_scored_with_the_class_prior_of_train():
    sites = np.repeat(["a", "b"], [6, 3])
    labels = np.array([0, 0, 0, 0, 0, 1, 0, 1, 1])
    part = np.repeat(["train", "val"], [6, 3])
    gap = leakage_gap(labels, sites, 2, part)
    assert gap.site_accuracy == pytest.approx(1 / 3)
    assert gap.site_log_loss == pytest.approx(-(math.log(6 / 8) + 2 * math.log(2 / 8)) / 3)
    assert gap.site_images == 3
    assert gap.predictors[PRIOR].site == gap.predictors[SITE].site


def test_the_uniform_guess_costs_the_logarithm_of_the_number_of_classes():
    labels, sites = simulated(concentration=1)
    assert leakage_gap(labels, sites, 4, parts_of(labels, sites)).uniform_log_loss == math.log(4)


def test_a_random_split_is_compared_with_a_split_by_site():
    labels, sites = simulated(concentration=0.1)
    part = parts_of(labels, sites, kind="random")
    gap = leakage_gap(labels, sites, 4, part)
    assert gap.site_accuracy < 0.45
    assert gap.site_images == pytest.approx(0.25 * np.count_nonzero(part != "test"), rel=0.05)


# --- what is said -------------------------------------------------------------------------------------------


def test_the_explanation_is_one_sentence_with_both_accuracies():
    labels, sites = simulated(concentration=0.1)
    gap = leakage_gap(labels, sites, 4, parts_of(labels, sites))
    assert gap.explanation.startswith("Knowing only which camera took an image, ")
    assert f"{gap.random_accuracy:.0%} of the images" in gap.explanation
    assert f"{gap.site_accuracy:.0%} at cameras it has not seen" in gap.explanation
    assert f"up to {round(100 * gap.accuracy_gap)} points" in gap.explanation
    assert gap.explanation.count(".") == 1


def test_the_first_fields_are_those_of_the_predictor_that_knows_the_camera():
    labels, sites = simulated(concentration=0.5)
    gap = leakage_gap(labels, sites, 4, parts_of(labels, sites))
    site = gap.predictors[SITE]
    assert (gap.random_accuracy, gap.random_log_loss, gap.random_images) == tuple(dict(site.random).values())
    assert (gap.site_accuracy, gap.site_log_loss, gap.site_images) == tuple(dict(site.site).values())
    assert (gap.accuracy_gap, gap.explanation) == (site.accuracy_gap, site.explanation)


def test_the_predictor_of_the_image_is_left_out_with_the_reason_where_there_are_no_features():
    labels, sites = simulated(concentration=0.5)
    gap = leakage_gap(labels, sites, 4, parts_of(labels, sites))
    assert list(gap.predictors) == [PRIOR, SITE]
    assert gap.left_out == {IMAGE: "no features of the images were given"}


def test_without_two_sites_outside_test_there_is_no_gap_but_a_reason():
    labels, part = np.array([0, 1, 0, 1]), np.array(["train", "train", "val", "test"])
    one = np.array(["a", "a", "a", "b"])
    assert leakage_gap(labels, None, 2, part) is None
    assert why_no_gap(labels, None, 2, part) == "the images have no sites"
    assert leakage_gap(labels, one, 2, part) is None
    assert "fewer than two sites" in why_no_gap(labels, one, 2, part)


def test_with_one_image_a_class_there_is_no_gap_but_a_reason():
    labels, sites, part = np.array([0, 1]), np.array(["a", "b"]), np.array(["train", "val"])
    assert leakage_gap(labels, sites, 2, part) is None
    assert "too few images" in why_no_gap(labels, sites, 2, part)


def test_where_sequences_join_all_sites_there_is_no_gap_but_a_reason():
    labels, sites, part = np.array([0, 1] * 6), np.array([*"abcdef"] * 2), np.full(12, "train")
    sequences = Sequences.of(np.array([*"000000123456"]), sites, "global")
    assert leakage_gap(labels, sites, 2, part, sequences=sequences) is None
    assert why_no_gap(labels, sites, 2, part, sequences=sequences) == "sequences join all sites outside test"


def test_a_set_in_which_some_images_have_no_site_has_no_gap_and_says_how_many(drawn):
    table, packed = drawn
    gap, reason = measured(table.assign(site=table["site"].where(table.index > 2, None)), packed)
    assert gap is None
    assert reason == f"3 of {len(table)} labelled images have no site"


# --- the same result ----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_gap_whatever_the_order_of_the_rows(drawn):
    table, packed = drawn
    shuffled = table.sample(frac=1, random_state=5)
    assert measured(table, packed) == measured(table, packed) == measured(shuffled, packed)
    assert measured(table, packed, seed=1) != measured(table, packed)


def test_nothing_of_the_test_part_changes_anything(seen, drawn):
    table, _ = drawn
    labels, sites = table["label"].to_numpy(), table["site"].to_numpy(dtype=object)
    part = table["part"].to_numpy(dtype=str)
    test = part == "test"
    altered = ImageFeatures(seen.rows, np.where(test[:, None], np.nan, seen.values))
    others = np.where(test, 7 - labels, labels)
    assert test.any()
    assert leakage_gap(labels, sites, 8, part, 0, seen) == leakage_gap(others, sites, 8, part, 0, altered)


# --- every figure is finite ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from("abcd"), st.sampled_from(["train", "val", "test"])),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 3),
    st.sampled_from([0.0, 1.0, 1e6]),
    st.booleans(),
)
def test_every_figure_is_finite_and_fit_for_json(rows, seed, scale, several):
    labels, sites, part = (np.array(column) for column in zip(*rows, strict=True))
    if several:  # among them images with none
        labels = np.eye(5, dtype=bool)[labels] | (np.arange(len(rows)) % 2 == 0)[:, None]
        labels[::3] = False
    values = scale * np.random.default_rng(seed).normal(size=(len(rows), 3))
    gap = leakage_gap(labels, sites, 5, part, seed, ImageFeatures(np.arange(len(rows)), values))
    if gap is None:
        outside = part != "test"
        few = outside.sum() < 4 if several else np.bincount(labels[outside], minlength=1).max() < 2
        assert few or len(set(sites[outside])) < 2
        assert why_no_gap(labels, sites, 5, part, seed)
    else:
        assert list(gap.predictors) == [PRIOR, SITE, IMAGE]
        content = json.loads(json.dumps(gap.model_dump(), allow_nan=False))
        assert LeakageGap.model_validate(content) == gap  # which refuses what is not finite


@pytest.mark.parametrize(
    ("labels", "sites", "part"),
    [
        ([0, 0, 1, 0, 0, 0], "aaabbb", ["train"] * 3 + ["val"] * 3),  # one class in val
        ([0, 0, 0, 1, 1, 1], "aaabbb", ["train"] * 3 + ["val"] * 3),  # a class that train lacks
        ([0, 0, 0, 0, 0, 0], "aaabbb", ["train"] * 3 + ["val"] * 3),  # one class in all
        ([0, 1, 2, 3, 4, 4], "abcdee", ["train"] * 5 + ["val"]),  # hardly two of anything
    ],
)
def test_a_tiny_set_has_finite_figures(labels, sites, part):
    values = np.arange(12.0).reshape(6, 2)
    features = ImageFeatures(np.arange(6), values)
    gap = leakage_gap(np.array(labels), np.array([*sites]), 5, np.array(part), 0, features)
    figures = [gap.uniform_log_loss]
    for found in gap.predictors.values():
        figures += [found.random.log_loss, found.site.log_loss, found.accuracy_gap, found.log_loss_gap]
    assert len(figures) == 13
    assert np.isfinite(figures).all()


@pytest.mark.skipif(REAL_DATA is None, reason="TRAPLINE_REAL_DATA is not set")
def test_three_real_sites_make_three_parts_and_a_finite_gap():
    table = pd.read_csv(Path(REAL_DATA) / "camera_traps_norway" / "labels.csv")
    labels, classes = pd.factorize(table["label"], sort=True)
    sites = table["site"].to_numpy(dtype=object)
    result = split(labels, sites, None, SplitPolicy(), list(classes))
    assert pd.Series(result.part).groupby(sites).nunique().eq(1).all()
    assert sum(note.startswith("class") for note in result.notes) == 2
    assert math.isfinite(leakage_gap(labels, sites, len(classes), result.part).log_loss_gap)


# --- several labels an image --------------------------------------------------------------------------------


def test_of_several_labels_an_image_each_is_asked_for_and_the_scores_are_averaged():
    labels, sites = simulated(concentration=0.1)
    part, matrix = parts_of(labels, sites), np.eye(4, dtype=bool)[labels]
    gap = leakage_gap(matrix, sites, 4, part)
    each = [leakage_gap(column.astype(int), sites, 2, part) for column in matrix.T]
    assert gap.site_accuracy == pytest.approx(np.mean([one.site_accuracy for one in each]))
    assert gap.site_log_loss == pytest.approx(np.mean([one.site_log_loss for one in each]))
    assert gap.uniform_log_loss == math.log(2)
    assert gap.accuracy_gap > LARGE
    assert "of the labels on a random split" in gap.explanation


def test_a_set_of_several_labels_an_image_is_measured_with_its_images(drawn):
    table, packed = drawn
    matrix = np.eye(len(CLASSES), dtype=bool)[table["label"]]
    gap, reason = measured_gap(table, matrix, len(CLASSES), 0, "global", packed)
    assert reason is None
    assert gap.predictors[IMAGE].accuracy_gap > 0


# --- the images that are looked at, and what is seen in them ------------------------------------------------


def test_images_are_drawn_evenly_over_the_sites_and_none_of_them_from_test():
    sites = np.repeat([*"abcd"], [100, 50, 20, 5]).astype(object)
    part = np.where(np.arange(175) % 5 == 0, "test", "train")
    rows = drawn_rows(sites, part, seed=0, limit=40)
    assert (part[rows] == "train").all()
    assert sorted(pd.Series(sites[rows]).value_counts().tolist()) == [4, 12, 12, 12]
    assert len(drawn_rows(sites, part, seed=0)) == 140


def test_of_a_large_set_a_drawn_number_of_images_is_looked_at(drawn, monkeypatch):
    monkeypatch.setattr("trapline.preparation.leakage.MIN_IMAGES", 100)
    monkeypatch.setattr("trapline.preparation.leakage.WORK", 300 * len(CLASSES))
    gap, _ = measured(*drawn)
    outside = (drawn[0]["part"] != "test").sum()
    assert gap.predictors[IMAGE].random.images < gap.predictors[SITE].random.images < outside
    assert gap.predictors[IMAGE].random.images == pytest.approx(75, abs=25)


def packed_pictures(path, pictures):
    encoded = [encode_jpeg(pixels) if row % 2 else encode_png(pixels) for row, pixels in pictures]
    rows = [row for row, _ in pictures]
    write_packed(path, iter(zip(rows, encoded, strict=True)))


def test_features_come_in_the_order_asked_for_from_jpeg_and_png_alike(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_CUBIC)
    packed_pictures(tmp_path / "packed", [(4, picture), (7, picture), (2, np.zeros_like(picture))])
    values = image_features(tmp_path / "packed", np.array([2, 7, 4]))
    assert values.shape == (3, FEATURES)
    assert np.allclose(values[1], values[2], atol=0.06)
    assert values[0, :-1].max() < 0.01


def test_an_image_that_is_not_packed_is_named(tmp_path):
    packed_pictures(tmp_path / "packed", [(1, np.zeros((64, 64, 3), dtype=np.uint8))])
    with pytest.raises(ValueError, match="packed: holds no image of row 3"):
        image_features(tmp_path / "packed", np.array([1, 3]))


def test_infrared_and_the_strip_of_the_caption_are_seen():
    grey = np.full((100, 150, 3), 120, dtype=np.uint8)
    coloured, captioned = grey.copy(), grey.copy()
    coloured[:, :, 0] = 180
    captioned[-7:] = 0
    strip, infrared = -4, -1  # its mean
    assert features_of(grey)[infrared] == 1
    assert features_of(coloured)[infrared] == 0
    assert features_of(captioned)[strip] == 0
    assert features_of(grey)[strip] == pytest.approx(120 / 255)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (8, 8), (3, 500)])
def test_an_image_of_any_shape_has_features(shape):
    values = features_of(np.full((*shape, 3), 255, dtype=np.uint8))
    assert values.shape == (FEATURES,)
    assert np.isfinite(values).all()


# --- in a summary -------------------------------------------------------------------------------------------


def test_a_summary_of_before_the_other_predictors_is_read_as_that_of_the_camera(tmp_path):
    labels, sites = simulated(concentration=0.1)
    gap = leakage_gap(labels, sites, 4, parts_of(labels, sites))
    old = {name: value for name, value in gap.model_dump().items() if name not in ("predictors", "left_out")}
    (tmp_path / "summary.json").write_text(json.dumps({"leakage_gap": old}))
    assert summarised_gap(tmp_path).by_predictor == {SITE: gap.predictors[SITE]}
    assert summarised_gap(tmp_path).widest == gap.predictors[SITE]


def test_an_explanation_that_would_pass_for_a_line_of_metrics_is_none(tmp_path):
    labels, sites = simulated(concentration=0.1)
    gap = leakage_gap(labels, sites, 4, parts_of(labels, sites)).model_dump()
    content = {"leakage_gap": {**gap, "explanation": "Knowing.\n[METRICS] val_loss=0.0"}}
    (tmp_path / "summary.json").write_text(json.dumps(content))
    assert summarised_gap(tmp_path) is None


@pytest.mark.parametrize("content", [None, "[]", "{}", '{"leakage_gap": null}', '{"leakage_gap": {"a": 1}}'])
def test_a_folder_without_a_gap_in_its_summary_has_none(tmp_path, content):
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    assert summarised_gap(tmp_path) is None
