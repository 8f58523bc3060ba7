"""A division that never moves: cameras that once had a part keep it, and new ones come beside them.

Were each set divided anew, a camera of the locked test part could slide into train when new images arrive,
and a model that is trained on from the champion would have seen its own test. `division.csv` stands in each
prepared set: what is kept together (a site), its part, perhaps its fold. Sites that are gone stay in it: they
may come back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from trapline.data.groups import Integers, numbered
from trapline.data.prepared import DIVISION, PreparedSet, open_prepared
from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.names import Kind, key
from trapline.storage import json_digest, write_table
from trapline.tables import read_table

PARTS = ("train", "val", "test")
PART, FOLD = "part", "fold"
MAX_DEVIATION = 0.10  # of a part's share from the one wanted, beyond which a division has become lopsided


@dataclass(frozen=True)
class Division:
    """The part of each group that a split keeps together, by its key; of sites in most sets.

    `group_by`: what groups are. `names`: how each is written. `folds`: the fold of each, from 1, if any.
    `line`: the digest of the division with which this one began: models of one line may go on from one
    another, for none was trained on another's test. `images`: the ids of the set that it came with; None
    where unknown.
    """

    group_by: str
    parts: Mapping[str, str]
    names: Mapping[str, str]
    folds: Mapping[str, int] = field(default_factory=dict)
    line: str = ""
    images: frozenset[str] | None = None

    def digest(self) -> str:
        """SHA-256 of what is kept together and of every part, however names are spelt."""
        return json_digest({"group_by": self.group_by, "parts": dict(sorted(self.parts.items()))})

    def part_of(self, groups: Sequence[object]) -> Integers:
        """The index in PARTS of the part of each group, (n,); -1 for one that is not known."""
        of_name = {name: self.parts.get(group_key(str(name))) for name in set(groups) if name is not None}
        return np.array(
            [-1 if (part := of_name.get(name)) is None else PARTS.index(part) for name in groups],
            dtype=np.int64,
        )


def group_key(name: str) -> str:
    """The key of a group: as that of a site, whatever it is."""
    return key(name, Kind.SITE)


# --- reading and writing ------------------------------------------------------------------------------------


def read_division(place: Path, group_by: str, shown: str) -> Division:
    """The division of a prepared set, or of a CSV with `part` and a column of sites, or what `group_by` says.

    `shown`: what a person calls the place. Raises TraplineError where there is none, it is of other groups,
    or it gives one of them two parts.
    """
    if place.is_dir():
        return _of_prepared(place, group_by, shown)
    if not place.is_file():
        raise TraplineError(f"{shown}: no such file or folder; give a prepared set, or its {DIVISION}")
    return _of_table(place, group_by, shown)


def _of_prepared(folder: Path, group_by: str, shown: str) -> Division:
    prepared = open_prepared(folder)
    split = prepared.description.split
    if split.kind not in ("site", "group") and not split.unseen_sites:
        raise TraplineError(
            f"{shown}: its split ({split.kind}) keeps no sites together, so there is no division to keep; "
            f"leave out {prepare_option('division')}"
        )
    table = folder / DIVISION
    if split.group_by != group_by:
        raise TraplineError(
            f"{shown}: keeps each {split.group_by} together, and this set each {group_by}; give "
            f"{prepare_option('group-by', split.group_by)}, or leave out {prepare_option('division')}"
        )
    found = _of_table(table, group_by, shown) if table.is_file() else _of_sites(prepared, shown)
    return Division(
        group_by,
        found.parts,
        found.names,
        found.folds,
        split.line or found.digest(),
        frozenset(_ids(prepared)),
    )


def _ids(prepared: PreparedSet) -> list[str]:
    return [name for part in PARTS for name in prepared.part(part).table["id"].to_pylist()]


def _of_sites(prepared: PreparedSet, shown: str) -> Division:
    """The division of a set that was prepared before it was written down: what its images say."""
    tables = [prepared.part(part).table.select(["site"]) for part in PARTS]
    rows = pd.DataFrame(
        {
            "site": pa.concat_tables(tables)["site"].to_pylist(),
            "part": np.repeat(PARTS, [len(table) for table in tables]),
        }
    )
    rows = rows[rows["site"].notna()].drop_duplicates()
    return _made("site", list(rows["site"]), list(rows["part"]), None, shown, [""] * len(rows))


def _of_table(path: Path, group_by: str, shown: str) -> Division:
    known = "site" if group_by == "site" else "group"
    columns = {} if group_by == "site" else {"group": group_by}
    table = read_table(path, [known, PART], columns)
    folds = table.cells[FOLD] if FOLD in table.cells.columns else None
    places = [table.place(row) for row in range(len(table.lines))]
    return _made(
        group_by,
        list(table.cells[table.columns[known]]),
        list(table.cells[PART]),
        None if folds is None else list(folds),
        shown,
        places,
    )


def _made(
    group_by: str,
    names: Sequence[str],
    parts: Sequence[str],
    folds: Sequence[str] | None,
    shown: str,
    places: Sequence[str],
) -> Division:
    part_of: dict[str, str] = {}
    written: dict[str, str] = {}
    fold_of: dict[str, int] = {}
    for row, (name, part, place) in enumerate(zip(names, parts, places, strict=True)):
        own, part = group_key(name), part.strip().casefold()
        where = f"{shown}: {place}".rstrip(": ")
        if not own:
            raise TraplineError(f"{where}: no {group_by}; fill it in, or remove the row")
        if part not in PARTS:
            raise TraplineError(f"{where}: part {part!r} is none of {', '.join(PARTS)}")
        if part_of.setdefault(own, part) != part:
            raise TraplineError(
                f"{where}: {name!r} is in {part_of[own]} and in {part}; a {group_by} has one part"
            )
        written.setdefault(own, name)
        if folds is not None and folds[row].strip():
            fold_of[own] = _fold(folds[row], where)
    if not part_of:
        raise TraplineError(f"{shown}: holds no {group_by} with a part")
    division = Division(group_by, part_of, written, fold_of)
    return Division(group_by, part_of, written, fold_of, division.digest())


def _fold(text: str, where: str) -> int:
    if not text.strip().isdecimal() or not int(text):
        raise TraplineError(f"{where}: fold {text!r} is no whole number from 1")
    return int(text)


def write_division(path: Path, division: Division) -> None:
    """Write division.csv: a row for each group, in the order of their names."""
    order = sorted(division.parts, key=lambda own: (division.names[own], own))
    columns = [division.group_by, PART] + ([FOLD] if division.folds else [])
    rows = (
        [division.names[own], division.parts[own], *([division.folds.get(own, "")] if division.folds else [])]
        for own in order
    )
    write_table(path, columns, rows)


def grown(
    known: Division | None,
    group_by: str,
    groups: Sequence[str],
    parts: Sequence[str],
    folds: Mapping[str, int],
) -> Division:
    """The division of a new set: what is known, and the `parts` of its `groups`, (n,) both."""
    found = dict(known.parts) if known else {}
    names = dict(known.names) if known else {}
    for name, part in sorted(set(zip(groups, parts, strict=True))):
        found.setdefault(group_key(name), part)
        names.setdefault(group_key(name), name)
    fold_of = {**(known.folds if known else {}), **folds}
    division = Division(group_by, found, names, fold_of)
    return Division(group_by, found, names, fold_of, known.line if known else division.digest())


# --- newcomers that would join cameras of different parts ---------------------------------------------------


def newcomers_between(
    known: Division, groups: Sequence[object], ids: Sequence[str], keys: Sequence[Integers]
) -> dict[int, str]:
    """The images that share a sequence, or their bytes, with cameras of two parts; by row, and what they
    join.

    `groups`, (n,): the camera of each image. `keys`: each (n,), equal for images that belong together, -1
    for none. No known camera moves: of images that would make one unit of cameras of different parts, the
    newcomers go, which the division's own set does not hold; where that is not known, or all are new, those
    at the camera that is not known yet, or that has fewer of them.
    """
    site = numbered(groups)
    fixed_of_row = known.part_of(groups)
    part: dict[int, int] = {
        int(own): int(fixed) for own, fixed in zip(site, fixed_of_row, strict=True) if fixed >= 0
    }
    is_new = np.array([known.images is not None and name not in known.images for name in ids], dtype=bool)
    above: dict[int, int] = {}

    def top(own: int) -> int:
        while above.get(own, own) != own:
            own = above[own]
        return own

    gone: dict[int, str] = {}
    for number in keys:
        for rows in _spanning(number, site):
            own_sites = sorted(set(site[rows].tolist()), key=lambda own: (own not in part, own))
            anchor = own_sites[0]
            for other in own_sites[1:]:
                first, second = top(anchor), top(other)
                one, two = part.get(first), part.get(second)
                if one is None or two is None or one == two:
                    above[second] = first
                    if one is None and two is not None:
                        part[first] = two
                    continue
                leaving = _leaving(rows, site, anchor, other, is_new)
                detail = (
                    f"belongs to images of {groups[int(rows[site[rows] == anchor][0])]} in {PARTS[one]} and "
                    "of "
                    f"{groups[int(rows[site[rows] == other][0])]} in {PARTS[two]}: no camera moves"
                )
                gone.update(dict.fromkeys(leaving, detail))
                if site[leaving[0]] == anchor:
                    anchor = other
    return gone


def _spanning(number: Integers, site: Integers) -> list[npt.NDArray[np.int64]]:
    """The rows of each key that is at two sites or more, in the order of their first rows."""
    frame = pd.DataFrame({"number": number, "site": site, "row": np.arange(len(number))})
    frame = frame[(frame["number"] >= 0) & (frame["site"] >= 0)]
    pairs = frame[["number", "site"]].drop_duplicates()
    several = pairs["number"][pairs["number"].duplicated()].unique()
    frame = frame[frame["number"].isin(several)]
    return [rows["row"].to_numpy() for _, rows in frame.groupby("number", sort=False)]


def _leaving(
    rows: Integers, site: Integers, anchor: int, other: int, is_new: npt.NDArray[np.bool_]
) -> list[int]:
    """The rows of a key that go, of those at `anchor` and those at another site."""
    here, there = rows[site[rows] == anchor], rows[site[rows] == other]
    if is_new[there].all() != is_new[here].all():
        return (there if is_new[there].all() else here).tolist()
    return (there if len(there) <= len(here) else here).tolist()
