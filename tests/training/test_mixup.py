import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from trapline.config import make_config
from trapline.training.optimisation import (
    Mixing,
    draw_mixing,
    leading_labels,
    make_loss,
    mixed_images,
    mixed_losses,
)

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 2, 0])
PARTNERS = torch.tensor([2, 3, 1, 0])
LOGITS = torch.randn(4, 3, generator=torch.manual_seed(0))
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 1.0])


def loss_of(**settings):
    return make_loss(make_config(settings), np.array([0, 0, 1, 2]), "abc", CPU)


def test_without_mixup_images_losses_and_labels_are_those_given():
    images = torch.rand(4, 3, 2, 2, generator=torch.manual_seed(0))
    assert draw_mixing(0.0, (1, 2, 3), 4, 4) is None
    assert mixed_images(images, None) is images
    assert leading_labels(LABELS, None) is LABELS
    assert torch.equal(
        mixed_losses(loss_of(), LOGITS, LABELS, WEIGHTS, None), loss_of()(LOGITS, LABELS) * WEIGHTS
    )


def test_a_share_of_1_is_no_mixup():
    images = torch.rand(4, 3, 2, 2, generator=torch.manual_seed(0))
    whole = Mixing(1.0, PARTNERS)
    assert torch.equal(mixed_images(images, whole), images)
    alone = mixed_losses(loss_of(), LOGITS, LABELS, WEIGHTS, None)
    assert torch.equal(mixed_losses(loss_of(), LOGITS, LABELS, WEIGHTS, whole), alone)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.2}, {"class_weights": "balanced"}])
def test_the_loss_is_the_convex_combination_of_the_two_labels_losses(settings):
    loss, mixing = loss_of(**settings), Mixing(0.3, PARTNERS)
    found = mixed_losses(loss, LOGITS, LABELS, torch.ones(4), mixing)
    expected = 0.3 * loss(LOGITS, LABELS) + 0.7 * loss(LOGITS, LABELS[PARTNERS])
    torch.testing.assert_close(found, expected)


def test_with_plain_cross_entropy_it_is_the_loss_against_the_mixed_targets():
    targets = functional.one_hot(LABELS, 3).float()
    mixed = 0.3 * targets + 0.7 * targets[PARTNERS]
    found = mixed_losses(loss_of(), LOGITS, LABELS, torch.ones(4), Mixing(0.3, PARTNERS))
    torch.testing.assert_close(found, functional.cross_entropy(LOGITS, mixed, reduction="none"))


def test_a_partners_label_counts_with_the_partners_weight():
    found = mixed_losses(loss_of(), LOGITS, LABELS, torch.tensor([1.0, 1, 0, 1]), Mixing(0.25, PARTNERS))
    assert found[0] == pytest.approx(0.25 * float(loss_of()(LOGITS, LABELS)[0]))


def test_images_are_mixed_with_their_partners():
    images = torch.arange(4.0).view(4, 1, 1, 1)
    mixed = mixed_images(images, Mixing(0.75, PARTNERS)).flatten().tolist()
    assert mixed == [0.5, 1.5, 1.75, 2.25]


@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(1, 500))
def test_the_same_seed_epoch_and_batch_give_the_same_pairs(seed, epoch, batch):
    one, again = (draw_mixing(0.4, (seed, epoch, batch), 8, 8) for _ in range(2))
    assert one.mixup_lambda == again.mixup_lambda
    assert torch.equal(one.partners, again.partners)
    other = draw_mixing(0.4, (seed, epoch, batch + 1), 8, 8)
    assert other.mixup_lambda != one.mixup_lambda


@given(st.integers(0, 9), st.integers(0, 3), st.floats(1e-3, 100))
def test_padding_has_no_partner_and_ranks_with_other_numbers_of_images_draw_the_same_share(
    images, padding, alpha
):
    mixing = draw_mixing(alpha, (0, 1, 2), images, images + padding)
    assert sorted(mixing.partners[:images].tolist()) == list(range(images))
    assert mixing.partners[images:].tolist() == list(range(images, images + padding))
    assert mixing.mixup_lambda == draw_mixing(alpha, (0, 1, 2), 5, 5).mixup_lambda
    assert 0 <= mixing.mixup_lambda <= 1


def test_shares_are_distributed_as_beta():
    shares = [draw_mixing(0.5, (0, 1, batch), 2, 2).mixup_lambda for batch in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.5 + 1)), abs=0.01)


@pytest.mark.parametrize(
    ("mixup_lambda", "expected"), [(0.6, LABELS), (0.5, LABELS), (0.4, LABELS[PARTNERS])]
)
def test_accuracy_is_against_the_label_with_the_larger_share(mixup_lambda, expected):
    assert torch.equal(leading_labels(LABELS, Mixing(mixup_lambda, PARTNERS)), expected)
