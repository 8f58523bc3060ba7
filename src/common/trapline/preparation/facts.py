"""What tables say of files beside their labels: site, sequence, and the part of a split that they come with.

Several rows, of one table or of several, may speak of one file. Where they say different things the order of
rows decides nothing: the file goes to quarantine, with both values named.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from trapline.names import Kind, clean, keys
from trapline.preparation.split_names import parts_in
from trapline.tables import Table

FACTS = ("site", "sequence", "part")
NOTHING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")
Keys = Sequence[str | None]


@dataclass(frozen=True)
class Facts:
    """What was said of each file: `said`, indexed by file, with the columns of FACTS (None: nothing).

    `contradictory`: for each file of which two rows say different things, what they say, for a person.
    """

    said: pd.DataFrame
    contradictory: dict[Hashable, str]


def rows_of(table: Table, files: Sequence[Hashable]) -> pd.DataFrame:
    """What each row of a table says: the columns of FACTS, `file`, and where it stands (table, line)."""
    nothing: list[str | None] = [None] * len(table.lines)
    columns = {
        "file": list(files),
        "site": _filled(table.column("site"), nothing),
        "sequence": [
            None if is_nothing(name) else name for name in _filled(table.column("sequence"), nothing)
        ],
        "part": parts_in(table) or nothing,
        "table": [table.path.name] * len(table.lines),
        "line": table.lines,
    }
    return pd.DataFrame(columns, dtype=object)


def is_nothing(text: str | None) -> bool:
    """Whether a cell is empty, or says so as programs do: NA, NaN, null, none."""
    return text is None or clean(text).casefold() in NOTHING


def _filled(cells: pd.Series | None, nothing: list[str | None]) -> list[str | None]:
    return nothing if cells is None else [cell if cell.strip() else None for cell in cells]


def settled(rows: pd.DataFrame) -> Facts:
    """One set of facts for each file of `rows`: what `rows_of` made of tables, one below another."""
    own = {
        "site": keys(rows["site"], Kind.SITE),
        "sequence": keys(rows["sequence"], Kind.SEQUENCE),
        "part": list(rows["part"]),
    }

    def place(row: int) -> str:
        return f"{rows['table'].iloc[row]}, line {rows['line'].iloc[row]}"

    contradictory = contradictions(list(rows["file"]), {n: (list(rows[n]), own[n]) for n in FACTS}, place)
    said = rows[["file", *FACTS]].groupby("file", sort=False).first().astype(object)
    said = said.where(said.notna(), None)
    said.loc[said.index.isin(list(contradictory))] = None  # of two values none is taken
    return Facts(said, contradictory)


def contradictions(
    files: Sequence[Hashable],
    facts: Mapping[str, tuple[Sequence[object], Keys]],
    place: Callable[[int], str],
) -> dict[Hashable, str]:
    """For each file of which two rows say different things: both values, and where they stand.

    `facts`: by name, the value of each row and its key, None where the row says nothing. `place` calls a row
    as a message does.
    """
    found: dict[Hashable, str] = {}
    for name, (values, own) in facts.items():
        table = pd.DataFrame({"file": list(files), "key": list(own)}, dtype=object)
        different = table[table["key"].notna()].drop_duplicates()
        different = different[different.duplicated("file", keep=False)]
        for file, rows in different.groupby("file", sort=False):
            first, second = rows.index[:2]
            both = f"{name} {values[first]!r} ({place(first)}) and {values[second]!r} ({place(second)})"
            found.setdefault(file, f"its rows contradict each other: {both}")
    return found
