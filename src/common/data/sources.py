"""Raw images as they come, in one of five layouts, and the listing of two of them.

The competition's CSV layout and a folder for each class are read here, image sets that come with a split of
their own in `common.data.image_sets`, those with several labels an image in `common.data.label_tables`. To
add a layout, write its reader and enter it in LAYOUTS.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from common.data.image_sets import has_parts, is_tiny_imagenet, read_parts, read_tiny_imagenet
from common.data.label_tables import is_label_tables, read_label_tables
from common.data.listing import (
    COLUMNS,
    UNLABELED,
    UNLABELED_FOLDER,
    SiteRule,
    Source,
    files_below,
    first,
    loose_images,
    printable,
    read_table,
    with_sites,
)
from common.data.quarantine import AMBIGUOUS_LABEL, DUPLICATE_ID, MISSING, UNKNOWN_LABEL, Quarantined
from common.errors import TraplineError

NO_CLASS, SEVERAL = -2, -3  # what a row of the labels may say instead of one class
FEATURES, LABELS = "_features.csv", "_labels.csv"
Floats = npt.NDArray[np.float64]


def read_source(folder: Path, rule: SiteRule) -> Source:
    """List the inputs in `folder`, whichever layout it has.

    Raises TraplineError when there is no such folder, when it has none of the layouts, or when its tables
    cannot be read.
    """
    if not folder.is_dir():
        raise TraplineError(f"{folder}: no such folder; give the folder that holds the raw images")
    source = next(layout for layout in LAYOUTS if layout.recognises(folder)).read(folder, rule)
    unknown = source.images.astype(object).where(source.images.notna() & (source.images != ""), None)
    images = source.images.assign(site=unknown["site"], sequence=unknown["sequence"])
    return replace(source, images=images)


def is_competition(folder: Path) -> bool:
    """Whether `folder` holds a *_features.csv."""
    return any(folder.glob(f"*{FEATURES}"))


# --- the competition's layout -------------------------------------------------------------------------------


def read_competition(folder: Path) -> Source:
    """List `*_features.csv` (id, filepath, optional site and sequence) with their `*_labels.csv` (one-hot).

    Features without a labels file are unlabelled. Class names and their order come from the labels' columns.
    """
    quarantined: list[Quarantined] = []
    tables, classes = [], None
    for path in sorted(folder.glob(f"*{FEATURES}")):
        features = _read_features(path, quarantined)
        labels_path = path.with_name(path.name.removesuffix(FEATURES) + LABELS)
        if labels_path.exists():
            labels = read_table(labels_path, ["id"])
            classes = _agreed_classes(classes, labels, labels_path)
            features = _with_labels(features, labels, classes, labels_path, quarantined)
        tables.append(features)
    if classes is None:
        raise TraplineError(f"{folder}: no *{LABELS} beside the *{FEATURES}: there is nothing to learn from")
    images = _first_of_each_id(pd.concat(tables, ignore_index=True), quarantined)
    formats = sorted(folder.glob("submission_format.csv"))
    return Source(images, classes, quarantined, formats[0] if formats else None)


def _read_features(path: Path, quarantined: list[Quarantined]) -> pd.DataFrame:
    table = read_table(path, ["id", "filepath"])
    for name in ("site", "sequence"):
        if name not in table.columns:
            table[name] = ""
    table["path"] = [str(path.parent / filepath) for filepath in table["filepath"]]
    table["label"] = UNLABELED
    return _first_of_each_id(table[COLUMNS], quarantined)


def _first_of_each_id(images: pd.DataFrame, quarantined: list[Quarantined]) -> pd.DataFrame:
    again = images["id"].duplicated()
    for row in images[again].itertuples():
        quarantined.append(
            Quarantined(str(row.id), str(row.filepath), DUPLICATE_ID, "an earlier row has this id")
        )
    return images[~again].reset_index(drop=True)


def _agreed_classes(known: list[str] | None, labels: pd.DataFrame, path: Path) -> list[str]:
    classes = [str(name) for name in labels.columns if name != "id"]
    if known is not None and classes != known:
        raise TraplineError(f"{path}: its classes differ from those of the other *{LABELS}")
    return classes


def _with_labels(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    classes: list[str],
    path: Path,
    quarantined: list[Quarantined],
) -> pd.DataFrame:
    """Features with a label index; rows whose label cannot be told go to quarantine, as do labels alone."""
    values = labels[classes].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    index = pd.Series(_one_hot_index(values), index=labels["id"])
    ids = features["id"]
    if not ids.isin(index.index).any():
        raise TraplineError(
            f"{path}: none of its ids is in {path.name.replace(LABELS, FEATURES)} "
            f"({first(labels['id'])} against {first(ids)})"
        )
    detail = f"{path.name} has it, its features file does not"
    alone = index.index[~index.index.isin(ids)].unique()
    quarantined.extend(Quarantined(str(identity), "", MISSING, detail) for identity in alone)
    problems = [
        (~ids.isin(index.index), UNKNOWN_LABEL, f"no row in {path.name}"),
        (ids.isin(_conflicting(index)), AMBIGUOUS_LABEL, f"two different rows in {path.name}"),
        (ids.isin(index.index[index == NO_CLASS]), UNKNOWN_LABEL, f"no 1 in its row in {path.name}"),
        (ids.isin(index.index[index == SEVERAL]), AMBIGUOUS_LABEL, f"not a single 1 in {path.name}"),
    ]
    unique = index[~index.index.duplicated()]
    return _quarantine_rows(features.assign(label=ids.map(unique)), problems, quarantined)


def _one_hot_index(values: Floats) -> npt.NDArray[np.int64]:
    """The column of the one 1 in each row, NO_CLASS where there is none, SEVERAL where there is more."""
    ones = np.isclose(values, 1.0)
    clean = np.isclose(np.where(ones, 0.0, values), 0.0).all(axis=1)
    index = np.where((ones.sum(axis=1) == 1) & clean, ones.argmax(axis=1), SEVERAL)
    return np.where(ones.any(axis=1), index, NO_CLASS)


def _conflicting(index: pd.Series) -> pd.Index:
    different = index.groupby(level=0).nunique() > 1
    return different.index[different]


def _quarantine_rows(
    images: pd.DataFrame, problems: list[tuple[pd.Series, str, str]], quarantined: list[Quarantined]
) -> pd.DataFrame:
    bad = pd.Series(False, index=images.index)
    for rows, reason, detail in problems:
        for row in images[rows & ~bad].itertuples():
            quarantined.append(Quarantined(str(row.id), str(row.filepath), reason, detail))
        bad |= rows
    return images[~bad].astype({"label": int})


# --- a folder for each class --------------------------------------------------------------------------------


def read_class_folders(folder: Path, rule: SiteRule) -> Source:
    """List `<class>/**/*`; a folder `unlabeled` holds unlabelled images. The id is the relative path.

    Hidden files and those of file managers are no inputs. Image files that lie in no class folder are
    quarantined.
    """
    names = sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
    )
    classes = [name for name in names if name != UNLABELED_FOLDER]
    if not classes:
        raise TraplineError(f"{folder}: holds neither *{FEATURES} nor a folder for each class")
    rows = []
    for name in names:
        files = [f"{name}/{file}" for file in files_below(folder / name)]
        if not files:
            raise TraplineError(f"{folder / name}: an empty class folder; fill it or remove it")
        label = UNLABELED if name == UNLABELED_FOLDER else classes.index(name)
        rows += [(shown := printable(file), shown, str(folder / file), label, None, None) for file in files]
    images = with_sites(pd.DataFrame(rows, columns=COLUMNS, dtype=object), folder, rule)
    return Source(images, classes, loose_images(folder))


@dataclass(frozen=True)
class Layout:
    """A way in which raw images can lie in a folder: how it is seen, and how they are listed."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path, SiteRule], Source]


# In the order in which they are tried; the last takes whatever is left.
LAYOUTS = [
    Layout(is_competition, lambda folder, rule: read_competition(folder)),
    Layout(is_label_tables, read_label_tables),
    Layout(is_tiny_imagenet, read_tiny_imagenet),
    Layout(has_parts, read_parts),
    Layout(lambda folder: True, read_class_folders),
]
