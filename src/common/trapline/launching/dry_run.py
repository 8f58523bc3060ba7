"""--dry-run: the requests that a launch would send, printed."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trapline.launching.pricing.cost import Cost, say


def print_requests(
    requests: Sequence[Mapping[str, Any]], uploads: Mapping[str, int] | None = None, cost: Cost | None = None
) -> None:
    """Print as one JSON object what would be copied, the requests in their order, and what they may cost.

    `uploads`: the number of files in each folder of S3.
    """
    content: dict[str, Any] = {"uploads": outermost(uploads or {}), "requests": requests}
    if cost is not None:
        content["cost"] = cost.record()
    print(json.dumps(content, indent=2, default=str))
    if cost is not None:
        say(cost)


def outermost(folders: Mapping[str, int]) -> dict[str, int]:
    """The folders that lie in no other one, each with the number of files in it and below it."""
    found: dict[str, int] = {}
    for folder in sorted(folders):
        above = next((name for name in found if folder.startswith(name)), folder)
        found[above] = found.get(above, 0) + folders[folder]
    return found


@contextlib.contextmanager
def chatter_to_stderr() -> Iterator[None]:
    """Keep standard output for the JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
