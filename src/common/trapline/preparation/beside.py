"""Sites, sequences and parts that are told beside the labels: by tables among the images, or by the user.

In class folders a table at the top may name the images (labels.csv with path, label, split, site). What the
user gives, --site-csv or --site-regex, goes before what the data say.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from trapline.data.quarantine import AMBIGUOUS_LABEL, CONTRADICTORY, Quarantined
from trapline.deadline import deadline
from trapline.errors import TraplineError, UsageError
from trapline.names import Kind, key, keys, shown
from trapline.preparation.facts import Facts, is_nothing, rows_of, settled
from trapline.preparation.input_folder import InputFolder, NotInside
from trapline.preparation.listing import GIVEN, UNLABELED, SiteRule, Source, first
from trapline.tables import Table, header_of, known_columns, read_table, read_text
from trapline.typed import prepare_option

SECONDS_OF_PATTERN = 2.0  # on one path
Problems = dict[int, tuple[str, str]]  # row -> reason code, detail


def set_aside(source: Source, problems: Mapping[int, tuple[str, str]]) -> Source:
    """`source` without the labelled images of `problems`, by row; unlabelled ones stay, and are barred.

    For they are answered for all the same.
    """
    if not problems:
        return source
    rows = source.images.loc[list(problems)]
    labelled = rows["label"] != UNLABELED
    quarantined = [
        Quarantined(str(name), str(filepath), *problems[row])
        for row, name, filepath in zip(rows.index.tolist(), rows["id"], rows["filepath"], strict=True)
        if labelled[row]
    ]
    paths = rows.loc[~labelled, "path"]
    barred = {str(path): problems[row] for row, path in zip(paths.index.tolist(), paths, strict=True)}
    return replace(
        source,
        images=source.images.drop(index=rows.index[labelled]).reset_index(drop=True),
        quarantined=[*source.quarantined, *quarantined],
        barred={**source.barred, **barred},
    )


# --- which image a row of a table means ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Images:
    """Where the images of a source are in its listing: by relative path, and by the file's name alone."""

    folder: InputFolder
    by_path: dict[str, int]
    by_name: dict[str, int | None]  # None: several have it

    @classmethod
    def of(cls, source: Source, folder: InputFolder) -> "_Images":
        start = len(str(folder.path)) + 1
        relative = [path[start:] for path in source.images["path"]]
        by_name: dict[str, int | None] = {}
        for row, path in enumerate(relative):
            name = key(PurePosixPath(path).name, Kind.PATH)
            by_name[name] = None if name in by_name else row
        return cls(folder, {path: row for row, path in enumerate(relative)}, by_name)

    def row(self, given: str) -> int | None:
        """The image that a path in a table means; a name without folders may be that of one image alone."""
        try:
            found = self.by_path.get(self.folder.find(given))
        except NotInside:
            found = None
        if found is None and "/" not in given and "\\" not in given:
            return self.by_name.get(key(given, Kind.PATH))
        return found


def _rows_by_id(source: Source, ids: pd.Series) -> list[int | None]:
    own = keys([*source.images["id"], *ids], Kind.ID)
    row_of = {name: row for row, name in enumerate(own[: len(source.images)])}
    return [row_of.get(name) for name in own[len(source.images) :]]


# --- tables among the images --------------------------------------------------------------------------------


def with_tables(source: Source, folder: InputFolder) -> Source:
    """`source` with what the tables at the top of `folder` say of its images.

    A table is one that has a column of paths and one of site, sequence, split or label. Images of which it
    says two different things, or another class than their folder, are quarantined. Raises TraplineError
    where such a table cannot be read.
    """
    notes: list[str] = []
    tables = [read_table(path, ["filepath"]) for path in folder.tables(".csv") if _is_of_images(path, notes)]
    if not tables:
        return replace(source, notes=[*source.notes, *notes])
    images = _Images.of(source, folder)
    said = []
    for table in tables:
        rows = rows_of(table, [images.row(given) for given in table.cells[table.columns["filepath"]]])
        known = rows["file"].notna()
        notes += table.notes + _told(table, int(known.sum()))
        said.append(rows[known].assign(label=_labels(table)[known]))
    together = pd.concat(said, ignore_index=True)
    facts = settled(together)
    problems = {row: (CONTRADICTORY, detail) for row, detail in _by_row(facts.contradictory).items()}
    problems = {**_other_classes(source, together), **problems}
    return set_aside(replace(_with_facts(source, facts, notes), notes=[*source.notes, *notes]), problems)


def _by_row(found: Mapping[Hashable, str]) -> dict[int, str]:
    return {int(str(row)): detail for row, detail in found.items()}


def _is_of_images(path: Path, notes: list[str]) -> bool:
    """Whether a table names images and says something of them; others lie beside images, too."""
    try:
        cells = header_of(read_text(path).text, ["filepath"])[0]
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


def _labels(table: Table) -> pd.Series:
    cells = table.column("label")
    return pd.Series([None] * len(table.lines), dtype=object) if cells is None else cells


def _other_classes(source: Source, rows: pd.DataFrame) -> Problems:
    """The images of which a table says another class than their folder.

    Raises TraplineError where it names none of the folders: then they are no classes.
    """
    names = source.class_codes or source.classes
    known = {key(name, Kind.CLASS): label for label, name in enumerate(names)}
    known |= {key(name, Kind.CLASS): label for label, name in enumerate(source.classes)}
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
            detail = f"its folder says {names[own]!r}, {table}, line {line} says {label!r}"
            problems[int(row)] = (AMBIGUOUS_LABEL, detail)
    return problems


def _with_facts(source: Source, facts: Facts, notes: list[str]) -> Source:
    """`source` with sites, sequences and parts; a part that its own folders give goes before a table's."""
    images = source.images.copy()
    said = facts.said.reindex(images.index)
    said = said.astype(object).where(said.notna(), None)
    for name in ("site", "sequence"):
        images[name] = said[name].where(said[name].notna(), images[name])
    labelled = images["label"] != UNLABELED
    if GIVEN in images.columns:
        other = labelled & said["part"].notna() & (said["part"] != images[GIVEN])
        if other.any():
            notes.append(
                f"a table gives {int(other.sum())} images another part than their folder: folders count"
            )
    elif said["part"].notna().any():
        images[GIVEN] = said["part"].where(labelled, None)
    return replace(source, images=images)


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
    if "filepath" in table.columns:
        given = table.cells[table.columns["filepath"]]
        find = _Images.of(source, folder).row
        rows = [find(value) for value in given]
    elif "id" in table.columns:
        given = table.cells[table.columns["id"]]
        rows = _rows_by_id(source, given)
    else:
        raise TraplineError(f"{path}: no column filepath; it must name each image relative to {folder.path}")
    said = rows_of(table, rows)
    known = said["file"].notna() & said["site"].notna()
    if not known.any():
        raise TraplineError(
            f"{path}: names none of the images in {folder.path} "
            f"({first(given)} against {first(source.images['filepath'])})"
        )
    facts = settled(said[said["file"].notna()].reset_index(drop=True))
    names = [name for name in ("site", "sequence") if name in table.columns]
    images = source.images.copy()
    found = facts.said.reindex(images.index)
    for name in names:
        images[name] = found[name].astype(object).where(found[name].notna(), None)
    notes = [*source.notes, *table.notes, *_replaced(source, prepare_option("site-csv", path.name))]
    problems = {row: (CONTRADICTORY, detail) for row, detail in _by_row(facts.contradictory).items()}
    return set_aside(replace(source, images=images, notes=notes), problems)


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
    site: int | str = "site" if "site" in pattern.groupindex else 1
    images["site"] = [match.group(site) if match else None for match in found]
    if "sequence" in pattern.groupindex:
        images["sequence"] = [match.group("sequence") if match else None for match in found]
    if images["site"].isna().all():
        raise TraplineError(
            f"{prepare_option('site-regex', pattern.pattern)}: matches no path, for instance "
            f"{first(images['filepath'])}"
        )
    notes = [*source.notes, *_replaced(source, prepare_option("site-regex"))]
    return replace(source, images=images, notes=notes)
