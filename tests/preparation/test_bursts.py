"""Sequences that are made of frames that follow one another at one site."""

import itertools

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from trapline.preparation.bursts import sequence_weights, with_sequences

START = np.datetime64("2019-05-01T06:00:00", "s")


def frames(seconds, *, site="A", likeness=None, sequence=None):
    """Frames at `seconds` after a start; None is no time. Their pictures differ unless `likeness` is
    given.
    """
    generator = np.random.default_rng(0)
    looks = generator.integers(0, 2**63, len(seconds)) if likeness is None else likeness
    when = [np.datetime64("NaT") if each is None else START + np.timedelta64(each, "s") for each in seconds]
    return pd.DataFrame(
        {
            "site": pd.Series([site] * len(seconds) if isinstance(site, str) else site, dtype=object),
            "sequence": pd.Series([sequence] * len(seconds), dtype=object),
            "when": np.array(when, dtype="datetime64[s]"),
            "likeness": np.array(looks, dtype=np.uint64),
        }
    )


def groups(images, gap=60.0):
    """The frames of each sequence, as places, in order."""
    found = with_sequences(images, gap)[0]["sequence"].reset_index(drop=True)
    return sorted(rows.tolist() for rows in found.groupby(found).groups.values())


def test_frames_within_the_gap_are_one_sequence_and_a_single_frame_is_none():
    assert groups(frames([0, 10, 60, 300, 1000, 1060])) == [[0, 1, 2], [4, 5]]
    assert groups(frames([0, 10, 60, 300]), gap=5.0) == []


def test_sites_times_and_given_sequences_are_kept_apart():
    assert groups(frames([0, 1, 2], site=["A", "B", "A"])) == [[0, 2]]
    assert groups(frames([0, None, 2])) == [[0, 2]]
    assert groups(frames([0, 1], site=[None, None])) == []
    given_one = frames([0, 1, 2], sequence="mine")
    assert with_sequences(given_one, 60.0)[0].equals(given_one)


def test_the_order_of_rows_makes_no_difference():
    images = frames([0, 10, 500, 505, 2000])
    shuffled = with_sequences(images.iloc[::-1], 60.0)[0]
    assert shuffled.sort_index()["sequence"].tolist() == with_sequences(images, 60.0)[0]["sequence"].tolist()


def test_neighbours_that_look_alike_join_beyond_the_gap():
    assert groups(frames([0, 200, 900], likeness=[7, 6, 7])) == [[0, 1]]
    assert groups(frames([0, 200], likeness=[0, 2**64 - 1])) == []


def test_the_thousand_empty_frames_of_a_still_camera_are_not_one_sequence():
    for step in (61, 120, 290, 900, 3600):
        found = groups(frames([step * number for number in range(1000)], likeness=[5] * 1000))
        assert max(map(len, found), default=0) <= 5, step


def test_no_gap_makes_no_sequence():
    images = frames([0, 1, 2])
    assert with_sequences(images, None)[0] is images


DAY = 86400


def named(rows):
    """The sequence of each of (name, site, seconds)."""
    images = frames([seconds for *_, seconds in rows], site=[site for _, site, _ in rows])
    images = images.assign(sequence=pd.Series([name for name, *_ in rows], dtype=object))
    found, notes = with_sequences(images, None)
    return found["sequence"].tolist(), notes


def test_a_name_that_comes_again_at_its_site_is_another_sequence():
    found, notes = named([
        ("15", "A", 0), ("15", "A", 3600), ("15", "A", 31 * DAY), ("15", "A", 31 * DAY + 5),
        ("15", "A", 70 * DAY), ("16", "A", 0), ("15 (2)", "A", 0), ("15", "A", None),
    ])  # fmt: skip
    assert found == ["15", "15", "15 (3)", "15 (3)", "15 (4)", "16", "15 (2)", "15"]
    assert notes == [
        "2 times the name of a sequence comes again at its site more than a day later, as '15' on 2019-05-01 "
        "and 2019-06-01: the later one is another sequence"
    ]


def test_sites_that_count_their_own_keep_them_apart_also_where_names_come_again():
    rows = [(name, site, day * DAY) for site in "AB" for name in "12" for day in (0, 30)]
    found, _ = named(rows)
    assert len({(name, site) for name, (_, site, _) in zip(found, rows, strict=True)}) == 8
    assert {"1", "2"} <= set(found)
    later = [name for name, (*_, seconds) in zip(found, rows, strict=True) if seconds]
    assert len(set(later)) == 4  # none of them spans the two sites


def test_a_sequence_of_two_cameras_whose_clocks_differ_stays_one():
    rows = [("visit", "A", 0), ("visit", "B", 300 * DAY), ("x", "C", 0), ("y", "D", 0), ("z", "E", 0)]
    assert named(rows) == (["visit", "visit", "x", "y", "z"], [])


@given(
    st.lists(
        st.tuples(st.sampled_from(["1", "2", "a", None]), st.sampled_from("AB"), st.integers(0, 5)),
        max_size=30,
    )
)
def test_no_sequence_of_a_site_has_a_day_without_a_frame_and_none_grows(rows):
    days = [(name, site, day * DAY + 7 * place) for place, (name, site, day) in enumerate(rows)]
    images = frames([seconds for *_, seconds in days], site=[site for _, site, _ in days])
    images = images.assign(sequence=pd.Series([name for name, *_ in days], index=images.index, dtype=object))
    found = with_sequences(images, None)[0]
    assert found["sequence"].isna().equals(images["sequence"].isna())
    for _, own in found.assign(old=images["sequence"]).dropna(subset="sequence").groupby("sequence"):
        assert own["old"].nunique() == 1
        if own["site"].nunique() == 1:
            scope = images[(images["sequence"] == own["old"].iloc[0])]["site"].nunique()
            gaps = own["when"].sort_values().diff().dropna()
            assert scope > 1 or (gaps <= pd.Timedelta(days=1, seconds=250)).all()


def images_of(sequences, sites):
    return pd.DataFrame({"site": sites, "sequence": sequences}, dtype=object)


def test_a_weight_is_one_over_the_size_of_its_sequence():
    images = images_of(["a", "a", None, "b", "a"], ["s"] * 5)
    assert sequence_weights(images).tolist() == [1 / 3, 1 / 3, 1.0, 1.0, 1 / 3]
    assert sequence_weights(images_of([None, None], ["s", None])).tolist() == [1.0, 1.0]


def test_where_each_site_counts_its_sequences_those_of_others_weigh_nothing_away():
    images = images_of(["1", "1", "2", "1", "2", "1"], ["n", "n", "n", "s", "s", "e"])
    assert sequence_weights(images).tolist() == [0.5, 0.5, 1.0, 1.0, 1.0, 1.0]


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.sampled_from("AB")), max_size=40),
    st.sampled_from([1.0, 60.0, 300.0]),
)
def test_frames_are_together_exactly_where_a_chain_of_short_gaps_leads(rows, gap):
    images = frames([second for second, _ in rows], site=[site for _, site in rows])
    found = with_sequences(images, gap)[0]["sequence"]
    for site in "AB":
        own = sorted((second, place) for place, (second, each) in enumerate(rows) if each == site)
        for (one, here), (two, there) in itertools.pairwise(own):
            same = found[here] is not None and found[here] == found[there]
            assert same == (two - one <= gap)
