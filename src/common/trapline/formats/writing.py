"""The formats that a command asks for, checked before and written after predicting."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from trapline.errors import UsageError
from trapline.format_options import FormatOptions
from trapline.formats.effort import write_counts, write_effort
from trapline.formats.events import write_events
from trapline.formats.predictions import Predictions
from trapline.formats.registry import WRITERS
from trapline.formats.settings import FormatSettings
from trapline.formats.taxonomy import read_taxonomy
from trapline.learning import Task
from trapline.names import Kind, keys

# Everything that may be written into a folder, so that nothing of an earlier run passes for a later one's.
WRITTEN = (
    "predictions.csv", "predictions.parquet", "megadetector.json", "timelapse.csv", "timelapse_columns.csv",
    "coco.json", "camtrap-dp", "camtrap-dp-without-time.csv", "events.csv", "effort.csv", "counts.csv",
)  # fmt: skip
UNFINISHED = re.compile(r"\.(.+)\.\d+\.(tmp|old)")  # what is written beside its place, until it is whole


def format_settings(options: FormatOptions, classes: Sequence[str], task: Task) -> FormatSettings:
    """What the formats are told, for a model of these classes.

    Raises UsageError for a class to drop that the model has not, for a file that is not there, and for what a
    format lacks or cannot hold; TraplineError for a table that cannot be read.
    """
    settings = FormatSettings(
        taxonomy=read_taxonomy(Path(options.taxonomy), classes) if options.taxonomy else {},
        deployments=_file(options.deployments, "deployments"),
        project=_file(options.project, "project"),
        timezone=options.timezone,
        drop_classes=_dropped(options.drop_classes, classes),
    )
    for name in options.formats:
        WRITERS[name].check(classes, task, settings)
    return settings


def _file(given: str | None, name: str) -> Path | None:
    if given is not None and not Path(given).is_file():
        raise UsageError(f"--{name} {given}: no such file")
    return None if given is None else Path(given)


def _dropped(given: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that are named, as the model spells them."""
    own = dict(zip(keys(classes, Kind.CLASS), classes, strict=True))
    asked = dict(zip(given, keys(given, Kind.CLASS), strict=True))
    if unknown := [name for name, key in asked.items() if key not in own]:
        raise UsageError(
            f"--drop-classes {unknown[0]}: the model has no such class; it has {', '.join(classes[:20])}"
        )
    return tuple(own[key] for key in asked.values())


def remove_unfinished(folder: Path) -> None:
    """Remove what a run that was killed left half written; nobody else may write into `folder` meanwhile."""
    for path in folder.glob(".*"):
        found = UNFINISHED.fullmatch(path.name)
        if found and found[1] in WRITTEN:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_answers(
    predictions: Predictions, folder: Path, options: FormatOptions, settings: FormatSettings
) -> list[Path]:
    """Write every format into `folder`, and the tables of events, effort and counts; returns the files."""
    written: list[Path] = []
    for name in dict.fromkeys(options.formats):
        written += WRITERS[name].write(predictions, folder, settings)
    assert options.event_gap is not None  # FormatOptions refuses it
    written.append(write_events(predictions, folder, options.event_gap, settings.taxonomy))
    return [*written, write_effort(predictions, folder), write_counts(predictions, folder)]
