"""Which observations of a Camtrap DP are of which media: those of a medium itself, and those of whole events.

An observation of an event is of the media that have its `eventID` by an observation of their own, and of
those of its deployment that were taken between its start and its end. A medium's own observations go before
those of its events, and a person's before a machine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.errors import TraplineError

Integers = npt.NDArray[np.int64]
NOWHERE = -1
MAX_PAIRS = 10_000_000  # of an image and an event that it is of


@dataclass(frozen=True)
class Observed:
    """Observations, a number for each, in the terms of the media of the same package.

    medium: its place, NOWHERE for an observation of an event. event: number of its eventID, in the order of
    the names, NOWHERE for none. deployment: number of its deployment, likewise. start, end: microseconds
    since 1970. has_times: whether both are known, and the end is not before the start. label: number of the
    label, NOWHERE where it says none. by_machine: whether it is a machine's.
    """

    medium: Integers
    event: Integers
    deployment: Integers
    start: Integers
    end: Integers
    has_times: npt.NDArray[np.bool_]
    label: Integers
    by_machine: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Taken:
    """When and where media were taken. deployment: a number for each, NOWHERE where it is unknown.

    time: microseconds since 1970. has_time: whether that is known.
    """

    deployment: Integers
    time: Integers
    has_time: npt.NDArray[np.bool_]


def instants(texts: Sequence[str | None]) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Times of ISO 8601 in microseconds since 1970, and whether each could be read; without offset as UTC."""
    parsed = pd.to_datetime(
        pd.Series(list[Any](texts), dtype=object), format="ISO8601", utc=True, errors="coerce"
    ).dt.as_unit("us")
    known = parsed.notna().to_numpy(dtype=bool)
    return parsed.dt.tz_localize(None).to_numpy().astype(np.int64), known


def links(media: Taken, observed: Observed, table: str) -> pd.DataFrame:
    """The pairs of a medium and an observation that is of it, as the columns medium and row (of `observed`).

    Raises TraplineError, naming `table`, for more than MAX_PAIRS of media and events.
    """
    own = np.flatnonzero(observed.medium >= 0)
    of_events = np.flatnonzero(observed.medium < 0)
    pairs = [(observed.medium[own], own)]
    for found in (_by_name(observed, own, of_events), _by_time(media, observed, of_events)):
        if found.total() > MAX_PAIRS:
            raise TraplineError(
                f"{table}: the observations of events are of {found.total()} images in all, many times each; "
                "mend eventStart and eventEnd, so that events do not lie over one another"
            )
        pairs.append(found.pairs())
    medium, row = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return pd.DataFrame({"medium": medium, "row": row}).drop_duplicates(ignore_index=True)


@dataclass(frozen=True)
class _Ranges:
    """For each of `rows` the media from `low` to `high` in the order `media`: counted before written out."""

    rows: Integers
    media: Integers
    low: Integers
    high: Integers

    def total(self) -> int:
        """How many pairs there are."""
        return int((self.high - self.low).sum())

    def pairs(self) -> tuple[Integers, Integers]:
        """The medium and the row of each pair."""
        lengths = self.high - self.low
        begin = np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(self.low, lengths) + np.arange(len(begin)) - begin
        return self.media[places], np.repeat(self.rows, lengths)


def _by_name(observed: Observed, own: Integers, of_events: Integers) -> _Ranges:
    """Observations of events with the media that have an observation of the same event and deployment."""
    own, rows = own[observed.event[own] >= 0], of_events[observed.event[of_events] >= 0]
    events = int(observed.event.max(initial=0)) + 1
    names = observed.deployment * events + observed.event
    named = pd.DataFrame({"name": names[own], "medium": observed.medium[own]}).drop_duplicates()
    named = named.sort_values("name", kind="stable")
    order = named["name"].to_numpy()
    low, high = np.searchsorted(order, names[rows]), np.searchsorted(order, names[rows], "right")
    return _Ranges(rows, named["medium"].to_numpy(), low, high)


def _by_time(media: Taken, observed: Observed, of_events: Integers) -> _Ranges:
    """Observations of events with the media of their deployment that were taken within them."""
    rows = of_events[observed.has_times[of_events] & (observed.deployment[of_events] >= 0)]
    timed = np.flatnonzero(media.has_time & (media.deployment >= 0))
    # Places among all times, so that deployment and time are one number.
    times = np.unique(np.concatenate([media.time[timed], observed.start[rows], observed.end[rows]]))
    size = len(times) + 1
    at = media.deployment[timed] * size + np.searchsorted(times, media.time[timed])
    order = np.argsort(at, kind="stable")
    base = observed.deployment[rows] * size
    first = np.searchsorted(at[order], base + np.searchsorted(times, observed.start[rows]))
    last = np.searchsorted(at[order], base + np.searchsorted(times, observed.end[rows]), "right")
    return _Ranges(rows, timed[order], first, last)


def labels_of(pairs: pd.DataFrame, observed: Observed, media: int) -> tuple[Integers, Integers]:
    """The pairs of a medium and a label that holds for it: of its own observations, else of its events.

    Of each the persons' alone where there are any. `media`: how many there are.
    """
    pairs = pairs[observed.label[pairs["row"].to_numpy()] >= 0]
    medium, row = pairs["medium"].to_numpy(), pairs["row"].to_numpy()
    rank = 2 * (observed.medium[row] < 0) + observed.by_machine[row]
    best = np.full(media, np.iinfo(np.int64).max)
    np.minimum.at(best, medium, rank)
    holds = rank == best[medium]
    return medium[holds], observed.label[row[holds]]


def events_of(pairs: pd.DataFrame, observed: Observed, media: int) -> tuple[Integers, int]:
    """The event of each medium, NOWHERE for none, and how many media are of several.

    Of several the one that an observation of its own names, then the first by start, then by name.
    """
    pairs = pairs[observed.event[pairs["row"].to_numpy()] >= 0]
    medium, row = pairs["medium"].to_numpy(), pairs["row"].to_numpy()
    start = np.where(observed.has_times[row], observed.start[row], np.iinfo(np.int64).max)
    order = np.lexsort((observed.event[row], start, observed.medium[row] < 0, medium))
    medium, event = medium[order], observed.event[row[order]]
    found = np.full(media, NOWHERE)
    found[medium[::-1]] = event[::-1]
    different = pd.DataFrame({"medium": medium, "event": event}).drop_duplicates()
    return found, int((different.groupby("medium").size() > 1).sum())
