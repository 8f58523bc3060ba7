"""Decoding every input once, on all cores, into packed JPEG or, without loss, PNG.

Streaming: only a bounded number of images is in flight, whatever the number of inputs. An input that cannot
be used is a result like any other; one on which a decoder crashes takes its process along, and is tried again
in a process of its own, so that it alone is lost.
"""

import hashlib
import multiprocessing
import os
import signal
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeAlias

from common.data.canonical import ImageProblem, PixelSettings, canonicalise, encode_jpeg, encode_png
from common.data.quarantine import DECODER_CRASHED, MISSING, UNREADABLE
from common.errors import TraplineError
from common.processes import available_cores, prepare_worker

CHUNK = 16  # images that travel to a process together
CHUNKS_AHEAD = 3  # chunks in flight for each process: what bounds the memory
MOST_BYTES = 512 * 2**20  # a larger file is no photograph


@dataclass(frozen=True)
class Packed:
    """One usable image: packed JPEG or PNG bytes, size of the original in pixels, SHA-256 of its bytes."""

    image: bytes
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Unusable:
    """One input without pixels: a reason code of `common.data.quarantine` and a line for a person."""

    reason: str
    detail: str


Result: TypeAlias = Packed | Unusable
Quality: TypeAlias = int | None  # of JPEG; None: PNG, without loss
PackOne: TypeAlias = Callable[[str, PixelSettings, Quality], Result]


def pack_file(path: str, settings: PixelSettings, quality: Quality) -> Result:
    """Read, decode and pack one file."""
    try:
        data = read_file(path)
        image = canonicalise(data, settings)
    except ImageProblem as problem:
        return Unusable(str(problem.reason), problem.detail)
    except FileNotFoundError:
        return Unusable(MISSING, "no such file")
    except (OSError, ValueError) as error:
        return Unusable(UNREADABLE, getattr(error, "strerror", None) or str(error))
    packed = encode_png(image.pixels) if quality is None else encode_jpeg(image.pixels, quality)
    return Packed(packed, image.width, image.height, hashlib.sha256(data).hexdigest())


def read_file(path: str) -> bytes:
    """The bytes of a regular file of a photograph's size; OSError otherwise (a pipe would block for ever)."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > MOST_BYTES:
            raise OSError(f"{status.st_size} bytes are more than a photograph has")
        return file.read(MOST_BYTES + 1)


def pack_files(
    paths: Sequence[str],
    settings: PixelSettings,
    quality: Quality,
    processes: int | None = None,
    pack_one: PackOne = pack_file,
) -> Iterator[Result]:
    """Pack `paths` on `processes` processes (None: all cores) and yield a result for each, in their order."""
    chunks = [list(paths[start : start + CHUNK]) for start in range(0, len(paths), CHUNK)]
    workers = max(1, min(processes or available_cores(), len(chunks)))
    waiting = deque(chunks)
    while waiting:  # once, and once more after each crash
        yield from _until_crash(waiting, settings, quality, workers, pack_one)
        if waiting:
            yield from _one_by_one(waiting.popleft(), settings, quality, pack_one)


def _until_crash(
    waiting: deque[list[str]], settings: PixelSettings, quality: Quality, workers: int, pack_one: PackOne
) -> Iterator[Result]:
    """Yield the results of chunks from the left of `waiting`; leave those whose results were lost."""
    flying: deque[tuple[list[str], Future[list[Result]]]] = deque()
    with _pool(workers) as pool:
        try:
            while waiting or flying:
                while waiting and len(flying) < workers * CHUNKS_AHEAD:
                    future = pool.submit(_pack_chunk, waiting[0], settings, quality, pack_one)
                    flying.append((waiting.popleft(), future))
                results = flying[0][1].result()
                flying.popleft()
                yield from results
        except BrokenProcessPool:
            waiting.extendleft(chunk for chunk, _ in reversed(flying))


def _one_by_one(
    paths: list[str], settings: PixelSettings, quality: Quality, pack_one: PackOne
) -> Iterator[Result]:
    """Yield the results of a chunk in which a process died, one image at a time in a process apart."""
    waiting = deque(paths)
    while waiting:
        with _pool(1) as pool:
            _check_start(pool)
            try:
                while waiting:
                    yield pool.submit(pack_one, waiting[0], settings, quality).result()
                    waiting.popleft()
            except BrokenProcessPool:
                waiting.popleft()
                yield Unusable(DECODER_CRASHED, "the decoder's process died on it")


def _check_start(pool: ProcessPoolExecutor) -> None:
    """Tell a machine on which no process can start from an image on which one dies."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise TraplineError(
            "worker processes die at their start: too little memory, or a broken set-up"
        ) from None


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    prepare_worker()


def _pack_chunk(
    paths: list[str], settings: PixelSettings, quality: Quality, pack_one: PackOne
) -> list[Result]:
    return [pack_one(path, settings, quality) for path in paths]
