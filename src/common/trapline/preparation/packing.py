"""Decoding every input once, on all cores, into packed JPEG or, without loss, PNG, in files of Arrow IPC.

Streaming: only a bounded number of images is in flight, whatever the number of inputs. An input that cannot
be used is a result like any other, also one that a decoder crashes on or that takes more than its budget.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from trapline.data.prepared import TIMED_SCHEMA, PartFiles
from trapline.images.budget import PREPARATION
from trapline.images.canonical import PixelSettings, problem_of
from trapline.preparation.listing import LABELS
from trapline.preparation.packed_file import Packed as Packed
from trapline.preparation.packed_file import Quality as Quality
from trapline.preparation.packed_file import Result, pack_file, unusable
from trapline.preparation.packed_file import Unusable as Unusable
from trapline.workers import Limits, Lost, available_cores, mapped

FILE_BYTES = 256 * 2**20
PACKED_SCHEMA = pa.schema([pa.field("row", pa.int64()), pa.field("image", pa.large_binary())])
PACKED_ROWS = 256  # images in memory before they are written


def pack_files(
    paths: Sequence[str],
    settings: PixelSettings,
    quality: Quality,
    processes: int | None = None,
    pack_one: Callable[[str, PixelSettings, Quality], Result] = pack_file,
) -> Iterator[Result]:
    """Pack `paths` on `processes` processes (None: all cores) and yield a result for each, in their order."""
    items = [(path, settings, quality) for path in paths]
    limits = Limits(PREPARATION.max_seconds, PREPARATION.max_memory)
    for result in mapped(pack_one, items, processes or available_cores(), limits):
        yield unusable(problem_of(result, PREPARATION)) if isinstance(result, Lost) else result


def write_packed(path: Path, images: Iterator[tuple[int, bytes]]) -> None:
    """Write packed images, each with its source row, before it is known which part each belongs to."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, PACKED_SCHEMA) as writer:
        while chunk := list(itertools.islice(images, PACKED_ROWS)):
            rows, contents = zip(*chunk, strict=True)
            columns = [pa.array(rows), pa.array(contents, pa.large_binary())]
            writer.write_batch(pa.record_batch(columns, PACKED_SCHEMA))


class PartWriter:
    """The Arrow files of one part; a new file is begun when one has grown to FILE_BYTES."""

    def __init__(self, folder: Path, part: str) -> None:
        (folder / part).mkdir()
        self._folder, self._part = folder, part
        self._files: list[str] = []
        self._images, self._written = 0, 0  # in all, and bytes in the last file
        self._stack = contextlib.ExitStack()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch with the columns of TIMED_SCHEMA."""
        if not self._files or self._written >= FILE_BYTES:
            self._stack.close()
            self._files.append(f"{self._part}/{self._part}-{len(self._files):05d}.arrow")
            sink = self._stack.enter_context(pa.OSFile(str(self._folder / self._files[-1]), "wb"))
            self._writer = self._stack.enter_context(pa.ipc.new_file(sink, TIMED_SCHEMA))
            self._written = 0
        self._writer.write_batch(batch)
        self._images += batch.num_rows
        self._written += batch.nbytes

    def close(self) -> PartFiles:
        """Close the last file and say what was written."""
        self._stack.close()
        return PartFiles(images=self._images, files=self._files)


def write_parts(
    packed: Path, images: pd.DataFrame, folder: Path, parts: tuple[str, ...]
) -> dict[str, PartFiles]:
    """Divide the file of `write_packed` into the parts' files, one pass, a batch in memory at a time.

    `images` is indexed by source row and has the columns id, part, label (-1: none), site, sequence, width,
    height, sha256, weight and time, and, where an image may have several labels, labels.
    """
    writers = {part: PartWriter(folder, part) for part in parts}
    with pa.OSFile(str(packed)) as source:  # read, not mapped: some mounts for results refuse mapping
        reader = pa.ipc.open_file(source)
        for batch in map(reader.get_batch, range(reader.num_record_batches)):
            rows = batch.column("row").to_numpy()
            part_of_row = images["part"].reindex(rows).to_numpy()  # of no part: set aside after packing
            for part, writer in writers.items():
                chosen = np.flatnonzero(part_of_row == part)
                if len(chosen):
                    writer.write(_with_facts(batch.take(pa.array(chosen)), images.loc[rows[chosen]]))
    return {part: writer.close() for part, writer in writers.items()}


def _with_facts(batch: pa.RecordBatch, facts: pd.DataFrame) -> pa.RecordBatch:
    """The images of a PACKED_SCHEMA batch with all columns of TIMED_SCHEMA."""
    single = facts["label"].map(lambda label: [label] if label >= 0 else [])
    facts = facts.assign(labels=facts.get(LABELS, single))
    columns = [
        batch.column("image") if field.name == "image" else pa.array(facts[field.name].tolist(), field.type)
        for field in TIMED_SCHEMA
    ]
    return pa.record_batch(columns, TIMED_SCHEMA)
