"""The leakage gap: how far a random split flatters three quick guesses, compared with cameras never seen.

The first guess knows how frequent the classes are, the second which camera took an image, the third how the
image looks from afar (`trapline.preparation.image_features`). Each is fitted and scored twice: on a random
split, where a camera is on both sides, and on a split by site. What the first gains is the mix of classes;
what the others gain beyond that comes from the camera.
"""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import Integers, Labels, Scope, Sequences, Sites, number_sites
from trapline.data.leakage import IMAGE, KNOWN, PRIOR, SITE, LeakageGap, PredictorGap, Score
from trapline.preparation.image_features import ImageFeatures, image_features
from trapline.preparation.random_splits import Floats, LabelMatrix
from trapline.preparation.splits import (
    Parts,
    SplitKind,
    SplitPolicy,
    count,
    divided,
    duplicate_groups,
    units_of,
)

HELD_OUT_SHARES = (0.75, 0.25, 0.0)
# The number of images that the prior counts for; the one that predicts train best is taken.
PRIOR_STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
MAX_IMAGES = 5000  # that features are made of
WORK = 500_000  # images times classes that a linear model is fitted to
MIN_IMAGES = 500  # that are drawn however many classes there are
INVERSE_PENALTY = 0.01  # C of the logistic regression
MAX_ITERATIONS, TOLERANCE = 100, 1e-3
MIN_SPREAD = 1e-6  # of a feature that says something
DIGITS = 3  # of the regression's log loss: a solver's last digits are not the same on every machine

Rows = npt.NDArray[np.bool_]
Guesses = tuple[Labels, Floats]  # of each image held out: the class guessed, and the chance of the true one


@dataclass(frozen=True)
class HeldOut:
    """What is held out of the images outside test, bool (images,): at random, and so that no site is seen."""

    random: Rows
    site: Rows


def measured_gap(
    labelled: pd.DataFrame,
    labels: Labels | LabelMatrix,
    classes: int,
    seed: int,
    scope: Scope,
    packed: Path | None = None,
) -> tuple[LeakageGap | None, str | None]:
    """The leakage gap of a set's labelled images; or None, and why there is none to measure.

    `labelled`: n images, indexed by source row, with id, part, site, sequence and sha256. `labels`: (n,), or
    (n, classes) of booleans where an image may have several. `scope`: of sequences. `packed`: the file of
    `write_packed`; None leaves out the predictor that sees the image. The order of the rows does not matter.
    """
    order = np.argsort(labelled["id"].to_numpy(dtype=str), kind="stable")
    labelled, labels = labelled.iloc[order], labels[order]
    missing = int(labelled["site"].isna().sum())
    if missing:
        return None, f"{missing} of {len(labelled)} labelled images have no site"
    sites, part = labelled["site"].to_numpy(dtype=object), labelled["part"].to_numpy(dtype=str)
    groups = duplicate_groups(labelled["sha256"].tolist())
    sequences = Sequences.of(labelled["sequence"], sites, scope)
    features = None
    if packed is not None:
        drawn = drawn_rows(sites, part, seed, int(np.clip(WORK // classes, MIN_IMAGES, MAX_IMAGES)))
        features = ImageFeatures(drawn, image_features(packed, labelled.index.to_numpy()[drawn]))
    gap = leakage_gap(labels, sites, classes, part, seed, features, groups, sequences)
    return gap, None if gap else why_no_gap(labels, sites, classes, part, seed, groups, sequences)


def leakage_gap(
    labels: Labels | LabelMatrix,
    sites: Sites | None,
    classes: int,
    part: Parts,
    seed: int = 0,
    features: ImageFeatures | None = None,
    groups: Labels | None = None,
    sequences: Sequences | None = None,
) -> LeakageGap | None:
    """What a model could gain on a random split by recognising the camera.

    `labels`, `sites`, `part`: shape (n,); `part` is the frozen split ("train", "val" or "test"). `groups` of
    duplicates, (n,), and `sequences`, as in `splits.split`: no split divides them. Each predictor is fitted
    and scored twice: on a random 75/25 split, and with train and val of the frozen split. When train and val
    share a site (a random split), a 75/25 split by site takes the place of the frozen one. The predictors:

    - class_prior: the shares of the classes;
    - site: P(class | site), shrunk towards the class prior, which an unseen site gets unchanged;
    - image: multinomial logistic regression of `features`, on the images that have them; left out without.

    Where an image may have several labels `labels` is (n, classes), and a predictor is asked of each label
    whether an image has it; scores are means over the labels. Only train and val are used. Test is left out
    altogether: it is read once, by the final evaluation.

    Returns None where `why_no_gap` says why. Every figure is finite. Raises TraplineError when an image has
    no site.
    """
    held_out = _held_out(labels, sites, classes, part, seed, groups, sequences)
    if isinstance(held_out, str) or sites is None:
        return None
    used = part != "test"
    several, site_of = labels.ndim == 2, number_sites(sites[used])
    seen, left_out = _looked_at(features, used, held_out)
    asked = 2 if several else classes
    columns = labels[used].astype(np.int64).reshape(len(site_of), -1).T
    each = [_scores(column, asked, site_of, held_out, seen) for column in columns]
    scores = each[0] if len(each) == 1 else {name: _mean([one[name] for one in each]) for name in each[0]}
    return _described(scores, left_out, asked, "labels" if several else "images")


def why_no_gap(
    labels: Labels | LabelMatrix,
    sites: Sites | None,
    classes: int,
    part: Parts,
    seed: int = 0,
    groups: Labels | None = None,
    sequences: Sequences | None = None,
) -> str | None:
    """Why there is no leakage gap to measure, without a full stop; None where there is one.

    The arguments are those of `leakage_gap`.
    """
    found = _held_out(labels, sites, classes, part, seed, groups, sequences)
    return found if isinstance(found, str) else None


# --- the two splits -----------------------------------------------------------------------------------------


def _held_out(
    labels: Labels | LabelMatrix,
    sites: Sites | None,
    classes: int,
    part: Parts,
    seed: int,
    groups: Labels | None,
    sequences: Sequences | None,
) -> HeldOut | str:
    """The rows that each split holds out, of those outside test; or why there are none."""
    if sites is None:
        return "the images have no sites"
    used = np.flatnonzero(part != "test")
    own_labels, own_sites, site_of = labels[used], sites[used], number_sites(sites[used])
    if len(used) == 0 or site_of.max() == 0:
        return "the images outside test are from fewer than two sites"
    own_groups = np.arange(len(used)) if groups is None else groups[used]
    own_sequences = sequences.rows(used) if sequences else None

    def drawn(kind: SplitKind) -> Rows | None:
        policy = SplitPolicy(kind, HELD_OUT_SHARES, seed)
        units = units_of(own_sites, own_groups, policy, own_sequences)
        return divided(own_labels, units, policy, classes) == 1 if len(units) > 1 else None

    random = drawn("random")
    if random is None or not random.any():
        return "there are too few images outside test to hold any out"
    unseen = part[used] == "val"
    if unseen.any() and not np.intersect1d(site_of[unseen], site_of[~unseen]).size:
        return HeldOut(random, unseen)
    by_site = drawn("site")
    return "sequences join all sites outside test" if by_site is None else HeldOut(random, by_site)


def drawn_rows(sites: Sites, part: Parts, seed: int, limit: int = MAX_IMAGES) -> Integers:
    """The rows, ascending, of at most `limit` images outside test, drawn evenly over the sites.

    `sites`, `part`: shape (n,).
    """
    order = np.random.default_rng(seed).permutation(np.flatnonzero(part != "test"))
    turn = pd.Series(sites[order]).groupby(sites[order]).cumcount().to_numpy()
    return np.sort(order[np.argsort(turn, kind="stable")[:limit]])


def _looked_at(
    features: ImageFeatures | None, used: Rows, held_out: HeldOut
) -> tuple[ImageFeatures | None, dict[str, str]]:
    """The features of the `used` rows, (n,), their places counted among those; or why there are none."""
    if features is None:
        return None, {IMAGE: "no features of the images were given"}
    kept = used[features.rows]
    rows = (np.cumsum(used) - 1)[features.rows[kept]]
    if not held_out.random[rows].any() or not held_out.site[rows].any():
        return None, {IMAGE: "too few images were drawn to hold any out"}
    return ImageFeatures(rows, features.values[kept]), {}


# --- the predictors -----------------------------------------------------------------------------------------


def _scores(
    labels: Labels, classes: int, site_of: Integers, held_out: HeldOut, seen: ImageFeatures | None
) -> dict[str, tuple[Score, Score]]:
    """The scores of each predictor under both splits."""
    scores = {
        PRIOR: _both(held_out, labels, functools.partial(_prior_guesses, labels, classes)),
        SITE: _both(held_out, labels, functools.partial(_site_guesses, labels, site_of, classes)),
    }
    if seen is not None:
        own, halves = labels[seen.rows], HeldOut(held_out.random[seen.rows], held_out.site[seen.rows])
        guess = functools.partial(_image_guesses, seen.values, own, classes)
        scores[IMAGE] = _both(halves, own, guess, DIGITS)
    return scores


def _both(
    held_out: HeldOut, labels: Labels, guess: Callable[[Rows], Guesses], digits: int = 12
) -> tuple[Score, Score]:
    """The scores of a predictor under both splits; `guess` fits it to some rows and guesses the others."""

    def score(rows: Rows) -> Score:
        guesses, chances = guess(~rows)
        return Score(
            accuracy=float(np.mean(guesses == labels[rows])),
            log_loss=round(float(-np.log(chances).mean()), digits),
            images=len(chances),
        )

    return score(held_out.random), score(held_out.site)


def _prior(labels: Labels, classes: int) -> Floats:
    """Shares of the classes, (classes,), by Laplace's rule: none is 0, and every log loss is finite."""
    return (np.bincount(labels, minlength=classes) + 1) / (len(labels) + classes)


def _prior_guesses(labels: Labels, classes: int, train: Rows) -> Guesses:
    prior, others = _prior(labels[train], classes), labels[~train]
    return np.full(len(others), prior.argmax()), prior[others]


def _site_guesses(labels: Labels, site_of: Integers, classes: int, train: Rows) -> Guesses:
    """By P(class | site)."""
    counts = np.zeros((int(site_of.max()) + 1, classes))
    np.add.at(counts, (site_of[train], labels[train]), 1)
    prior = _prior(labels[train], classes)
    # Of P(class | site): the prior counts for so many images at each site.
    strength = _best_strength(counts, prior)
    chances = (counts + strength * prior) / (counts.sum(axis=1, keepdims=True) + strength)
    return chances.argmax(axis=1)[site_of[~train]], chances[site_of[~train], labels[~train]]


def _best_strength(counts: Floats, prior: Floats) -> float:
    """The strength under which each image is best predicted from the others of its site (leave-one-out)."""
    sites, labels = np.nonzero(counts)
    repeats, totals = counts[sites, labels], counts.sum(axis=1)[sites]
    losses = [
        -repeats @ np.log((repeats - 1 + strength * prior[labels]) / (totals - 1 + strength))
        for strength in PRIOR_STRENGTHS
    ]
    return PRIOR_STRENGTHS[int(np.argmin(losses))]


def _image_guesses(values: Floats, labels: Labels, classes: int, train: Rows) -> Guesses:
    """By logistic regression of the features; the class prior counts for as many images as there are classes.

    So a class that train lacks has a chance above 0.
    """
    prior = _prior(labels[train], classes)
    share = classes / (classes + np.count_nonzero(train))
    chances = np.tile(share * prior, (int(np.count_nonzero(~train)), 1))
    present = np.unique(labels[train])
    if len(present) > 1:
        chances[:, present] += (1 - share) * _regression(values, labels, train)
    else:
        chances += (1 - share) * prior
    return chances.argmax(axis=1), chances[np.arange(len(chances)), labels[~train]]


def _regression(values: Floats, labels: Labels, train: Rows) -> Floats:
    """Chances of the classes that train has, (rows not in train, these classes)."""
    from sklearn.linear_model import LogisticRegression  # late: most of what imports this fits nothing

    spread = values[train].std(axis=0)
    standard = (values - values[train].mean(axis=0)) / np.where(spread > MIN_SPREAD, spread, 1)
    binary = len(np.unique(labels[train])) == 2
    solver = "newton-cholesky" if binary else "lbfgs"
    model = LogisticRegression(C=INVERSE_PENALTY, tol=TOLERANCE, max_iter=MAX_ITERATIONS, solver=solver)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # cut short, or of few images: a quick guess still
        model.fit(standard[train], labels[train])
    return np.asarray(model.predict_proba(standard[~train]))


# --- in words -----------------------------------------------------------------------------------------------


def _mean(pairs: Sequence[tuple[Score, Score]]) -> tuple[Score, Score]:
    """The mean of scores of the same images, under each of the two splits."""
    random, unseen = (
        Score(
            accuracy=float(np.mean([score.accuracy for score in scores])),
            log_loss=float(np.mean([score.log_loss for score in scores])),
            images=scores[0].images,
        )
        for scores in zip(*pairs, strict=True)
    )
    return random, unseen


def _described(
    scores: Mapping[str, tuple[Score, Score]], left_out: dict[str, str], classes: int, what: str = "images"
) -> LeakageGap:
    predictors = {name: _predictor(name, *both, what) for name, both in scores.items()}
    site = predictors[SITE]
    return LeakageGap(
        **{f"random_{name}": figure for name, figure in site.random},
        **{f"site_{name}": figure for name, figure in site.site},
        uniform_log_loss=float(np.log(classes)),
        accuracy_gap=site.accuracy_gap,
        log_loss_gap=site.log_loss_gap,
        explanation=site.explanation,
        predictors=predictors,
        left_out=left_out,
    )


def _predictor(name: str, random: Score, unseen: Score, what: str) -> PredictorGap:
    points = round(100 * (random.accuracy - unseen.accuracy))
    advice = (
        f"a random split can flatter a model by up to {count(points, 'point')} this way"
        if points > 0
        else "a random split gains nothing this way"
    )
    return PredictorGap(
        random=random,
        site=unseen,
        accuracy_gap=random.accuracy - unseen.accuracy,
        log_loss_gap=unseen.log_loss - random.log_loss,
        explanation=(
            f"Knowing only {KNOWN[name]}, a guess is right for {random.accuracy:.0%} of the {what} on a "
            f"random split and for {unseen.accuracy:.0%} at cameras it has not seen: {advice}."
        ),
    )
