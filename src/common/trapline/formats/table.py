"""predictions.csv, which people open, and predictions.parquet: a row for each image, failed ones included.

Both have the columns of the table that the pipeline's Collect step always wrote, then where and when the
image was taken. Cells of the CSV that a spreadsheet would take for formulas have an apostrophe before them,
but for the ids, by which other tables are joined.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trapline.evaluation.result_files import number, probability_columns
from trapline.formats.common import rows_of, text
from trapline.formats.predictions import NO_CLASS, Predictions
from trapline.formats.settings import Format, FormatSettings
from trapline.storage import atomic_file, joined, write_table

CSV_FILE, PARQUET_FILE = "predictions.csv", "predictions.parquet"
FIRST = ("id", "status", "reason", "label", "confidence", "needs_review")
FIRST_OF_SEVERAL = (*FIRST[:3], "labels", *FIRST[3:])  # where an image may have several labels
LAST = {"path": "file", "site": "site", "time": "time", "sequence": "sequence"}  # column -> of Predictions
BATCHES_A_GROUP = 16  # of Predictions in a row group of Parquet


def write_csv(predictions: Predictions, folder: Path, settings: FormatSettings) -> list[Path]:
    """Write predictions.csv. label is the most probable class, empty where the image failed.

    needs_review is true where it failed, and where its confidence is below what a label needs or a person
    should look at. Of several labels, `labels` has all that reach their threshold.
    """
    path = folder / CSV_FILE
    write_table(path, _columns(predictions), _csv_rows(predictions))
    return [path]


def _columns(predictions: Predictions) -> list[str]:
    first = FIRST if predictions.labels is None else FIRST_OF_SEVERAL
    return [*first, *probability_columns(predictions.classes, (*first, *LAST)), *LAST]


def _csv_rows(predictions: Predictions) -> Iterator[list[str]]:
    review = predictions.needs_review()
    for rows in predictions.batches():
        probabilities = predictions.probabilities[rows]
        labels = None if predictions.labels is None else predictions.labels[rows]
        for place, row in enumerate(rows_of(predictions, rows)):
            failed = row.label == NO_CLASS
            yield [
                row.id,
                row.status,
                text(row.reason) or "",
                *([] if labels is None else [joined(_named(predictions, labels[place]))]),
                "" if failed else predictions.classes[row.label],
                "" if failed else number(row.confidence),
                "true" if review[rows.start + place] else "false",
                *([""] * len(predictions.classes) if failed else map(number, probabilities[place].tolist())),
                *(text(getattr(row, name)) or "" for name in LAST.values()),
            ]


def _named(predictions: Predictions, found: np.ndarray) -> list[str]:
    return [predictions.classes[label] for label in np.flatnonzero(found).tolist()]


# --- Parquet ------------------------------------------------------------------------------------------------


def write_parquet(predictions: Predictions, folder: Path, settings: FormatSettings) -> list[Path]:
    """Write predictions.parquet: the columns of the CSV with their types, null for what is not known.

    Probabilities are doubles, `labels` a list, times text, for their zone may not be known. Texts are as they
    are. The model and the time of the predictions stand in the file's metadata.
    """
    path = folder / PARQUET_FILE
    schema, review = _schema(predictions), predictions.needs_review()
    with atomic_file(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(list(predictions.batches())):
            batches = [_record_batch(predictions, rows, review[rows], schema) for rows in group]
            writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=len(predictions))
    return [path]


def _groups(batches: Sequence[slice]) -> Iterator[Sequence[slice]]:
    for start in range(0, len(batches), BATCHES_A_GROUP):
        yield batches[start : start + BATCHES_A_GROUP]


def _schema(predictions: Predictions) -> pa.Schema:
    special = {"labels": pa.list_(pa.string()), "confidence": pa.float64(), "needs_review": pa.bool_()}
    names = _columns(predictions)
    first = len(names) - len(predictions.classes) - len(LAST)
    kinds = [
        *(special.get(name, pa.string()) for name in names[:first]),
        *itertools.repeat(pa.float64(), len(predictions.classes)),
        *itertools.repeat(pa.string(), len(LAST)),
    ]
    model = predictions.model
    metadata = {
        "model": model.name,
        "model_sha256": model.digest,
        "architecture": model.architecture,
        "created": predictions.created.isoformat(),
        "threshold": number(predictions.threshold),
    }
    fields = [pa.field(_utf8(name), kind) for name, kind in zip(names, kinds, strict=True)]
    return pa.schema(fields, {name: _utf8(said) for name, said in metadata.items()})


def _record_batch(
    predictions: Predictions, rows: slice, review: np.ndarray, schema: pa.Schema
) -> pa.RecordBatch:
    table = predictions.rows.iloc[rows]
    label = table["label"].to_numpy(dtype=np.int64)
    names = [_utf8(name) for name in predictions.classes]
    columns: dict[str, object] = {
        "id": _strings(table["id"]),
        "status": _strings(table["status"]),
        "reason": _strings(table["reason"]),
        "label": [None if own == NO_CLASS else names[own] for own in label.tolist()],
        "confidence": _numbers(table["confidence"].to_numpy(dtype=np.float64)),
        "needs_review": review,
    }
    if predictions.labels is not None:
        columns["labels"] = [
            None if own == NO_CLASS else [names[place] for place in np.flatnonzero(found).tolist()]
            for own, found in zip(label.tolist(), predictions.labels[rows], strict=True)
        ]
    first = [columns[name] for name in schema.names[: len(columns)]]
    probabilities = np.asarray(predictions.probabilities[rows])
    values = [
        *first,
        *(_numbers(probabilities[:, place]) for place in range(len(names))),
        *(_strings(table[name]) for name in LAST.values()),
    ]
    arrays = [pa.array(value, kind) for value, kind in zip(values, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _numbers(values: np.ndarray) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), pa.float64(), from_pandas=True)  # NaN is null


def _strings(cells: pd.Series) -> list[str | None]:
    return [None if said is None else _utf8(said) for said in map(text, cells)]


def _utf8(said: str) -> str:
    """`said` with an escape for half a surrogate, which Arrow's text cannot hold."""
    return said if said.isascii() else said.encode("utf-8", "backslashreplace").decode()


CSV = Format("csv", write_csv)
PARQUET = Format("parquet", write_parquet)
