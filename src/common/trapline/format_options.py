"""What can be said of the formats that answers are written in: options that several commands have."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from trapline.option_values import FORMATS, Duration, Name
from trapline.options import Options, option

FILE = "FILE|s3://..."
Formats = Annotated[tuple[Literal[FORMATS], ...], Field(min_length=1)]  # type: ignore[valid-type]


class FormatOptions(Options):
    """Which formats are written, and what only people know of the images."""

    formats: Formats = option(("csv",), "what is written (default: csv)")
    event_gap: Duration = option(
        1800.0,
        "images of one class at a site with more time between them are independent events (default: 30min)",
        metavar="TIME",
        allow_inf_nan=False,
    )
    taxonomy: str | None = option(
        None,
        "CSV with label, scientificName and rank of each class (default: none)",
        metavar=FILE,
        place="input",
    )
    deployments: str | None = option(
        None,
        "field sheet for camtrap-dp: where and when cameras stood (default: none)",
        metavar=FILE,
        place="input",
    )
    project: str | None = option(
        None,
        "JSON for camtrap-dp: contributors, licences and the like (default: none)",
        metavar=FILE,
        place="input",
    )
    timezone: Name | None = option(
        None, "of times that say none, as Europe/Oslo or +01:00 (default: none)", metavar="ZONE"
    )
    drop_classes: tuple[Name, ...] = option(
        (), "classes, as person vehicle, of which no picture is written or copied", metavar="CLASS"
    )

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """Events without a time between them."""
        return ((self.event_gap is None, "{event_gap} none: events need a time between them, as in 30min"),)
