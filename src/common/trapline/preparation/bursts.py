"""Sequences of frames that nobody has given: by site and time, and by what pictures look like.

A camera trap takes several frames of one visit. Where no table says which, frames of a site with little time
between them are a sequence, and neighbours in time that look nearly the same are of one. A still camera takes
a thousand frames of the same empty scene: only neighbours join, and no longer than a few minutes.

Where a table says which, a camera may count anew with each card, or videos and time-lapse apart: the same
name then comes again at its site. Frames of one visit lie less than a day apart.
"""

import itertools

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import Scope, Sequences, numbered, scope_of

MAX_BITS = 3  # of 64 in which near-identical frames may differ
NEAR = np.timedelta64(300, "s")  # from the first frame of a sequence to one that joins by its looks
DAY = np.timedelta64(1, "D")  # more between two frames of a name at its site: the name has come again
Integers = npt.NDArray[np.int64]


def sequence_scope(images: pd.DataFrame) -> Scope:
    """What equal names of sequences mean at two sites, by all images, labelled or not: see `scope_of`."""
    return scope_of(images["site"], images["sequence"])


def with_sequences(images: pd.DataFrame, gap: float | None) -> tuple[pd.DataFrame, list[str]]:
    """`images` with the sequences that can be seen, and what a person is told.

    `images` has the columns site, sequence, `when` (datetime64[s], NaT for none) and likeness (64 bits). Only
    images without a sequence, with a site and a time, get one; a single image is in none. `gap`: seconds
    between two images of one sequence at most; None makes no sequences. Of a given sequence of one site whose
    frames lie more than a day apart those after that are another, called `NAME (2)`.
    """
    images, of_given = _given_apart(images)
    made, notes = _made(images, gap) if gap is not None else (images, [])
    return made, [*of_given, *notes]


def _given_apart(images: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """`images` with other names for given sequences whose name comes again at their site, and a note on it.

    What spans sites stays as it is: their clocks may differ.
    """
    number = Sequences.of(images["sequence"], images["site"], sequence_scope(images)).number
    sites = pd.DataFrame({"number": number, "site": numbered(images["site"])}).groupby("number")["site"]
    when = images["when"].to_numpy(dtype="datetime64[s]")
    rows = np.flatnonzero((number >= 0) & (sites.transform("nunique").to_numpy() == 1) & ~np.isnat(when))
    rows = rows[np.lexsort((rows, when[rows], number[rows]))]
    again = (np.diff(number[rows]) == 0) & (np.diff(when[rows]) > DAY)
    if not again.any():
        return images, []
    sequence = images["sequence"].to_numpy(dtype=object).copy()
    taken, own = set(sequence), {}
    for place in (np.flatnonzero(again) + 1).tolist():  # the first frame after each gap
        name = sequence[rows[place]]
        own[place] = next(new for count in itertools.count(2) if (new := f"{name} ({count})") not in taken)
        taken.add(own[place])
    pieces = np.concatenate([[0], np.cumsum(again | (np.diff(number[rows]) != 0))])
    name_of = {int(pieces[place]): new for place, new in own.items()}
    for row, piece in zip(rows.tolist(), pieces.tolist(), strict=True):
        sequence[row] = name_of.get(piece, sequence[row])
    first = int(np.flatnonzero(again)[0])
    example = images["sequence"].to_numpy(dtype=object)[rows[first]]
    days = " and ".join(str(when[row])[:10] for row in rows[first : first + 2])
    note = (
        f"{len(own)} times the name of a sequence comes again at its site more than a day later, as "
        f"{example!r} on {days}: the later one is another sequence"
    )
    return images.assign(sequence=pd.Series(sequence, index=images.index, dtype=object)), [note]


def _made(images: pd.DataFrame, gap: float) -> tuple[pd.DataFrame, list[str]]:
    """`images` with sequences for those that have none, of what is near in time, and a note on them."""
    site = numbered(images["site"])
    when = images["when"].to_numpy(dtype="datetime64[s]")
    free = images["sequence"].isna().to_numpy() & (site >= 0) & ~np.isnat(when)
    rows = np.flatnonzero(free)
    rows = rows[np.lexsort((rows, when[rows], site[rows]))]
    if len(rows) < 2:
        return images, []
    likeness = images["likeness"].to_numpy(dtype=np.uint64)[rows]
    start, by_looks = _starts(site[rows], when[rows], likeness, gap)
    first = np.flatnonzero(start)
    sizes = np.diff([*first, len(rows)])
    sites, times = images["site"].to_numpy(dtype=object)[rows[first]], when[rows[first]]
    names = np.array(
        [
            f"{name} {time}" if size > 1 else None
            for name, time, size in zip(sites, times, sizes, strict=True)
        ],
        dtype=object,
    )
    sequence = images["sequence"].to_numpy(dtype=object).copy()
    sequence[rows] = np.repeat(names, sizes)
    many = sizes > 1
    if not many.any():
        return images, []
    notes = [
        f"{int(many.sum())} sequences of {int(sizes[many].sum())} images were made of frames of one site "
        "with at "
        f"most {gap:g} s between them"
        + (f"; {by_looks} of them join neighbours that look alike" if by_looks else "")
    ]
    return images.assign(sequence=pd.Series(sequence, index=images.index, dtype=object)), notes


def _starts(
    site: Integers, when: npt.NDArray[np.datetime64], likeness: npt.NDArray[np.uint64], gap: float
) -> tuple[npt.NDArray[np.bool_], int]:
    """Where a sequence begins among frames in the order of site and time, (n,), and how many joins by
    looks.
    """
    step = np.diff(when)
    other_site = np.diff(site) != 0
    apart = (step > np.timedelta64(round(gap * 1000), "ms")) | other_site
    differ = np.bitwise_count(likeness[1:] ^ likeness[:-1])
    alike = apart & ~other_site & (differ <= MAX_BITS) & (step <= NEAR)
    start = np.concatenate([[True], apart])
    joined, first = 0, 0
    for place in np.flatnonzero(start).tolist():
        if place and alike[place - 1] and when[place] - when[first] <= NEAR:
            start[place] = False
            joined += 1
        else:
            first = place
    return start, joined


def sequence_weights(images: pd.DataFrame) -> npt.NDArray[np.float64]:
    """1/n for each image of a sequence of n, 1 for one in none, (n,). `images`: with site and sequence."""
    number = Sequences.of(images["sequence"], images["site"], sequence_scope(images)).number
    sizes = np.bincount(number[number >= 0], minlength=1)
    return np.where(number < 0, 1.0, 1.0 / np.maximum(sizes[np.maximum(number, 0)], 1))
