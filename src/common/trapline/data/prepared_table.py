"""Tables of images that somebody else may have written, checked before anything is read out of them.

Arrow's own readers trust what a file says of its lengths: one wrong offset ends the process, or shows other
memory. The check looks at offsets, bitmaps and small columns, never at the images: 10 ms for 100,000 rows.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FILLED = ("id", "image", "labels", "width", "height", "sha256", "weight")  # of every image


def check_table(table: pa.Table, classes: int, *, has_one_label: bool) -> None:
    """Raise ValueError (ArrowInvalid is one) where `table`, of a prepared set's schema, cannot be relied on.

    classes: labels must be below. has_one_label: whether each image must have exactly one.
    """
    table.validate(full=True)
    empty = next((name for name in FILLED if table[name].null_count), None)
    if empty is not None:
        raise ValueError(f"a row has no {empty}")
    counts = pc.list_value_length(table["labels"])
    if has_one_label and not pc.all(pc.equal(counts, 1)).as_py() and len(table):
        raise ValueError("an image has no label, or several, in a set of one label an image")
    labels = pc.list_flatten(table["labels"])
    if labels.null_count or (len(labels) and not _within(labels, 0, classes - 1)):
        raise ValueError(f"a label is none of the {classes} classes")
    weights = np.asarray(table["weight"], dtype=np.float32)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("the weight of an image is negative, or no number")


def _within(values: pa.ChunkedArray, minimum: int, maximum: int) -> bool:
    found = pc.min_max(values).as_py()
    return bool(found["min"] >= minimum and found["max"] <= maximum)
