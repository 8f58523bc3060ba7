"""Camtrap DP 1: the standard package of camera-trap data, from its tables to a listing.

`deployments` say the site, `media` name the files, `observations` what is seen, in a medium or in an event.
The label is the scientific name, and of an observation without one its type: blank, human, vehicle, animal or
unknown; `unclassified` says nothing. Nothing is fetched from the web.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.quarantine import BAD_NAME, MISSING, UNKNOWN_LABEL, VIDEO, Quarantined
from trapline.errors import TraplineError
from trapline.images.files import Reason
from trapline.names import shown
from trapline.preparation.camtrap_events import (
    NOWHERE,
    Integers,
    Observed,
    Taken,
    events_of,
    instants,
    labels_of,
    links,
)
from trapline.preparation.camtrap_package import Rows, read_package
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.label_joins import codes_of, labelled_rows
from trapline.preparation.listed_rows import source_of, statements
from trapline.preparation.listing import Reading, Source, printable, refuse_asked
from trapline.preparation.machine_labels import MACHINE, told_of_machines, with_told
from trapline.preparation.media import Media

TYPES = ("animal", "human", "vehicle", "blank", "unknown")
UNCLASSIFIED = "unclassified"
EVENT, MEDIUM = "event", "media"  # the levels of observations
IMAGE = "image/"
DIGITS = 7  # of a degree: a centimetre


@dataclass(frozen=True)
class _Labels:
    """The different labels, the number of each observation's, NOWHERE for none, and the faulty numbers.

    A faulty label is the words that say what is wrong with its observation. `left_out`: how many observations
    of a machine say nothing for that.
    """

    texts: list[str]
    of_row: Integers
    faulty: Integers
    left_out: int


def read_camtrap_dp(folder: InputFolder, reading: Reading) -> Source:
    """List the media of a Camtrap DP with the labels of their observations, or of those of their events.

    The id is the mediaID, the sequence the eventID, the site the locationID or else the coordinates of the
    deployment. Observations of a machine count with `machine_labels` alone. Media that are no images, or of
    an observation of an unknown type, are quarantined. Raises TraplineError as `read_package` does, for two
    deployments of one id at different sites, for no media, where none of them is found, and for labels of a
    machine alone that are not asked for; UsageError for an option that it does not take.
    """
    what = "a Camtrap DP says labels and sites itself, in columns of fixed names"
    refuse_asked(folder, reading, ("columns", "folders", "label-tag"), what)
    package = read_package(folder, reading)
    seen, notes = package["observations"], [note for table in package.values() for note in table.notes]
    media, unusable = _usable(package["media"])
    if not media.lines:
        raise TraplineError(f"{folder.path}: its table media names no image; name them in it")
    codes, of_media = codes_of([str(own) for own in media.columns["mediaID"]], seen.columns["mediaID"])
    labels = _labels(seen, reading.machine_labels, notes)
    own_deployments, deployments = _numbers(media.columns["deploymentID"], seen.columns["deploymentID"])
    observed, events = _observed(seen, of_media, deployments, labels, notes)
    taken = _taken(media, codes, own_deployments, notes)
    pairs = links(taken, observed, seen.name)
    _note_unlinked(observed, pairs, seen.name, notes)
    of, said = labels_of(pairs, observed, len(taken.time))
    event_of, several = events_of(pairs, observed, len(taken.time))
    _note(notes, seen.name, several, "media are of several events, and each is taken for one of the first")
    faulty, rejected = _of_faulty_labels(media, codes, labels, of, said)
    rows, number = labelled_rows(codes, of, said)
    rows, number = rows[~rejected[rows]], number[~rejected[rows]]
    listed = _statements(
        media.chosen(rows.tolist()),
        label=[labels.texts[own] if own >= 0 else None for own in number],
        sequence=[events[own] if own >= 0 else None for own in event_of[codes[rows]]],
        sites=_sites(package["deployments"], notes),
        notes=notes,
    )
    source = source_of(
        listed,
        Media(reading.media or folder, reading.origin, reading.copies),
        alternatives=_other_names(media),
        notes=notes,
    )
    source = with_told(source, told_of_machines(seen.name, labels.left_out, "observations"))
    return replace(source, quarantined=[*unusable, *faulty, *source.quarantined])


def _note(notes: list[str], table: str, count: int, what: str) -> None:
    if count:
        notes.append(f"{table}: {count} {what}")


# --- media --------------------------------------------------------------------------------------------------


def _usable(media: Rows) -> tuple[Rows, list[Quarantined]]:
    """The media that have an id and a path and are images; the others, quarantined."""
    ids, paths, kinds = (media.columns[name] for name in ("mediaID", "filePath", "fileMediatype"))
    is_image = {kind: kind is None or kind.casefold().startswith(IMAGE) for kind in set(kinds)}
    kept, quarantined = [], []
    for row, (own, path, kind) in enumerate(zip(ids, paths, kinds, strict=True)):
        if own and path and is_image[kind]:
            kept.append(row)
            continue
        is_video = (kind or "").casefold().startswith("video/")
        reason, detail = (
            (BAD_NAME, "has no mediaID") if not own
            else (MISSING, "has no filePath") if not path
            else (VIDEO if is_video else Reason.UNSUPPORTED, f"is {shown(kind or '')}, and no image")
        )  # fmt: skip
        quarantined.append(
            Quarantined(
                printable(own or path or ""), printable(path or ""), reason, f"{media.place(row)}: {detail}"
            )
        )
    return media.chosen(kept), quarantined


def _numbers(*columns: Sequence[str | None]) -> list[Integers]:
    """A number for each cell of some columns, alike for equal cells, NOWHERE for None."""
    numbers, _ = pd.factorize(np.array([cell for cells in columns for cell in cells], dtype=object))
    return np.split(numbers.astype(np.int64), np.cumsum([len(cells) for cells in columns])[:-1])


def _taken(media: Rows, codes: Integers, deployments: Integers, notes: list[str]) -> Taken:
    """When and where the media were taken, by the numbers of their ids; of several with one id the first."""
    _, first = np.unique(codes, return_index=True)
    times = media.columns["timestamp"]
    time, has_time = instants([times[row] for row in first])
    what = (
        "timestamps cannot be read (ISO 8601, as 2024-05-31T14:02:11Z): these media are of no event by time"
    )
    _note(notes, media.name, int((~has_time).sum()), what)
    return Taken(deployments[first], time, has_time)


def _other_names(media: Rows) -> dict[str, str]:
    """For each path the name of the file, where it is another."""
    pairs = zip(media.columns["filePath"], media.columns["fileName"], strict=True)
    return {path: name for path, name in pairs if path and name and path != name}


def _statements(
    media: Rows,
    *,
    label: Sequence[str | None],
    sequence: Sequence[str | None],
    sites: Mapping[str, str | None],
    notes: list[str],
) -> pd.DataFrame:
    deployments = media.columns["deploymentID"]
    unknown = [own for own in deployments if own not in sites]
    if unknown:
        what = (
            f"rows have a deploymentID that is none of the deployments, as {shown(unknown[0] or '')}: no site"
        )
        _note(notes, media.name, len(unknown), what)
    listed = statements(
        media.name,
        media.lines,
        file=media.columns["filePath"],
        id=media.columns["mediaID"],
        label=label,
        site=[sites.get(own or "") for own in deployments],
        sequence=sequence,
        time=media.columns["timestamp"],
    )
    return listed.assign(table=media.tables)


# --- deployments --------------------------------------------------------------------------------------------


def _sites(deployments: Rows, notes: list[str]) -> dict[str, str | None]:
    """The site of each deployment: its locationID, else that of its coordinates, else those.

    Raises TraplineError for a deployment that is at two sites.
    """
    columns = deployments.columns
    places = [_coordinates(*both) for both in zip(columns["latitude"], columns["longitude"], strict=True)]
    known: dict[str, set[str]] = {}  # locations by their coordinates
    for place, location in zip(places, columns["locationID"], strict=True):
        if place and location:
            known.setdefault(place, set()).add(location)
    sites: dict[str, str | None] = {}
    for row, (own, location) in enumerate(zip(columns["deploymentID"], columns["locationID"], strict=True)):
        place = places[row]
        of_place = known.get(place or "", set())
        site = location or (next(iter(of_place)) if len(of_place) == 1 else place)
        if own is not None and sites.setdefault(own, site) != site:
            raise TraplineError(
                f"{deployments.place(row)}: the deployment {shown(own)} is at two sites, "
                f"{shown(sites[own] or '')} and {shown(site or '')}; keep one of the rows"
            )
    without = sum(site is None for site in sites.values())
    _note(notes, deployments.name, without, "deployments have neither locationID nor coordinates: no site")
    return sites


def _coordinates(latitude: str | None, longitude: str | None) -> str | None:
    """Both in degrees as one name, however many zeros they end with; None where they are none on earth."""
    try:
        degrees = float(latitude or ""), float(longitude or "")
    except ValueError:
        return None
    if not (abs(degrees[0]) <= 90 and abs(degrees[1]) <= 180):  # NaN is neither
        return None
    return ",".join(f"{round(each, DIGITS) + 0.0:.{DIGITS}f}".rstrip("0").rstrip(".") for each in degrees)


# --- observations -------------------------------------------------------------------------------------------


def _labels(seen: Rows, machine_labels: bool, notes: list[str]) -> _Labels:
    """The label of each observation: its scientific name, else its type."""
    of_type = {kind: _label_of_type(kind) for kind in set(seen.columns["observationType"])}
    names, types = seen.columns["scientificName"], seen.columns["observationType"]
    texts = [name or of_type[kind][0] for name, kind in zip(names, types, strict=True)]
    of_row, different = pd.factorize(np.array(texts, dtype=object))
    wrong = {text for text, is_known in of_type.values() if not is_known}
    is_left = ~_by_machine(seen) | machine_labels
    left_out = int((~is_left & (of_row >= 0)).sum())
    return _Labels(
        list(different),
        np.where(is_left, of_row, NOWHERE),
        np.array([number for number, text in enumerate(different) if text in wrong], dtype=np.int64),
        left_out,
    )


def _label_of_type(kind: str | None) -> tuple[str | None, bool]:
    """The label that an observationType is, or what is wrong with it; and whether it is of the standard."""
    plain = (kind or UNCLASSIFIED).casefold()
    if plain in (*TYPES, UNCLASSIFIED):
        return (None if plain == UNCLASSIFIED else plain), True
    return f"the observationType {shown(kind or '')} is none of {', '.join(TYPES)} and {UNCLASSIFIED}", False


def _by_machine(seen: Rows) -> npt.NDArray[np.bool_]:
    methods = seen.columns["classificationMethod"]
    return np.array([method is not None and method.casefold() == MACHINE for method in methods], dtype=bool)


def _observed(
    seen: Rows, of_media: Integers, deployments: Integers, labels: _Labels, notes: list[str]
) -> tuple[Observed, Sequence[str]]:
    """The observations of listed media and those of events, and the names of events by their number."""
    is_event = _are_of_events(seen, notes)
    lost = np.flatnonzero(~is_event & (of_media < 0))
    if len(lost):
        example = shown(seen.columns["mediaID"][int(lost[0])] or "")
        _note(
            notes, seen.name, len(lost), f"observations are of media that are no images of it, as {example}"
        )
    start, end = np.zeros(len(is_event), np.int64), np.zeros(len(is_event), np.int64)
    has_times = is_event.copy()
    rows = np.flatnonzero(is_event)
    for name, bound in (("eventStart", start), ("eventEnd", end)):
        cells = seen.columns[name]
        bound[rows], known = instants([cells[row] for row in rows])
        has_times[rows] &= known
    has_times &= start <= end
    what = "observations of events have no eventStart and eventEnd that can be read, one after the other"
    _note(notes, seen.name, int((is_event & ~has_times).sum()), what)
    event, names = pd.factorize(np.array(seen.columns["eventID"], dtype=object), sort=True)
    kept = is_event | (of_media >= 0)
    return Observed(
        medium=np.where(is_event, NOWHERE, of_media)[kept],
        event=event.astype(np.int64)[kept],
        deployment=deployments[kept],
        start=start[kept],
        end=end[kept],
        has_times=has_times[kept],
        label=labels.of_row[kept],
        by_machine=_by_machine(seen)[kept],
    ), list(names)


def _are_of_events(seen: Rows, notes: list[str]) -> npt.NDArray[np.bool_]:
    """Whether each observation is of an event, by its level, or else by whether it names a medium."""
    plain = {level: (level or "").casefold() for level in set(seen.columns["observationLevel"])}
    levels = [plain[level] for level in seen.columns["observationLevel"]]
    other = sum(level not in (EVENT, MEDIUM) for level in levels)
    _note(
        notes, seen.name, other, f"observationLevels are neither {MEDIUM} nor {EVENT}: read by their mediaID"
    )
    pairs = zip(levels, seen.columns["mediaID"], strict=True)
    return np.array(
        [level == EVENT or (level != MEDIUM and medium is None) for level, medium in pairs], dtype=bool
    )


def _note_unlinked(observed: Observed, pairs: pd.DataFrame, table: str, notes: list[str]) -> None:
    of_events = int((observed.medium < 0).sum())
    linked = np.unique(pairs["row"].to_numpy())
    count = of_events - int((observed.medium[linked] < 0).sum())
    _note(notes, table, count, "observations are of events without media, by eventID and by time")


def _of_faulty_labels(
    media: Rows, codes: Integers, labels: _Labels, of: Integers, said: Integers
) -> tuple[list[Quarantined], npt.NDArray[np.bool_]]:
    """The media with an observation of an unknown type, quarantined; and whether each medium is one."""
    wrong = np.isin(said, labels.faulty)
    detail = dict(zip(of[wrong].tolist(), said[wrong].tolist(), strict=True))
    rejected = np.isin(codes, of[wrong])
    ids, paths = media.columns["mediaID"], media.columns["filePath"]
    quarantined = [
        Quarantined(
            printable(str(ids[row])),
            printable(str(paths[row])),
            UNKNOWN_LABEL,
            f"{media.place(row)}: {labels.texts[detail[int(codes[row])]]}",
        )
        for row in np.flatnonzero(rejected).tolist()
    ]
    return quarantined, rejected
