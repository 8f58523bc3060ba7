"""`summary.json`: what is in a prepared data set, and what may be claimed of a score on it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from trapline.data.prepared import DatasetDescription
from trapline.data.quarantine import Quarantined, counts_by_reason
from trapline.preparation.label_summary import label_summary
from trapline.preparation.leakage import duplicate_summary, leakage_gap, leakage_gap_of_labels
from trapline.preparation.listing import UNLABELED, label_indices, label_matrix

CLAIM = "validation and test images are from cameras that are not in train: a score speaks of unseen cameras"
NO_CLAIM = "nothing can be claimed about unseen cameras: train, val and test may share cameras"


def summarise(
    description: DatasetDescription,
    images: pd.DataFrame,
    quarantined: Sequence[Quarantined],
    inputs: int,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The content of summary.json; `images` as in `write_parts`, every input counted in `inputs`."""
    labelled = images[images["label"] != UNLABELED]
    classes = description.classes
    labels = labelled["label"].to_numpy(dtype=np.int64)
    parts = labelled["part"].to_numpy(dtype=str)
    sites = labelled["site"].to_numpy(dtype=object) if labelled["site"].notna().all() else None
    if description.task == "multilabel":
        matrix = label_matrix(labelled, len(classes))
        gap = leakage_gap_of_labels(matrix, sites, parts, description.split.seed)
        of_labels = label_summary(labelled, matrix, description)
    else:
        gap, of_labels = leakage_gap(labels, sites, len(classes), parts, description.split.seed), {}
    duplicates = duplicate_summary(labelled["sha256"].tolist(), labels, sites, parts)
    return {
        "drawn": description.drawn,
        "claim": CLAIM if description.split.unseen_sites else NO_CLAIM,
        "notes": [*notes, *_unlabeled_notes(images)],
        "inputs": inputs,
        "images": {part: files.images for part, files in description.parts.items()},
        "quarantined": counts_by_reason(quarantined),
        "classes": description.counts,
        **of_labels,
        "sites": _sites(images, classes),
        "duplicates": _with_ids(duplicates, labelled),
        "leakage_gap": asdict(gap) if gap else None,
    }


def _sites(images: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each site: in which part, how many images, of which classes."""
    known = images[images["site"].notna()]
    return {str(site): _one_site(rows, classes) for site, rows in known.groupby("site", sort=True)}


def _one_site(rows: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    counts = np.bincount(label_indices(rows[rows["label"] != UNLABELED]), minlength=len(classes))
    return {
        "images": {str(part): int(count) for part, count in rows["part"].value_counts().items()},
        "classes": {classes[label]: int(counts[label]) for label in np.flatnonzero(counts).tolist()},
    }


def _unlabeled_notes(images: pd.DataFrame) -> list[str]:
    held_out = images.loc[images["part"].isin(["val", "test"]), "site"].dropna()
    unlabeled = images.loc[images["part"] == "unlabeled", "site"].dropna()
    shared = sorted(set(held_out) & set(unlabeled))
    if not shared:
        return []
    return [
        f"{len(shared)} sites of val or test also have unlabelled images: pseudo-labels would show the model "
        "those cameras"
    ]


def _with_ids(duplicates: dict[str, Any], labelled: pd.DataFrame) -> dict[str, Any]:
    """Rows that carry the same bytes but different labels, by id: a person must look at them."""
    ids = labelled["id"].tolist()
    groups = [[ids[row] for row in rows] for rows in duplicates["different_labels"]]
    return {**duplicates, "different_labels": groups}
