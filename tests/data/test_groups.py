"""What belongs together: the connected components of images and what they share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.data.groups import (
    Sequences,
    distinct_sequences,
    image_units,
    joined,
    number_sites,
    numbered,
    scope_of,
    site_units,
    straddling,
)
from trapline.errors import TraplineError


def numbers(*values):
    return np.array(values, dtype=np.int64)


def partition(unit_of):
    return {frozenset(np.flatnonzero(unit_of == unit).tolist()) for unit in unit_of}


def closure(base, keys):
    """The same partition by brute force: sets that meet are merged until none do."""
    sets = [{row} for row in range(len(base))]
    for column in (base, *keys):
        for value in set(column[column >= 0].tolist()):
            own = set(np.flatnonzero(column == value).tolist())
            sets = [group for group in sets if not group & own] + [
                set().union(*(group for group in sets if group & own))
            ]
    return {frozenset(group) for group in sets}


@st.composite
def keyed_rows(draw):
    """A base and up to three keys, some rows without one."""
    rows = draw(st.integers(1, 25))
    base = draw(st.lists(st.integers(0, 30), min_size=rows, max_size=rows))
    key = st.lists(st.integers(-3, 12), min_size=rows, max_size=rows)
    return numbers(*base), [numbers(*column) for column in draw(st.lists(key, max_size=3))]


@settings(deadline=None, max_examples=100)
@given(keyed_rows())
def test_rows_are_joined_by_every_key_transitively_and_by_nothing_else(rows):
    base, keys = rows
    assert partition(joined(base, *keys)) == closure(base, keys)


@settings(deadline=None, max_examples=50)
@given(keyed_rows(), st.randoms(use_true_random=False))
def test_units_are_numbered_alike_in_any_order_of_the_rows(rows, random):
    base, keys = rows
    order = list(range(len(base)))
    random.shuffle(order)
    straight, shuffled = joined(base, *keys), joined(base[order], *(key[order] for key in keys))
    assert (straight[order] == shuffled).all()
    assert sorted(set(straight)) == list(range(straight.max() + 1))


def test_what_joins_may_go_over_several_keys():
    assert joined(numbers(3, 7, 5, 9), numbers(0, 0, -1, -1), numbers(-1, 8, 8, -1)).tolist() == [0, 0, 0, 1]


def test_none_nan_and_an_empty_name_belong_to_nobody():
    assert numbered(["x", None, "", float("nan"), "x"])[[1, 2, 3]].tolist() == [-1, -1, -1]
    sequences = Sequences.of([None, None, "", "q"], ["a", "a", "b", "b"], "global")
    assert image_units(np.arange(4), sequences).unit_of.tolist() == [0, 1, 2, 3]
    assert not image_units(np.arange(4), sequences).bound


def test_sites_are_numbered_in_the_order_of_their_names_and_none_may_lack():
    assert number_sites(np.array(["b", "a", "b"], dtype=object)).tolist() == [1, 0, 1]
    with pytest.raises(TraplineError, match="the first in row 1"):
        number_sites(np.array(["b", None], dtype=object))


def chained(sites, joined_sites):
    """Two images at each site; a sequence spans each neighbouring pair of the first `joined_sites`."""
    names = np.repeat([f"s{number:02d}" for number in range(sites)], 2)
    sequences = [None] * (2 * sites)
    for number in range(joined_sites - 1):
        sequences[2 * number + 1] = sequences[2 * number + 2] = f"q{number}"
    return names, sequences


@pytest.mark.parametrize(
    ("sites", "joined_sites", "scope"),
    [
        (3, 3, "global"),  # all, but fewer than four
        (4, 4, "by_site"),
        (8, 4, "global"),  # four, but just half
        (7, 4, "by_site"),
        (20, 10, "global"),
        (20, 11, "by_site"),
    ],
)
def test_sequences_count_per_site_where_they_would_join_most_sites(sites, joined_sites, scope):
    assert scope_of(*chained(sites, joined_sites)) == scope


def test_sites_without_sequences_count_among_all_sites_and_images_without_a_site_join_none():
    sites, sequences = chained(7, 4)
    assert scope_of([*sites, "t1"], [*sequences, None]) == "global"
    assert scope_of([None, None, None, None], ["1", "1", "2", "2"]) == "global"
    assert scope_of([], []) == "global"


def test_a_sequence_by_site_is_one_at_each_site_and_global_without_a_site():
    names, sites = ["1", "1", "1", "1", "2", None], ["a", "b", None, None, "a", "a"]
    found = Sequences.of(names, sites, "by_site").number
    assert partition(found[:5]) == {frozenset({0}), frozenset({1}), frozenset({2, 3}), frozenset({4})}
    assert found[5] == -1
    assert partition(Sequences.of(names, sites, "global").number[:5]) == {
        frozenset({0, 1, 2, 3}),
        frozenset({4}),
    }


def test_sites_that_share_a_sequence_are_one_unit_and_the_first_example_by_name_is_told():
    sites = np.array(["d", "a", "b", "c", "c", "e"], dtype=object)
    sequences = Sequences.of(["y", "x", "x", "x", "y", "z"], sites, "global")
    units = site_units(sites, sequences)
    assert units.unit_of.tolist() == [0, 0, 0, 0, 0, 1]
    assert (units.sites, len(units), units.joined_sites, units.bound) == (5, 2, 4, True)
    assert units.example == "sequence x at a and b"


def test_what_is_in_two_parts_is_counted_once():
    number, part = numbers(0, 0, 0, 1, 1, -1, -1), np.array(["a", "b", "c", "a", "a", "a", "b"])
    assert straddling(number, part) == 1


@pytest.mark.parametrize(
    ("sequences", "scope"),
    [(["1", "2", "1", "2", "1", "3"], "by_site"), (["1.0", "2.0", "1.0", "2.0", "1.0", "3.0"], "by_site"),
     (["a", "b", "a", "b", "c", "d"], "global"), (["1", "2", "3", "4", "5", "6"], "global")],
)  # fmt: skip
def test_running_numbers_at_few_sites_are_each_sites_own(sequences, scope):
    assert (
        scope_of(np.array(["n", "n", "s", "s", "e", "e"], dtype=object), np.array(sequences, dtype=object))
        == scope
    )


WORDS = st.sampled_from([None, "", "1", "2", "a", "a:1", ":1", "1:", "a::1"])


@given(rows=st.lists(st.tuples(WORDS, WORDS), max_size=20), scope=st.sampled_from(["global", "by_site"]))
def test_distinct_names_tell_sequences_apart_as_their_numbers_do(rows, scope):
    sites, sequences = [site for site, _ in rows], [name for _, name in rows]
    found = distinct_sequences(sequences, sites, scope)
    number = Sequences.of(sequences, sites, scope).number
    assert [name is None for name in found] == (number < 0).tolist()
    assert partition(numbered(found)[number >= 0]) == partition(number[number >= 0])


def test_a_sequence_that_each_site_counts_has_the_sites_name_before_it():
    found = distinct_sequences(["1", "1", None, "1"], ["north", "south", "south", None], "by_site")
    assert found.tolist() == ["north:1", "south:1", None, "1"]
    assert distinct_sequences(["1", "1"], ["north", "south"], "global").tolist() == ["1", "1"]
