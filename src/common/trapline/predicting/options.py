"""What predict.py can be told beside a model and images."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trapline.format_options import FormatOptions
from trapline.job_options import FILE, FOLDER
from trapline.option_values import (
    LAYOUTS,
    Column,
    Duration,
    Inputs,
    Levels,
    Pattern,
    Place,
    Views,
    named_twice,
)
from trapline.options import option
from trapline.s3 import is_s3


def _here(place: str) -> str:
    """A folder on this machine. Raises ValueError for an address in S3: it could not be gone on with."""
    if is_s3(place):
        raise ValueError("must be a folder here, so that a run that was ended can go on; copy it afterwards")
    return place


Here = Annotated[str, Field(min_length=1), AfterValidator(_here)]


class PredictOptions(FormatOptions):
    """Which model answers for which images, how, and what is written."""

    model: Place = option(..., "a run, a folder, a model.tar.gz, an s3:// URI or a registered model")
    input: Inputs = option(
        ...,
        "images, folders, archives, tables or JSON that name images, s3:// URIs",
        metavar="FILE|DIR|s3://...",
        place="own",
    )
    output: Here = option(..., "gets the files; the same command goes on there", metavar="DIR")
    views: Views | None = option(
        None, "test-time views (default: the model's)", metavar="none|flip|enhanced|shifts|VIEW,..."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = option(
        "auto", "int8: linear layers, on a CPU"
    )
    threshold: float | None = option(
        None,
        "lowest probability with which an image has a label; below, it is unclassified (default: none, "
        "and the model's own for several labels an image)",
        metavar="P", ge=0, le=1,
    )  # fmt: skip
    review_below: float = option(0.6, "confidence below which a person should look", metavar="P", ge=0, le=1)
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
        None, "what the folders above an image are, as in site/* (default: the camera's folder)",
        metavar="LEVEL/...",
    )  # fmt: skip
    site_csv: str | None = option(
        None, "CSV with filepath or id, site, perhaps sequence (default: none)", metavar=FILE, place="own"
    )
    site_regex: Pattern | None = option(
        None, "finds (?P<site>...) in the path, perhaps (?P<sequence>...) (default: none)", metavar="REGEX"
    )
    same_sites: bool = option(
        False, "equal names of sites in several inputs are one site", metavar="true|false"
    )
    follow_links: bool = option(
        False, "read links that lead out of the input folder, too", metavar="true|false"
    )
    sequence_gap: Duration = option(
        60.0,
        "images of a site with at most this time between them are a sequence (default: 60s)",
        metavar="TIME|none", allow_inf_nan=False,
    )  # fmt: skip
    sort: Here | None = option(
        None, "folder that gets the images by class, people apart (default: none)", metavar="DIR"
    )
    sort_by: Literal["copy", "link"] = option("copy", "how they get there; they are never moved")
    processes: int | None = option(None, "that decode (default: all cores)", digest=False, ge=1, le=256)

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """Columns that are named twice, one folder for both results, no gap between events."""
        twice = [name for name in named_twice(self.columns) if name != "label"]
        return (
            (twice, f"{{columns}}: names {' and '.join(twice)} twice; name each once"),
            *super().conflicts(),
            (
                self.sort is not None and Path(self.sort).resolve() == Path(self.output).resolve(),
                "{sort}: must be another folder than {output}",
            ),
            *self._inside_an_input(),
        )

    def _inside_an_input(self) -> Iterator[tuple[object, str]]:
        """Results among the images, which the next reading would take for some of them."""
        folders = [Path(given).resolve() for given in self.input if Path(given).is_dir()]
        for name in ("output", "sort"):
            place = getattr(self, name)
            inside = place is not None and any(
                Path(place).resolve().is_relative_to(folder) for folder in folders
            )
            yield (
                inside,
                f"{{{name}}} {place}: lies in the input, whose images it would be taken for; "
                "choose a folder beside it",
            )

    def listing_fields(self) -> dict[str, object]:
        """What `PrepareOptions` has of these, for reading the input."""
        names = (
            "input", "output", "media", "layout", "columns", "folders", "site_csv", "site_regex",
            "same_sites", "follow_links", "sequence_gap", "processes",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}
