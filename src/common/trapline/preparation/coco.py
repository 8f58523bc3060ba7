"""COCO Camera Traps: the JSON in which LILA and others publish labels, sites and sequences of images.

`images` (id, file_name, and perhaps location, seq_id and datetime), `categories` (id, name) and `annotations`
(image_id, category_id). An image without an annotation is unlabelled; one of the category `empty` is not. An
annotation with a score is a model's, and no truth.
"""

import itertools
import math
import mmap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.quarantine import BAD_NAME, MISSING, UNKNOWN_LABEL, Quarantined
from trapline.errors import TraplineError, refuse_any
from trapline.names import shown
from trapline.preparation.camtrap_package import PACKAGE
from trapline.preparation.facts import is_nothing
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.json_records import MEMBER, records
from trapline.preparation.label_joins import NO_LABEL, Integers, codes_of, labelled_rows
from trapline.preparation.listed_rows import source_of, statements
from trapline.preparation.listing import Reading, Source, printable, refuse_asked
from trapline.preparation.machine_labels import told_of_machines, with_told
from trapline.preparation.media import Media

JSON = ".json"
MARKS = {
    "images": "file_name",
    "annotations": "image_id",
    "categories": "name",
}  # the lists, and a key of each
DETECTOR = "detection_categories"  # which MegaDetector's files have
NO_TEXTS = (dict, list, bool)
LONGEST_NOTHING = 16  # characters of a text that may say nothing
WHOLE = 2.0**53  # whole numbers below it are exact as floats


@dataclass
class _Contents:
    """What a JSON says, a list for each key, None where a record says nothing; and what cannot be used."""

    name: str
    ids: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    sites: list[str | None] = field(default_factory=list)
    sequences: list[str | None] = field(default_factory=list)
    times: list[str | None] = field(default_factory=list)
    image_ids: list[str | None] = field(default_factory=list)
    category_ids: list[str | None] = field(default_factory=list)
    scored: list[bool] = field(default_factory=list)  # whether each annotation is a model's
    categories: dict[str, str] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    _once: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str | None] = field(default_factory=dict)

    def add(self, kind: str, record: object) -> None:
        """Take up a record of one of the lists. Raises TraplineError for a category of two names."""
        if kind == "images":
            self._add_image(record if isinstance(record, dict) else {})
        elif not isinstance(record, dict):
            self.faults[f"{kind} that are no objects are not read"] += 1
        elif kind == "annotations":
            self.image_ids.append(_text(record.get("image_id")))
            self.category_ids.append(self._shared(_text(record.get("category_id"))))
            score = record.get("score")
            self.scored.append(isinstance(score, int | float) and not isinstance(score, bool))
            if record.get("sequence_level_annotation") is True:
                self.faults[
                    "annotations are of whole sequences: an image may not show what it is called"
                ] += 1
        else:
            self._add_category(record)

    def leave_out_machines(self) -> int:
        """Leave out the annotations with a score, which a model gave. Returns how many those are."""
        left = [not scored for scored in self.scored]
        self.image_ids = list(itertools.compress(self.image_ids, left))
        self.category_ids = list(itertools.compress(self.category_ids, left))
        return sum(self.scored)

    def _add_image(self, record: dict[str, Any]) -> None:
        own, file = _text(record.get("id")), record.get("file_name")
        if own is None or not isinstance(file, str) or not file.strip():
            place = f"{self.name}: image {len(self.ids) + len(self.quarantined) + 1} of its list"
            reason, lacks = (BAD_NAME, "id") if own is None else (MISSING, "file_name")
            named = file if isinstance(file, str) else ""
            self.quarantined.append(Quarantined(own or named, named, reason, f"{place} has no {lacks}"))
            return
        self.ids.append(own)
        self.files.append(file)
        for key, values in (("location", self.sites), ("seq_id", self.sequences)):
            value = record.get(key)
            values.append(self._said_once(value))
            if isinstance(value, NO_TEXTS):
                self.faults[f"images have a {key} that is neither text nor number, and are read without"] += 1
        self.times.append(_said(record.get("datetime")) or _said(record.get("date_captured")))

    def _add_category(self, record: dict[str, Any]) -> None:
        own, name = _text(record.get("id")), _text(record.get("name"))
        if own is None or name is None:
            self.faults["categories without id or name are not read"] += 1
        elif self.categories.setdefault(own, name) != name:
            raise TraplineError(
                f"{self.name}: the category {shown(own)} is called {shown(self.categories[own])} and "
                f"{shown(name)}; give each its own id"
            )

    def _shared(self, text: str | None) -> str | None:
        """One object for equal texts, which come a million times."""
        return None if text is None else self._once.setdefault(text, text)

    def _said_once(self, value: object) -> str | None:
        """What a site or a sequence says, found out once for equal texts, and one object for them."""
        if not isinstance(value, str):
            return self._shared(_said(value))
        if value not in self._names:
            self._names[value] = _said(value)
        return self._names[value]


def _text(value: object) -> str | None:
    """An id or a name as text, whole numbers without .0; None for what is neither text nor number."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return str(
        int(value) if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE else value
    )


def _said(value: object) -> str | None:
    """A site, a sequence or a time as text; None where it is nothing, as NaN and NA are."""
    text = _text(value)
    return None if text is None or (len(text) < LONGEST_NOTHING and is_nothing(text)) else text


# --- recognising --------------------------------------------------------------------------------------------


def is_coco(folder: InputFolder, reading: Reading) -> bool:
    """Whether a JSON was given itself, or one at the top of the folder is of COCO Camera Traps."""
    if reading.table is not None:
        name = reading.table.name.lower()
        return name.endswith(JSON) and name != PACKAGE
    return bool(_files(folder))


def _files(folder: InputFolder) -> list[Path]:
    return [path for path in folder.tables(JSON) if _names_the_lists(path) and _begins_so(path)]


def _names_the_lists(path: Path) -> bool:
    """Whether the names of the lists stand anywhere in a file: a quick look at what may be very long."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            images, *others = (data.find(f'"{name}"'.encode()) >= 0 for name in MARKS)
    except (OSError, ValueError):  # it cannot be opened, or is empty
        return False
    return images and any(others)


def _begins_so(path: Path) -> bool:
    """Whether the first records of images, or of annotations, are such."""
    try:
        for name, record in records(path, MARKS):
            if record is MEMBER or (name == "categories" and isinstance(record, dict)):
                continue
            return isinstance(record, dict) and MARKS[name] in record
    except TraplineError:
        return False
    return False


# --- reading ------------------------------------------------------------------------------------------------


def read_coco(folder: InputFolder, reading: Reading) -> Source:
    """List the images that a COCO Camera Traps JSON names, with labels, sites, sequences and times.

    The id is the image's in the JSON. Classes are in the order of the categories' ids. Images of an
    annotation whose category is unknown are quarantined. Raises TraplineError where there are several such
    files, where it cannot be read or is no such file, where it lists no image, or none of its images is
    there; UsageError for an option that it does not take.
    """
    what = "a COCO Camera Traps JSON says labels and sites itself"
    refuse_asked(folder, reading, ("columns", "folders", "label-tag"), what)
    path = reading.table or _only(folder)
    contents = _contents(path)
    left_out = 0 if reading.machine_labels or not reading.needs_labels else contents.leave_out_machines()
    order = sorted(contents.categories, key=_in_order)
    names = [contents.categories[own] for own in order]
    codes, of = codes_of(contents.ids, contents.image_ids)
    number = {own: place for place, own in enumerate(order)}
    labels = np.array([number.get(own or "", NO_LABEL) for own in contents.category_ids], dtype=np.int64)
    quarantined, unknown = _of_unknown_category(contents, codes, of, labels)
    is_known = (of >= 0) & (labels >= 0)
    rows, said = labelled_rows(codes, of[is_known], labels[is_known])
    kept = ~unknown[rows]
    listed = _statements(
        contents, rows[kept].tolist(), [names[label] if label >= 0 else None for label in said[kept]]
    )
    source = source_of(
        listed,
        Media(reading.media or folder, reading.origin, reading.copies),
        classes=list(dict.fromkeys(names)),
        notes=_notes(contents, of),
    )
    source = with_told(source, told_of_machines(path.name, left_out, "annotations"))
    return replace(source, quarantined=[*contents.quarantined, *quarantined, *source.quarantined])


def _only(folder: InputFolder) -> Path:
    """The one such file of a folder. Raises TraplineError where there are several."""
    files = _files(folder)
    if len(files) > 1:
        raise TraplineError(
            f"{folder.path}: {files[0].name} and {files[1].name} are both COCO Camera Traps files; give the "
            f"one that is meant as --input {files[0]}, or each of them as an --input"
        )
    return files[0]


def _contents(path: Path) -> _Contents:
    """All that a file says. Raises TraplineError for what is no COCO Camera Traps, and for no images."""
    contents, members = _Contents(path.name), set()
    for name, record in records(path, MARKS):
        if record is not MEMBER:
            contents.add(name, record)
        elif name == DETECTOR:
            raise TraplineError(
                f"{path}: is a file of MegaDetector, which says where animals are and not which; give the "
                "labels as --input, a table or a COCO Camera Traps JSON, and leave this one out"
            )
        else:
            members.add(name)
    lacking = [name for name in MARKS if name not in members]
    if lacking and lacking != ["annotations"]:
        found = ", ".join(shown(name) for name in sorted(members)[:5]) or "none"
        raise TraplineError(
            f"{path}: is no COCO Camera Traps JSON: it lacks {' and '.join(lacking)} (it has {found}); give "
            "one with the lists images, annotations and categories"
        )
    refuse_any(
        [
            (
                not contents.ids and not contents.quarantined,
                f"{path}: its list images is empty; name the images",
            ),
            (
                not contents.ids,
                f"{path}: none of its {len(contents.quarantined)} images has an id and a file_name; add them",
            ),
        ],
        TraplineError,
    )
    return contents


def _in_order(own: str) -> tuple[bool, int, str]:
    """Ids in order: whole numbers by their value, then words."""
    is_whole = own.isascii() and own.isdecimal() and len(own) < 20
    return not is_whole, int(own) if is_whole else 0, own


def _of_unknown_category(
    contents: _Contents, codes: Integers, of: Integers, labels: Integers
) -> tuple[list[Quarantined], npt.NDArray[np.bool_]]:
    """The images of an annotation whose category is none of the file's, quarantined; and whether each is one.

    To leave such an annotation out would make its image an unlabelled one, or one with too few labels.
    """
    bad = np.flatnonzero((of >= 0) & (labels < 0))
    first = dict(zip(of[bad[::-1]].tolist(), bad[::-1].tolist(), strict=True))
    unknown = np.isin(codes, of[bad])
    quarantined = []
    for row in np.flatnonzero(unknown).tolist():
        category = contents.category_ids[first[int(codes[row])]]
        says = (
            "has no category_id"
            if category is None
            else f"says the category {shown(category)}, which it lacks"
        )
        quarantined.append(
            Quarantined(
                printable(contents.ids[row]),
                printable(contents.files[row]),
                UNKNOWN_LABEL,
                f"{contents.name}: an annotation of it {says}",
            )
        )
    return quarantined, unknown


def _statements(contents: _Contents, rows: Sequence[int], labels: Sequence[str | None]) -> pd.DataFrame:
    columns: dict[str, Sequence[str | None]] = {
        "file": contents.files,
        "id": contents.ids,
        "site": contents.sites,
        "sequence": contents.sequences,
        "time": contents.times,
    }
    said = {name: [values[row] for row in rows] for name, values in columns.items()}
    return statements(contents.name, [contents.ids[row] for row in rows], label=labels, **said)


def _notes(contents: _Contents, of: Integers) -> list[str]:
    notes = [f"{contents.name}: {count} {fault}" for fault, count in contents.faults.items()]
    lost = np.flatnonzero(of < 0)
    if len(lost):
        own = contents.image_ids[int(lost[0])]
        example = "without image_id" if own is None else f"of {shown(own)}"
        notes.append(
            f"{contents.name}: {len(lost)} of its annotations are of images that it does not list, as one "
            f"{example}"
        )
    return notes
