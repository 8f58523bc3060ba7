"""Raw images as they come: the competition's CSV layout, or a folder for each class.

Reading a source only lists its inputs; no image is opened. What is wrong with a listing (an id twice, a label
that is none) is quarantined here, so that every input of the source is either an image or a quarantined row.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from common.data.quarantine import AMBIGUOUS_LABEL, DUPLICATE_ID, MISSING, UNKNOWN_LABEL, Quarantined
from common.errors import TraplineError, UsageError

UNLABELED = -1
NO_CLASS, SEVERAL = -2, -3  # what a row of the labels may say instead of one class
UNLABELED_FOLDER = "unlabeled"
FEATURES, LABELS = "_features.csv", "_labels.csv"
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
Floats = npt.NDArray[np.float64]
COLUMNS = ["id", "filepath", "path", "label", "site", "sequence"]


@dataclass(frozen=True)
class SiteRule:
    """Where class folders get their sites from: a CSV (filepath, site) or a pattern on the relative path.

    `csv` may be an S3 URI, which whoever reads the source replaces by a local copy.
    """

    csv: Path | str | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Source:
    """The inputs of a raw data set.

    `images` has the columns id, filepath (as the source names it), path (to open), label (index into
    `classes`, or UNLABELED), site and sequence (None where unknown).
    """

    images: pd.DataFrame
    classes: list[str]
    quarantined: list[Quarantined] = field(default_factory=list)
    submission_format: Path | None = None

    @property
    def has_sites(self) -> bool:
        """Whether any labelled image has a site."""
        labelled = self.images["label"] != UNLABELED
        return bool(self.images.loc[labelled, "site"].notna().any())


def read_source(folder: Path, rule: SiteRule) -> Source:
    """List the inputs in `folder`, whichever layout it has.

    Raises TraplineError when there is no such folder, when it has neither layout, or when its tables cannot
    be read.
    """
    if not folder.is_dir():
        raise TraplineError(f"{folder}: no such folder; give the folder that holds the raw images")
    competition = any(folder.glob(f"*{FEATURES}"))
    source = read_competition(folder) if competition else read_class_folders(folder, rule)
    unknown = source.images.astype(object).where(source.images.notna() & (source.images != ""), None)
    images = source.images.assign(site=unknown["site"], sequence=unknown["sequence"])
    return replace(source, images=images)


def read_table(path: Path, required: list[str]) -> pd.DataFrame:
    """Read a CSV as text, empty cells included. Raises TraplineError naming the file and what is wrong."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TraplineError(f"{path}: not a readable CSV ({str(error).strip().splitlines()[-1]})") from None
    absent = [name for name in required if name not in table.columns]
    if absent:
        raise TraplineError(
            f"{path}: no column {', '.join(absent)} (its columns: {', '.join(map(str, table.columns[:8]))})"
        )
    return table


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
            f"({_first(labels['id'])} against {_first(ids)})"
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


def _first(ids: pd.Series) -> str:
    return repr(ids.iloc[0]) if len(ids) else "no rows"


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
        files = [f"{name}/{file}" for file in _files_below(folder / name)]
        if not files:
            raise TraplineError(f"{folder / name}: an empty class folder; fill it or remove it")
        label = UNLABELED if name == UNLABELED_FOLDER else classes.index(name)
        rows += [(shown := printable(file), shown, str(folder / file), label, None, None) for file in files]
    images = _with_sites(pd.DataFrame(rows, columns=COLUMNS, dtype=object), folder, rule)
    return Source(images, classes, _loose_images(folder))


def printable(name: str) -> str:
    """A file's name as valid Unicode: bytes of another encoding become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _files_below(folder: Path) -> Iterator[str]:
    """Relative paths of the files below `folder`, sorted, links followed (but never in a circle)."""
    seen = set()
    for place, subfolders, files in os.walk(folder, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower() not in SYSTEM_FILES:
                yield (Path(place) / name).relative_to(folder).as_posix()


def _loose_images(folder: Path) -> list[Quarantined]:
    from PIL import Image

    suffixes = Image.registered_extensions()
    loose = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [
        Quarantined(printable(name), printable(name), UNKNOWN_LABEL, "lies in no class folder")
        for name in loose
        if Path(name).suffix.lower() in suffixes and not name.startswith(".")
    ]


def _with_sites(images: pd.DataFrame, folder: Path, rule: SiteRule) -> pd.DataFrame:
    if rule.csv is not None:
        return _sites_from_csv(images, folder, Path(rule.csv))
    if rule.pattern is not None:
        return _sites_from_pattern(images, rule.pattern)
    return images


def _sites_from_csv(images: pd.DataFrame, folder: Path, path: Path) -> pd.DataFrame:
    table = read_table(path, ["site"])
    key = next((name for name in ("filepath", "path", "id") if name in table.columns), None)
    if key is None:
        raise TraplineError(f"{path}: no column filepath; it must name each image relative to {folder}")
    table = table.drop_duplicates(key).set_index(key)
    for name in ("site", "sequence"):
        if name in table.columns:
            images[name] = images["filepath"].map(table[name])
    if images["site"].isna().all():
        raise TraplineError(
            f"{path}: names none of the images in {folder} "
            f"({_first(pd.Series(table.index))} against {_first(images['filepath'])})"
        )
    return images


def _sites_from_pattern(images: pd.DataFrame, pattern: re.Pattern[str]) -> pd.DataFrame:
    if not pattern.groups:
        raise UsageError(f"--site-regex {pattern.pattern}: has no group; enclose the site in (?P<site>...)")
    found = [pattern.search(filepath) for filepath in images["filepath"]]
    site: int | str = "site" if "site" in pattern.groupindex else 1
    images["site"] = [match.group(site) if match else None for match in found]
    if "sequence" in pattern.groupindex:
        images["sequence"] = [match.group("sequence") if match else None for match in found]
    if images["site"].isna().all():
        raise TraplineError(
            f"--site-regex {pattern.pattern}: matches no path, for instance {_first(images['filepath'])}"
        )
    return images
