"""timelapse.csv, which Timelapse imports, and timelapse_columns.csv: what the template of a user needs.

Timelapse finds an image by RelativePath and File, and refuses a table with a column that the template has
not, or with a word that is none of a column's choices. Its own columns, File, RelativePath, DateTime and
DeleteFlag, are in every template; RootFolder it passes over. A cell of several labels has commas between
them, as its MultiChoice writes them.

RelativePath and File stay as they are: with an apostrophe before a name such as =1.jpg the image would not be
found. All other texts are as `write_table` makes them, and the choices are written in the same way.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trapline.errors import UsageError
from trapline.evaluation.result_files import number
from trapline.formats.common import clock_time, failure, rows_of, text
from trapline.formats.predictions import Predictions
from trapline.formats.settings import Format, FormatSettings
from trapline.learning import Task
from trapline.names import shown
from trapline.storage import neutralised, write_table

FILE, COLUMNS_FILE = "timelapse.csv", "timelapse_columns.csv"
FOUND_BY = ("File", "RelativePath")
OWN = ("RootFolder", *FOUND_BY, "DateTime", "DeleteFlag")  # Timelapse's
OURS = ("Species", "Confidence", "NeedsReview", "Site", "Sequence", "Remark")
BETWEEN = ","  # labels in a cell
TEMPLATE = ("DataLabel", "Type", "DefaultValue", "Choices", "Tooltip")


def check_timelapse(classes: Sequence[str], task: Task, settings: FormatSettings) -> None:
    """Raise UsageError for a class that cannot stand in a cell of several labels."""
    broken = next((name for name in classes if BETWEEN in name), None)
    if task == "multilabel" and broken is not None:
        raise UsageError(
            f"--formats timelapse: the class {shown(broken)} holds a comma, which divides several labels in "
            "a cell of Timelapse; leave timelapse out, or train with another name (--classes of prepare.py)"
        )


def write_timelapse(predictions: Predictions, folder: Path, settings: FormatSettings) -> list[Path]:
    """Write timelapse.csv and timelapse_columns.csv.

    Species is empty for an image that failed, has no label, or whose confidence is below the threshold;
    Remark then says so. DateTime is the camera's clock, empty where it is not known.
    """
    check_timelapse(predictions.classes, predictions.task, settings)
    table, columns = folder / FILE, folder / COLUMNS_FILE
    write_table(table, (*OWN, *OURS), _rows(predictions), exact=FOUND_BY)
    write_table(columns, TEMPLATE, _template(predictions), exact=None)
    return [table, columns]


def _rows(predictions: Predictions) -> Iterator[list[str]]:
    review = predictions.needs_review()
    for rows in predictions.batches():
        labels = predictions.labels_of(rows)
        for place, row in enumerate(rows_of(predictions, rows)):
            failed = failure(row)
            own = np.flatnonzero(labels[place]).tolist()
            above, _, name = row.file.rpartition("/")
            yield [
                "",
                name,
                above.replace("/", "\\"),
                clock_time(row.time) or "",
                "false",
                BETWEEN.join(predictions.classes[label] for label in own),
                "" if failed is not None else number(row.confidence),
                "true" if review[rows.start + place] else "false",
                text(row.site) or "",
                text(row.sequence) or "",
                f"failed: {failed}" if failed is not None else "" if own else _unsure(predictions, row.label),
            ]


def _unsure(predictions: Predictions, label: int) -> str:
    return f"below the threshold, perhaps {predictions.classes[label]}"


def _template(predictions: Predictions) -> Iterator[Sequence[str]]:
    """The controls that a template needs beside its own; choices one a line, as its editor has them."""
    several = predictions.labels is not None
    choices = "\n".join(neutralised(name) for name in predictions.classes)
    yield "Species", "MultiChoice" if several else "FixedChoice", "", choices, "what the model sees"
    yield "Confidence", "DecimalPositive", "", "", "of the most probable label, from 0 to 1"
    yield "NeedsReview", "Flag", "false", "", "whether a person should look at the image"
    yield "Site", "Note", "", "", "where the camera stood"
    yield "Sequence", "Note", "", "", "images that belong together have one"
    yield "Remark", "Note", "", "", "why there is no label"


TIMELAPSE = Format("timelapse", write_timelapse, check_timelapse)
