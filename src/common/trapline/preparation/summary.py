"""`summary.json`: what is in a prepared data set, and what may be claimed of a score on it.

How much of a score may come from recognising the camera, or from seeing the same image twice, is said here.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import Labels, Sites
from trapline.data.leakage import SUMMARY as SUMMARY
from trapline.data.prepared import DatasetDescription
from trapline.data.quarantine import Quarantined, counts_by_reason
from trapline.preparation.leakage import measured_gap
from trapline.preparation.listing import CAPTION, UNLABELED, label_indices, label_matrix
from trapline.preparation.splits import Parts, duplicate_groups

CLAIM = "validation and test images are from cameras that are not in train: a score speaks of unseen cameras"
NO_CLAIM = "nothing can be claimed about unseen cameras: train, val and test may share cameras"
MAX_CONFLICTS = 20
WORDS_SUGGESTED = 5
MIN_CAPTIONS = 2  # that hold a word, for it to be suggested
WORD = re.compile(r"[^\W\d_]{2,}(?:'[^\W\d_]+)?")
# English words that say nothing of what is in a picture.
STOP_TEXT = """
about above across after against all along also am among an and another any are around as at away back be
because been before behind being below beside between both but by can could day did do does doing down
each few for from front full get gets getting has have having he her here hers him his how i if image in
inside into is it it's its just large like little lot made make many me more most much my near new next no
not of off old on one only onto or other others our out outside over own part photo picture several she
shows side sitting small so some something standing such than that the their them there these they this
those three through to together too top towards two under up us very view was we were what when where
which while who with within without you your
"""
STOP_WORDS = frozenset(STOP_TEXT.split())


def summarise(
    description: DatasetDescription,
    images: pd.DataFrame,
    quarantined: Sequence[Quarantined],
    inputs: int,
    notes: Sequence[str],
    packed: Path | None = None,
) -> dict[str, Any]:
    """The content of summary.json; `images` as in `write_parts`, every input counted in `inputs`.

    `packed`: the file of `write_packed`, for the leakage gap; None: none of its predictors sees the images.
    """
    labelled = images[images["label"] != UNLABELED]
    classes = description.classes
    labels = labelled["label"].to_numpy(dtype=np.int64)
    parts = labelled["part"].to_numpy(dtype=str)
    sites = labelled["site"].to_numpy(dtype=object) if labelled["site"].notna().all() else None
    matrix = label_matrix(labelled, len(classes)) if description.task == "multilabel" else None
    gap, no_gap = measured_gap(
        labelled,
        labels if matrix is None else matrix,
        len(classes),
        description.split.seed,
        description.split.sequences,
        packed,
    )
    duplicates = duplicate_summary(labelled["sha256"].tolist(), labels, sites, parts)
    ids, alike = labelled["id"].tolist(), duplicates["different_labels"]
    return {
        "drawn": description.drawn,
        "claim": CLAIM if description.split.unseen_sites else NO_CLAIM,
        "notes": [*notes, *_unlabeled_notes(images)],
        "inputs": inputs,
        "images": {part: files.images for part, files in description.parts.items()},
        "quarantined": counts_by_reason(quarantined),
        "classes": description.counts,
        **({} if matrix is None else label_summary(labelled, matrix, description)),
        "sites": {
            str(site): _one_site(rows, classes)
            for site, rows in images[images["site"].notna()].groupby("site", sort=True)
        },
        # Rows that carry the same bytes but different labels, by id: a person must look at them.
        "duplicates": {**duplicates, "different_labels": [[ids[row] for row in rows] for rows in alike]},
        "leakage_gap": gap.model_dump() if gap else None,
        "leakage_gap_reason": no_gap,  # why there is none; None where there is one
    }


def with_leakage(description: DatasetDescription, summary: Mapping[str, Any]) -> DatasetDescription:
    """`description` with the leakage gap of its summary, for jobs that are given dataset.json alone."""
    return DatasetDescription.model_validate({**description.model_dump(), "leakage": summary["leakage_gap"]})


def _one_site(rows: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """In which part a site is, how many images, of which classes."""
    counts = np.bincount(label_indices(rows[rows["label"] != UNLABELED]), minlength=len(classes))
    return {
        "images": {str(part): int(count) for part, count in rows["part"].value_counts().items()},
        "classes": {classes[label]: int(counts[label]) for label in np.flatnonzero(counts).tolist()},
    }


def _unlabeled_notes(images: pd.DataFrame) -> list[str]:
    held_out = images.loc[images["part"].isin(["val", "test"]), "site"].dropna()
    unlabeled = images.loc[images["part"] == "unlabeled", "site"].dropna()
    shared = len(set(held_out) & set(unlabeled))
    note = (
        f"{shared} sites of val or test also have unlabelled images: pseudo-labels would show the model "
        "those cameras"
    )
    return [note] if shared else []


# --- where an image may have several labels -----------------------------------------------------------------


def label_summary(
    labelled: pd.DataFrame, matrix: npt.NDArray[np.bool_], description: DatasetDescription
) -> dict[str, Any]:
    """Entries of summary.json; `matrix`, (images, classes), says which of the labels an image has.

    label_counts: for each part, images of each label. labels_per_image: how many images have so many labels.
    co_occurrence: for each label, images of each label that come with it (with itself: all of its images).
    suggested_names: see `suggested_names`; of the captions of train.
    """
    names = description.classes
    numbers = np.bincount(matrix.sum(axis=1))
    train = (labelled["part"] == "train").to_numpy()
    together = matrix.T.astype(np.int64) @ matrix.astype(np.int64)
    return {
        "label_counts": description.counts,
        "labels_per_image": {str(number): int(images) for number, images in enumerate(numbers) if images},
        "co_occurrence": {
            name: {names[other]: int(row[other]) for other in np.flatnonzero(row)}
            for name, row in zip(names, together, strict=True)
        },
        "suggested_names": suggested_names(labelled.loc[train, CAPTION].tolist(), matrix[train], names),
    }


def suggested_names(
    captions: Sequence[str], matrix: npt.NDArray[np.bool_], classes: Sequence[str]
) -> dict[str, list[str]]:
    """For each label the words that are most characteristic of its images' captions, best first.

    `captions`: one an image; `matrix`: (images, classes). A word counts once a caption, stop words never.
    Its score is p log(p / q), its contribution to the Kullback-Leibler divergence: p is the share of the
    label's captions that hold it and q that of the other captions, both with half a caption added to either
    side (Jeffreys' prior). So a word must be frequent with the label and seldom without it.
    """
    words_of = [set(WORD.findall(caption.lower())) - STOP_WORDS for caption in captions]
    everywhere = Counter(word for words in words_of for word in words)
    return {
        name: _characteristic(words_of, everywhere, matrix[:, label]) for label, name in enumerate(classes)
    }


def _characteristic(
    words_of: Sequence[set[str]], everywhere: Counter[str], has_label: npt.NDArray[np.bool_]
) -> list[str]:
    within = Counter(word for row in np.flatnonzero(has_label).tolist() for word in words_of[row])
    inside, outside = int(has_label.sum()), int((~has_label).sum())
    scores = {}
    for word, held in within.items():
        p, q = (held + 0.5) / (inside + 1), (everywhere[word] - held + 0.5) / (outside + 1)
        if held >= MIN_CAPTIONS and p > q:
            scores[word] = p * np.log(p / q)
    return sorted(scores, key=lambda word: (-scores[word], word))[:WORDS_SUGGESTED]


# --- images that are in a set twice -------------------------------------------------------------------------


def duplicate_summary(
    sha256s: Sequence[str],
    labels: Labels,
    sites: Sites | None,
    parts: Parts,
) -> dict[str, Any]:
    """Byte-identical images in n rows, ready for JSON.

    Counts: `groups` of two or more identical images, `images` in them, `groups_across_sites`,
    `groups_across_parts` and `groups_with_different_labels`. `different_labels` lists the row indices of up
    to 20 groups of the last kind, in the order of their first rows.
    """
    table = pd.DataFrame(
        {
            "group": duplicate_groups(sha256s),
            "label": labels,
            "part": parts,
            "site": "" if sites is None else sites,
        }
    )
    table = table[table.duplicated("group", keep=False)]
    values = table.groupby("group")[["label", "part", "site"]].nunique()
    conflicts = values.index[values["label"] > 1]
    rows = table[table["group"].isin(conflicts[:MAX_CONFLICTS])]
    return {
        "groups": len(values),
        "images": len(table),
        "groups_across_sites": int((values["site"] > 1).sum()),
        "groups_across_parts": int((values["part"] > 1).sum()),
        "groups_with_different_labels": len(conflicts),
        "different_labels": [[int(row) for row in group.index] for _, group in rows.groupby("group")],
    }
