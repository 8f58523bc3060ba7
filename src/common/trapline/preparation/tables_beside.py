"""Tables that lie among images and say more of them: site, sequence, time, and the part of a given split."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from trapline.column_names import known_columns, named_columns
from trapline.data.quarantine import AMBIGUOUS_LABEL
from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.names import Kind, key
from trapline.preparation.facts import (
    Facts,
    ImageRows,
    Problems,
    contradictory_rows,
    is_nothing,
    rows_of,
    set_aside,
    settled,
    with_facts,
)
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import GIVEN, GROUP, UNLABELED, Source
from trapline.tables import Table, header_of, read_table, read_text


def with_tables(source: Source, folder: InputFolder) -> Source:
    """`source` with what the tables at the top of `folder` say of its images.

    A table is one that has a column of paths and one of site, sequence, split or label. Images of which it
    says two different things, or another class than their folder, are quarantined. Raises TraplineError
    where such a table cannot be read.
    """
    notes: list[str] = []
    tables = [
        read_table(path, ["filepath"], folder.columns)
        for path in folder.tables()
        if _is_of_images(path, folder.columns, notes)
    ]
    if not tables:
        return replace(source, notes=[*source.notes, *notes])
    images, every = ImageRows(source, folder), []
    for table in tables:
        rows = rows_of(table, [images.row(given) for given in table.cells[table.columns["filepath"]]])
        known = rows["file"].notna()
        notes += table.notes + _told(table, int(known.sum()))
        every.append(rows.assign(label=table.column("label"))[known])
    together = pd.concat(every, ignore_index=True)
    facts = settled(together)
    problems = {**_other_classes(source, together), **contradictory_rows(facts)}
    images_told = _told_images(source, facts, notes)
    return set_aside(replace(source, images=images_told, notes=[*source.notes, *notes]), problems)


def _is_of_images(path: Path, given: Mapping[str, str], notes: list[str]) -> bool:
    """Whether a table names images and says something of them; others lie beside images, too."""
    try:
        cells = header_of(read_text(path)[0], ["filepath"])[0]
    except TraplineError as error:
        notes.append(f"{path.name}: not read ({str(error).removeprefix(f'{path}: ')})")
        return False
    known = {**known_columns(cells), **named_columns(cells, given)}
    return "filepath" in known and bool(known.keys() & {"site", "sequence", "split", "label", "time", "date"})


def _told(table: Table, images: int) -> list[str]:
    if not images:
        return [f"{table.path.name}: names none of the images; not read"]
    used = [
        f"{table.columns[name]} as {name}"
        for name in ("site", "sequence", "split", "time", "date", GROUP)
        if name in table.columns
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
            f"which would be the classes; {prepare_option('layout', 'csv')} takes the labels of the table"
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
    return with_facts(images, said.assign(part=None))
