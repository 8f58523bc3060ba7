import numpy as np
import pytest

from trapline.data.groups import Sequences
from trapline.errors import TraplineError, UsageError
from trapline.preparation.division import straddling_notes, with_val
from trapline.preparation.splits import SplitPolicy

NO_SITES = np.full(120, None, dtype=object)
GIVEN = np.array(["train"] * 100 + ["test"] * 20)
LABELS = np.arange(120) % 4


def drawn(sites=NO_SITES, share=0.2, groups=None, seed=0, sequences=None):
    groups = np.arange(120) if groups is None else groups
    policy = SplitPolicy("given", seed=seed, val_share=share)
    found = None if sequences is None else Sequences.of(sequences, sites, "global")
    return with_val(GIVEN, LABELS, groups, sites, policy, classes=4, sequences=found)


def test_val_is_a_share_of_every_class_of_train_and_test_is_left_alone():
    part, notes = drawn()
    assert np.bincount(LABELS[part == "val"]).tolist() == [5, 5, 5, 5]
    assert (part[100:] == "test").all()
    assert notes == ["val was drawn from train, stratified by class: 20 images of 100 (--val-share 0.2)"]
    assert np.array_equal(part, drawn()[0])
    assert not np.array_equal(part, drawn(seed=1)[0])


def test_copies_stay_together():
    groups = np.where(np.arange(120) < 40, np.arange(120) % 4, np.arange(120))
    part, _ = drawn(groups=groups)
    assert all(len(set(part[groups == group])) == 1 for group in range(4))


def test_val_is_drawn_by_site_where_there_are_sites():
    sites = np.array([f"s{number // 10}" for number in range(120)], dtype=object)
    part, notes = drawn(sites)
    assert set(sites[part == "val"]).isdisjoint(sites[part == "train"])
    assert notes == ["val was drawn from train, by site: 20 images of 100 (--val-share 0.2)"]
    sites[:100] = "s0"
    with pytest.raises(TraplineError, match="from 1 site, too few for train and val"):
        drawn(sites)


def test_a_share_too_small_for_an_image_is_refused():
    with pytest.raises(UsageError, match=r"--val-share 0\.01: too small for an image in val"):
        drawn(share=0.01, groups=np.zeros(120, dtype=int))


def test_a_sequence_is_drawn_whole_and_joins_the_sites_that_it_spans():
    sequences = np.array([f"q{number // 5}" for number in range(120)], dtype=object)
    part, _ = drawn(sequences=sequences)
    assert set(sequences[part == "val"]).isdisjoint(sequences[part == "train"])
    assert (part == "val").sum() == 20
    sites = np.array([f"s{number // 10}" for number in range(120)], dtype=object)
    sequences[[9, 10]] = "both"
    part, notes = drawn(sites, sequences=sequences)
    assert part[0] == part[10]
    assert (
        notes[1]
        == "2 sites were joined because sequences span them (for instance sequence both at s0 and s1)"
    )


def test_one_sequence_in_all_of_train_is_named_as_the_cause():
    with pytest.raises(
        UsageError, match=r"0\.2: val would be empty, for the images of one sequence .* 1 group"
    ):
        drawn(sequences=np.full(120, "q", dtype=object))


def test_sites_and_sequences_in_two_parts_of_the_sets_own_split_are_counted():
    sites = np.array(["a", "b", "a", "c", None], dtype=object)
    sequences = Sequences.of(["1", "2", "3", "2", None], sites, "global")
    given = np.array(["train", "train", "test", "val", "test"])
    assert straddling_notes(given, sites, sequences) == [
        "1 site and 1 sequence have images in two parts of the data set's own split: "
        "nothing can be claimed about unseen cameras"
    ]
    assert straddling_notes(given, sites, Sequences.none(5))[0].startswith("1 site has images in two parts")
    assert straddling_notes(given, np.array([*"abcde"], dtype=object), Sequences.none(5)) == []
