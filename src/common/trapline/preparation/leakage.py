"""How much of a score may come from recognising the camera, or from seeing the same image twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import Integers, Labels, Sites, number_sites
from trapline.preparation.splits import SplitPolicy, split
from trapline.preparation.stratified import Floats, stratified_parts

HELD_OUT_SHARES = (0.75, 0.25, 0.0)
# The number of images that the prior counts for; the one that predicts train best is taken.
PRIOR_STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
MAX_CONFLICTS = 20

Parts = npt.NDArray[np.str_]
Rows = npt.NDArray[np.bool_]


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
    if sites is None:
        return None
    used = part != "test"
    if len(np.unique(np.asarray(sites, dtype=str)[used])) < 2:
        return None
    labels, site_of = labels[used], number_sites(sites[used])
    random_part = stratified_parts(labels, np.arange(len(labels)), HELD_OUT_SHARES, seed)
    if not (random_part == 1).any():
        return None
    random = _score(labels, site_of, classes, random_part == 1)
    unseen = _score(labels, site_of, classes, _unseen_sites(labels, site_of, classes, part[used], seed))
    return _describe(random, unseen, classes)


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
    random = _Score(mean["random_accuracy"], mean["random_log_loss"], gaps[0].random_images)
    unseen = _Score(mean["site_accuracy"], mean["site_log_loss"], gaps[0].site_images)
    return _describe(random, unseen, 2, "labels")


@dataclass(frozen=True)
class _Score:
    accuracy: float
    log_loss: float
    images: int


def _unseen_sites(labels: Labels, site_of: Integers, classes: int, part: Parts, seed: int) -> Rows:
    """The rows to hold out, shape (n,), such that none of their sites is among the other rows."""
    held_out = part == "val"
    if held_out.any() and not np.intersect1d(site_of[held_out], site_of[~held_out]).size:
        return held_out
    policy = SplitPolicy("site", HELD_OUT_SHARES, seed)
    names = [str(label) for label in range(classes)]
    return split(labels, site_of.astype(str), None, policy, names).part == "val"


def _score(labels: Labels, site_of: Integers, classes: int, held_out: Rows) -> _Score:
    """Fit P(class | site) on the rows that are not held out and score it on those that are."""
    train = ~held_out
    counts = np.zeros((int(site_of.max()) + 1, classes))
    np.add.at(counts, (site_of[train], labels[train]), 1)
    # Laplace's rule: a class that train lacks keeps a probability above 0, and its log loss stays finite.
    prior = (counts.sum(axis=0) + 1) / (counts.sum() + classes)
    probabilities = _shrink(counts, prior, _best_strength(counts, prior))
    given = probabilities[site_of[held_out], labels[held_out]]
    guesses = probabilities.argmax(axis=1)[site_of[held_out]]
    return _Score(float(np.mean(guesses == labels[held_out])), float(-np.log(given).mean()), len(given))


def _shrink(counts: Floats, prior: Floats, strength: float) -> Floats:
    """P(class | site), shape (sites, classes): the prior counts for `strength` images at each site."""
    return (counts + strength * prior) / (counts.sum(axis=1, keepdims=True) + strength)


def _best_strength(counts: Floats, prior: Floats) -> float:
    """The strength under which each image is best predicted from the others of its site (leave-one-out)."""
    sites, labels = np.nonzero(counts)
    repeats, totals = counts[sites, labels], counts.sum(axis=1)[sites]
    losses = [
        -repeats @ np.log((repeats - 1 + strength * prior[labels]) / (totals - 1 + strength))
        for strength in PRIOR_STRENGTHS
    ]
    return PRIOR_STRENGTHS[int(np.argmin(losses))]


def _describe(random: _Score, unseen: _Score, classes: int, what: str = "images") -> LeakageGap:
    return LeakageGap(
        random_accuracy=random.accuracy,
        random_log_loss=random.log_loss,
        random_images=random.images,
        site_accuracy=unseen.accuracy,
        site_log_loss=unseen.log_loss,
        site_images=unseen.images,
        uniform_log_loss=float(np.log(classes)),
        accuracy_gap=random.accuracy - unseen.accuracy,
        log_loss_gap=unseen.log_loss - random.log_loss,
        explanation=_explain(random.accuracy, unseen.accuracy, what),
    )


def _explain(random: float, unseen: float, what: str) -> str:
    points = round(100 * (random - unseen))
    advice = (
        f"a random split can flatter a model by up to {points} points"
        if points > 0
        else "a random split has little to gain from recognising the camera"
    )
    return (
        f"Knowing only which camera took an image, a guess is right for {random:.0%} of the {what} on a "
        f"random split and for {unseen:.0%} at cameras it has not seen: {advice}."
    )


def duplicate_groups(sha256s: Sequence[str]) -> Integers:
    """A number for each image, shape (n,), equal for byte-identical ones: what `split` takes."""
    return pd.factorize(np.asarray(sha256s, dtype=object))[0].astype(np.int64)


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
    columns = {"group": duplicate_groups(sha256s), "label": labels, "part": parts}
    table = pd.DataFrame({**columns, "site": "" if sites is None else sites})
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
