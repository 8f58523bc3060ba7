"""How the server runs: SageMaker's variables, and the project's own, which begin with TRAPLINE_."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from trapline.errors import UsageError
from trapline.images.budget import CHEAP, PREPARATION, DecodeBudget
from trapline.images.canonical import PILLOW_MAX_PIXELS
from trapline.inference.body import Pace
from trapline.inference.content import MAX_IMAGES
from trapline.inference.predictor import ServingPrecision
from trapline.processes import available_cores

MAX_PAYLOAD_MB = 100  # the platform's own limit; its 0 means no limit, and stands for this one
LIVE = DecodeBudget(max_pixels=50_000_000, max_seconds=5.0)
LIVE_SECONDS = 30.0  # for all images of a request; the platform gives up a request after 60
PIXELS_IN_FLIGHT = 100_000_000  # beside those of images that are quickly decoded
MIN_SECONDS = 0.01


@dataclass(frozen=True)
class ServingSettings:
    """The settings of a server.

    port: 0 takes a free one. batch: whether a batch transform job is served: bad images get answers, and a
    full queue waits. max_payload_mb: MiB of a request's body.
    max_batch, max_delay: images that go through the model together, and seconds that the first of them waits
    for more. queue: requests that are read, waiting or being answered; more get 503, or wait in batch.
    max_images: in one request. decode_threads: images that are decoded at a time, and as many again of those
    that may take long.
    queue_mb: MiB of bodies that are being read, waiting or being decoded; more get 503, or wait in batch.
    budget: of decoding one image. max_pixels_in_flight: of all images that are being decoded.
    request_seconds: from a whole body to its last image; images that are not decoded by then are too_costly.
    max_connections: beyond them the one that has been idle for longest is closed.
    """

    port: int = 8080
    batch: bool = False
    max_payload_mb: int = 6
    max_batch: int = 32
    max_delay: float = 0.005
    queue: int = 128
    max_images: int = MAX_IMAGES
    decode_threads: int = 2
    precision: ServingPrecision = "auto"
    queue_mb: int = 256
    budget: DecodeBudget = LIVE
    max_pixels_in_flight: int = PIXELS_IN_FLIGHT
    request_seconds: float = LIVE_SECONDS
    max_connections: int = 1000

    @property
    def pace(self) -> Pace:
        """How long bodies may take; in batch there is one sender, who is not hurried while he works."""
        return Pace(min_rate=0) if self.batch else Pace()

    @property
    def max_payload(self) -> int:
        """Bytes of a request's body."""
        return self.max_payload_mb * 2**20

    @property
    def concurrent_transforms(self) -> int:
        """Requests that batch transform should send at a time: a full batch, within the platform's limit."""
        return max(1, min(self.max_batch, MAX_PAYLOAD_MB // self.max_payload_mb))


def settings_from(environment: Mapping[str, str], port: int | None = None) -> ServingSettings:
    """The settings that the variables give; `port` wins. Raises UsageError naming a variable and its value.

    SAGEMAKER_BIND_TO_PORT, SAGEMAKER_BATCH, SAGEMAKER_MAX_PAYLOAD_IN_MB; TRAPLINE_MAX_BATCH,
    TRAPLINE_MAX_DELAY_MS, TRAPLINE_QUEUE, TRAPLINE_MAX_IMAGES, TRAPLINE_DECODE_THREADS, TRAPLINE_PRECISION,
    TRAPLINE_QUEUE_MB, TRAPLINE_MAX_CONNECTIONS, and those of `_decoding`.
    """

    def number(name: str, default: float, low: float, high: float, kind: Callable[[str], Any] = int) -> Any:
        return _number(environment, name, default, low, high, kind)

    precision = environment.get("TRAPLINE_PRECISION", "auto")
    if precision not in get_args(ServingPrecision):
        raise UsageError(
            f"TRAPLINE_PRECISION={precision}: must be one of {', '.join(get_args(ServingPrecision))}"
        )
    payload = number("SAGEMAKER_MAX_PAYLOAD_IN_MB", 6, 0, MAX_PAYLOAD_MB) or MAX_PAYLOAD_MB
    batch = _flag(environment, "SAGEMAKER_BATCH")
    threads = number("TRAPLINE_DECODE_THREADS", available_cores(), 1, 256)
    return ServingSettings(
        port=number("SAGEMAKER_BIND_TO_PORT", 8080, 0, 65_535) if port is None else port,
        batch=batch,
        max_payload_mb=payload,
        max_batch=number("TRAPLINE_MAX_BATCH", 32, 1, 4096),
        max_delay=number("TRAPLINE_MAX_DELAY_MS", 5, 0, 10_000, float) / 1000,
        queue=number("TRAPLINE_QUEUE", 128, 1, 65_536),
        max_images=number("TRAPLINE_MAX_IMAGES", MAX_IMAGES, 1, 65_536),
        decode_threads=threads,
        precision=cast(ServingPrecision, precision),
        queue_mb=number("TRAPLINE_QUEUE_MB", 256, payload, 2**20),
        max_connections=number("TRAPLINE_MAX_CONNECTIONS", 1000, 2, 65_536),
        **_decoding(number, batch, threads),
    )


def _decoding(number: Callable[..., Any], batch: bool, threads: int) -> dict[str, Any]:
    """What decoding may cost: TRAPLINE_MAX_PIXELS, TRAPLINE_MAX_SECONDS, TRAPLINE_MAX_PIXELS_IN_FLIGHT and
    TRAPLINE_MAX_REQUEST_SECONDS; what a batch transform job does not say is as in preparation."""
    usual = PREPARATION if batch else LIVE
    max_pixels = number("TRAPLINE_MAX_PIXELS", usual.max_pixels, 1, PILLOW_MAX_PIXELS)
    seconds = number("TRAPLINE_MAX_SECONDS", usual.max_seconds, MIN_SECONDS, 3600, float)
    in_flight = max(max_pixels, PIXELS_IN_FLIGHT) + threads * CHEAP
    in_flight = number("TRAPLINE_MAX_PIXELS_IN_FLIGHT", in_flight, 1, 10**12)
    a_request = number(
        "TRAPLINE_MAX_REQUEST_SECONDS", math.inf if batch else LIVE_SECONDS, MIN_SECONDS, math.inf, float
    )
    return {
        "budget": dataclasses.replace(usual, max_pixels=min(max_pixels, in_flight), max_seconds=seconds),
        "max_pixels_in_flight": in_flight,
        "request_seconds": a_request,
    }


def is_batch(environment: Mapping[str, str]) -> bool:
    """Whether a batch transform job is served, as SAGEMAKER_BATCH says."""
    return _flag(environment, "SAGEMAKER_BATCH")


def _number(
    environment: Mapping[str, str],
    name: str,
    default: float,
    low: float,
    high: float,
    kind: Callable[[str], Any],
) -> Any:
    text = environment.get(name, "")
    if not text:
        return kind(str(default))
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:  # NaN is not within any bounds
        raise UsageError(f"{name}={text}: must be a number from {low} to {high}")
    return value


def _flag(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise UsageError(f"{name}={text}: must be true or false")
    return text in ("true", "1")
