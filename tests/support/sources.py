"""What a listing, and a prepared set, say of each image, by its id."""

import pyarrow as pa

from trapline.data.prepared import PARTS
from trapline.preparation.listing import LABELS, UNLABELED


def labels(source):
    """For each id its label, a tuple of all where images may have several, None where it has none."""
    several = source.images[LABELS] if LABELS in source.images.columns else [None] * len(source.images)
    return {
        own: None if single == UNLABELED
        else source.classes[single] if every is None
        else tuple(source.classes[index] for index in every)
        for own, single, every in zip(source.images["id"], source.images["label"], several, strict=True)
    }  # fmt: skip


def column(source, name):
    """For each id what a column says."""
    return dict(zip(source.images["id"], source.images[name], strict=True))


def quarantined(source):
    """For each id in quarantine reason and detail."""
    return {row.id: (row.reason, row.detail) for row in source.quarantined}


def prepared_rows(folder):
    """The rows of all parts of a prepared set, by id, without the images."""
    rows = []
    for path in sorted(path for part in PARTS for path in (folder / part).glob("*.arrow")):
        with pa.memory_map(str(path)) as file:
            rows += pa.ipc.open_file(file).read_all().drop_columns("image").to_pylist()
    return {row["id"]: row for row in rows}
