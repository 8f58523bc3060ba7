"""What predict.py can be told beside a model and images."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trapline.format_options import FormatOptions
from trapline.input_options import InputOptions
from trapline.option_values import (
    Place,
    Views,
)
from trapline.options import option
from trapline.s3 import is_s3


def _here(place: str) -> str:
    """A folder on this machine. Raises ValueError for an address in S3: it could not be gone on with."""
    if is_s3(place):
        raise ValueError("must be a folder here, so that a run that was ended can go on; copy it afterwards")
    return place


Here = Annotated[str, Field(min_length=1), AfterValidator(_here)]


class PredictOptions(InputOptions, FormatOptions):
    """Which model answers for which images, how, and what is written."""

    model: Place = option(..., "a run, a folder, a model.tar.gz, an s3:// URI or a registered model")
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
    sort: Here | None = option(
        None, "folder that gets the images by class, people apart (default: none)", metavar="DIR"
    )
    sort_by: Literal["copy", "link"] = option("copy", "how they get there; they are never moved")

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """One folder for both results, or one of them among the images."""
        return (
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
