"""What formats ask of a person beside the predictions, and what each format is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trapline.formats.predictions import Predictions
from trapline.formats.taxonomy import Taxon
from trapline.learning import Task


@dataclass(frozen=True)
class FormatSettings:
    """What only people know. taxonomy: what classes are, by class. deployments, project: files, as
    `formats.camtrap_dp` describes them. timezone: of times without offset, such as Europe/Oslo or +01:00.

    drop_classes: classes whose images are in no picture and no copy that is written.
    """

    taxonomy: Mapping[str, Taxon] = field(default_factory=dict)
    deployments: Path | None = None
    project: Path | None = None
    timezone: str | None = None
    drop_classes: Sequence[str] = ()


def nothing_to_check(classes: Sequence[str], task: Task, settings: FormatSettings) -> None:
    """For a format that can hold whatever a model predicts."""


@dataclass(frozen=True)
class Format:
    """One format of answers.

    write: makes its files in a folder that is there, atomically, and returns them. check: raises UsageError
    before anything is predicted, where what it needs is missing or it cannot hold what such a model predicts.
    """

    name: str
    write: Callable[[Predictions, Path, FormatSettings], list[Path]]
    check: Callable[[Sequence[str], Task, FormatSettings], None] = nothing_to_check
