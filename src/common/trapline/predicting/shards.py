"""What has been predicted already, on disk: shards of so many images each, that a kill cannot tear.

A shard is written beside its place and moved there when it is whole; then a line with its digest is appended
to the journal. A shard counts where its line does, its bytes are those of the line, and what it was made of
(the model, its views and precision, and the files of its images) is what it would be made of now.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trapline.storage import atomic_file, file_digest

JOURNAL, FOLDER = "shards.jsonl", "shards"
FACTS = pa.schema(
    [
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("likeness", pa.uint64()),
        pa.field("exif_time", pa.string()),
        pa.field("camera", pa.string()),
    ]
)


@dataclass(frozen=True)
class ImageFacts:
    """What decoding says of one image; `reason` and `detail` where it gives no pixels."""

    reason: str | None = None
    detail: str | None = None
    width: int = 0
    height: int = 0
    likeness: int = 0
    exif_time: str | None = None
    camera: str | None = None


@dataclass(frozen=True)
class Shard:
    """The answers for some images, in their order: a column of FACTS each, and logits.

    logits: float32 (images, classes), NaN where there are none.
    """

    facts: Mapping[str, Sequence[Any]]
    logits: npt.NDArray[np.float32]


class Shards:
    """The shards of a folder, by number; `key` says what each is made of."""

    def __init__(self, folder: Path, classes: int) -> None:
        self._folder, self._classes = folder, classes
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        for left in (folder / FOLDER).glob(".*.tmp"):  # of a process that was killed
            left.unlink()
        self._written = self._journalled()

    def _journalled(self) -> dict[int, tuple[str, str]]:
        """Key and digest of each shard; a line that a kill cut short is as good as none."""
        path = self._folder / JOURNAL
        found: dict[int, tuple[str, str]] = {}
        content = path.read_text(encoding="utf-8") if path.is_file() else ""
        for line in content.splitlines():
            with contextlib.suppress(ValueError, TypeError):
                number, key, digest = json.loads(line)
                found[int(number)] = (str(key), str(digest))
        if content and not content.endswith("\n"):
            with path.open("a", encoding="utf-8") as journal:
                journal.write("\n")
        return found

    def path(self, number: int) -> Path:
        """Where a shard lies, or is to lie."""
        return self._folder / FOLDER / f"{number:06d}.arrow"

    def has(self, number: int, key: str) -> bool:
        """Whether the shard is there, whole, and made of what `key` says."""
        path, (known, digest) = self.path(number), self._written.get(number, ("", ""))
        return known == key and path.is_file() and file_digest(path) == digest

    def write(self, number: int, key: str, shard: Shard) -> None:
        """Keep a shard, so that it is there after a kill."""
        path = self.path(number)
        facts = [pa.array(shard.facts[field.name], field.type) for field in FACTS]
        logits = pa.array(np.ascontiguousarray(shard.logits, dtype=np.float32).reshape(-1))
        values = pa.FixedSizeListArray.from_arrays(logits, self._classes)
        schema = FACTS.append(pa.field("logits", values.type))
        with atomic_file(path) as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_batch(pa.record_batch([*facts, values], schema))
        digest = file_digest(path)
        with (self._folder / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps([number, key, digest]) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        self._written[number] = (key, digest)

    def read(self, number: int) -> Shard:
        """A shard that `has` said is there."""
        with pa.OSFile(str(self.path(number))) as file:
            table = pa.ipc.open_file(file).read_all()
        logits = table.column("logits").combine_chunks()
        values = logits.flatten().to_numpy(zero_copy_only=False).reshape(-1, self._classes)
        return Shard({field.name: table.column(field.name).to_pylist() for field in FACTS}, values)

    def keep_only(self, count: int) -> None:
        """Remove shards beyond the first `count`, of an input that was larger."""
        for path in (self._folder / FOLDER).glob("*.arrow"):
            if int(path.stem) >= count:
                path.unlink()
                self._written.pop(int(path.stem), None)

    def clear(self) -> None:
        """Remove all shards: they are another model's, or made in another way."""
        shutil.rmtree(self._folder / FOLDER, ignore_errors=True)
        (self._folder / JOURNAL).unlink(missing_ok=True)
        (self._folder / FOLDER).mkdir(parents=True, exist_ok=True)
        self._written = {}


@contextlib.contextmanager
def mapped_array(path: Path, shape: tuple[int, int]) -> Iterator[npt.NDArray[np.float64]]:
    """A float64 array in a file that goes with the block: its pages are the system's, not this process's."""
    if not shape[0] * shape[1]:
        yield np.empty(shape)
        return
    try:
        with path.open("wb") as file:
            file.truncate(shape[0] * shape[1] * 8)
        yield np.memmap(path, dtype=np.float64, mode="r+", shape=shape)
    finally:
        path.unlink(missing_ok=True)
