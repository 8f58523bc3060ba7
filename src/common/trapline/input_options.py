"""What can be said of raw images wherever they are read: options that several commands have."""

from collections.abc import Iterable
from typing import Literal

from trapline.format_options import FILE
from trapline.option_values import LAYOUTS, Column, Duration, Inputs, Levels, Pattern, Place, named_twice
from trapline.options import Options, option

FOLDER = "DIR|s3://..."


class InputOptions(Options):
    """Which images are read, how they lie, and how it is known where and when they were taken."""

    input: Inputs = option(
        ...,
        "images, folders, archives, tables or JSON that name images, s3:// URIs",
        metavar="FILE|DIR|s3://...",
        place="own",
    )
    output: Place = option(..., "gets the results", metavar=FOLDER, place="output")
    media: Place | None = option(
        None,
        "where the images lie that a table or JSON names (default: beside it)",
        metavar=FOLDER,
        place="own",
    )
    layout: Literal[LAYOUTS] | None = option(  # type: ignore[valid-type]
        None, "how the input lies (default: by what it holds)"
    )
    columns: tuple[Column, ...] = option(
        (),
        "what a table calls its columns, as in path=filename site=location (default: the usual names)",
        metavar="NAME=COLUMN",
    )
    folders: Levels | None = option(
        None,
        "what the folders above an image are, as in site/* (default: the camera's folder)",
        metavar="LEVEL/...",
    )
    same_sites: bool = option(
        False, "equal names of sites in several inputs are one site", metavar="true|false"
    )
    follow_links: bool = option(
        False, "read links that lead out of the input folder, too", metavar="true|false"
    )
    site_csv: str | None = option(
        None,
        "CSV with filepath or id, site, perhaps sequence (default: none)",
        metavar=FILE,
        place="own",
    )
    site_regex: Pattern | None = option(
        None,
        "finds (?P<site>...) in the path, perhaps (?P<sequence>...) (default: none)",
        metavar="REGEX",
    )
    sequence_gap: Duration = option(
        60.0,
        "images of a site with at most this time between them are a sequence, where none is given; none: "
        "make no sequences (default: 60s)",
        metavar="TIME|none",
        allow_inf_nan=False,
    )
    processes: int | None = option(None, "that decode (default: all cores)", digest=False, ge=1, le=256)

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """Columns that are named twice, two sources of sites."""
        return (
            (
                twice := [name for name in named_twice(self.columns) if name != "label"],
                f"{{columns}}: names {' and '.join(twice)} twice; only label may stand in several columns",
            ),
            (self.site_csv and self.site_regex, "{site_csv} and {site_regex}: give one of them"),
            *super().conflicts(),
        )

    def input_fields(self) -> dict[str, object]:
        """The values of these options by their names, for whoever reads the input."""
        return {name: getattr(self, name) for name in InputOptions.model_fields}
