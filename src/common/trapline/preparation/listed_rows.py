"""From what a table or a JSON says, row by row, to a listing of images: for every format that names files.

A reader of a format makes a statement of each row: a file, and what is said of it. Several rows may speak of
one file. What they say of site, sequence, part or id must agree, else the file goes to quarantine with both
values; of labels each row may bring another, and the file has them all. Nothing is lost: every file that is
named is an image of the source or a row of quarantine.csv, with its reason.
"""

import functools
import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.quarantine import CONTRADICTORY, DELETED, DUPLICATE_ID, VIDEO, Quarantined
from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.names import Kind, keys
from trapline.preparation.facts import contradictions, place_in, problems_of, set_aside, settled, with_facts
from trapline.preparation.listing import CAPTION, LABELS, UNLABELED, Source, named, printable
from trapline.preparation.media import Found, Media

# What a statement may say; all but `file`, `table` and `line` may be None: nothing is said.
SAYS = ("id", "label", "site", "sequence", "time", "part", "group", "deleted")
STATEMENT = ("file", *SAYS, "table", "line")
VIDEOS = frozenset(
    ("avi", "mp4", "m4v", "mov", "mkv", "wmv", "mpg", "mpeg", "mts", "m2ts", "3gp", "asf", "webm", "flv")
)  # suffixes


def statements(table: str, lines: Sequence[int] | Sequence[str], **said: Sequence[object]) -> pd.DataFrame:
    """A frame of STATEMENT of `table` (a file's name), a row for each of `lines`; `file` must be among
    `said`.

    Where the file has records and no lines, `lines` are their ids. Blanks around labels, sites, sequences and
    the like do not count, and empty ones say nothing.
    """
    columns: dict[str, object] = {name: said.get(name) for name in STATEMENT}
    texts = (name for name in ("id", "label", "site", "sequence", "part", "group", "time") if name in said)
    columns |= {name: [_text(value) for value in said[name]] for name in texts if said[name] is not None}
    columns |= {"table": table, "line": list(lines)}
    return pd.DataFrame(columns, index=range(len(lines)), dtype=object)


def _text(value: object) -> str | None:
    """A value as text, None where it says nothing."""
    if value is None or value != value:  # NaN
        return None
    return str(value) if str(value).strip() else None


def source_of(
    rows: pd.DataFrame,
    media: Media,
    *,
    classes: Sequence[str] | None = None,
    alternatives: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Source:
    """The source that the statements `rows` describe; its images lie where `media` finds them.

    `classes`: the order of the classes, where the format has one; those without an image are left out. Else
    they are sorted. `alternatives`: by the name of a file another name that it may have. The id is the given
    one, else the file as it is named. A file without any label is unlabelled. Images with several labels make
    the source `undecided`.

    Raises TraplineError where no image is found, or a class has a name that none may have.
    """
    rows = rows.reset_index(drop=True)
    table = rows["table"].iloc[0] if len(rows) else "the input"
    rows = _placed(rows, media, alternatives or {})
    facts = settled(rows)
    used = list(rows["label"][rows["label"].notna() & rows["problem"].isna()])
    known = set(used)
    order = sorted(known) if classes is None else [name for name in classes if name in known]
    spelt = named(order, used, table)
    of_file = pd.factorize(rows["file"])[0].astype(np.int64)
    images = _one_row_a_file(rows, of_file)
    images = _with_labels(images, rows, of_file, spelt.index)
    images = with_facts(images, facts.of(images["file"]))
    barred = {
        path: problem for path, problem in zip(images["path"], images["problem"], strict=True) if problem
    }
    kept = [name for name in images.columns if name not in ("file", "problem", "key")]
    source = Source(
        images,
        spelt.names,
        barred=barred,
        merged=spelt.merged,
        notes=[*notes, *media.notes],
        undecided=LABELS in images.columns,
    )
    source = _without_deleted(source, rows)
    source = _without_contradictory(source, rows, facts.contradictory)
    return _with_missing_aside(source, kept)


def _placed(rows: pd.DataFrame, media: Media, alternatives: Mapping[str, str]) -> pd.DataFrame:
    """The rows with the name of each file, where it lies, what its paths have in common, and its problem."""
    rows = rows.assign(name=rows["file"])
    found = {
        table: _found(list(rows["name"][rows["table"] == table]), media, table, alternatives)
        for table in dict.fromkeys(rows["table"])
    }
    places = [found[table][name] for table, name in zip(rows["table"], rows["name"], strict=True)]
    # As objects, and `file` without half a character, which has no place in pandas' own columns of texts.
    columns = {
        "file": [printable(place.file) for place in places],
        "path": [place.path for place in places],
        "problem": [place.problem for place in places],
    }
    return rows.assign(**{name: pd.Series(cells, rows.index, object) for name, cells in columns.items()})


def _found(
    names: Sequence[str], media: Media, table: str, alternatives: Mapping[str, str]
) -> dict[str, Found]:
    """Where each of a table's `names` lies. Raises TraplineError where none is found."""
    found = media.find(names, table)
    lost = [name for name, place in found.items() if place.problem and name in alternatives]
    if lost:
        others = media.find([alternatives[name] for name in lost], table)
        found |= {name: other for name in lost if (other := others[alternatives[name]]).problem is None}
    found = {name: place if place.problem else _no_video(place) for name, place in found.items()}
    if found and all(place.problem for place in found.values()):
        name, place = next(iter(found.items()))
        _, detail = place.problem or ("", "")
        raise TraplineError(
            f"{table}: none of its {len(found)} images is in {media.folder.path}, for instance "
            f"{printable(name)!r} ({detail}); say where they lie with {prepare_option('media', 'DIR')}"
        )
    return found


def _no_video(place: Found) -> Found:
    """A place, with its problem where a video lies there."""
    if place.path.rpartition(".")[2].casefold() not in VIDEOS:
        return place
    return place._replace(problem=(VIDEO, "a video, which is not read; give frames of it"))


def _one_row_a_file(rows: pd.DataFrame, of_file: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Of each file the first row, with its id: the first that is given, else the file's name as written.

    `of_file`: the number of each row's file, in the order of their first rows.
    """
    first = rows.iloc[np.unique(of_file, return_index=True)[1]].reset_index(drop=True)
    names = pd.Series([printable(name.replace("\\", "/")) for name in first["name"]], dtype=object)
    given = np.flatnonzero(rows["id"].notna())
    files, at = np.unique(of_file[given], return_index=True)
    own = names.to_numpy(copy=True)
    own[files] = rows["id"].to_numpy()[given[at]]
    return pd.DataFrame(
        {
            "id": own,
            "filepath": names,
            "path": first["path"],
            "label": UNLABELED,
            "site": None,
            "sequence": None,
            "file": first["file"],
            "problem": first["problem"],
        },
        dtype=object,
    )


def _with_labels(
    images: pd.DataFrame, rows: pd.DataFrame, of_file: npt.NDArray[np.int64], index: Mapping[str, int]
) -> pd.DataFrame:
    """The images with the labels that are said of their files; in two columns where one has several.

    Images that are not there have one, whichever: they are set aside as labelled ones. A label of invisible
    characters alone is none.
    """
    both = zip(rows["label"], rows["problem"], strict=True)
    known: dict[Any, int] = {None: UNLABELED, **index}
    numbers = np.array(
        [
            known.get(label, UNLABELED) if problem is None or not isinstance(label, str) else 0
            for label, problem in both
        ],
        dtype=np.int64,
    )
    said = np.flatnonzero(numbers != UNLABELED)
    size = len(index) + 1
    # Each pair of a file and a label once, by files and then by labels, as one number.
    files, labels_said = np.divmod(np.unique(of_file[said] * size + numbers[said]), size)
    if (np.diff(files) > 0).all():
        single = np.full(len(images), UNLABELED)
        single[files] = labels_said
        return images.assign(label=single.astype(object))
    bounds = np.searchsorted(files, np.arange(len(images) + 1)).tolist()
    ordered = labels_said.tolist()
    labels = [tuple(ordered[begin:end]) for begin, end in itertools.pairwise(bounds)]
    images = images.copy()
    for name, found in label_columns(labels, [not own for own in labels]).items():
        images[name] = pd.Series(found, index=images.index, dtype=object)
    return images


def label_columns(labels: Sequence[tuple[int, ...]], unlabeled: Sequence[bool]) -> dict[str, list[object]]:
    """The columns label, labels and caption of images that may have several labels, as `Source` has them."""
    numbers: dict[tuple[int, ...], int] = {}
    shared: list[object] = [
        UNLABELED if is_none else numbers.setdefault(own, len(numbers))
        for own, is_none in zip(labels, unlabeled, strict=True)
    ]
    return {"label": shared, LABELS: list(labels), CAPTION: [""] * len(labels)}


def _without_deleted(source: Source, rows: pd.DataFrame) -> Source:
    """`source` without the files that a row marks as deleted, labelled or not: they are meant to go."""
    is_marked = np.array([value is True for value in rows["deleted"]], dtype=bool)
    marked = rows[is_marked].drop_duplicates("file")
    columns = (marked[name] for name in ("file", "table", "line"))
    where = {file: f"{table}, line {line}" for file, table, line in zip(*columns, strict=True)}
    gone = source.images["file"].isin(marked["file"])
    quarantined = [
        Quarantined(str(row.id), str(row.filepath), DELETED, f"{where[row.file]} says so")
        for row in source.images[gone].itertuples()
    ]
    return _replaced(source, source.images[~gone], quarantined)


def _without_contradictory(
    source: Source, rows: pd.DataFrame, contradictory: Mapping[Hashable, str]
) -> Source:
    """`source` without files of which rows say different things, and without ids that several files have."""
    several = rows[rows["file"].duplicated(keep=False) & rows["id"].notna()]
    if len(several):
        own = keys(list(several["id"]), Kind.ID)
        of_ids = contradictions(
            list(several["file"]), {"id": (list(several["id"]), own)}, functools.partial(place_in, several)
        )
        contradictory = {**contradictory, **of_ids}
    images = source.images
    ids = [name or "" for name in keys(images["id"], Kind.ID)]
    shared = {} if len(set(ids)) == len(ids) else _of_shared_ids(images, ids, rows)
    return set_aside(
        source,
        problems_of((CONTRADICTORY, images["file"], contradictory), (DUPLICATE_ID, ids, shared)),
    )


def _of_shared_ids(images: pd.DataFrame, ids: Sequence[str], rows: pd.DataFrame) -> dict[Hashable, str]:
    """For each id that several of the images have two of their files, and the rows that name them."""
    of_files = rows["file"].drop_duplicates()
    first = dict(zip(of_files, of_files.index, strict=True))
    firsts = [first[file] for file in images["file"]]
    files = {"file": (list(images["filepath"]), list(images["file"]))}
    return contradictions(ids, files, lambda row: place_in(rows, firsts[row]))


def _with_missing_aside(source: Source, columns: Sequence[str]) -> Source:
    """`source` without labelled images that are not there; unlabelled ones stay and are answered for."""
    problems = {row: problem for row, problem in enumerate(source.images["problem"]) if problem is not None}
    found = set_aside(source, problems)
    images = found.images[[name for name in columns if name in found.images.columns]]
    return _replaced(found, images, [])


def _replaced(source: Source, images: pd.DataFrame, quarantined: Sequence[Quarantined]) -> Source:
    return replace(
        source, images=images.reset_index(drop=True), quarantined=[*source.quarantined, *quarantined]
    )
