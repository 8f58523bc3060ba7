"""Camtrap DP 1.0.2, the exchange format of camera-trap data, with the answers of a model as observations.

DIR/camtrap-dp has datapackage.json, deployments.csv, media.csv and observations.csv; images without a time,
which the standard does not take, are left out and listed beside it. Ids, paths and file names are written as
they are, for other tables and programs find rows and files by them; all other texts as spreadsheets take
them. Files are never public: people may be in any of them.

An image has an observation for each of its labels, at the level of media. One that has none, for it failed or
no class reached its threshold, is unclassified.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trapline.console import note
from trapline.errors import TraplineError, UsageError
from trapline.formats.camtrap_fields import DEPLOYMENTS, MEDIA, OBSERVATIONS, is_usable_id
from trapline.formats.camtrap_media import NOT_A_MEDIUM, Media, digest_of, find_media, media_path
from trapline.formats.camtrap_project import descriptor, read_project
from trapline.formats.camtrap_times import read_zone, written_moment
from trapline.formats.deployments import Deployment, read_deployments
from trapline.formats.predictions import FAILED, Predictions
from trapline.formats.settings import Format, FormatSettings
from trapline.formats.taxonomy import Taxon, taxon_of
from trapline.learning import Task
from trapline.names import shown
from trapline.preparation.system_files import is_system_name
from trapline.storage import write_json, write_table

NAME = "camtrap-dp"
WITHOUT_TIME = "camtrap-dp-without-time.csv"
PACKAGE = "datapackage.json"
TABLES = ("deployments.csv", "media.csv", "observations.csv")
EXACT = ("observationID", "deploymentID", "mediaID", "eventID", "locationID", "filePath", "fileName")
UNCLASSIFIED = "unclassified"
NAMED_TYPES = ("animal", "human")  # observations of which have a scientific name
DECIMALS = 6  # of a probability
SHORT_DIGEST = 12  # digits that name a model
Probabilities: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Event:
    """A sequence at one deployment, with its first and last time, or an image that is in none."""

    id: str
    start: str
    end: str


@dataclass(frozen=True)
class _Package:
    """All that the tables are written from. seen: the classes that were written of it."""

    predictions: Predictions
    deployments: Sequence[Deployment]
    media: Media
    taxa: Sequence[Taxon]
    capture_method: str
    seen: set[int] = field(default_factory=set)


# --- what people must give ----------------------------------------------------------------------------------


def check(classes: Sequence[str], task: Task, settings: FormatSettings) -> None:
    """Raise UsageError with all that is missing or wrong in what people must give for the package."""
    faults = []
    try:
        zone = read_zone(settings.timezone)
    except TraplineError as error:
        faults.append(str(error))
        zone = read_zone("Z")  # so that all the rest is checked too
    checks = (
        lambda: read_deployments(settings.deployments, zone, _unsaid),
        lambda: read_project(settings.project),
        lambda: _taxa(classes, settings.taxonomy),
    )
    for each in checks:
        try:
            each()
        except TraplineError as error:
            faults.append(str(error))
    if faults:
        raise UsageError("\n".join((f"{NAME} cannot be written:", *faults)) if len(faults) > 1 else faults[0])


def _unsaid(text: str) -> None:
    """For notes that come again when the package is written."""


def _taxa(classes: Sequence[str], taxonomy: Mapping[str, Taxon]) -> list[Taxon]:
    """The taxon of each class. Raises UsageError for classes of animals without a scientific name."""
    taxa = [taxon_of(label, taxonomy) for label in classes]
    nameless = [
        label
        for label, taxon in zip(classes, taxa, strict=True)
        if taxon.observation_type == "animal" and not is_usable_id(taxon.scientific_name)
    ]
    if nameless:
        raise UsageError(
            f"the taxonomy names no animal for {len(nameless)} classes: {', '.join(map(shown, nameless))}; "
            "give --taxonomy taxonomy.csv with label, scientificName, rank, and a row for each "
            "(observationType blank, human, vehicle or unknown for what is no animal)"
        )
    return taxa


# --- writing ------------------------------------------------------------------------------------------------


def write(predictions: Predictions, folder: Path, settings: FormatSettings) -> list[Path]:
    """Write the package into `folder`, in place of one that was there, and the list of what is left out.

    Raises as `check`; TraplineError for images of no deployment, and where the place of the package holds
    other files.
    """
    place = folder / NAME
    _refuse_others(place)
    deployments = read_deployments(settings.deployments, read_zone(settings.timezone))
    project = read_project(settings.project)
    methods = project["project"]["captureMethod"]
    package = _Package(
        predictions,
        deployments,
        find_media(predictions, deployments, Path(str(settings.deployments))),
        _taxa(predictions.classes, settings.taxonomy),
        methods[0] if len(methods) == 1 else "",
    )
    made = folder / f".{NAME}.{os.getpid()}.tmp"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    try:
        _write_tables(package, made)
        taxa = [package.taxa[number] for number in sorted(package.seen)]
        named = [taxon for taxon in taxa if _scientific_name(taxon)]
        write_json(made / PACKAGE, descriptor(project, deployments, named, predictions.created))
        _put_in_place(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    written = [place / name for name in (PACKAGE, *TABLES)]
    return [*written, *_write_left_out(package, folder / WITHOUT_TIME)]


def _refuse_others(place: Path) -> None:
    """Raise TraplineError where the package's place holds what is not of a package, which would be lost."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise TraplineError(f"{place}: is no folder; move it away, for the package is written there")
    names = sorted(path.name for path in place.iterdir()) if place.exists() else []
    other = [
        name
        for name in names
        if name not in (PACKAGE, *TABLES)
        and ((place / name).is_dir() or not is_system_name(name, is_folder=False))
    ]
    if other:
        raise TraplineError(
            f"{place}: holds {shown(other[0])}, which is not of the package that is written in its place; "
            "move it, or give another --output"
        )


def _put_in_place(made: Path, place: Path) -> None:
    """Let a folder take the place of another; the old one stays where that fails."""
    if not place.exists():
        made.rename(place)
        return
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    place.rename(old)
    try:
        made.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_left_out(package: _Package, path: Path) -> list[Path]:
    """The list of images that are no media; none where there are none, nor one of an earlier run."""
    left_out, rows = package.media.left_out, package.predictions.rows
    if not left_out:
        path.unlink(missing_ok=True)
        return []
    ids, files = (rows[name].to_numpy(dtype=object) for name in ("id", "file"))
    write_table(path, ("id", "file", "reason"), ((ids[row], files[row], why) for row, why in left_out))
    first, why = left_out[0]
    note(
        f"{len(left_out)} of {len(rows)} images are no media of {NAME}, as {files[first]} ({why}): see "
        f"{path.name}"
    )
    return [path]


def _write_tables(package: _Package, folder: Path) -> None:
    _write(folder / TABLES[0], tuple(DEPLOYMENTS), (each.cells for each in package.deployments))
    _write(folder / TABLES[1], MEDIA, _media(package))
    _write(folder / TABLES[2], OBSERVATIONS, _observations(package))


def _write(path: Path, columns: Collection[str], rows: Iterator[Mapping[str, str]]) -> None:
    columns = list(columns)
    cells = ([row.get(column, "") for column in columns] for row in rows)
    write_table(path, columns, cells, exact=EXACT)


# --- media --------------------------------------------------------------------------------------------------


def _media(package: _Package) -> Iterator[dict[str, str]]:
    media, files = package.media, package.predictions.rows["file"].to_numpy(dtype=object)
    for place, row in enumerate(media.rows.tolist()):
        file = str(files[row])
        path = media_path(file)
        yield {
            "mediaID": media.ids[place],
            "deploymentID": package.deployments[media.deployments[place]].id,
            "captureMethod": package.capture_method,
            "timestamp": media.times[place],
            "filePath": path,
            "filePublic": "false",
            "fileName": file.rpartition("/")[2],
            "fileMediatype": media.types[place],
            "mediaComments": "" if path == file else "filePath is percent-encoded",
        }


# --- observations -------------------------------------------------------------------------------------------


def _observations(package: _Package) -> Iterator[dict[str, str]]:
    """The observations in the order of the media, an image's in the order of the classes."""
    predictions, media = package.predictions, package.media
    events, places, saying = _events(package), media.places(len(predictions)), _Saying(package)
    for batch in predictions.batches():
        labels = predictions.labels_of(batch)
        probabilities = np.asarray(predictions.probabilities[batch])
        for row in range(batch.start, batch.stop):
            place = int(places[row])
            if place == NOT_A_MEDIUM:
                continue
            own, event = np.flatnonzero(labels[row - batch.start]).tolist(), events[place]
            package.seen.update(own)
            said = saying.of(row, own, probabilities[row - batch.start])
            for number, each in enumerate(said, start=1):
                yield {
                    "observationID": f"{media.ids[place]}_{number}",
                    "deploymentID": package.deployments[media.deployments[place]].id,
                    "mediaID": media.ids[place],
                    "eventID": event.id,
                    "eventStart": event.start,
                    "eventEnd": event.end,
                    "observationLevel": "media",
                    **each,
                }


class _Saying:
    """What observations say of what an image shows, the same cells for every image of one label."""

    def __init__(self, package: _Package) -> None:
        rows, model = package.predictions.rows, package.predictions.model
        self.status = rows["status"].to_numpy(dtype=object)
        self.reasons = rows["reason"].to_numpy(dtype=object)
        self.by_model = {
            "classificationMethod": "machine",
            "classifiedBy": f"{model.name} ({model.digest[:SHORT_DIGEST]})",
            "classificationTimestamp": written_moment(package.predictions.created),
        }
        self.of_class = [
            {
                "observationType": taxon.observation_type,
                "scientificName": _scientific_name(taxon),
                **self.by_model,
            }
            for taxon in package.taxa
        ]

    def of(self, row: int, labels: Sequence[int], probabilities: Probabilities) -> list[dict[str, str]]:
        """The cells of an image's observations, one at least. probabilities: float64 (classes,)."""
        if labels:
            return [
                {**self.of_class[each], "classificationProbability": _probability(probabilities[each])}
                for each in labels
            ]
        unclassified = {"observationType": UNCLASSIFIED}
        if self.status[row] == FAILED:  # nobody has classified it
            why = f"not classified: {self.reasons[row] or FAILED}"
            return [{**unclassified, "observationComments": why}]
        return [{**unclassified, **self.by_model, "observationComments": "no class reaches its threshold"}]


def _scientific_name(taxon: Taxon) -> str:
    return taxon.scientific_name if taxon.observation_type in NAMED_TYPES else ""


def _probability(value: float) -> str:
    """A probability in plain digits, between 0 and 1 however it was rounded before."""
    return f"{min(max(float(value), 0.0), 1.0):.{DECIMALS}f}"


# --- events -------------------------------------------------------------------------------------------------


def _events(package: _Package) -> list[_Event]:
    """The event of each medium: its sequence at its deployment, else the medium alone, without an id.

    A sequence that is of several deployments is an event at each, with the deployment in its id.
    """
    media = package.media
    sequences = package.predictions.rows["sequence"].to_numpy(dtype=object)[media.rows]
    owners: dict[str, set[int]] = {}
    members: dict[tuple[str, int], list[int]] = {}
    for place, sequence in enumerate(sequences):
        if sequence is not None and str(sequence).strip():
            own, number = str(sequence), int(media.deployments[place])
            owners.setdefault(own, set()).add(number)
            members.setdefault((own, number), []).append(place)
    events = [_Event("", time, time) for time in media.times]
    for (own, number), places in members.items():
        several = len(owners[own]) > 1
        text = f"{package.deployments[number].id} {own}" if several else own
        first = min(places, key=media.instants.__getitem__)
        last = max(places, key=media.instants.__getitem__)
        event = _Event(text if is_usable_id(text) else digest_of(text), media.times[first], media.times[last])
        for place in places:
            events[place] = event
    return events


CAMTRAP_DP = Format(NAME, write, check)
