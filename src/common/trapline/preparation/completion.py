"""What one execution of a pipeline tells the next: which data it used, and with which settings it completed.

Prepare leaves STATE in the prepared set: a digest of everything that it prepared, and the settings with which
an execution on the very same data has completed. Collect, the last step, leaves RECORD in a place that all
executions share. Whether a scheduled execution may end early is then one comparison of two texts.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError
from trapline.storage import file_digest, read_json, write_json

STATE, COMPLETED_WITH = "version.json", "completed_with"
RECORD = "last.json"
NONE_YET = {"data": "", "settings": ""}  # the record before the first execution has completed
MANIFEST = "weights.json"  # of staged weights; the name is of trapline.models.weights, which loads torch
SEPARATOR = " "  # of settings; a pipeline's definition joins its own with it


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

    Raises TraplineError where the set holds no STATE.
    """
    write_json(
        completed / RECORD,
        {"data": read_json(prepared / STATE)["data"], "settings": SEPARATOR.join(settings)},
    )


def data_digest(prepared: Path, weights: Path | None = None) -> str:
    """SHA-256 of a prepared set: its tables, and every column of its images but their packed bytes.

    Those follow from the original bytes, whose digests are a column, and from the settings in dataset.json.
    """
    import pyarrow as pa

    from trapline.data.prepared import DESCRIPTION, PARTS, SUBMISSION_FORMAT, open_prepared
    from trapline.data.quarantine import FILE_NAME, INDEX, TRANSFORM_FOLDER
    from trapline.preparation.preparing import SUMMARY  # late: definitions need the names alone

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
