"""Writing the parts of a prepared data set as Arrow IPC files, streaming."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from trapline.data.prepared import SCHEMA, PartFiles
from trapline.preparation.listing import LABELS
from trapline.preparation.packing import Packed

FILE_BYTES = 256 * 2**20
PACKED_SCHEMA = pa.schema([pa.field("row", pa.int64()), pa.field("image", pa.large_binary())])
PACKED_ROWS = 256  # images in memory before they are written


class PackedWriter:
    """Packed images in the order in which they come, before it is known which part each belongs to."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, PACKED_SCHEMA)
        self._rows: list[int] = []
        self._images: list[bytes] = []

    def add(self, row: int, packed: Packed) -> None:
        """Append the image of source row `row`."""
        self._rows.append(row)
        self._images.append(packed.image)
        if len(self._rows) == PACKED_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._flush()
        self._writer.close()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            batch = pa.record_batch(
                [pa.array(self._rows), pa.array(self._images, pa.large_binary())], PACKED_SCHEMA
            )
            self._writer.write_batch(batch)
        self._rows, self._images = [], []


class PartWriter:
    """The Arrow files of one part; a new file is begun when one has grown to FILE_BYTES."""

    def __init__(self, folder: Path, part: str) -> None:
        self._folder = folder
        self._part = part
        self._files: list[str] = []
        self._images = 0
        self._written = 0
        self._stack = contextlib.ExitStack()
        self._writer: pa.RecordBatchWriter | None = None
        (folder / part).mkdir()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch with the columns of SCHEMA."""
        if self._writer is None or self._written >= FILE_BYTES:
            self._begin_file()
        assert self._writer is not None
        self._writer.write_batch(batch)
        self._images += batch.num_rows
        self._written += batch.nbytes

    def close(self) -> PartFiles:
        """Close the last file and say what was written."""
        self._stack.close()
        return PartFiles(images=self._images, files=self._files)

    def _begin_file(self) -> None:
        self._stack.close()
        name = f"{self._part}/{self._part}-{len(self._files):05d}.arrow"
        sink = self._stack.enter_context(pa.OSFile(str(self._folder / name), "wb"))
        self._writer = self._stack.enter_context(pa.ipc.new_file(sink, SCHEMA))
        self._files.append(name)
        self._written = 0


def write_parts(
    packed: Path, images: pd.DataFrame, folder: Path, parts: tuple[str, ...]
) -> dict[str, PartFiles]:
    """Divide the file of a PackedWriter into the parts' files, one pass, a batch in memory at a time.

    `images` is indexed by source row and has the columns id, part, label (-1: none), site, sequence, width,
    height and sha256, and, where an image may have several labels, labels.
    """
    writers = {part: PartWriter(folder, part) for part in parts}
    for batch in _batches(packed):
        rows = batch.column("row").to_numpy()
        part_of_row = images["part"].loc[rows].to_numpy()
        for part, writer in writers.items():
            chosen = np.flatnonzero(part_of_row == part)
            if len(chosen):
                writer.write(_with_facts(batch.take(pa.array(chosen)), images.loc[rows[chosen]]))
    return {part: writer.close() for part, writer in writers.items()}


def _batches(packed: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(packed)) as source:  # read, not mapped: some mounts for results refuse mapping
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _with_facts(batch: pa.RecordBatch, facts: pd.DataFrame) -> pa.RecordBatch:
    single = ([label] if label >= 0 else [] for label in facts["label"])
    labels = [list(own) for own in facts[LABELS]] if LABELS in facts else list(single)
    columns = {
        "id": facts["id"].tolist(),
        "image": batch.column("image"),
        "labels": labels,
        "site": facts["site"].tolist(),
        "sequence": facts["sequence"].tolist(),
        "width": facts["width"].tolist(),
        "height": facts["height"].tolist(),
        "sha256": facts["sha256"].tolist(),
        "weight": [1.0] * len(facts),
    }
    return pa.record_batch([_column(columns[name.name], name.type) for name in SCHEMA], SCHEMA)


def _column(values: list[object] | pa.Array, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)
