"""coco.json: COCO Camera Traps, in which LILA and others publish images, with a score for each label.

An image without an annotation is unlabelled: it failed, and `failure` says why, or no label is sure enough.
The category 0 is the class of blank images where the model has one, as the format reserves it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trapline.formats.common import failure, rounded, rows_of, text, write_records
from trapline.formats.predictions import Predictions
from trapline.formats.settings import Format, FormatSettings
from trapline.formats.taxonomy import taxon_of

FILE = "coco.json"
EMPTY = 0  # the category of images without an animal


def write_coco(predictions: Predictions, folder: Path, settings: FormatSettings) -> list[Path]:
    """Write coco.json: categories, images with sites, times and sequences, an annotation for each label."""
    ids = _category_ids(predictions.classes, settings)
    named = zip(ids, predictions.classes, strict=True)
    categories = [{"id": own, "name": name} for own, name in sorted(named)]
    path = folder / FILE
    write_records(
        path,
        {"info": _info(predictions), "categories": categories},
        {"images": _images(predictions), "annotations": _annotations(predictions, ids)},
    )
    return [path]


def _info(predictions: Predictions) -> dict[str, Any]:
    model = predictions.model
    return {
        "version": "1.0",
        "description": f"Labels that the model {model.name} gave",
        "year": predictions.created.year,
        "date_created": predictions.created.isoformat(),
        "model": {"name": model.name, "sha256": model.digest, "architecture": model.architecture},
    }


def _category_ids(classes: Sequence[str], settings: FormatSettings) -> list[int]:
    """The id of each class: EMPTY for the first that is blank, else numbers from 1."""
    kinds = [taxon_of(name, settings.taxonomy).observation_type for name in classes]
    blank = kinds.index("blank") if "blank" in kinds else None
    numbers = count(EMPTY + 1)
    return [EMPTY if place == blank else next(numbers) for place in range(len(classes))]


def _images(predictions: Predictions) -> Iterator[dict[str, Any]]:
    frames = _frames(predictions.rows)
    sizes = Counter(map(text, predictions.rows["sequence"]))
    for rows in predictions.batches():
        for place, row in enumerate(rows_of(predictions, rows), rows.start):
            image = {
                "id": row.id,
                "file_name": row.file,
                "location": text(row.site),
                "datetime": text(row.time),
                "width": int(row.width) or None,
                "height": int(row.height) or None,
                "failure": failure(row),
            }
            if (sequence := text(row.sequence)) is not None:
                image |= {
                    "seq_id": sequence,
                    "seq_num_frames": sizes[sequence],
                    "frame_num": int(frames[place]),
                }
            yield {name: value for name, value in image.items() if value is not None}


def _frames(rows: pd.DataFrame) -> np.ndarray:
    """The number of each image in its sequence, from 1: by time, where all have one, else by their order."""
    sequence = pd.Series([text(name) or "" for name in rows["sequence"]], dtype=object)
    time = pd.Series([text(time) or "" for time in rows["time"]], dtype=object)
    has_gaps = time.eq("").groupby(sequence).transform("any")
    said = pd.DataFrame({"sequence": sequence, "time": time.mask(has_gaps, "")})
    order = said.sort_values(["sequence", "time"], kind="stable").index
    numbers = np.empty(len(rows), dtype=np.int64)
    numbers[order] = said["sequence"].iloc[order].groupby(said["sequence"]).cumcount().to_numpy() + 1
    return numbers


def _annotations(predictions: Predictions, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    numbers = count(1)
    names = predictions.rows["id"].tolist()
    for rows in predictions.batches():
        probabilities = predictions.probabilities[rows]
        for place, label in np.argwhere(predictions.labels_of(rows)).tolist():
            yield {
                "id": next(numbers),
                "image_id": names[rows.start + place],
                "category_id": ids[label],
                "score": rounded(probabilities[place, label]),
                "sequence_level_annotation": False,
            }


COCO = Format("coco", write_coco)
