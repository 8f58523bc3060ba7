import random
import warnings
from typing import get_args

import cv2
import numpy as np
import pytest
from PIL import Image

from trapline.augmentation import CHAINS, EVAL_CROPS, Chain
from trapline.config import TrainingConfig
from trapline.data import augment
from trapline.errors import UsageError

FRAME = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_makes_squares_that_depend_on_the_seed_alone(chain):
    one, other = augment.Augmentation(chain, 48), augment.Augmentation(chain, 48)
    pictures = [one(FRAME, (0, 1, row)) for row in range(8)]
    assert all(picture.shape == (48, 48, 3) and picture.dtype == np.uint8 for picture in pictures)
    for row in reversed(range(8)):  # another order, another object: the same pictures
        assert np.array_equal(other(FRAME, (0, 1, row)), pictures[row])


@pytest.mark.parametrize("chain", ["flip", "crops", "grey", "heavy", "imagenet", "multilabel"])
def test_epochs_and_rows_and_seeds_differ(chain):
    transform = augment.Augmentation(chain, 48)
    by_row = {transform(FRAME, (0, 0, row)).tobytes() for row in range(16)}
    by_epoch = {transform(FRAME, (0, epoch, 0)).tobytes() for epoch in range(16)}
    assert len(by_row) > 1
    assert len(by_epoch) > 1


def test_the_chain_none_is_the_resize_of_evaluation():
    assert np.array_equal(
        augment.Augmentation("none", 48)(FRAME, (0, 0, 0)), augment.resize_square(FRAME, 48)
    )


def test_flipping_mirrors_about_half_of_the_frames():
    plain = augment.resize_square(FRAME, 48)
    flip = augment.Augmentation("flip", 48)
    mirrored = sum(np.array_equal(flip(FRAME, (3, 0, row)), plain[:, ::-1]) for row in range(200))
    assert 70 < mirrored < 130


def steps(chain, size=224):
    """The transforms of a chain, by name; of two with the same name a list."""
    found = {}
    for step in CHAINS[chain].steps(augment.A, size):
        found.setdefault(type(step).__name__, []).append(step)
    return {name: same[0] if len(same) == 1 else same for name, same in found.items()}


def test_the_heavy_chain_has_the_twelve_transforms_at_their_probabilities():
    assert CHAINS["heavy"].frame * 224 == 256  # the first of the twelve: the resize
    probabilities = [(type(step).__name__, step.p) for step in CHAINS["heavy"].steps(augment.A, 224)]
    assert probabilities == [
        ("RandomCrop", 1.0),
        ("HorizontalFlip", 0.5),
        ("VerticalFlip", 0.2),
        ("RandomRotate90", 0.3),
        ("Affine", 0.5),
        ("RandomBrightnessContrast", 0.5),
        ("HueSaturationValue", 0.5),
        ("GaussianBlur", 0.3),
        ("GaussNoise", 0.3),
        ("CoarseDropout", 0.3),
        ("CoarseDropout", 0.3),
    ]
    assert (steps("heavy")["RandomCrop"].height, steps("heavy")["RandomCrop"].width) == (224, 224)


def test_the_multilabel_chain_has_the_strengths_of_its_system():
    assert CHAINS["multilabel"].frame * 224 == 256
    found = steps("multilabel")
    assert {name: step.p for name, step in found.items()} == {
        "RandomCrop": 1.0, "ColorJitter": 1.0, "Rotate": 1.0, "HorizontalFlip": 0.5, "VerticalFlip": 0.05,
        "ToGray": 0.2,
    }  # fmt: skip
    assert (found["ColorJitter"].brightness, found["ColorJitter"].contrast) == ((0.5, 1.5), (1, 1))
    assert found["Rotate"].limit == (-45, 45)


def test_the_heavy_strengths_are_those_of_the_original():
    heavy = steps("heavy")
    shift_scale_rotate = heavy["Affine"]
    assert shift_scale_rotate.rotate == (-15, 15)
    assert set(shift_scale_rotate.scale.values()) == {(0.9, 1.1)}
    assert set(shift_scale_rotate.translate_percent.values()) == {(-0.1, 0.1)}
    assert shift_scale_rotate.shear == {"x": (0, 0), "y": (0, 0)}
    assert shift_scale_rotate.border_mode == cv2.BORDER_REFLECT_101
    assert heavy["RandomBrightnessContrast"].brightness_limit == (-0.2, 0.2)
    assert heavy["RandomBrightnessContrast"].contrast_limit == (-0.2, 0.2)
    assert heavy["HueSaturationValue"].hue_shift_limit == (-10, 10)
    assert heavy["HueSaturationValue"].sat_shift_limit == (-20, 20)
    assert heavy["HueSaturationValue"].val_shift_limit == (-10, 10)
    assert heavy["GaussianBlur"].blur_limit == (3, 3)
    # var_limit=(10, 50) was a variance in grey levels
    assert np.square(np.multiply(heavy["GaussNoise"].std_range, 255)) == pytest.approx([10, 50])


def test_the_heavy_blur_is_opencvs_gaussian_with_a_kernel_of_three():
    """As `blur_limit=3` meant it: the deviation is left to OpenCV, and is the same each time."""
    blur = steps("heavy")["GaussianBlur"]
    blur.p = 1.0
    for seed in range(4):
        blur.set_random_state(np.random.default_rng(seed), random.Random(seed))
        blurred = blur(image=FRAME)["image"].astype(int)
        assert np.abs(blurred - cv2.GaussianBlur(FRAME, (3, 3), 0)).max() <= 1  # rounding
    assert np.abs(blurred - cv2.blur(FRAME, (3, 3))).max() > 10


def test_the_heavy_noise_can_be_seen_where_the_originals_could_not():
    noise = steps("heavy")["GaussNoise"]
    noise.p = 1.0
    noise.set_random_state(np.random.default_rng(0), random.Random(0))
    middle = np.full((224, 224, 3), 128, np.uint8)
    spreads = [noise(image=middle)["image"].std() for _ in range(20)]
    assert 3.1 < min(spreads) < max(spreads) < 7.2


def test_the_grey_chain_is_the_camera_trap_systems_first():
    assert CHAINS["grey"].frame == "evaluated"
    found = steps("grey")
    assert {name: step.p for name, step in found.items()} == {
        "HorizontalFlip": 0.5, "Rotate": 1.0, "ColorJitter": 1.0,
    }  # fmt: skip
    assert found["Rotate"].limit == (-10, 10)
    assert (found["ColorJitter"].brightness, found["ColorJitter"].contrast) == ((0.8, 1.2), (0.8, 1.2))


def test_the_grey_chain_gives_three_equal_channels_of_the_frame_in_grey():
    transform = augment.Augmentation("grey", 48)
    for row in range(16):
        picture = transform(FRAME, (0, 0, row))
        assert (picture == picture[..., :1]).all()
    smooth = cv2.resize(FRAME[:4, :6], (160, 90), interpolation=cv2.INTER_CUBIC)
    grey = np.asarray(Image.fromarray(augment.resize_square(smooth, 48)).convert("L"))
    seen = transform(smooth, (0, 0, 0))[..., 0]
    assert max(np.corrcoef(seen.ravel(), each.ravel())[0, 1] for each in (grey, grey[:, ::-1])) > 0.8


def test_the_grey_chain_crops_as_evaluation_does():
    """Beyond the centre nothing of a frame counts."""
    other = FRAME.copy()
    other[:, :30] = other[:, -30:] = 0
    centred = augment.Augmentation("grey", 48, "centre")
    assert np.array_equal(centred(FRAME, (0, 0, 3)), centred(other, (0, 0, 3)))


@pytest.mark.parametrize(("number", "holes"), [(0, 8), (1, 4)])
def test_the_heavy_holes_are_as_many_and_as_large_as_the_originals(number, holes):
    dropout = steps("heavy")["CoarseDropout"][number]
    dropout.p = 1.0
    dropout.set_random_state(np.random.default_rng(0), random.Random(0))
    white = np.full((224, 224, 3), 255, np.uint8)
    lost = [(dropout(image=white)["image"] == 0).all(axis=2).mean() for _ in range(200)]
    assert max(lost) == pytest.approx(holes * 32 * 32 / 224**2)  # no two of them overlap
    alone = holes * 32 * 32 / 224**2
    assert 0.85 * alone < np.mean(lost) < alone


def test_the_heavy_shifts_scales_and_turns_reach_their_limits_and_not_beyond():
    affine = steps("heavy")["Affine"]
    affine.set_random_state(np.random.default_rng(0), random.Random(0))
    shape = {"shape": (224, 224, 3)}
    drawn = [affine.get_params_dependent_on_data(shape, {"image": FRAME}) for _ in range(400)]
    scales = np.array([one["scale"]["x"] for one in drawn])
    centre = np.array([111.5, 111.5, 1])  # it is turned about, so that only the shift moves it
    shifts = np.array([(one["matrix"] @ centre - centre)[:2] / 224 for one in drawn])
    turns = np.array([one["rotate"] for one in drawn])
    assert 0.9 <= scales.min() < 0.91 < 1.09 < scales.max() <= 1.1
    assert all(one["scale"]["x"] == one["scale"]["y"] for one in drawn)
    assert -0.1 <= shifts.min() < -0.095 < 0.095 < shifts.max() <= 0.1
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.2  # across and down are drawn apart
    assert -15 <= turns.min() < -14 < 14 < turns.max() <= 15


def test_the_imagenet_chain_is_the_published_crop_and_the_systems_steps():
    chain = steps("imagenet")
    assert list(chain) == [
        "RandomResizedCrop", "HorizontalFlip", "VerticalFlip", "ColorJitter", "HueSaturationValue", "ToGray",
        "Blur", "CoarseDropout",
    ]  # fmt: skip
    assert chain["RandomResizedCrop"].scale == (0.08, 1.0)
    assert chain["RandomResizedCrop"].ratio == pytest.approx((3 / 4, 4 / 3))
    assert chain["ToGray"].p == 0.2


def test_the_imagenet_chain_crops_the_frame_in_its_own_aspect_ratio(monkeypatch):
    only_crop = Chain("whole", lambda library, size: CHAINS["imagenet"].steps(library, size)[:1])
    monkeypatch.setattr(augment, "CHAINS", {"crop": only_crop})
    wide = np.zeros((64, 256, 3), np.uint8)
    wide[:, ::8] = 255  # lines, which a squeezed frame would show four times as dense
    views = [augment.Augmentation("crop", 64)(wide, (0, 0, row)) for row in range(40)]
    lines = [np.count_nonzero(np.diff((view[32, :, 0] > 60).astype(int)) == 1) for view in views]
    assert max(lines) <= 64 * 4 / 3 / 8 + 1


def test_evaluation_sees_the_whole_frame_unless_told_otherwise():
    assert np.array_equal(augment.evaluated_square(FRAME, 48), augment.resize_square(FRAME, 48))


def test_the_centre_crop_is_a_resize_of_the_short_side_to_256_and_the_central_224():
    frame = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    resized = cv2.resize(frame, (341, 256), interpolation=cv2.INTER_LINEAR)
    expected = resized[16:240, 58:282]
    assert np.array_equal(augment.evaluated_square(frame, 224, "centre"), expected)
    packed = frame[:256, :341]  # as packed: the short side is 256 already, and nothing is resized
    assert np.array_equal(augment.evaluated_square(packed, 224, "centre"), packed[16:240, 58:282])


@pytest.mark.parametrize("shape", [(90, 160, 3), (160, 90, 3), (30, 31, 3), (20, 20, 3), (12, 300, 3)])
def test_the_centre_crop_is_a_square_for_every_shape(shape):
    frame = np.full(shape, 77, np.uint8)
    square = augment.evaluated_square(frame, 48, "centre")
    assert square.shape == (48, 48, 3)
    assert (square == 77).all()


def test_the_chains_without_crops_begin_with_what_evaluation_sees():
    plain = augment.evaluated_square(FRAME, 48, "centre")
    assert np.array_equal(augment.Augmentation("none", 48, "centre")(FRAME, (0, 0, 0)), plain)
    flipped = augment.Augmentation("flip", 48, "centre")(FRAME, (0, 0, 0))
    assert any(np.array_equal(flipped, picture) for picture in (plain, plain[:, ::-1]))


def test_an_unknown_crop_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="eval_crop: unknown crop 'left'; known: none, centre"):
        augment.Augmentation("flip", 48, "left")


def test_a_chain_is_added_in_one_place(monkeypatch):
    """What is entered in CHAINS runs, and the values of the hyperparameter are those entered."""
    mirror = Chain("evaluated", lambda library, size: [library.HorizontalFlip(p=1.0)])
    monkeypatch.setattr(augment, "CHAINS", {**CHAINS, "mirror": mirror})
    mirrored = augment.Augmentation("mirror", 48)(FRAME, (0, 0, 0))
    assert np.array_equal(mirrored, augment.resize_square(FRAME, 48)[:, ::-1])
    fields = TrainingConfig.model_fields
    assert get_args(fields["augment"].annotation) == tuple(CHAINS)
    assert get_args(fields["eval_crop"].annotation) == tuple(EVAL_CROPS)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("GaussNoise", {"var_limit": (10, 50)}),
        ("CoarseDropout", {"max_holes": 8}),
        ("Affine", {"shift_limit": 0.1}),
        ("RandomResizedCrop", {"hieght": 3, "size": (48, 48)}),
    ],
)
def test_an_unknown_or_renamed_argument_is_an_error(monkeypatch, name, arguments):
    chain = Chain("evaluated", lambda library, size: [getattr(library, name)(**arguments)])
    monkeypatch.setattr(augment, "CHAINS", {"old": chain})
    with pytest.raises((UserWarning, ValueError), match=next(iter(arguments))):
        augment.Augmentation("old", 48)


def test_a_transform_that_is_gone_is_an_error(monkeypatch):
    chain = Chain("evaluated", lambda library, size: [library.Cutout(num_holes=4)])
    monkeypatch.setattr(augment, "CHAINS", {"old": chain})
    with pytest.raises(AttributeError, match="Cutout"):
        augment.Augmentation("old", 48)


def test_an_unknown_chain_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="heavy"):
        augment.Augmentation("strong", 48)


def test_building_a_chain_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(augment.Augmentation(chain, 224) for chain in CHAINS)


@pytest.mark.parametrize("shape", [(96, 171, 3), (20, 30, 3), (500, 90, 3), (48, 48, 3)])
def test_resizing_keeps_the_mean_colour(shape):
    smooth = np.broadcast_to(np.linspace(0, 250, shape[1])[None, :, None], shape).astype(np.uint8)
    square = augment.resize_square(np.ascontiguousarray(smooth), 48)
    assert square.shape == (48, 48, 3)
    assert abs(square.mean() - smooth.mean()) < 2
