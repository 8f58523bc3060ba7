"""What one execution of a pipeline tells the next: which data it used, and with which settings it completed.

Prepare leaves STATE in the prepared set: a digest of everything that it prepared, and the settings with which
an execution on the very same data has completed. Collect, the last step, leaves RECORD in a place that all
executions share. Whether a scheduled execution may end early is then one comparison of two texts. The
division of the completed execution lies beside it: the next one keeps it, so that no camera changes its part.
"""

import hashlib
import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline.errors import TraplineError
from trapline.storage import file_digest, read_json, write_json

if TYPE_CHECKING:
    from trapline.preparation.known_division import Division

STATE, COMPLETED_WITH = "version.json", "completed_with"
RECORD = "last.json"
NONE_YET = {"data": "", "settings": ""}  # the record before the first execution has completed
MANIFEST = "weights.json"  # of staged weights; the name is of trapline.models.staged, which loads torch
SEPARATOR = " "  # of settings; a pipeline's definition joins its own with it
ORIGIN = "division.json"  # of which data the division beside it is, and of which line
DESCRIPTION, DIVISION = "dataset.json", "division.csv"  # as trapline.data.prepared has them, which loads more


def write_state(prepared: Path, completed: Path, weights: Path | None = None) -> str:
    """Write STATE into a prepared set, and return a line about it for a person.

    `completed`: the folder in which RECORD lies; without one, or with a damaged one, no execution counts as
    completed. `weights`: a folder of staged weights, whose manifest counts as data.
    """
    data = data_digest(prepared, weights)
    last, problem = _last(completed / RECORD)
    same = last["data"] == data
    write_json(prepared / STATE, {"data": data, COMPLETED_WITH: last["settings"] if same else ""})
    if problem:
        return f"data {data[:12]}: new; {problem}"
    return f"data {data[:12]}: {'those' if same else 'not those'} of the last completed execution"


def write_record(prepared: Path, settings: Sequence[str], completed: Path) -> None:
    """Write RECORD into the folder `completed`: the data of a prepared set, and the settings of an execution.

    The set's division.csv goes beside it. Raises TraplineError where the set holds no STATE.
    """
    write_json(
        completed / RECORD,
        {"data": read_json(prepared / STATE)["data"], "settings": SEPARATOR.join(settings)},
    )
    leave_division(prepared, completed)


def leave_division(prepared: Path, completed: Path, source: str | None = None) -> None:
    """Copy the division of a prepared set, if it has one, into the folder `completed`, for `last_division`.

    `source`: the name of its data; None: as the set has it.
    """
    if not (prepared / DIVISION).is_file():
        return
    described = read_json(prepared / DESCRIPTION)
    shutil.copyfile(prepared / DIVISION, completed / DIVISION)
    origin = {"source": source or described["source"], "line": described["split"].get("line")}
    write_json(completed / ORIGIN, origin)


def last_division(completed: Path, group_by: str, source: str) -> "Division | None":
    """The division that the last completed execution left in `completed`; None where it is of no use.

    That is where there is none, and where it is of other data than `source`, or keeps other groups together.
    Raises TraplineError for a damaged one.
    """
    path = completed / DIVISION
    if not path.is_file() or not (completed / ORIGIN).is_file():
        return None
    origin = read_json(completed / ORIGIN)
    if not isinstance(origin, dict) or not origin.get("line") or origin.get("source") != source:
        return None
    with path.open(encoding="utf-8") as file:
        if file.readline().partition(",")[0].strip() != group_by:
            return None
    from trapline.preparation.known_division import read_division  # late: definitions need names alone

    return replace(read_division(path, group_by, str(path)), line=str(origin["line"]))


def data_digest(prepared: Path, weights: Path | None = None) -> str:
    """SHA-256 of a prepared set: its tables, and every column of its images but their packed bytes.

    Those follow from the original bytes, whose digests are a column, and from the settings in dataset.json.
    """
    import pyarrow as pa

    from trapline.data.prepared import PARTS, SUBMISSION_FORMAT, open_prepared
    from trapline.data.quarantine import FILE_NAME, INDEX, TRANSFORM_FOLDER
    from trapline.preparation.summary import SUMMARY  # late: definitions need the names alone

    digest = hashlib.sha256()
    tables = (DESCRIPTION, SUMMARY, FILE_NAME, f"{TRANSFORM_FOLDER}/{INDEX}", SUBMISSION_FORMAT)
    for path in [*(prepared / name for name in tables), *([weights / MANIFEST] if weights else [])]:
        digest.update(f"{path.name} {file_digest(path) if path.is_file() else ''}\n".encode())
    found = open_prepared(prepared)
    for part in PARTS:
        columns = hashlib.sha256()
        for batch in found.part(part).table.drop_columns(["image"]).to_batches():
            content = io.BytesIO()
            with pa.ipc.new_stream(content, batch.schema) as writer:
                writer.write_batch(batch)
            columns.update(content.getbuffer())
        digest.update(columns.digest())
    return digest.hexdigest()


def _last(path: Path) -> tuple[dict[str, Any], str | None]:
    """The record of the last completed execution, or NONE_YET, and why there is none."""
    try:
        found = read_json(path) if path.is_file() else NONE_YET
    except TraplineError as error:
        return NONE_YET, f"the record of the last completed execution is damaged ({error})"
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in NONE_YET):
        return NONE_YET, f"the record of the last completed execution is damaged ({path})"
    return found, None if found["data"] else "no execution has completed yet"
