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
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import FrameType

import numpy as np
import pandas as pd

from trapline.data.quarantine import AMBIGUOUS_LABEL, CONTRADICTORY, Quarantined
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import prepare_option
from trapline.names import Kind, clean, key, keys, shown
from trapline.preparation.input_folder import InputFolder, NotInside
from trapline.preparation.listing import GIVEN, UNLABELED, SiteRule, Source, first, named_rows, parts_named
from trapline.tables import Table, header_of, known_columns, read_table, read_text

FACTS = ("site", "sequence", "part")
NOTHING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")
SECONDS_OF_PATTERN = 2.0  # on one path
Problems = dict[int, tuple[str, str]]  # row -> reason code, detail


def is_nothing(text: str | None) -> bool:
    """Whether a cell is empty, or says so as programs do: NA, NaN, null, none."""
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
    sites, sequences, split = (table.column(name) for name in ("site", "sequence", "split"))
    parts = None if split is None else parts_named(list(split), str(split.name), table.path, table.notes)
    return pd.DataFrame(
        {
            "file": list(files),
            "site": nothing if sites is None else [site if site.strip() else None for site in sites],
            "sequence": (
                nothing if sequences is None else [None if is_nothing(name) else name for name in sequences]
            ),
            "part": parts or nothing,
            "table": [table.path.name] * len(table.lines),
            "line": table.lines,
        },
        dtype=object,
    )


def place_in(rows: pd.DataFrame, row: int) -> str:
    """A row of what `rows_of` made, as messages call it."""
    return f"{rows['table'].iloc[row]}, line {rows['line'].iloc[row]}"


def settled(rows: pd.DataFrame) -> Facts:
    """One set of facts for each file of `rows`: what `rows_of` made of tables, one below another."""
    facts = {kind.value: (list(rows[kind]), keys(rows[kind], kind)) for kind in (Kind.SITE, Kind.SEQUENCE)}
    facts["part"] = (list(rows["part"]), list(rows["part"]))
    contradictory = contradictions(list(rows["file"]), facts, functools.partial(place_in, rows))
    said = rows[["file", *FACTS]].groupby("file", sort=False).first().astype(object)
    said = said.where(said.notna(), None)
    said.loc[said.index.isin(list(contradictory))] = None  # of two values none is taken
    return Facts(said, contradictory)


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
    """`images`, indexed from 0, with the site, the sequence and, if there is any, the part `said` of each."""
    images = images.assign(site=said["site"], sequence=said["sequence"])
    if said["part"].notna().any():
        images[GIVEN] = said["part"].where(images["label"] != UNLABELED, None)
    return images


# --- which image a row of a table means ---------------------------------------------------------------------


class _Images:
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


def _contradictory(facts: Facts) -> Problems:
    """The problems of facts whose files are rows of a listing."""
    return {int(str(row)): (CONTRADICTORY, detail) for row, detail in facts.contradictory.items()}


# --- tables among the images --------------------------------------------------------------------------------


def with_tables(source: Source, folder: InputFolder) -> Source:
    """`source` with what the tables at the top of `folder` say of its images.

    A table is one that has a column of paths and one of site, sequence, split or label. Images of which it
    says two different things, or another class than their folder, are quarantined. Raises TraplineError
    where such a table cannot be read.
    """
    notes: list[str] = []
    tables = [read_table(path, ["filepath"]) for path in folder.tables() if _is_of_images(path, notes)]
    if not tables:
        return replace(source, notes=[*source.notes, *notes])
    images, every = _Images(source, folder), []
    for table in tables:
        rows = rows_of(table, [images.row(given) for given in table.cells[table.columns["filepath"]]])
        known = rows["file"].notna()
        notes += table.notes + _told(table, int(known.sum()))
        every.append(rows.assign(label=table.column("label"))[known])
    together = pd.concat(every, ignore_index=True)
    facts = settled(together)
    problems = {**_other_classes(source, together), **_contradictory(facts)}
    images_told = _told_images(source, facts, notes)
    return set_aside(replace(source, images=images_told, notes=[*source.notes, *notes]), problems)


def _is_of_images(path: Path, notes: list[str]) -> bool:
    """Whether a table names images and says something of them; others lie beside images, too."""
    try:
        cells = header_of(read_text(path)[0], ["filepath"])[0]
    except TraplineError as error:
        notes.append(f"{path.name}: not read ({str(error).removeprefix(f'{path}: ')})")
        return False
    known = known_columns(cells)
    return "filepath" in known and bool(known.keys() & {"site", "sequence", "split", "label"})


def _told(table: Table, images: int) -> list[str]:
    if not images:
        return [f"{table.path.name}: names none of the images; not read"]
    used = [
        f"{table.columns[name]} as {name}" for name in ("site", "sequence", "split") if name in table.columns
    ]
    return [f"{table.path.name}: read for {images} images: its columns {', '.join(used)}"] if used else []


def _other_classes(source: Source, rows: pd.DataFrame) -> Problems:
    """The images of which a table says another class than their folder.

    Raises TraplineError where it names none of the folders: then they are no classes.
    """
    names = source.class_codes or source.classes
    known = {
        key(name, Kind.CLASS): label for spelt in (names, source.classes) for label, name in enumerate(spelt)
    }
    labels = source.images["label"].tolist()
    problems: Problems = {}
    named = [isinstance(label, str) and not is_nothing(label) for label in rows["label"]]
    said = rows[np.array(named, dtype=bool)]
    if len(said) and not any(key(str(label), Kind.CLASS) in known for label in set(said["label"])):
        table, label = said["table"].iloc[0], said["label"].iloc[0]
        raise TraplineError(
            f"{table}: its labels ({label!r}, ...) are none of the folders ({source.classes[0]!r}, ...), "
            "which would be the classes; sort the images into folders by class, or rename that column"
        )
    for row, label, table, line in zip(said["file"], said["label"], said["table"], said["line"], strict=True):
        own, other = labels[int(row)], known.get(key(str(label), Kind.CLASS))
        if own not in (other, UNLABELED):
            problems[int(row)] = (
                AMBIGUOUS_LABEL,
                f"its folder says {names[own]!r}, {table}, line {line} says {label!r}",
            )
    return problems


def _told_images(source: Source, facts: Facts, notes: list[str]) -> pd.DataFrame:
    """The images with the `facts` of their rows; a part that their own folders give goes before a table's."""
    images, said = source.images, facts.of(source.images.index)
    for name in ("site", "sequence"):
        said[name] = said[name].where(said[name].notna(), images[name])
    if GIVEN not in images.columns:
        return with_facts(images, said)
    other = (images["label"] != UNLABELED) & said["part"].notna() & (said["part"] != images[GIVEN])
    if other.any():
        notes.append(f"a table gives {int(other.sum())} images another part than their folder: folders count")
    return images.assign(site=said["site"], sequence=said["sequence"])


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
        images_of = _Images(source, folder)
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
    return set_aside(replace(source, images=images, notes=notes), _contradictory(facts))


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
