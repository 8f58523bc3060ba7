"""What is trained on, of the parts of a prepared set: train, or folds of train and val, and pseudo-labels.

Pseudo-labels lie in two files, which `pseudo_label.py` writes and Phase 2 reads:
pseudo_labels.csv   id, label, encoded_label, confidence, accepted, reason: a row for every unlabelled image
pseudo_labels.json  temperature, thresholds, counts, and the fingerprints of the data and of the model

The share of pseudo-labelled images in a batch is fixed: however many there are, the labelled ones lead.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array, hstack

from trapline.data.groups import Integers, joined, numbered
from trapline.data.prepared import (
    PARTS,
    PackedPart,
    PreparedSet,
    keys_of,
    rows_and_labels,
    sites_and_sequences,
)
from trapline.errors import TraplineError, UsageError, refuse_any
from trapline.names import Kind
from trapline.s3_copies import fetch_folder
from trapline.storage import file_digest, read_json
from trapline.tables import read_strings

LABELS, SUMMARY = "pseudo_labels.csv", "pseudo_labels.json"
COLUMNS = ["id", "label", "encoded_label", "confidence", "accepted", "reason"]
HELD_OUT = {"val": "validation", "test": "test"}
LABELLED_PARTS = {"train": "training", **HELD_OUT}
AGAIN = "run entry_points/pseudo_label.py again"
STREAM = 0x70736575  # sets the order of the pseudo-labelled images apart from that of the labelled ones
UNIT = 2**24  # all images of a class, in whole numbers


@dataclass(frozen=True)
class PartRows:
    """Some of the images of several parts, as one part. Cheap to send to another process, as parts are.

    `rows` are their places, int64 (images,), where the images of the parts are numbered on, part after part.
    """

    parts: tuple[PackedPart, ...]
    rows: Integers

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts, "rows": self.rows}

    def located(self, row: int) -> tuple[PackedPart, int]:
        """The part in which image `row` lies, and its row there."""
        place = int(self.rows[row])
        for part in self.parts:
            if place < len(part):
                return part, place
            place -= len(part)
        raise IndexError(f"row {row}: the parts hold no image {int(self.rows[row])}")

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each image, int64 (images,); each must have exactly one label."""
        return np.concatenate([part.labels for part in self.parts])[self.rows]

    def label_matrix(self, classes: int) -> np.ndarray:
        """1 where an image has the class and 0 where not, float32 (images, classes)."""
        return np.concatenate([part.label_matrix(classes) for part in self.parts])[self.rows]

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each image in the training loss, float32 (images,)."""
        return np.concatenate([part.weights for part in self.parts])[self.rows]


LabelledPart: TypeAlias = PackedPart | PartRows


def training_parts(prepared: PreparedSet, folds: int, fold: int | None) -> tuple[LabelledPart, LabelledPart]:
    """What to train on and what to validate on: train and val, or all other folds and `fold` (from 1).

    Raises UsageError where there are fewer sites, or different images, than `folds`; those that a sequence
    joins count as one.
    """
    parts = (prepared.part("train"), prepared.part("val"))
    if not folds:
        return parts
    own = fold_of_each_image(prepared, folds) == fold
    return PartRows(parts, np.flatnonzero(~own)), PartRows(parts, np.flatnonzero(own))


def fold_of_each_image(prepared: PreparedSet, folds: int) -> Integers:
    """The fold, from 1, of each image of train and val, numbered on, (images,). Raises as training_parts.

    Each fold validates once. Where the split is by site no site is in two folds, else byte-identical images
    stay together; in either case no sequence is in two. Labels, one or several an image, are spread over the
    folds as evenly as that allows. The folds are a pure function of the data and of their number; the test
    part has no share in them.
    """
    table = pa.concat_tables([prepared.part(name).table for name in ("train", "val")])
    split = prepared.description.split
    sites, sequences = sites_and_sequences(table, split)
    what = "sites" if split.unseen_sites else "different images"
    # Units are in the order of their first site, or content, so that the order of the rows cannot show.
    apart = joined(_ranks(table["site"]), sites) if split.unseen_sites else _ranks(table["sha256"])
    unit_of = joined(apart, sequences.number)
    if unit_of.max(initial=-1) < apart.max(initial=-1):
        what += " (those that a sequence joins count as one)"
    units = int(unit_of.max(initial=-1)) + 1
    if units < folds:
        raise UsageError(
            f"hyperparameter folds: {folds} folds need as many {what}, and train and val of "
            f"{prepared.folder} have {units}; take fewer folds"
        )
    rows, labels = rows_and_labels(table)
    classes = len(prepared.description.classes)
    counts = csr_array((np.ones(len(rows), dtype=np.int64), (unit_of[rows], labels)), shape=(units, classes))
    counts.sum_duplicates()
    return spread(counts, np.bincount(unit_of, minlength=units), folds)[unit_of] + 1


def _ranks(column: pa.ChunkedArray) -> Integers:
    """The place of each text among all different ones in order, from 0, (rows,)."""
    return np.asarray(pc.rank(column, sort_keys="ascending", tiebreaker="dense"), dtype=np.int64) - 1


def spread(counts: csr_array, sizes: Integers, folds: int, fixed: Integers | None = None) -> Integers:
    """The fold, from 0, of each unit, (units,); none is empty. A unit is never divided.

    `fixed`, (units,): the fold that a unit has already, -1 for those that are to be placed.

    `counts` (units, classes): images of each class in a unit. `sizes` (units,): its images; there are as many
    units as folds at least. Units with the largest shares of their classes come first, each into the fold
    that holds least of what it has: as StratifiedGroupKFold does it, for several labels an image too.
    """
    shares = _in_whole_units(counts, sizes)
    importance = np.asarray((shares * shares).sum(axis=1))
    places, columns, data = (part.tolist() for part in (shares.indptr, shares.indices, shares.data))
    held = [[0] * shares.shape[1] for _ in range(folds)]  # lists: read and written one number at a time
    fold_of, empty = np.empty(len(sizes), dtype=np.int64), list(range(folds))
    order = np.argsort(-importance, kind="stable")
    if fixed is not None:
        order = order[np.argsort(fixed[order] < 0, kind="stable")]
    for turn, unit in enumerate(order.tolist()):
        span = slice(places[unit], places[unit + 1])
        row = list(zip(columns[span], data[span], strict=True))
        # What it adds in each fold to the sum of squares, but for what is alike in all of them.
        cost = [sum([own * mine[column] for column, own in row]) for mine in held]
        if fixed is not None and fixed[unit] >= 0:
            fold = int(fixed[unit])
        else:
            fold = min(empty if len(sizes) - turn <= len(empty) else range(folds), key=cost.__getitem__)
        for column, own in row:
            held[fold][column] += own
        fold_of[unit] = fold
        if fold in empty:
            empty.remove(fold)
    return fold_of


def _in_whole_units(counts: csr_array, sizes: Integers) -> csr_array:
    """The share of each class, and of all images, that a unit holds: whole numbers, (units, classes + 1).

    With these no platform can come to another result. The size of a fold weighs half as much as all its
    classes together, as in `trapline.preparation.splits`.
    """
    totals = np.asarray(counts.sum(axis=0))
    of_classes = csr_array((counts.data * UNIT // totals[counts.indices], counts.indices, counts.indptr))
    of_classes.resize(counts.shape)
    weight = round(UNIT * float(np.sqrt(counts.shape[1] / 2)))
    return csr_array(hstack([of_classes, csr_array((sizes * weight // sizes.sum())[:, None])]))


@dataclass(frozen=True)
class PseudoLabels:
    """The accepted rows: `rows` of the part `unlabeled` and class indices, both int64 (images,).

    `identity` is the SHA-256 of the file that they were read from.
    """

    rows: np.ndarray
    labels: np.ndarray
    identity: str


def fetch_pseudo_labels(uri: str, folder: Path) -> None:
    """Copy the pseudo-labels at `uri` in S3 to `folder`. Raises TraplineError as `fetch_folder` does."""
    fetch_folder(uri, folder, only=(LABELS, SUMMARY))


def conflicts(prepared: PreparedSet) -> list[str]:
    """For each unlabelled image why no guess about it may be trained on, or an empty text, (images,).

    `identical_to_...`: its bytes are those of an image whose label is known, in that part. `site_of_...`: it
    is from a camera of validation or of test, where those are not in train: a model that has seen the
    camera, were it with guessed labels, no longer shows what an unseen one brings. `sequence_of_...`: it is
    of a sequence of validation or of test: a frame of the same burst is nearly the same image.

    Sites, sequences and ids are compared by their keys. Raises TraplineError for an id that a labelled image
    has as well.
    """
    columns = ["id", "site", "sequence", "sha256"]
    table = pa.concat_tables([prepared.part(part).table.select(columns) for part in PARTS])
    edges = np.cumsum([0, *(len(prepared.part(part)) for part in PARTS)])
    rows = {part: slice(*edges[place : place + 2]) for place, part in enumerate(PARTS)}
    _refuse_shared_ids(prepared, table["id"], rows)
    split = prepared.description.split
    sites, sequences = sites_and_sequences(table, split)
    marks = [
        (numbered(table["sha256"].to_pylist()), "identical_to", LABELLED_PARTS),
        *([(sites, "site_of", HELD_OUT)] if split.unseen_sites else []),
        (sequences.number, "sequence_of", HELD_OUT),
    ]
    reasons = np.full(len(prepared.part("unlabeled")), "", dtype=object)
    for number, what, parts in marks:
        for part, name in parts.items():
            reasons[_shared(number, rows, part) & (reasons == "")] = f"{what}_{name}"
    return reasons.tolist()


def _refuse_shared_ids(prepared: PreparedSet, ids: pa.ChunkedArray, rows: Mapping[str, slice]) -> None:
    number = numbered(keys_of(ids, Kind.ID))
    for part in LABELLED_PARTS:
        shared = np.flatnonzero(_shared(number, rows, part))
        if len(shared):
            name = min(ids[rows["unlabeled"].start + int(row)].as_py() for row in shared)
            raise TraplineError(
                f"{prepared.folder}: {name} is the id of an unlabelled image and of one of {part}; "
                "prepare the data again"
            )


def _shared(number: Integers, rows: Mapping[str, slice], part: str) -> npt.NDArray[np.bool_]:
    """Which unlabelled images have the number of an image of `part`, bool (unlabelled images,).

    `number`, (images of all parts,), is -1 for none; `rows` are where each part's images are.
    """
    own = number[rows["unlabeled"]]
    return np.isin(own, number[rows[part]]) & (own >= 0)


def read_pseudo_labels(folder: Path, prepared: PreparedSet) -> PseudoLabels:
    """The accepted pseudo-labels in `folder`, which must have been made from `prepared`.

    Raises TraplineError when a file is missing or damaged, when they belong to another prepared set, or an
    accepted row is no unlabelled image that may be trained on (see `conflicts`).
    """
    path = folder / LABELS
    accepted = _accepted(path)
    _check_summary(folder / SUMMARY, prepared, file_digest(path))
    places = {name: row for row, name in enumerate(prepared.part("unlabeled").table["id"].to_pylist())}
    reasons = conflicts(prepared)
    for row in accepted.itertuples(index=False):
        problem = _problem(row, places, reasons, prepared.description.classes)
        if problem:
            raise TraplineError(f"{path}: id {row.id}: {problem}; {AGAIN}")
    if accepted["id"].duplicated().any():
        raise TraplineError(f"{path}: an id comes twice; {AGAIN}")
    return PseudoLabels(
        rows=np.array([places[name] for name in accepted["id"]], dtype=np.int64),
        labels=accepted["encoded_label"].to_numpy(dtype=np.int64),
        identity=file_digest(path),
    )


def _check_summary(path: Path, prepared: PreparedSet, labels_digest: str) -> None:
    content = read_json(path)
    found = content if isinstance(content, dict) else {}
    fingerprint, expected = str(found.get("data_fingerprint")), prepared.description.fingerprint
    refuse_any([
        (
            fingerprint != expected,
            f"{path}: made from another prepared set (data_fingerprint {fingerprint[:12]}, that of "
            f"{prepared.folder} is {expected[:12]}); {AGAIN} with --prepared {prepared.folder}",
        ),
        (
            found.get("labels_sha256") != labels_digest,
            f"{path}: does not belong to the {LABELS} beside it; {AGAIN}",
        ),
    ], TraplineError)  # fmt: skip


def _accepted(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise TraplineError(f"{path}: no such file; entry_points/pseudo_label.py makes it")
    rows = read_strings(path, COLUMNS)
    accepted = rows[rows["accepted"] == "true"]
    try:
        return accepted.assign(encoded_label=accepted["encoded_label"].astype(np.int64))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise TraplineError(f"{path}: not a table of pseudo-labels ({reason}); {AGAIN}") from None


def _problem(row: Any, places: dict[str, int], reasons: list[str], classes: list[str]) -> str | None:
    if row.id not in places:
        return "accepted, but no unlabelled image of the prepared set"
    if reasons[places[row.id]]:
        return f"accepted, but {reasons[places[row.id]]}"
    if not 0 <= row.encoded_label < len(classes) or classes[row.encoded_label] != row.label:
        return f"label {row.label!r} is not number {row.encoded_label} of the set's classes"
    return None


@dataclass(frozen=True)
class MixedPart:
    """The images of a labelled part, and after them, numbered on, the pseudo-labelled ones.

    `rows` are their places in the part `unlabeled`, int64 (pseudo-labelled images,), `guesses` their class
    indices, int64 of the same length; each has the weight `weight` in the loss.
    """

    labelled: LabelledPart
    unlabeled: PackedPart
    rows: np.ndarray
    guesses: np.ndarray
    weight: float

    def __len__(self) -> int:
        return len(self.labelled) + len(self.rows)

    def located(self, row: int) -> tuple[PackedPart, int]:
        """The part in which image `row` lies, and its row there."""
        first = len(self.labelled)
        if row < first:
            return self.labelled.located(row)
        return self.unlabeled, int(self.rows[row - first])

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each image, true or guessed, int64 (images,)."""
        return np.concatenate([self.labelled.labels, self.guesses])

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each image in the training loss, float32 (images,)."""
        guessed = np.full(len(self.rows), self.weight, dtype=np.float32)
        return np.concatenate([self.labelled.weights, guessed])


def pseudo_batches(rows: int, seed: int, epoch: int, sizes: list[int]) -> Iterator[list[tuple[int, int]]]:
    """For each batch of the epoch, with so many of the `rows` pseudo-labelled images, its (round, image).

    One permutation after another, drawn from the seed, without an end: an image comes once in each round. An
    epoch begins where the one before it has ended, which its number alone tells: a job that is resumed goes
    on exactly. The place depends on whole batches, over all ranks, and so not on the number of processes.
    """
    start, end = epoch * sum(sizes), (epoch + 1) * sum(sizes)
    rounds = range(start // rows, -(-end // rows))
    keys = [
        (number, int(row))
        for number in rounds
        for row in np.random.default_rng([seed, STREAM, number]).permutation(rows)
    ]
    own = iter(keys[start - rounds.start * rows :])
    for size in sizes:
        yield list(itertools.islice(own, size))
