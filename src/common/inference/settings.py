"""How the server runs: SageMaker's variables, and the project's own, which begin with TRAPLINE_."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from common.errors import UsageError
from common.inference.content import MOST_IMAGES
from common.inference.predictor import Precision
from common.processes import available_cores

LARGEST_PAYLOAD_MB = 100  # the platform's own limit; its 0 means no limit, and stands for this one


@dataclass(frozen=True)
class ServingSettings:
    """The settings of a server.

    port: 0 takes a free one. batch: whether a batch transform job is served: bad images get answers, and a
    full queue waits. max_payload_mb: MiB of a request's body.
    max_batch, max_delay: images that go through the model together, and seconds that the first of them waits
    for more. queue: requests that are read, waiting or being answered; more get 503, or wait in batch.
    max_images: in one request. decode_threads: images that are decoded at a time.
    """

    port: int = 8080
    batch: bool = False
    max_payload_mb: int = 6
    max_batch: int = 32
    max_delay: float = 0.005
    queue: int = 128
    max_images: int = MOST_IMAGES
    decode_threads: int = 2
    precision: Precision = "auto"

    @property
    def max_payload(self) -> int:
        """Bytes of a request's body."""
        return self.max_payload_mb * 2**20

    @property
    def concurrent_transforms(self) -> int:
        """Requests that batch transform should send at a time: a full batch, within the platform's limit."""
        return max(1, min(self.max_batch, LARGEST_PAYLOAD_MB // self.max_payload_mb))


def settings_from(environment: Mapping[str, str], port: int | None = None) -> ServingSettings:
    """The settings that the variables give; `port` wins. Raises UsageError naming a variable and its value.

    SAGEMAKER_BIND_TO_PORT, SAGEMAKER_BATCH, SAGEMAKER_MAX_PAYLOAD_IN_MB; TRAPLINE_MAX_BATCH,
    TRAPLINE_MAX_DELAY_MS, TRAPLINE_QUEUE, TRAPLINE_MAX_IMAGES, TRAPLINE_DECODE_THREADS, TRAPLINE_PRECISION.
    """

    def number(name: str, default: float, low: float, high: float, kind: Callable[[str], Any] = int) -> Any:
        return _number(environment, name, default, low, high, kind)

    if port is not None and not 0 <= port <= 65_535:
        raise UsageError(f"--port {port}: must be a number from 0 to 65535")
    precision = environment.get("TRAPLINE_PRECISION", "auto")
    if precision not in get_args(Precision):
        raise UsageError(f"TRAPLINE_PRECISION={precision}: must be one of {', '.join(get_args(Precision))}")
    payload = number("SAGEMAKER_MAX_PAYLOAD_IN_MB", 6, 0, LARGEST_PAYLOAD_MB)
    return ServingSettings(
        port=number("SAGEMAKER_BIND_TO_PORT", 8080, 0, 65_535) if port is None else port,
        batch=_flag(environment, "SAGEMAKER_BATCH"),
        max_payload_mb=payload or LARGEST_PAYLOAD_MB,
        max_batch=number("TRAPLINE_MAX_BATCH", 32, 1, 4096),
        max_delay=number("TRAPLINE_MAX_DELAY_MS", 5, 0, 10_000, float) / 1000,
        queue=number("TRAPLINE_QUEUE", 128, 1, 65_536),
        max_images=number("TRAPLINE_MAX_IMAGES", MOST_IMAGES, 1, 65_536),
        decode_threads=number("TRAPLINE_DECODE_THREADS", available_cores(), 1, 256),
        precision=cast(Precision, precision),
    )


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
