"""The answers for the images of a sequence made one, where the champion pools over sequences."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress

import numpy as np
import pandas as pd
import pyarrow as pa

from trapline.data.prepared import DatasetDescription, sites_and_sequences
from trapline.reports.answer_tables import Answer
from trapline.scoring.pooling import pool_sizes, pooled_probabilities


def pool_answers(
    answers: Sequence[Answer],
    index: pd.DataFrame,
    data: DatasetDescription,
    thresholds: Sequence[float] | None,
) -> tuple[list[Answer], str]:
    """The answers with the pooled probabilities of their sequences, and a sentence on how many were pooled.

    `answers` has one for each row of `index`, which is transform/index.csv, in its order. `thresholds`: from
    which probability each class is a label, where an image may have several. What failed stays as it is and
    is left out of its sequence, and so does an image that is alone in what is left of its sequence.
    """
    rows = np.flatnonzero([answer.probabilities is not None for answer in answers])
    sequences = _sequence_numbers(index, data)[rows]
    several = pool_sizes(sequences) > 1
    rows, sequences = rows[several], sequences[several]
    found = list(answers)
    if len(rows):
        given = np.array([answers[row].probabilities for row in rows.tolist()], dtype=np.float64)
        pooled = pooled_probabilities(given, sequences, data.task)
        for row, values in zip(rows.tolist(), pooled, strict=True):
            found[row] = _with_probabilities(answers[row], values, data.classes, thresholds)
    count = len(np.unique(sequences))
    return found, (
        f"pooled over sequences: {len(rows)} inputs of {count} sequence{'' if count == 1 else 's'}; "
        f"{len(answers) - len(rows)} alone or failed"
    )


def _sequence_numbers(index: pd.DataFrame, data: DatasetDescription) -> np.ndarray:
    """The number of each input's sequence, int64 (inputs,), -1 for none."""
    columns = {
        name: pa.chunked_array([[value or None for value in index[name]]], type=pa.string())
        if name in index
        else pa.chunked_array([pa.nulls(len(index), pa.string())])
        for name in ("site", "sequence")
    }
    return sites_and_sequences(pa.table(columns), data.split)[1].number


def _with_probabilities(
    answer: Answer, probabilities: np.ndarray, classes: Sequence[str], thresholds: Sequence[float] | None
) -> Answer:
    return replace(
        answer,
        label=classes[int(probabilities.argmax())],
        probabilities=tuple(map(float, probabilities)),
        labels=None
        if thresholds is None
        else tuple(compress(classes, probabilities >= np.asarray(thresholds))),
    )
