"""What several formats have in common: cells as text, the time on a camera's clock, JSON of many records."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from trapline.formats.predictions import OK, Predictions
from trapline.storage import atomic_file

ROUNDED = 5  # decimals of probabilities in JSON, as MegaDetector's tools write them
DAY = len("2019-05-31")  # characters of a time that is a day alone


def rows_of(predictions: Predictions, rows: slice) -> Iterator[Any]:
    """The rows one after another, with their columns as attributes."""
    return predictions.rows.iloc[rows].itertuples(index=False)


def text(value: object) -> str | None:
    """A cell's text; None where it says nothing, as None, NaN and an empty text do."""
    return value if isinstance(value, str) and value else None


def failure(row: Any) -> str | None:
    """Why an image failed, reason and detail; None where it did not."""
    if row.status == OK:
        return None
    return ": ".join(filter(None, (text(row.reason), text(row.detail)))) or "failed"


def clock_time(time: object) -> str | None:
    """A time as the camera's clock showed it, such as 2019-05-31 14:02:11; None for a day alone, or none."""
    said = text(time)
    if said is None or len(said) <= DAY:
        return None
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return None
    return moment.replace(tzinfo=None).isoformat(" ", "seconds")


def rounded(probability: float) -> float:
    """A probability as JSON has it."""
    return round(float(probability), ROUNDED)


def write_records(path: Path, head: Mapping[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """Write a JSON object atomically: the members of `head`, then `lists`, of which a line is a record.

    Only one record is in memory at a time. Half a surrogate is written as JSON's escape. Raises OSError;
    ValueError for NaN.
    """
    with atomic_file(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        begin = "{"
        for name, content in head.items():
            file.write(f"{begin}\n {_json(name)}: {_json(content)}")
            begin = ","
        for name, records in lists.items():
            file.write(f"{begin}\n {_json(name)}: [")
            begin = ","
            between = "\n  "
            for record in records:
                file.write(between + _json(record))
                between = ",\n  "
            file.write("\n ]")
        file.write("\n}\n")


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)
