"""Which images a split must keep together: copies, the images of one sequence, and those of one site.

Frames of one burst differ by seconds: on both sides of a split they would be nearly the same image twice.
What belongs together is found transitively, as the connected components of a graph of images and what they
share.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.names import WHOLE_NUMBER

# What equal names of sequences at two sites mean: one sequence, or nothing, for each site counts its own.
Scope: TypeAlias = Literal["global", "by_site"]

Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.integer]
Sites = npt.NDArray[np.str_ | np.object_]


def joined(base: Labels, *keys: Integers) -> Integers:
    """The unit of each of n rows, (n,): equal values of `base` or of a key are in one unit, transitively.

    Each of `keys`, (n,), is negative where a row has no such key: it then belongs to nobody. Units count from
    0 in the order of their smallest `base`, so that the order of the rows cannot show.
    """
    values, value_of = np.unique(base, return_inverse=True)
    ends, first = [], len(values)
    for key in keys:
        rows = np.flatnonzero(key >= 0)
        numbers, number_of = np.unique(key[rows], return_inverse=True)
        ends.append(np.stack([value_of[rows], first + number_of]))
        first += len(numbers)
    if first == len(values):
        return value_of
    edges = np.concatenate(ends, axis=1)
    graph = coo_array((np.ones(edges.shape[1], dtype=bool), tuple(edges)), shape=(first, first))
    _, component = connected_components(graph, directed=False)
    return pd.factorize(component[: len(values)])[0].astype(np.int64)[value_of]


def numbered(names: Any) -> Integers:
    """A number for each of n names, (n,), equal for equal ones; -1 for None, NaN and an empty text."""
    numbers, distinct = pd.factorize(np.asarray(names, dtype=object))
    return np.where(np.isin(numbers, np.flatnonzero(distinct == "")), -1, numbers).astype(np.int64)


def number_sites(sites: Sites) -> Integers:
    """The place of each row's site among the sorted names of sites, shape (n,).

    Raises TraplineError, naming the first row, when a site is missing or empty.
    """
    missing = np.flatnonzero(pd.isna(sites) | (np.asarray(sites, dtype=str) == ""))
    if len(missing):
        raise TraplineError(
            f"site: {len(missing)} labelled images have none, the first in row {missing[0]}; "
            f"fill in the site, leave these images out, or use {prepare_option('split', 'random')}"
        )
    return pd.factorize(np.asarray(sites, dtype=str).astype(object), sort=True)[0].astype(np.int64)


def scope_of(sites: Any, sequences: Any) -> Scope:
    """What equal names of sequences mean at two sites, by the names of all images of a data set, both (n,).

    "by_site" where the sequences, were they global, would join more than half of all sites, and 4 at least,
    or are whole numbers: then the cameras number theirs anew, 1, 2, 3. A few that span two cameras are meant
    so: "global".
    """
    site_of, sequence_of = numbered(sites), numbered(sequences)
    rows = np.flatnonzero((site_of >= 0) & (sequence_of >= 0))
    if not len(rows):
        return "global"
    unit_of = joined(site_of[rows], sequence_of[rows])
    one_row_a_site = np.unique(site_of[rows], return_index=True)[1]
    largest = np.bincount(unit_of[one_row_a_site]).max()
    all_sites = np.count_nonzero(np.bincount(site_of[site_of >= 0]))
    if largest == 1 or 2 * largest <= all_sites:
        return "global"
    pairs = pd.DataFrame({"site": site_of[rows], "name": np.asarray(sequences, dtype=object)[rows]})
    pairs = pairs.drop_duplicates()
    spanning = pairs["name"][pairs["name"].duplicated()]  # what a camera has to itself says nothing
    are_numbers = all(WHOLE_NUMBER.fullmatch(str(name)) for name in set(spanning))
    return "by_site" if largest >= 4 or are_numbers else "global"


def distinct_sequences(sequences: Any, sites: Any, scope: Scope) -> npt.NDArray[np.object_]:
    """The names of sequences, (n,), such that what is another sequence has another name; None where is none.

    Where each site counts its own, the site's name stands before the sequence's; without a site it is global.
    """
    number = Sequences.of(sequences, sites, scope).number.tolist()
    rows = list(zip(sites, sequences, number, strict=True))
    for length in itertools.count(0 if scope == "global" else 1):  # a longer mark than any name itself has
        mark = ":" * length
        names = [
            None if own < 0 else f"{site}{mark}{name}" if mark and isinstance(site, str) and site else name
            for site, name, own in rows
        ]
        if not mark or len({*names} - {None}) == len({own for own in number if own >= 0}):
            break
    return np.array(names, dtype=object)


@dataclass(frozen=True)
class Sequences:
    """The sequence of each of n images.

    `number`, (n,): equal for images of one sequence, -1 for none. `names`, (n,): as the source has them.
    """

    number: Integers
    names: npt.NDArray[np.object_]

    @classmethod
    def of(cls, sequences: Any, sites: Any, scope: Scope) -> "Sequences":
        """From the names of sequences and of sites, both (n,); without a site a sequence is global."""
        number = numbered(sequences)
        if scope == "by_site":
            site_of = numbered(sites)
            number = np.where(number < 0, -1, number * (site_of.max(initial=0) + 2) + site_of + 1)
        return cls(number, np.asarray(sequences, dtype=object))

    @classmethod
    def none(cls, images: int) -> "Sequences":
        """Of `images` images that are in no sequence."""
        return cls(np.full(images, -1), np.full(images, None, dtype=object))

    def rows(self, rows: Integers) -> "Sequences":
        """Those of some of the images."""
        return Sequences(self.number[rows], self.names[rows])


@dataclass(frozen=True)
class Units:
    """What a split may not divide. `unit_of`, (n,): the unit of each image, from 0.

    `bound`: whether sequences put into one unit what would be in several. By site, `site_of`, (n,), numbers
    the sites, `joined_sites` of them are in a unit with others, and `example` names what joined two of them.
    """

    unit_of: Integers
    bound: bool
    site_of: Integers | None = None
    joined_sites: int = 0
    example: str = ""

    def __len__(self) -> int:
        return int(self.unit_of.max(initial=-1)) + 1

    @property
    def by_site(self) -> bool:
        """Whether sites stay whole."""
        return self.site_of is not None

    @property
    def sites(self) -> int:
        """How many sites there are; 0 where the units are not by site."""
        return 0 if self.site_of is None else int(self.site_of.max(initial=-1)) + 1


def image_units(groups: Labels, sequences: Sequences) -> Units:
    """The units of a split at random: images of one of `groups`, (n,), of copies, or of one sequence."""
    apart = joined(groups)
    unit_of = joined(apart, sequences.number)
    return Units(unit_of, bound=bool(unit_of.max(initial=-1) < apart.max(initial=-1)))


def site_units(sites: Sites, sequences: Sequences, copies: Integers | None = None) -> Units:
    """The units of a split by site: each site, with those that it shares a sequence, or equal bytes, with.

    `copies`, (n,): equal for byte-identical images that bind their sites, -1 for others. Raises
    TraplineError, naming the first row, when a site is missing or empty.
    """
    site_of = number_sites(sites)
    unit_of = joined(site_of, sequences.number, *([] if copies is None else [copies]))
    one_row_a_site = np.unique(site_of, return_index=True)[1]
    in_unit = np.bincount(unit_of[one_row_a_site])
    spanned = int(in_unit[in_unit > 1].sum())
    example = _example(sites, site_of, sequences) if spanned else ""
    return Units(unit_of, spanned > 0, site_of, spanned, example)


def _example(sites: Sites, site_of: Integers, sequences: Sequences) -> str:
    """ "sequence X at A and B": the first by name of those that are at more than one site."""
    pairs = pd.DataFrame({"number": sequences.number, "site": site_of})
    pairs = pairs[pairs["number"] >= 0].drop_duplicates()
    pairs = pairs[pairs.duplicated("number", keep=False)]
    if pairs.empty:
        return "by identical images"
    first = min(pairs.index, key=lambda row: str(sequences.names[row]))
    own = pairs[pairs["number"] == pairs.loc[first, "number"]].sort_values("site")
    one, other = (sites[row] for row in own.index[:2])
    return f"sequence {sequences.names[first]} at {one} and {other}"


def binding_copies(groups: Labels, sites: Sites) -> Integers:
    """Which byte-identical images bind their sites, (n,): the number of their group, -1 for the others.

    `groups`, (n,): equal for byte-identical images. Those of one site bind nothing; and none does where they
    would join more than half of all sites, and 4 at least: a test card is no camera.
    """
    site_of, group_of = numbered(sites), pd.factorize(np.asarray(groups))[0].astype(np.int64)
    pairs = pd.DataFrame({"group": group_of, "site": site_of})
    pairs = pairs[pairs["site"] >= 0].drop_duplicates()
    spanning = pairs["group"][pairs["group"].duplicated()].unique()
    found = np.where(np.isin(group_of, spanning) & (site_of >= 0), group_of, -1)
    rows = np.flatnonzero(found >= 0)
    if not len(rows):
        return found
    unit_of = joined(site_of[rows], found[rows])
    one_row_a_site = np.unique(site_of[rows], return_index=True)[1]
    largest = np.bincount(unit_of[one_row_a_site]).max()
    too_many = largest >= 4 and 2 * largest > np.count_nonzero(np.bincount(site_of[site_of >= 0]))
    return np.full(len(found), -1) if too_many else found


def straddling(number: Integers, part: npt.NDArray[Any]) -> int:
    """How many of the sites, or sequences, numbered in `number`, (n,), -1: none, are in two of the parts."""
    rows = pd.DataFrame({"number": number, "part": part})
    return int((rows[rows["number"] >= 0].groupby("number")["part"].nunique() > 1).sum())
