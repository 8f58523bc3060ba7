"""What decoding one image may cost: limits on what its header announces, and on seconds and memory.

A file says how much work it is, and whoever made it may have wanted much: a WebP of 34 bytes announces
268 million pixels. What is over the budget is refused from the header, before a decoder starts; where a
header does not tell (`Work.bounded`), the decoder's process has a limit (`trapline.images.decoding`).
"""

from dataclasses import dataclass

from trapline.images.headers import Work, work_of
from trapline.images.problems import ImageProblem, Reason

CHEAP = 16_000_000  # pixels, times passes, that take about a tenth of a second
LONG = 10_000  # pixels of a side; a strip that is shorter costs nothing
OVERHEAD = 256 * 2**20  # bytes of a process that decodes nothing
BYTES_OF_A_PIXEL = 24  # at most, with the copies that transparency needs


@dataclass(frozen=True)
class DecodeBudget:
    """The limits; what is over one is `too_large` (pixels) or `too_costly` (all others).

    max_pixels: of the picture, and of what its decoder fills at a time. max_ratio: long over short side,
    where the long one has more than 10,000 pixels. max_scans: of a JPEG. max_parts: tiles or strips.
    max_seconds: of processor time, for all that makes pixels of one file.
    """

    max_pixels: int = 100_000_000
    max_ratio: int = 100
    max_scans: int = 100
    max_parts: int = 100_000
    max_seconds: float = 30.0

    @property
    def max_memory(self) -> int:
        """Bytes that a process which decodes one image at a time may take."""
        return OVERHEAD + BYTES_OF_A_PIXEL * self.max_pixels


PREPARATION = DecodeBudget()  # and batch transform: what was prepared is answered


def check_work(work: Work, budget: DecodeBudget) -> None:
    """Raise ImageProblem where the header announces more than the budget allows."""
    size = f"{work.width} x {work.height} pixels"
    if work.width * work.height > budget.max_pixels:
        raise ImageProblem(Reason.TOO_LARGE, f"{size} exceed max_pixels={budget.max_pixels}")
    if work.reserved > budget.max_pixels:
        detail = f"{size}, of which the decoder fills what {work.reserved} would take at a time"
        raise ImageProblem(Reason.TOO_COSTLY, f"{detail}; convert it to JPEG or PNG")
    long, short = max(work.width, work.height), min(work.width, work.height)
    if long > LONG and long > budget.max_ratio * short:
        detail = f"{size}: the long side is more than {budget.max_ratio} times the short one"
        raise ImageProblem(Reason.TOO_COSTLY, detail)
    for name, found, limit in [
        ("scans", work.passes, budget.max_scans),
        ("parts", work.parts, budget.max_parts),
    ]:
        if found > limit:
            raise ImageProblem(Reason.TOO_COSTLY, f"{found} {name}, of which at most {limit} are decoded")


def is_cheap(data: bytes) -> bool:
    """Whether decoding is a matter of a tenth of a second, as far as the header shows without a doubt."""
    return is_cheap_work(work_of(data))


def is_cheap_work(work: Work) -> bool:
    """The same of work that is known."""
    return work.bounded and work.pixels * work.passes <= CHEAP
