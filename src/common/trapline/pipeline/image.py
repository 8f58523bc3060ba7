"""The image of a pipeline in an account: the digest in its definition, and the tag that this stands for.

An execution may be started by a schedule or in the console, so the definition itself names the image by its
digest. A `start` looks again for what the tag stands for: what was pushed since the upsert is what runs then.
The pipeline's description keeps the tag, as AWS keeps nothing else that a person may read.
"""

import re
from collections.abc import Mapping
from typing import Any

from trapline.launching.aws.errors import explained
from trapline.launching.aws.image import require_image
from trapline.pipeline.parameters import Value

DESCRIPTION = "From raw images to a submission, in two phases"
IMAGE = "ImageUri"  # the pipeline's parameter
NAMED = re.compile(r"; image: (\S+)\Z")


def description(image: str | None) -> str:
    """The description of a pipeline whose image was given as `image`."""
    return f"{DESCRIPTION}; image: {image}" if image else DESCRIPTION


def by_digest(session: Any, image: str, hint: str) -> str:
    """The address of `image` by its digest, and a line about it where it had a tag.

    Raises TraplineError where the account's registry lacks it, or cannot be asked; `hint` is then added.
    """
    with explained(f"looking for the image {image}", hint):
        found = require_image(session, image)
    if found != image:
        print(f"image: {image} is {found.rpartition('@')[2]}", flush=True)
    return found


def with_image(
    session: Any,
    described: Mapping[str, Any],
    values: Mapping[str, Value],
    stored: str,
    hint: str,
    *,
    scheduled: bool,
) -> dict[str, Value]:
    """The values of a start, the image by its digest among them where it is not the one that is stored.

    `described`: the pipeline in the account. `stored`: the image by default, which stays where the values
    name none and the start is `scheduled`, or the registry may not be asked. Raises as `by_digest` does.
    """
    given = values.get(IMAGE)
    named = None if scheduled else NAMED.search(described.get("PipelineDescription") or "")
    asked = str(given or (named[1] if named else stored))
    found = by_digest(session, asked, hint)
    stays = given is None and (scheduled or found in (asked, stored))
    return dict(values) if stays else {**values, IMAGE: found}
