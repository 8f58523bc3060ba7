import numpy as np
import pytest

from common.data.given_split import with_val
from common.data.splits import SplitPolicy
from common.errors import TraplineError, UsageError

NO_SITES = np.full(120, None, dtype=object)
GIVEN = np.array(["train"] * 100 + ["test"] * 20)
LABELS = np.arange(120) % 4


def drawn(sites=NO_SITES, share=0.2, groups=None, seed=0):
    groups = np.arange(120) if groups is None else groups
    policy = SplitPolicy("given", seed=seed, val_share=share)
    return with_val(GIVEN, LABELS, groups, sites, policy, classes=4)


def test_val_is_a_share_of_every_class_of_train_and_test_is_left_alone():
    part, note = drawn()
    assert np.bincount(LABELS[part == "val"]).tolist() == [5, 5, 5, 5]
    assert (part[100:] == "test").all()
    assert note == "val was drawn from train, stratified by class: 20 images of 100 (--val-share 0.2)"
    assert np.array_equal(part, drawn()[0])
    assert not np.array_equal(part, drawn(seed=1)[0])


def test_copies_stay_together():
    groups = np.where(np.arange(120) < 40, np.arange(120) % 4, np.arange(120))
    part, _ = drawn(groups=groups)
    assert all(len(set(part[groups == group])) == 1 for group in range(4))


def test_val_is_drawn_by_site_where_there_are_sites():
    sites = np.array([f"s{number // 10}" for number in range(120)], dtype=object)
    part, note = drawn(sites)
    assert set(sites[part == "val"]).isdisjoint(sites[part == "train"])
    assert note.startswith("val was drawn from train, by site: 20 images of 100")
    sites[:100] = "s0"
    with pytest.raises(TraplineError, match="from 1 site, too few for train and val"):
        drawn(sites)


def test_a_share_too_small_for_an_image_is_refused():
    with pytest.raises(UsageError, match=r"--val-share 0\.01: too small for an image in val"):
        drawn(share=0.01, groups=np.zeros(120, dtype=int))
