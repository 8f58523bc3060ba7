"""`summary.json`: what is in a prepared data set, and what may be claimed of a score on it.

How much of a score may come from recognising the camera, or from seeing the same image twice, is said here.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import Integers, Labels, Sites, number_sites
from trapline.data.prepared import DatasetDescription
from trapline.data.quarantine import Quarantined, counts_by_reason
from trapline.preparation.listing import CAPTION, UNLABELED, label_indices, label_matrix
from trapline.preparation.random_splits import Floats, stratified_parts
from trapline.preparation.splits import Parts, SplitPolicy, duplicate_groups, split

CLAIM = "validation and test images are from cameras that are not in train: a score speaks of unseen cameras"
NO_CLAIM = "nothing can be claimed about unseen cameras: train, val and test may share cameras"
HELD_OUT_SHARES = (0.75, 0.25, 0.0)
# The number of images that the prior counts for; the one that predicts train best is taken.
PRIOR_STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
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

Rows = npt.NDArray[np.bool_]
Score = tuple[float, float, int]  # accuracy, log loss, and of how many images


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
    ids, alike = labelled["id"].tolist(), duplicates["different_labels"]
    return {
        "drawn": description.drawn,
        "claim": CLAIM if description.split.unseen_sites else NO_CLAIM,
        "notes": [*notes, *_unlabeled_notes(images)],
        "inputs": inputs,
        "images": {part: files.images for part, files in description.parts.items()},
        "quarantined": counts_by_reason(quarantined),
        "classes": description.counts,
        **of_labels,
        "sites": {
            str(site): _one_site(rows, classes)
            for site, rows in images[images["site"].notna()].groupby("site", sort=True)
        },
        # Rows that carry the same bytes but different labels, by id: a person must look at them.
        "duplicates": {**duplicates, "different_labels": [[ids[row] for row in rows] for rows in alike]},
        "leakage_gap": asdict(gap) if gap else None,
    }


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


# --- what recognising the camera, or seeing an image twice, may bring ---------------------------------------


@dataclass(frozen=True)
class LeakageGap:
    """Scores of a guess that knows the camera and nothing of the image; log losses in nats.

    `random_*`: held-out part of a stratified random split, whose cameras are known. `site_*`: cameras that
    the guess has not seen. `accuracy_gap` and `log_loss_gap` are positive where a random split flatters.
    `random_images` and `site_images` count the images scored.
    """

    random_accuracy: float
    random_log_loss: float
    random_images: int
    site_accuracy: float
    site_log_loss: float
    site_images: int
    uniform_log_loss: float
    accuracy_gap: float
    log_loss_gap: float
    explanation: str


def leakage_gap(
    labels: Labels,
    sites: Sites | None,
    classes: int,
    part: Parts,
    seed: int = 0,
) -> LeakageGap | None:
    """What a model could gain on a random split by recognising the camera.

    `labels`, `sites`, `part`: shape (n,); `part` is the frozen split ("train", "val" or "test"). A predictor
    of P(class | site), shrunk towards the class prior, is fitted and scored twice: on a random 75/25 split,
    and with train and val of the frozen split, where an unseen site gets the class prior of train. When train
    and val share a site (a random split), a 75/25 split by site takes the place of the frozen one.

    Only train and val are used. Test is left out altogether: it is read once, by the final evaluation.

    Returns None without sites, with fewer than two sites outside test, or with too few images to hold any
    out. Every figure is finite. Raises TraplineError when an image has no site.
    """
    used = part != "test"
    if sites is None or len(np.unique(np.asarray(sites, dtype=str)[used])) < 2:
        return None
    labels, site_of = labels[used], number_sites(sites[used])
    random_part = stratified_parts(labels, np.arange(len(labels)), HELD_OUT_SHARES, seed)
    if not (random_part == 1).any():
        return None
    random = _score(labels, site_of, classes, random_part == 1)
    unseen = _score(labels, site_of, classes, _unseen_sites(labels, site_of, classes, part[used], seed))
    return _described(random, unseen, classes)


def leakage_gap_of_labels(
    matrix: npt.NDArray[np.bool_], sites: Sites | None, part: Parts, seed: int = 0
) -> LeakageGap | None:
    """`leakage_gap` of images with several labels: of the question whether an image has one, on average.

    `matrix`: shape (n, labels), whether an image has a label; the rest as there.
    """
    each = [leakage_gap(column.astype(np.int64), sites, 2, part, seed) for column in matrix.T]
    gaps = [gap for gap in each if gap is not None]
    if not gaps:
        return None
    mean = {
        name: float(np.mean([getattr(gap, name) for gap in gaps]))
        for name in ("random_accuracy", "random_log_loss", "site_accuracy", "site_log_loss")
    }
    random = (mean["random_accuracy"], mean["random_log_loss"], gaps[0].random_images)
    unseen = (mean["site_accuracy"], mean["site_log_loss"], gaps[0].site_images)
    return _described(random, unseen, 2, "labels")


def _unseen_sites(labels: Labels, site_of: Integers, classes: int, part: Parts, seed: int) -> Rows:
    """The rows to hold out, shape (n,), such that none of their sites is among the other rows."""
    held_out = part == "val"
    if held_out.any() and not np.intersect1d(site_of[held_out], site_of[~held_out]).size:
        return held_out
    policy = SplitPolicy("site", HELD_OUT_SHARES, seed)
    return split(labels, site_of.astype(str), None, policy, list(map(str, range(classes)))).part == "val"


def _score(labels: Labels, site_of: Integers, classes: int, held_out: Rows) -> Score:
    """Fit P(class | site) on the rows that are not held out and score it on those that are."""
    train = ~held_out
    counts = np.zeros((int(site_of.max()) + 1, classes))
    np.add.at(counts, (site_of[train], labels[train]), 1)
    # Laplace's rule: a class that train lacks keeps a probability above 0, and its log loss stays finite.
    prior = (counts.sum(axis=0) + 1) / (counts.sum() + classes)
    # Of P(class | site): the prior counts for so many images at each site.
    strength = _best_strength(counts, prior)
    probabilities = (counts + strength * prior) / (counts.sum(axis=1, keepdims=True) + strength)
    given = probabilities[site_of[held_out], labels[held_out]]
    guesses = probabilities.argmax(axis=1)[site_of[held_out]]
    return float(np.mean(guesses == labels[held_out])), float(-np.log(given).mean()), len(given)


def _best_strength(counts: Floats, prior: Floats) -> float:
    """The strength under which each image is best predicted from the others of its site (leave-one-out)."""
    sites, labels = np.nonzero(counts)
    repeats, totals = counts[sites, labels], counts.sum(axis=1)[sites]
    losses = [
        -repeats @ np.log((repeats - 1 + strength * prior[labels]) / (totals - 1 + strength))
        for strength in PRIOR_STRENGTHS
    ]
    return PRIOR_STRENGTHS[int(np.argmin(losses))]


def _described(random: Score, unseen: Score, classes: int, what: str = "images") -> LeakageGap:
    points = round(100 * (random[0] - unseen[0]))
    advice = (
        f"a random split can flatter a model by up to {points} points"
        if points > 0
        else "a random split has little to gain from recognising the camera"
    )
    return LeakageGap(
        *random,
        *unseen,
        uniform_log_loss=float(np.log(classes)),
        accuracy_gap=random[0] - unseen[0],
        log_loss_gap=unseen[1] - random[1],
        explanation=(
            f"Knowing only which camera took an image, a guess is right for {random[0]:.0%} of the {what} on "
            f"a random split and for {unseen[0]:.0%} at cameras it has not seen: {advice}."
        ),
    )


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
