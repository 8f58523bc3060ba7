"""One pass over many images: decoded on all cores, answered by the model, kept in shards as it goes.

Micro-batches follow from an image's place in the listing alone, so that a pass that was killed and goes on
ends with the same numbers as one that was not.
"""

import contextlib
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.console import progress
from trapline.images.budget import PREPARATION
from trapline.images.canonical import problem_of
from trapline.inference.answers import NOT_FINITE_DETAIL
from trapline.inference.content import NOT_FINITE
from trapline.inference.predictor import Predictor
from trapline.machine import shows_bars
from trapline.predicting.shards import FACTS, ImageFacts, Shard, Shards
from trapline.preparation.packed_file import Decoded, Unusable, decode_file, unusable
from trapline.scoring.predictions import finite_rows
from trapline.storage import file_digest, json_digest
from trapline.workers import Limits, Lost, mapped

SHARD = 256  # images


@dataclass(frozen=True)
class Pass:
    """What a pass over a listing has to do: the key of each shard, and the numbers of those to be made."""

    keys: Sequence[str]
    missing: Sequence[int]

    @property
    def shards(self) -> int:
        """How many shards the listing has."""
        return len(self.keys)


def planned(rows: pd.DataFrame, identity: str, shards: Shards, copies: bool) -> Pass:
    """What is to be done for `rows` (file, path, reason) by the model and settings that `identity` names.

    A file counts as the same while size and time of change are; `copies`: what is unpacked or fetched anew
    each time while its bytes are.
    """
    states = [
        [file, reason or _state(path, copies)]
        for file, path, reason in zip(rows["file"], rows["path"], rows["reason"], strict=True)
    ]
    keys = [json_digest([identity, states[start : start + SHARD]]) for start in range(0, len(states), SHARD)]
    return Pass(keys, [number for number, key in enumerate(keys) if not shards.has(number, key)])


def _state(path: str, is_copy: bool) -> str:
    try:
        status = Path(path).stat()
        if is_copy and stat.S_ISREG(status.st_mode):
            return file_digest(Path(path))
    except (OSError, ValueError):
        return "none"
    return f"{status.st_size} {status.st_mtime_ns}"


def run_pass(rows: pd.DataFrame, todo: Pass, predictor: Predictor, shards: Shards, processes: int) -> None:
    """Predict what is missing, shard after shard, each kept when it is whole.

    Raises TraplineError where no process for decoding can start.
    """
    chosen = [rows.iloc[number * SHARD : (number + 1) * SHARD] for number in todo.missing]
    paths = [
        path
        for shard in chosen
        for path, reason in zip(shard["path"], shard["reason"], strict=True)
        if reason is None
    ]
    items = [(path, predictor.pixels) for path in paths]
    limits = Limits(PREPARATION.max_seconds, PREPARATION.max_memory)
    with contextlib.closing(mapped(decode_file, items, processes, limits)) as results:
        left = _TimeLeft(len(items))
        decoded = progress(results, "predicting", len(items), status=left)
        for number, shard in zip(todo.missing, chosen, strict=True):
            shards.write(number, todo.keys[number], _predicted(shard, decoded, predictor, left))


class _TimeLeft:
    """How long what is left takes, in words; a bar shows it by itself."""

    def __init__(self, total: int) -> None:
        self._total, self._begun, self.done = total, time.monotonic(), 0

    def __call__(self) -> str:
        if not self.done or shows_bars():
            return ""
        seconds = (time.monotonic() - self._begun) / self.done * (self._total - self.done)
        return f"{round(seconds / 60)} min left" if seconds >= 120 else f"{seconds:.0f} s left"


def _predicted(
    shard: pd.DataFrame,
    decoded: Iterator[Decoded | Unusable | Lost],
    predictor: Predictor,
    left: _TimeLeft,
) -> Shard:
    """One shard: its images are taken from `decoded` as the model asks for them."""
    facts = [
        ImageFacts(reason, detail or "")
        for reason, detail in zip(shard["reason"], shard["detail"], strict=True)
    ]
    has_pixels: list[int] = []

    def squares() -> Iterator[np.ndarray]:
        """Of the images that have pixels, in their order; the others get their reason on the way."""
        for place, known in enumerate(facts):
            if known.reason is not None:
                continue
            image = next(decoded)
            left.done += 1
            if isinstance(image, Lost):
                image = unusable(problem_of(image, PREPARATION))
            if isinstance(image, Unusable):
                facts[place] = ImageFacts(image.reason, image.detail)
                continue
            facts[place] = ImageFacts(
                None, None, image.width, image.height, image.likeness, image.time, image.camera
            )
            has_pixels.append(place)
            yield predictor.squares(image.pixels)

    found = predictor.logits_of_squares(squares())
    logits = np.full((len(shard), len(predictor.classes)), np.nan, dtype=np.float32)
    is_finite = finite_rows(found)
    logits[np.array(has_pixels, dtype=np.int64)[is_finite]] = found[is_finite]
    for place in np.array(has_pixels, dtype=np.int64)[~is_finite].tolist():
        facts[place] = ImageFacts(NOT_FINITE, NOT_FINITE_DETAIL)
    return Shard(_columns(facts), logits)


def _columns(facts: Sequence[ImageFacts]) -> Mapping[str, Sequence[object]]:
    return {field.name: [getattr(image, field.name) for image in facts] for field in FACTS}


def read_all(shards: Shards, count: int) -> tuple[pd.DataFrame, Iterator[npt.NDArray[np.float32]]]:
    """What decoding said of all images, and their logits, shard after shard."""
    columns: dict[str, list[object]] = {field.name: [] for field in FACTS}
    for number in range(count):
        for name, values in shards.read(number).facts.items():
            columns[name] += values
    facts = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    return facts.astype({"likeness": np.uint64, "width": np.int64, "height": np.int64}), (
        shards.read(number).logits for number in range(count)
    )
