"""What batch transform answered as predictions, which every format is written from."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from trapline.data.groups import distinct_sequences
from trapline.data.prepared import PreparedSet, scope_of_set
from trapline.formats.predictions import COLUMNS, NO_CLASS, PredictingModel, Predictions
from trapline.reports.answer_tables import Answer

FROM_PART = ("time", "width", "height")


def collected_predictions(
    answers: Sequence[Answer],
    index: pd.DataFrame,
    prepared: PreparedSet,
    evaluation: dict[str, Any],
    review_below: float,
) -> Predictions:
    """The predictions of the champion for the unlabelled images of a prepared set.

    `answers` has one for each row of `index`, which is transform/index.csv, in its order. Times and sizes are
    those of the prepared images.
    """
    classes = prepared.description.classes
    part = prepared.part("unlabeled").table.select(["id", *FROM_PART]).to_pandas()
    known = part.drop_duplicates("id").set_index("id").reindex(index["id"])
    usable = [answer.probabilities is not None for answer in answers]
    probabilities = np.array(
        [answer.probabilities or [np.nan] * len(classes) for answer in answers], dtype=np.float64
    ).reshape(len(answers), len(classes))
    rows = pd.DataFrame(
        {
            "id": [answer.id for answer in answers],
            "file": index["filepath"] if "filepath" in index.columns else index["id"],
            "path": [str(prepared.folder / "transform" / "images" / name) for name in index["name"]],
            "status": [answer.status for answer in answers],
            "reason": [answer.reason or None for answer in answers],
            "detail": [answer.detail or None for answer in answers],
            "label": [
                classes.index(answer.label) if good else NO_CLASS
                for answer, good in zip(answers, usable, strict=True)
            ],
            "confidence": [np.nan if answer.confidence is None else answer.confidence for answer in answers],
            "site": [site or None for site in index.get("site", [""] * len(index))],
            "sequence": _sequences(index, prepared),
            "time": known["time"].astype(object).where(known["time"].notna(), None).to_numpy(),
            "width": known["width"].fillna(0).to_numpy(dtype=np.int64),
            "height": known["height"].fillna(0).to_numpy(dtype=np.int64),
        },
        columns=COLUMNS,
    )
    champion = evaluation["champion"]
    labels = None
    if prepared.description.task == "multilabel":
        labels = np.array(
            [[name in (answer.labels or ()) for name in classes] for answer in answers], dtype=bool
        ).reshape(len(answers), len(classes))
    return Predictions(
        rows,
        probabilities,
        classes,
        PredictingModel(
            champion.get("training_job") or champion["architecture"],
            champion.get("weights") or "",
            champion["architecture"],
        ),
        datetime.now(UTC).replace(microsecond=0),
        labels,
        0.0,
        review_below,
    )


def _sequences(index: pd.DataFrame, prepared: PreparedSet) -> np.ndarray:
    """The names of the inputs' sequences, (inputs,), other names for other sequences."""
    names, sites = (
        [name or None for name in index.get(column, [""] * len(index))] for column in ("sequence", "site")
    )
    return distinct_sequences(names, sites, scope_of_set(prepared.description.split, sites, names))
