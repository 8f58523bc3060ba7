"""What `summary.json` says of labels where an image may have several: counts, companions, likely names."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.prepared import DatasetDescription
from trapline.preparation.listing import CAPTION

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
    captions = labelled.loc[train, CAPTION].tolist()
    together = matrix.T.astype(np.int64) @ matrix.astype(np.int64)
    return {
        "label_counts": description.counts,
        "labels_per_image": {str(number): int(images) for number, images in enumerate(numbers) if images},
        "co_occurrence": {
            name: {names[other]: int(row[other]) for other in np.flatnonzero(row)}
            for name, row in zip(names, together, strict=True)
        },
        "suggested_names": suggested_names(captions, matrix[train], names),
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
