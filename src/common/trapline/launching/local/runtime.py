"""What jobs on this machine run in: processes, or containers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trapline.launching.job_requests import Image

if TYPE_CHECKING:
    from trapline.launching.local.docker_engine import Engine

INSTANCE = "local"  # what local mode calls this machine
IMAGE = Image(uri="processes", framework_version="", py_version="")  # there is none; local mode wants a name
ROLE = "role/processes"  # a name without a slash would be looked up in the account


@dataclass(frozen=True)
class Runtime:
    """What jobs run in: processes, or containers where there is an engine."""

    image: Image
    instance: str = INSTANCE  # what local mode calls the machine
    engine: "Engine | None" = None
    mounts: tuple[tuple[str, str], ...] = ()  # as in `trapline.launching.sdk.internals.LocalJob`

    @property
    def key(self) -> list[str]:
        """What makes results differ beside code, data and options: the image's content."""
        return [self.engine.image_id] if self.engine else []


PROCESSES = Runtime(IMAGE)
