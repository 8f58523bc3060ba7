"""What tables, and the user, say of files beside their labels: site, sequence, and the part of a given split.

Several rows, of one table or of several, may speak of one file. Where they say different things the order of
rows decides nothing: the file goes to quarantine, with both values named. In class folders a table at the top
may name the images (labels.csv with path, label, split, site). What the user gives, --site-csv or
--site-regex, goes before what the data say.
"""

import contextlib
import functools
import re
import signal
import string
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import FrameType

import numpy as np
import pandas as pd

from trapline.data.quarantine import CONTRADICTORY, Quarantined
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import prepare_option
from trapline.names import Kind, clean, key, keys, shown
from trapline.preparation.input_folder import InputFolder, NotInside
from trapline.preparation.listing import (
    GIVEN,
    GROUP,
    TIME,
    UNLABELED,
    SiteRule,
    Source,
    first,
    named_rows,
    parts_named,
)
from trapline.tables import Table, read_table

FACTS = ("site", "sequence", "part", "time", "group")
NOTHING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")
SOMETHING = frozenset(string.ascii_letters + string.digits) - frozenset("nN")  # no NOTHING begins so
SECONDS_OF_PATTERN = 2.0  # on one path
# A day: three numbers or names of months, of which one is long or a year; eight digits.
DATE = re.compile(
    r"\d+[-/.: ]+\w+[-/.: ,]+\d{4}|\d{4}[-/.: ]+\w+[-/.: ,]+\d+|\d+[-/.]\w+[-/.]\d+|\d{8}|[^\W\d]+ \d+,? "
    r"\d{4}"
)
Problems = dict[int, tuple[str, str]]  # row -> reason code, detail


def is_nothing(text: str | None) -> bool:
    """Whether a cell is empty, or says so as programs do: NA, NaN, null, none."""
    if text and text[0] in SOMETHING:  # as most begin, so that not each is looked at closely
        return False
    return text is None or clean(text).casefold() in NOTHING


def set_aside(source: Source, problems: Mapping[int, tuple[str, str]]) -> Source:
    """`source` without the labelled images of `problems`, by row; unlabelled ones stay, and are barred.

    For they are answered for all the same.
    """
    if not problems:
        return source
    rows = source.images.loc[list(problems)].assign(own=pd.Series(dict(problems)))
    labelled = rows["label"] != UNLABELED
    quarantined = [
        Quarantined(str(row.id), str(row.filepath), *row.own) for row in named_rows(rows[labelled])
    ]
    return replace(
        source,
        images=source.images.drop(index=rows.index[labelled]).reset_index(drop=True),
        quarantined=[*source.quarantined, *quarantined],
        barred={**source.barred, **{str(row.path): row.own for row in named_rows(rows[~labelled])}},
    )


def problems_of(*found: tuple[str, Iterable[Hashable], Mapping[Hashable, str]]) -> Problems:
    """The problem of each row that has one; of several that which comes first.

    Each of `found`: a reason code, the name of each row, and the details by the names that have the problem.
    """
    problems = {
        row: (reason, details[name])
        for reason, names, details in reversed(found)
        if details
        for row, name in enumerate(names)
        if name in details
    }
    return dict(sorted(problems.items()))


# --- what rows say ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What was said of each file: `said`, indexed by file, with the columns of FACTS (None: nothing).

    `contradictory`: for each file of which two rows say different things, what they say, for a person.
    """

    said: pd.DataFrame
    contradictory: dict[Hashable, str]

    def of(self, files: pd.Series | pd.Index) -> pd.DataFrame:
        """What was said of each of `files`: the columns of FACTS, with a new index."""
        said = self.said.reindex(files).astype(object).reset_index(drop=True)
        return said.where(said.notna(), None)


def rows_of(table: Table, files: Sequence[Hashable]) -> pd.DataFrame:
    """What each row of a table says: the columns of FACTS, `file`, and where it stands (table, line)."""
    nothing: list[str | None] = [None] * len(table.lines)
    sites, sequences, split, group = (table.column(name) for name in ("site", "sequence", "split", GROUP))
    parts = None if split is None else parts_named(list(split), str(split.name), table.path, table.notes)
    return pd.DataFrame(
        {
            "file": list(files),
            "site": nothing if sites is None else [site if site.strip() else None for site in sites],
            "sequence": (
                nothing if sequences is None else [None if is_nothing(name) else name for name in sequences]
            ),
            "part": parts or nothing,
            "time": taken(_cells(table, "time"), _cells(table, "date")) or nothing,
            "group": nothing if group is None else [None if is_nothing(name) else name for name in group],
            "table": [table.path.name] * len(table.lines),
            "line": table.lines,
        },
        dtype=object,
    )


def _cells(table: Table, known: str) -> list[str] | None:
    found = table.column(known)
    return None if found is None else list(found)


def taken(times: Sequence[str] | None, dates: Sequence[str] | None) -> list[str | None] | None:
    """When each row's image was taken, as it is written, date before time; None where no column says it.

    A time of the day without a date is no time.
    """
    if dates is None or (times is not None and any(map(has_date, times))):
        return None if times is None else [cell if has_date(cell) else None for cell in times]
    return [
        None if is_nothing(day) else f"{day.strip()} {'' if ':' in day else hour.strip()}".strip()
        for day, hour in zip(dates, times if times is not None else [""] * len(dates), strict=True)
    ]


def has_date(cell: str) -> bool:
    """Whether a cell says a day, and not a time of the day alone."""
    return bool(DATE.search(cell))


def place_in(rows: pd.DataFrame, row: int) -> str:
    """A row of what `rows_of` made, as messages call it: by its line, or by its id where it has no line."""
    line = rows["line"].iloc[row]
    return f"{rows['table'].iloc[row]}, " + (f"id {shown(line)}" if isinstance(line, str) else f"line {line}")


def settled(rows: pd.DataFrame) -> Facts:
    """One set of facts for each file of `rows`: what `rows_of` made of tables, one below another."""
    again = rows["file"].duplicated(keep=False)
    alone = rows.loc[~again, ["file", *FACTS]].set_index("file")
    several, contradictory = _settled_of_several(rows, again)
    said = pd.concat([alone, several]).astype(object)
    return Facts(said.where(said.notna(), None), contradictory)


def _settled_of_several(rows: pd.DataFrame, again: pd.Series) -> tuple[pd.DataFrame, dict[Hashable, str]]:
    """What is said of each file with several rows, and of which of them they say different things."""
    several = rows[again]
    if several.empty:
        return several[["file", *FACTS]].set_index("file"), {}
    facts: dict[str, tuple[list[object], list[str | None]]] = {}
    for kind in (Kind.SITE, Kind.SEQUENCE):
        own = keys(rows[kind], kind)  # of the whole column: what is a number is one in all of it
        facts[kind.value] = (list(several[kind]), [own[row] for row in np.flatnonzero(again)])
    for name in ("part", "group"):
        facts[name] = (list(several[name]), list(several[name]))
    contradictory = contradictions(list(several["file"]), facts, functools.partial(place_in, several))
    said = several[["file", *FACTS]].groupby("file", sort=False).first().astype(object)
    said = said.where(said.notna(), None)
    said.loc[said.index.isin(list(contradictory))] = None  # of two values none is taken
    with_times = several[["file", "time"]][several["time"].notna()].drop_duplicates()
    said.loc[said.index.isin(with_times["file"][with_times["file"].duplicated()]), "time"] = None
    return said, contradictory


def contradictions(
    files: Sequence[Hashable],
    facts: Mapping[str, tuple[Sequence[object], Sequence[str | None]]],
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
            found.setdefault(
                file,
                f"its rows contradict each other: {name} {values[first]!r} ({place(first)}) and "
                f"{values[second]!r} ({place(second)})",
            )
    return found


def with_facts(images: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """`images`, indexed from 0, with what is `said` of each; part, time and group where any has one."""
    images = images.assign(site=said["site"], sequence=said["sequence"])
    for name in (TIME, GROUP):
        if said[name].notna().any():
            images[name] = said[name]
    if said["part"].notna().any():
        images[GIVEN] = said["part"].where(images["label"] != UNLABELED, None)
    return images


# --- which image a row of a table means ---------------------------------------------------------------------


class ImageRows:
    """Where the images of a source are in its listing: by relative path, and by the file's name alone."""

    def __init__(self, source: Source, folder: InputFolder) -> None:
        start = len(str(folder.path)) + 1
        self.folder = folder
        self.by_path = {path[start:]: row for row, path in enumerate(source.images["path"])}
        self.by_name: dict[str, int | None] = {}  # None: several have it
        for row, path in enumerate(source.images["path"]):
            name = key(PurePosixPath(path[start:]).name, Kind.PATH)
            self.by_name[name] = None if name in self.by_name else row

    def row(self, given: str) -> int | None:
        """The image that a path in a table means; a name without folders may be that of one image alone."""
        try:
            found = self.by_path.get(self.folder.find(given))
        except NotInside:
            found = None
        if found is None and "/" not in given and "\\" not in given:
            return self.by_name.get(key(given, Kind.PATH))
        return found


def contradictory_rows(facts: Facts) -> Problems:
    """The problems of facts whose files are rows of a listing."""
    return {int(str(row)): (CONTRADICTORY, detail) for row, detail in facts.contradictory.items()}


# --- what the user gives ------------------------------------------------------------------------------------


def with_sites(source: Source, folder: InputFolder, rule: SiteRule) -> Source:
    """`source` with the sites, and the sequences, that `rule` gives, if any, in place of its own.

    Raises TraplineError where it gives none of the images a site, UsageError for a pattern without a group.
    """
    if rule.csv is not None:
        return _sites_from_csv(source, folder, Path(rule.csv))
    if rule.pattern is not None:
        return _sites_from_pattern(source, rule.pattern)
    return source


def _sites_from_csv(source: Source, folder: InputFolder, path: Path) -> Source:
    table = read_table(path, ["site"])
    table.columns.pop("split", None)  # it is asked for sites alone
    name = next((name for name in ("filepath", "id") if name in table.columns), None)
    if name is None:
        raise TraplineError(f"{path}: no column filepath; it must name each image relative to {folder.path}")
    given = table.cells[table.columns[name]]
    if name == "filepath":
        images_of = ImageRows(source, folder)
        rows = [images_of.row(value) for value in given]
    else:
        own = keys([*source.images["id"], *given], Kind.ID)
        row_of = {name: row for row, name in enumerate(own[: len(source.images)])}
        rows = [row_of.get(name) for name in own[len(source.images) :]]
    said = rows_of(table, rows)
    if not (said["file"].notna() & said["site"].notna()).any():
        raise TraplineError(
            f"{path}: names none of the images in {folder.path} "
            f"({first(given)} against {first(source.images['filepath'])})"
        )
    facts = settled(said[said["file"].notna()].reset_index(drop=True))
    names = [name for name in ("site", "sequence") if name in table.columns]
    images = source.images.copy()
    images[names] = facts.of(images.index)[names]
    notes = [*source.notes, *table.notes, *_replaced(source, prepare_option("site-csv", path.name))]
    return set_aside(replace(source, images=images, notes=notes), contradictory_rows(facts))


def _replaced(source: Source, what: str) -> list[str]:
    own = int(source.images["site"].notna().sum())
    return [f"{what} goes before the sites that the data name for {own} images"] if own else []


def _searched(pattern: re.Pattern[str], filepath: str, begin: Callable[[], None]) -> re.Match[str] | None:
    begin()
    try:
        return pattern.search(filepath)
    except TimeoutError:
        raise UsageError(
            f"{prepare_option('site-regex', pattern.pattern)}: takes more than {SECONDS_OF_PATTERN:g} s on "
            f"{shown(filepath)}; repeat nothing that repeats itself, as (a+)+ does"
        ) from None


def _sites_from_pattern(source: Source, pattern: re.Pattern[str]) -> Source:
    if not pattern.groups:
        raise UsageError(
            f"{prepare_option('site-regex', pattern.pattern)}: has no group; enclose the site in "
            "(?P<site>...)"
        )
    images = source.images.copy()
    with deadline(SECONDS_OF_PATTERN) as begin:
        found = [_searched(pattern, filepath, begin) for filepath in images["filepath"]]
    groups: dict[str, str | int] = {"site": 1, **{name: name for name in pattern.groupindex}}
    for name in ("site", "sequence"):
        if name in groups:
            images[name] = [match.group(groups[name]) if match else None for match in found]
    if images["site"].isna().all():
        raise TraplineError(
            f"{prepare_option('site-regex', pattern.pattern)}: matches no path, for instance "
            f"{first(images['filepath'])}"
        )
    notes = [*source.notes, *_replaced(source, prepare_option("site-regex"))]
    return replace(source, images=images, notes=notes)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[Callable[[], None]]:
    """Give a function that begins the count anew; when `seconds` are over, TimeoutError is raised.

    Python's regular expressions look for signals as they go. Only the main thread gets them: in another one,
    and on systems without timers, nothing is limited.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield lambda: None
        return

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    try:
        yield lambda: (signal.setitimer(signal.ITIMER_REAL, seconds), None)[1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
