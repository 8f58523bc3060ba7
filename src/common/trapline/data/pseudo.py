"""Pseudo-labels on disk: what `pseudo_label.py` writes and Phase 2 trains on.

pseudo_labels.csv   id, label, encoded_label, confidence, accepted, reason: a row for every unlabelled image
pseudo_labels.json  temperature, thresholds, counts, and the fingerprints of the data and of the model
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from trapline.data.groups import Integers, numbered
from trapline.data.prepared import PARTS, PreparedSet
from trapline.data.prepared_groups import keys_of, sites_and_sequences
from trapline.errors import TraplineError
from trapline.names import Kind
from trapline.s3_folder import fetch_folder
from trapline.storage import file_digest, read_json
from trapline.tables import read_strings

LABELS, SUMMARY = "pseudo_labels.csv", "pseudo_labels.json"
COLUMNS = ["id", "label", "encoded_label", "confidence", "accepted", "reason"]
HELD_OUT = {"val": "validation", "test": "test"}
LABELLED_PARTS = {"train": "training", **HELD_OUT}
COMPARED = ["id", "site", "sequence", "sha256"]
AGAIN = "run entry_points/pseudo_label.py again"


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
    table = pa.concat_tables([prepared.part(part).table.select(COMPARED) for part in PARTS])
    edges = np.cumsum([0, *(len(prepared.part(part)) for part in PARTS)])
    rows = {part: slice(*edges[place : place + 2]) for place, part in enumerate(PARTS)}
    _refuse_shared_ids(prepared, table["id"], rows)
    split = prepared.description.split
    sites, sequences = sites_and_sequences(table, split)
    marks = _Marks.none(rows)
    marks.add(numbered(table["sha256"].to_pylist()), "identical_to", LABELLED_PARTS)
    if split.unseen_sites:
        marks.add(sites, "site_of", HELD_OUT)
    marks.add(sequences.number, "sequence_of", HELD_OUT)
    return marks.reasons.tolist()


def _refuse_shared_ids(prepared: PreparedSet, ids: pa.ChunkedArray, rows: Mapping[str, slice]) -> None:
    number = numbered(keys_of(ids, Kind.ID))
    own = rows["unlabeled"]
    for part in LABELLED_PARTS:
        shared = np.flatnonzero(np.isin(number[own], number[rows[part]]) & (number[own] >= 0))
        if len(shared):
            name = min(ids[own.start + int(row)].as_py() for row in shared)
            raise TraplineError(
                f"{prepared.folder}: {name} is the id of an unlabelled image and of one of {part}; "
                "prepare the data again"
            )


@dataclass(frozen=True)
class _Marks:
    """`reasons` (unlabelled images,), the first that was found; `rows`: where each part's images are."""

    reasons: npt.NDArray[np.object_]
    rows: Mapping[str, slice]

    @classmethod
    def none(cls, rows: Mapping[str, slice]) -> "_Marks":
        """No image has a reason."""
        own = rows["unlabeled"]
        return cls(np.full(own.stop - own.start, "", dtype=object), rows)

    def add(self, number: Integers, what: str, parts: Mapping[str, str]) -> None:
        """Mark the images whose number, of (images,) in all parts, -1: none, one of `parts` has."""
        own = number[self.rows["unlabeled"]]
        for part, name in parts.items():
            shared = np.isin(own, number[self.rows[part]]) & (own >= 0)
            self.reasons[shared & (self.reasons == "")] = f"{what}_{name}"


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
    classes = prepared.description.classes
    for row in accepted.itertuples(index=False):
        problem = _problem(row, places, reasons, classes)
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
    if fingerprint != expected:
        raise TraplineError(
            f"{path}: made from another prepared set (data_fingerprint {fingerprint[:12]}, that of "
            f"{prepared.folder} is {expected[:12]}); {AGAIN} with --prepared {prepared.folder}"
        )
    if found.get("labels_sha256") != labels_digest:
        raise TraplineError(f"{path}: does not belong to the {LABELS} beside it; {AGAIN}")


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
