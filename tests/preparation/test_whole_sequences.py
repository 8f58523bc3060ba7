"""No sequence lies on both sides of a division that Trapline makes: any split, a drawn val, folds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_folds import made
from trapline.data.groups import Sequences
from trapline.data.parts import fold_of_each_image
from trapline.errors import TraplineError, UsageError
from trapline.preparation.division import divide, has_unseen_sites, sequence_scope
from trapline.preparation.splits import SplitPolicy

NAMES = ["empty", "deer", "boar"]
SHARES = (0.65, 0.20, 0.15)


def table(rows):
    """A listing of (label, site, sequence, content) rows, -1: no label; each class is there."""
    rows = [*rows, *((label, f"own{label}", None, f"own{label}") for label in range(3))]
    columns = dict(zip(("label", "site", "sequence", "sha256"), zip(*rows, strict=True), strict=True))
    return pd.DataFrame({"id": np.arange(len(rows)).astype(str), **columns}, dtype=object).astype(
        {"label": int}
    )


def rows_of(draw, sites, sequences):
    """Rows at any of `sites`, in any of `sequences` or in none, some of them copies."""
    row = st.tuples(
        st.integers(-1, 2),
        st.sampled_from(sites),
        st.one_of(st.none(), st.integers(0, sequences).map(str)),
        st.integers(0, 60).map("hash{}".format),
    )
    return table(draw(st.lists(row, min_size=12, max_size=70)))


@st.composite
def tables(draw):
    """With a site for each image, for some or for none; with many sequences or few, in either scope."""
    sites = draw(st.sampled_from([["a"], [*"abc"], [*"abcdefghijkl"], [*"abcd", None], [None]]))
    return rows_of(draw, sites, draw(st.sampled_from([0, 8, 40])))


def divided(images, policy):
    """The labelled rows with their parts, or None where they cannot be divided so."""
    try:
        return divide(images, NAMES, policy)[0].query("part != 'unlabeled'")
    except (TraplineError, UsageError):
        return None


def sequences_of(images, scope):
    return Sequences.of(images["sequence"], images["site"], scope).number


def all_whole(images, number, parts):
    """Whether no number from 0 is in two parts."""
    number, parts = np.asarray(number), np.asarray(parts)
    known = number >= 0
    return (pd.Series(parts[known]).groupby(number[known]).nunique() <= 1).all()


def codes(values):
    return pd.factorize(values)[0]


@settings(deadline=None, max_examples=25)
@given(tables(), st.integers(0, 3), st.booleans())
def test_at_random_no_sequence_and_no_copies_are_in_two_parts(images, seed, several):
    if several:
        images = images.assign(labels=[(label,) for label in images["label"]])
    found = divided(images, SplitPolicy("random", SHARES, seed))
    if found is not None:
        assert set(found["part"]) == {"train", "val", "test"}
        assert len(found) == (images["label"] >= 0).sum()
        assert all_whole(found, sequences_of(found, sequence_scope(images)), found["part"])
        assert all_whole(found, codes(found["sha256"]), found["part"])


@settings(deadline=None, max_examples=25)
@given(st.data(), st.integers(0, 3), st.booleans())
def test_by_site_no_sequence_and_no_site_is_in_two_parts(data, seed, several):
    images = rows_of(data.draw, [*"abcdefghijkl"], data.draw(st.sampled_from([2, 10, 60])))
    if several:
        images = images.assign(labels=[(label,) for label in images["label"]])
    found = divided(images, SplitPolicy("site", SHARES, seed))
    if found is not None:
        assert set(found["part"]) == {"train", "val", "test"}
        assert len(found) == (images["label"] >= 0).sum()
        assert all_whole(found, sequences_of(found, sequence_scope(images)), found["part"])
        assert all_whole(found, codes(found["site"]), found["part"])


@settings(deadline=None, max_examples=15)
@given(st.data(), st.randoms(use_true_random=False))
def test_by_site_the_order_of_the_rows_changes_nothing(data, random):
    images = rows_of(data.draw, [*"abcdefghijkl"], data.draw(st.sampled_from([10, 60])))
    order = list(range(len(images)))
    random.shuffle(order)
    policy = SplitPolicy("site", SHARES)
    shuffled = images.iloc[order].reset_index(drop=True)
    if divided(images, policy) is None:
        assert divided(shuffled, policy) is None
        return
    (straight, notes), (other, same) = divide(images, NAMES, policy), divide(shuffled, NAMES, policy)
    assert straight["part"].iloc[order].tolist() == other["part"].tolist()
    assert notes == same


@settings(deadline=None, max_examples=25)
@given(tables(), st.data())
def test_val_is_drawn_from_train_in_whole_sequences(images, data):
    own = st.lists(st.sampled_from(["train", "test"]), min_size=len(images), max_size=len(images))
    images = images.assign(given=data.draw(own))
    if data.draw(st.booleans()):
        images = images.assign(labels=[(label,) for label in images["label"]])
    found = divided(images, SplitPolicy("given", seed=1, val_share=0.25))
    if found is not None:
        assert (found.loc[found["given"] == "test", "part"] == "test").all()
        trained = found[found["given"] == "train"]
        assert set(trained["part"]) == {"train", "val"}
        assert all_whole(trained, sequences_of(trained, sequence_scope(images)), trained["part"])


@settings(deadline=None, max_examples=25)
@given(tables(), st.booleans(), st.sampled_from(["global", "by_site"]), st.integers(2, 4))
def test_no_sequence_is_in_two_folds(tmp_path_factory, images, by_site, scope, folds):
    if by_site:
        images = images.assign(site=images["site"].fillna("none"))
    parts = ["train", "val"]
    rows = [
        (parts[number % 2], [max(row.label, 0)], row.site, row.sha256, row.sequence)
        for number, row in enumerate(images.itertuples())
    ]
    prepared = made(tmp_path_factory.mktemp("set"), rows, by_site=by_site, sequences=scope)
    used = pd.concat([images[number::2] for number in (0, 1)])
    try:
        fold_of = fold_of_each_image(prepared, folds)
    except UsageError:
        return  # too few units
    assert set(fold_of) == set(range(1, folds + 1))
    assert all_whole(used, sequences_of(used, scope), fold_of)
    assert all_whole(used, codes(used["site" if by_site else "sha256"]), fold_of)


def at_sites(sites, images=6, sequences=None):
    """`images` labelled images at each of `sites` cameras, in the `sequences` of (site, image) -> name."""
    named = sequences or {}
    return pd.DataFrame(
        [
            (f"{site}-{image}", image % 3, f"s{site}", named.get((site, image)), f"{site} {image}")
            for site in range(sites)
            for image in range(images)
        ],
        columns=["id", "label", "site", "sequence", "sha256"],
    )


def test_sites_that_a_sequence_spans_are_in_one_part_and_that_is_said():
    images, notes = divide(
        at_sites(12, sequences={(1, 5): "x", (7, 0): "x"}), NAMES, SplitPolicy("site", SHARES)
    )
    assert images.loc[images["site"].isin(["s1", "s7"]), "part"].nunique() == 1
    assert "2 sites were joined because sequences span them (for instance sequence x at s1 and s7)" in notes


def test_too_few_units_name_the_sequence_that_joined_them_and_the_ways_out():
    chain = {(0, 0): "x", (1, 0): "x", (1, 1): "y", (2, 0): "y"}
    with pytest.raises(TraplineError) as refusal:
        divide(at_sites(3, sequences=chain), NAMES, SplitPolicy("site", SHARES))
    assert str(refusal.value) == (
        "site: the images come from 3 sites, but sequences span them (for instance sequence x at s0 and s1), "
        "which leaves 1 group of sites, too few for train, val and test without a sequence in two of them: "
        "val and test cannot be filled; use --split random, or correct the sequences in the source"
    )


def numbered_anew(sites=12, images=6):
    return at_sites(sites, images, {(s, i): str(i // 2) for s in range(sites) for i in range(images)})


@pytest.mark.parametrize("kind", ["site", "random"])
def test_sequences_that_each_camera_numbers_anew_join_no_sites_and_that_is_said(kind):
    images, notes = divide(numbered_anew(), NAMES, SplitPolicy(kind, SHARES))
    assert sequence_scope(images) == "by_site"
    assert notes[0] == (
        "equal names of sequences at different sites are taken for different sequences: as one each they "
        "would join more than half of the sites"
    )
    assert not any("joined" in note for note in notes)
    pairs = images["site"] + " " + images["sequence"]
    assert all_whole(images, codes(pairs), images["part"])
    assert (images.groupby("sequence")["part"].nunique() == 3).all()


def test_the_scope_is_that_of_all_images_unlabelled_ones_too():
    images = numbered_anew(4)
    images.loc[images["site"] != "s0", "label"] = -1
    assert sequence_scope(images) == "by_site"
    assert sequence_scope(images[images["label"] >= 0]) == "global"


def test_a_part_that_sequences_leave_empty_names_them_and_the_ways_out():
    images = at_sites(3).assign(sequence=lambda rows: np.where(rows["label"] == 0, "x", "y"))
    with pytest.raises(TraplineError) as refusal:
        divide(images, NAMES, SplitPolicy("random", SHARES))
    assert str(refusal.value) == (
        "split: val and test would be empty, for the images of one sequence stay together and each class is "
        "in too few of these groups (18 images in 2 groups in all); add images, or leave out the test part "
        "with --shares 0.8,0.2,0, or correct the sequences in the source"
    )


def test_notes_of_sizes_and_classes_name_sequences():
    images = at_sites(1, 60)
    images["sequence"] = np.where(images["label"] == 0, "x", np.where(images["label"] == 1, "y", None))
    notes = divide(images, NAMES, SplitPolicy("random", SHARES))[1]
    absent = "(20 images in 1 group kept whole) cannot be in all of train, val and test"
    assert [note for note in notes if absent in note]
    assert any(note.endswith("because sequences stay whole") for note in notes)


GIVEN = at_sites(4).assign(given=["train"] * 8 + ["val"] * 10 + ["test"] * 6)


def test_a_given_split_is_kept_where_sites_and_sequences_straddle_it_and_claims_nothing():
    images = GIVEN.assign(sequence=[None] * 5 + ["q"] * 2 + [None] * 17)
    policy = SplitPolicy("given")
    found, notes = divide(images, NAMES, policy)
    assert found["part"].tolist() == images["given"].tolist()
    straddling = "1 site has images in two parts of the data set's own split"
    assert [note.split(":")[0] for note in notes] == ["the split is the data set's own", straddling]
    assert not has_unseen_sites(policy, found)


def test_a_sequence_alone_takes_the_claim_from_a_given_split():
    apart = at_sites(4).assign(given=["train"] * 12 + ["val"] * 6 + ["test"] * 6)
    policy = SplitPolicy("given")
    assert has_unseen_sites(policy, divide(apart, NAMES, policy)[0])
    spanned, notes = divide(apart.assign(sequence=[None] * 11 + ["q"] * 2 + [None] * 11), NAMES, policy)
    assert notes[1].startswith("1 sequence has images in two parts of the data set's own split")
    assert not has_unseen_sites(policy, spanned)


@pytest.mark.parametrize("kind", ["site", "random"])
def test_a_split_of_its_own_that_is_not_used_is_said(kind):
    images = pd.concat([GIVEN, GIVEN[:3].assign(label=-1, given=None)], ignore_index=True)
    notes = divide(images, NAMES, SplitPolicy(kind, SHARES))[1]
    assert notes[0] == f"the data set's own split (train 8, val 10, test 6) was not used: --split {kind}"
    assert not any("not used" in note for note in divide(images, NAMES, SplitPolicy("given"))[1])
