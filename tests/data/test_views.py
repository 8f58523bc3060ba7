"""Views: what they show, and what they are cut from."""

import numpy as np
import pytest
import torch

from trapline.augmentation import EVAL_CROPS, VIEW_SETS, VIEWS, check_views, read_views
from trapline.data.augment import Augmentation, evaluated_square, make_squares, resize_square, stack_views
from trapline.errors import UsageError

SIDE = 56


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)


def stacked(pixels, views):
    return stack_views(torch.from_numpy(make_squares(pixels, SIDE, views))[None], views)[0].numpy()


def test_plain_is_what_validation_sees_in_training(pixels):
    assert np.array_equal(stacked(pixels, ["plain"])[0], Augmentation("none", SIDE)(pixels, (0, 0, 0)))


def test_flips_mirror_the_plain_view(pixels):
    plain, horizontal, vertical = stacked(pixels, ["plain", "horizontal_flip", "vertical_flip"])
    assert np.array_equal(horizontal, plain[:, ::-1])
    assert np.array_equal(vertical, plain[::-1])


def test_the_centre_crop_leaves_out_the_margin_that_a_resize_to_256_has_around_224(pixels):
    (crop,) = stacked(pixels, ["centre_crop"])
    assert np.array_equal(crop, resize_square(pixels, 64)[4:60, 4:60])


def test_views_come_in_the_order_in_which_they_are_named(pixels):
    names = ["vertical_flip", "centre_crop", "plain"]
    together = stacked(pixels, names)
    assert all(
        np.array_equal(view, stacked(pixels, [name])[0]) for name, view in zip(names, together, strict=True)
    )


def test_views_with_the_same_resize_are_cut_from_the_same_square(pixels):
    assert len(make_squares(pixels, SIDE, VIEW_SETS["flip"])) == 1
    assert make_squares(pixels, SIDE, VIEW_SETS["enhanced"]).shape == (2, SIDE, SIDE, 3)


def test_squares_made_for_other_views_are_refused(pixels):
    squares = torch.from_numpy(make_squares(pixels, SIDE, ["plain"]))[None]
    with pytest.raises(ValueError, match="1 squares an image"):
        stack_views(squares, VIEW_SETS["enhanced"])


def test_a_shift_moves_by_a_pixel_and_mirrors_what_it_uncovers(pixels):
    plain, up, flipped = stacked(pixels, ["plain", "shift_up_left", "shift_up_left_flip"])
    assert np.array_equal(up[:-1, :-1], plain[1:, 1:])
    assert np.array_equal(up[-1, :-1], plain[-2, 1:])
    assert np.array_equal(flipped, up[:, ::-1])
    (down,) = stacked(pixels, ["shift_down_right"])
    assert np.array_equal(down[1:, 1:], plain[:-1, :-1])
    assert np.array_equal(down[0, 1:], plain[1, :-1])


def test_the_named_sets_are_those_that_the_manual_names():
    assert VIEW_SETS["none"] == ("plain",)
    assert VIEW_SETS["flip"] == ("plain", "horizontal_flip")
    assert VIEW_SETS["enhanced"] == ("plain", "horizontal_flip", "centre_crop", "vertical_flip")
    assert all(name in VIEWS for names in VIEW_SETS.values() for name in names)


def test_views_are_read_from_the_name_of_a_set_or_from_a_list():
    assert read_views("flip") == VIEW_SETS["flip"]
    assert read_views("plain, vertical_flip") == ("plain", "vertical_flip")


@pytest.mark.parametrize("text", ["sideways", "plain,none", "", "plain,plain"])
def test_a_text_that_names_no_views_is_refused(text):
    with pytest.raises(UsageError, match="views"):
        read_views(text)


@pytest.mark.parametrize("views", [[], ["plain", "plain"], ["plain", "sideways"]])
def test_no_views_unknown_ones_and_repeated_ones_are_refused(views):
    with pytest.raises(UsageError, match="known: plain"):
        check_views(views)


@pytest.mark.parametrize("crop", EVAL_CROPS)
def test_the_plain_view_is_what_validation_sees(crop):
    frame = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    validated = Augmentation("none", SIDE, crop)(frame, (0, 0, 0))
    assert np.array_equal(make_squares(frame, SIDE, ["plain"], crop)[0], validated)


def test_a_centre_crop_of_a_cropped_frame_goes_further_into_it():
    frame = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    plain, closer = make_squares(frame, SIDE, ["plain", "centre_crop"], "centre")
    side = round(SIDE * VIEWS["centre_crop"].margin)
    start = (side - SIDE) // 2
    square = evaluated_square(frame, side, "centre")
    assert np.array_equal(closer, square[start : start + SIDE, start : start + SIDE])
    assert not np.array_equal(plain, closer)
