"""events.csv: what cameras saw, pooled to independent events of a site and a class.

Images of one class at one site are one event as long as no more than the gap, half an hour by custom, lies
between an image and the one before it (O'Brien, Kinnaird and Wibisono 2003, Crouching tigers, hidden prey:
Sumatran tiger and prey populations in a tropical forest landscape, Animal Conservation 6, 131-139).

Others count otherwise. camtrapR does this with deltaTimeComparedTo = "lastRecord", but for an image exactly
the gap later, which is a new event there; its "lastIndependentRecord" counts from the first image of an
event, and so finds more where an animal stays. CamTrapTools pools images of a deployment whatever they show,
so that a boar or a blank image between two of deer can make them one.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.console import note
from trapline.errors import UsageError
from trapline.evaluation.result_files import number
from trapline.formats.predictions import Predictions
from trapline.formats.taxonomy import Taxon, taxon_of
from trapline.storage import write_table

EVENTS = "events.csv"
GAP = 1800.0  # seconds
COLUMNS = (
    "event_id", "site", "label", "first_time", "last_time", "images", "highest_confidence", "sequences",
)  # fmt: skip
EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
ID_DIGITS = 20  # hexadecimal, of a SHA-256
NOWHERE = -1
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Events:
    """The independent events, a row of `table` each, with COLUMNS, by site, first time and label.

    without_site, without_time: images that show something, and are in no event because they have no site, or
    a site but no time of day. joined: how often images of one class further apart than the gap are in one
    event, because they are of one sequence.
    """

    table: pd.DataFrame
    without_site: int = 0
    without_time: int = 0
    joined: int = 0

    @property
    def notes(self) -> list[str]:
        """What a person should know of how they were counted."""
        told = (
            (self.without_site, "images that show something have no site and are in no event; name their "
             "sites, as --site-csv or --columns do"),
            (self.without_time, "images that show something have no time of day and are in no event; give "
             "their times in a table, as --columns time=... does"),
            (self.joined, "times images further apart than the gap are one event, as they are of one "
             "sequence; where names of sequences come again, make them different"),
        )  # fmt: skip
        return [f"{EVENTS}: {count} {text}" for count, text in told if count]


class _Sightings(NamedTuple):
    """A class that an image has, (sightings,) each: the image's row, the class's number, its probability."""

    image: Integers
    label: Integers
    confidence: Floats

    def at(self, places: Integers | Flags) -> "_Sightings":
        """Those at `places`."""
        return _Sightings(self.image[places], self.label[places], self.confidence[places])


def write_events(
    predictions: Predictions,
    folder: Path,
    gap: float = GAP,
    taxonomy: Mapping[str, Taxon] | None = None,
    tell: Callable[[str], None] = note,
) -> Path:
    """Write events.csv into `folder`; `tell` gets what a person should know. See `events_of`."""
    events = events_of(predictions, gap, taxonomy)
    path = folder / EVENTS
    rows = events.table.itertuples(index=False, name=None)
    place = COLUMNS.index("highest_confidence")
    write_table(path, COLUMNS, ((*row[:place], number(row[place]), *row[place + 1 :]) for row in rows))
    for text in events.notes:
        tell(text)
    return path


def events_of(
    predictions: Predictions, gap: float = GAP, taxonomy: Mapping[str, Taxon] | None = None
) -> Events:
    """Pool images to independent events of a site and a class.

    gap: seconds; an image begins a new event where more lies between it and the last image of its class at
    the site. Images of one sequence never fall apart into two events of a class. Of an image with several
    labels each counts; blank images, by `taxonomy` or the usual words, make no event. Where every time of a
    site has its offset from UTC they are compared as instants, else as the camera's clock showed them; they
    are written as they came. An event's id depends on its site, class and first time alone.

    Raises UsageError for a gap that is no time.
    """
    if not 0 <= gap < float("inf"):
        raise UsageError(f"--event-gap {gap:g}: must be 0 s or more, as in 30min")
    sites, times, sequences = (known(predictions.rows[name]) for name in ("site", "time", "sequence"))
    (of_site, names), (of_sequence, _) = numbered(sites), numbered(sequences)
    when, has_time = _instants(moments(times), of_site, len(names))
    rank, _ = numbered(predictions.classes)
    found = _sightings(predictions, taxonomy or {})
    placed, timed = of_site[found.image] != NOWHERE, has_time[found.image]
    kept = found.at(placed & timed)
    kept = kept.at(np.lexsort((kept.image, when[kept.image], rank[kept.label], of_site[kept.image])))
    starts, joined = _starts(kept, of_site, when, of_sequence, gap)
    first = kept.at(starts)
    table = _table(kept, starts, of_sequence[kept.image])
    table["site"] = [sites[row] for row in first.image]
    table["label"] = [predictions.classes[label] for label in first.label]
    table["first_time"] = [times[row] for row in first.image]
    table["last_time"] = [times[row] for row in kept.image[table["last"]]]
    table["event_id"] = list(map(_event_id, table["site"], table["label"], table["first_time"]))
    in_order = np.lexsort((rank[first.label], when[first.image], of_site[first.image]))
    return Events(
        table[list(COLUMNS)].iloc[in_order].reset_index(drop=True),
        without_site=len(np.unique(found.image[~placed])),
        without_time=len(np.unique(found.image[placed & ~timed])),
        joined=joined,
    )


def _sightings(predictions: Predictions, taxonomy: Mapping[str, Taxon]) -> _Sightings:
    """All classes that images have, but for those that are no more than blank."""
    shows = np.array(
        [taxon_of(name, taxonomy).observation_type != "blank" for name in predictions.classes], dtype=bool
    )
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))]
    for rows in predictions.batches():
        image, label = np.nonzero(predictions.labels_of(rows) & shows)
        confidence = np.asarray(predictions.probabilities[rows])[image, label]
        parts.append((image + rows.start, label, confidence))
    return _Sightings(*map(np.concatenate, zip(*parts, strict=True)))


def _starts(
    sightings: _Sightings, of_site: Integers, when: Integers, sequence: Integers, gap: float
) -> tuple[Flags, int]:
    """Which of the sightings, in order, begin an event, and how many would but for their sequence."""
    site, time = of_site[sightings.image], when[sightings.image]
    other = np.ones(len(site), dtype=bool)  # another site or class than the one before
    other[1:] = (site[1:] != site[:-1]) | (sightings.label[1:] != sightings.label[:-1])
    far = np.zeros(len(site), dtype=bool)
    far[1:] = ~other[1:] & (np.diff(time) > gap * 1e6)
    inside = _inside_sequences(np.cumsum(other) - 1, sequence[sightings.image])
    return other | (far & ~inside), int((far & inside).sum())


def _inside_sequences(group: Integers, sequence: Integers) -> Flags:
    """Whether each sighting lies after the first and up to the last one of some sequence of its group."""
    at = np.flatnonzero(sequence != NOWHERE)
    keys = group[at] * (int(sequence.max(initial=0)) + 1) + sequence[at]
    _, first = np.unique(keys, return_index=True)
    _, back = np.unique(keys[::-1], return_index=True)
    change = np.zeros(len(group) + 1, dtype=np.int64)
    np.add.at(change, at[first] + 1, 1)
    np.add.at(change, at[len(at) - 1 - back] + 1, -1)
    return np.cumsum(change[:-1]) > 0


def _table(sightings: _Sightings, starts: Flags, sequence: Integers) -> pd.DataFrame:
    """A row for each event, in the order of the sightings; `last` is the number of its last sighting."""
    first = np.flatnonzero(starts)
    images = np.diff(first, append=len(starts))
    event = np.cumsum(starts) - 1
    pairs = pd.DataFrame({"event": event, "sequence": sequence})[sequence != NOWHERE].drop_duplicates()
    highest = np.maximum.reduceat(sightings.confidence, first) if len(first) else np.empty(0)
    return pd.DataFrame(
        {
            "last": first + images - 1,
            "images": images,
            "highest_confidence": highest,
            "sequences": np.bincount(pairs["event"].to_numpy(), minlength=len(first)),
        }
    )


def _event_id(site: str, label: str, first_time: str) -> str:
    """The same for the same event of whatever run, and nothing that a spreadsheet takes for a number."""
    digest = hashlib.sha256(json.dumps([site, label, first_time]).encode()).hexdigest()
    return f"event-{digest[:ID_DIGITS]}"


# --- sites and times of the rows, for whatever counts them --------------------------------------------------


def known(column: pd.Series) -> list[str | None]:
    """The texts of a column; None for an empty cell, however it says so."""
    return [value if isinstance(value, str) and value else None for value in column]


def numbered(values: Sequence[str | None]) -> tuple[Integers, list[str]]:
    """The number of each value among all that there are, sorted, NOWHERE for None; and those."""
    names = sorted({value for value in values if value is not None})
    number_of = {name: place for place, name in enumerate(names)}
    places = (NOWHERE if value is None else number_of[value] for value in values)
    return np.fromiter(places, dtype=np.int64, count=len(values)), names


def moments(texts: Sequence[str | None]) -> list[date | None]:
    """What times of ISO 8601 say: a datetime, a date where the day alone is known, None for no time."""
    found = {text: _moment(text) for text in texts if text is not None}
    return [None if text is None else found[text] for text in texts]


def _moment(text: str) -> date | None:
    for kind in (date, datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            continue
    return None


def _instants(found: Sequence[date | None], of_site: Integers, num_sites: int) -> tuple[Integers, Flags]:
    """Microseconds since 1970, 0 where no time of day is known, and whether one is.

    In UTC at the sites whose every time has an offset, else as the clock showed it.
    """
    local, offset = np.zeros(len(found), np.int64), np.zeros(len(found), np.int64)
    has_time, has_offset = np.zeros(len(found), bool), np.zeros(len(found), bool)
    for row, moment in enumerate(found):
        if isinstance(moment, datetime):
            has_time[row] = True
            local[row] = (moment.replace(tzinfo=None) - EPOCH) // MICROSECOND
            if (beyond := moment.utcoffset()) is not None:
                has_offset[row] = True
                offset[row] = beyond // MICROSECOND
    lacking = np.bincount(of_site[has_time & ~has_offset & (of_site != NOWHERE)], minlength=num_sites)
    in_utc = np.append(lacking == 0, False)[of_site]  # the last one is for NOWHERE
    return local - np.where(in_utc, offset, 0), has_time
