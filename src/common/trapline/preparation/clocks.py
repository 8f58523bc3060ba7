"""Which of the times that tables, cameras and file names say are believed.

A camera's clock is reset when its battery is changed: then it starts on the 1st of January of its maker's
year, and frames of July come to lie before those of May. What is absurd is said, and is not believed: an
image without a time is better than one in a wrong sequence.
"""

import bisect
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.large_tables import collection_paused
from trapline.preparation.listing import TIME
from trapline.preparation.times import Moment, read_times, time_in_name

EARLIEST = datetime(2000, 1, 1)  # digital camera traps are younger
DAY = timedelta(days=1)
SET_BACK = np.timedelta64(1, "h")  # more is no end of summer time
MAX_SET_BACK = 3  # times in a folder; where there are more, file names are not in the order of their times
MAX_SHARE_SET_BACK = 0.02
NUMBERED = re.compile(r"(.*?)(\d+)\D*")
NEW_YEAR_DAYS = 3  # after a reset a clock stands on one of the first days of a year
SHOWN = 3
Times = npt.NDArray[np.datetime64]


def with_times(images: pd.DataFrame, today: datetime) -> tuple[pd.DataFrame, list[str]]:
    """`images` with `time`, ISO 8601 text or None, and `when`, datetime64[s] or NaT; and notes for a person.

    `images` has the columns filepath, site, exif_time, perhaps `time` (as a table writes it) and `input` (one
    of several). A table's time goes before the one in the image's EXIF, and that before the one in the file's
    name. `when` is the local time of the camera, for comparing frames of one camera.
    """
    moments: list[Moment | None] = [None] * len(images)
    notes: list[str] = []
    rows_of = (
        images.groupby("input", sort=False).indices if "input" in images else {"": np.arange(len(images))}
    )
    for rows in rows_of.values():
        with collection_paused():
            found, told = _moments(images.iloc[rows])
        notes += told
        for row, moment in zip(rows, found, strict=True):
            moments[row] = moment
    labels = _places(images)
    wrong = {
        row for row, moment in enumerate(moments) if moment and not EARLIEST <= moment.local <= today + DAY
    }
    notes += _told_absurd(wrong, moments, labels)
    when = np.array(
        [
            np.datetime64("NaT") if moment is None or row in wrong or moment.is_day
            else np.datetime64(moment.local, "s")
            for row, moment in enumerate(moments)
        ],
        dtype="datetime64[s]",
    )  # fmt: skip
    reset = _set_back([str(path) for path in images["filepath"]], when)
    notes += _told_reset(reset, when, labels)
    when[reset] = np.datetime64("NaT")
    wrong |= set(reset.tolist())
    texts = [None if moment is None or row in wrong else moment.text() for row, moment in enumerate(moments)]
    images = images.assign(when=when)
    images[TIME] = pd.Series(texts, index=images.index, dtype=object)
    return images, notes


def _moments(images: pd.DataFrame) -> tuple[list[Moment | None], list[str]]:
    """The time of each image: the table's, the camera's, that of the file's name; as they are written."""
    exif = read_times(list(images["exif_time"])).moments
    paths = list(images["filepath"])

    def own(row: int) -> Moment | None:
        """What the image itself says, in its EXIF or by its name."""
        return exif[row] or time_in_name(str(paths[row]).rpartition("/")[2])

    if TIME not in images.columns:
        return [own(row) for row in range(len(paths))], []
    cells = [None if value is None or value != value else str(value) for value in images[TIME]]
    table = read_times(cells, lambda: [own(row) for row in range(len(paths))])
    apart = _told_apart(table.moments, exif, _places(images))
    chosen: list[Moment | None] = []
    for row, first in enumerate(table.moments):
        second = own(row) if first is None or first.is_day else None
        chosen.append(second if first is None or (first.is_day and _same_day(first, second)) else first)
    return chosen, [*table.notes, *apart]


def _same_day(day: Moment, other: Moment | None) -> bool:
    return other is not None and day.local.date() == other.local.date()


def _places(images: pd.DataFrame) -> list[str]:
    """The site of each image, else the folder of its file: what messages call a camera."""
    return [
        site if isinstance(site, str) else str(path).rpartition("/")[0]
        for site, path in zip(images["site"], images["filepath"], strict=True)
    ]


def _told_apart(
    table: Sequence[Moment | None], exif: Sequence[Moment | None], places: Sequence[str]
) -> list[str]:
    """A sentence for cameras whose clock differs from the table by quarters of hours: another zone, say."""
    hours: dict[str, Counter[int]] = {}
    for first, second, place in zip(table, exif, places, strict=True):
        if first and second and not first.is_day:
            seconds = (first.local - second.local).total_seconds()
            hours.setdefault(place, Counter())[round(seconds)] += 1
    shifted = {
        place: found.most_common(1)[0][0] / 3600
        for place, found in hours.items()
        if len(found) == 1 and min(found) and not next(iter(found)) % 900 and found.total() > 1
    }
    if not shifted:
        return []
    place, shift = next(iter(shifted.items()))
    more = f" and {len(shifted) - 1} more" if len(shifted) > 1 else ""
    return [
        f"the table is {abs(shift):g} h {'ahead of' if shift > 0 else 'behind'} the clock of camera {place!r}"
        f"{more}: a corrected clock, or another zone; the table counts"
    ]


def _told_absurd(wrong: set[int], moments: Sequence[Moment | None], places: Sequence[str]) -> list[str]:
    if not wrong:
        return []
    first = min(wrong)
    moment = moments[first]
    count = Counter(places[row] for row in wrong)
    where = ", ".join(f"{place!r} ({number})" for place, number in count.most_common(SHOWN))
    return [
        f"{len(wrong)} images have times before {EARLIEST:%Y} or after today, as "
        f"{moment.text() if moment else ''}, which are not believed: {where}"
        + (f" and {len(count) - SHOWN} more places" if len(count) > SHOWN else "")
    ]


def _told_reset(reset: npt.NDArray[np.int64], when: Times, places: Sequence[str]) -> list[str]:
    count = Counter(places[row] for row in reset.tolist())
    notes = [
        f"{place!r}: the clock was set back, for times run back while file numbers run on: {number} images "
        f"from {min(when[row] for row in reset if places[row] == place)} on have no time that is believed"
        for place, number in count.most_common(SHOWN)
    ]
    more = [f"so it is at {len(count) - SHOWN} more places"] if len(count) > SHOWN else []
    return [*notes, *more]


# --- clocks that were set back ------------------------------------------------------------------------------


def _set_back(paths: Sequence[str], when: Times) -> npt.NDArray[np.int64]:
    """The rows whose times were set back, ascending: in a folder of numbered files times run back.

    `when`, (n,): NaT is no time. Not believed are those after the step back until times have come up again,
    or to the end where they begin in the first days of a year; else all but the longest run of files whose
    times rise.
    """
    known = np.flatnonzero(~np.isnat(when))
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in known.tolist():
        folder, _, name = paths[row].rpartition("/")
        if found := NUMBERED.fullmatch(name.rpartition(".")[0] or name):
            groups.setdefault((folder, found[1]), []).append((int(found[2][:18]), row))
    wrong: list[int] = []
    for members in groups.values():
        rows = np.array([row for _, row in sorted(members)], dtype=np.int64)
        wrong += rows[_steps_back(when[rows])].tolist()
    return np.array(sorted(wrong), dtype=np.int64)


def _steps_back(times: Times) -> npt.NDArray[np.int64]:
    """The places in `times`, of files in the order of their numbers, that were set back."""
    steps = np.flatnonzero(times[1:] < times[:-1] - SET_BACK) + 1
    if not len(steps) or len(steps) > max(MAX_SET_BACK, MAX_SHARE_SET_BACK * len(times)):
        return np.array([], dtype=np.int64)
    wrong: set[int] = set()
    for step in steps.tolist():
        if step in wrong:
            continue
        before = times[step - 1]
        later = np.flatnonzero(times[step:] >= before - SET_BACK)
        if len(later):  # the clock was put right again
            wrong |= set(range(step, step + int(later[0])))
        elif times[step].astype(object).timetuple().tm_yday <= NEW_YEAR_DAYS:
            wrong |= set(range(step, len(times)))
        else:
            return np.setdiff1d(np.arange(len(times)), _longest_rise(times))
    return np.array(sorted(wrong), dtype=np.int64)


def _longest_rise(times: Times) -> npt.NDArray[np.int64]:
    """The places of the longest part of `times`, not all beside one another, that never falls.

    Source: C. Schensted, "Longest increasing and decreasing subsequences", 1961 (patience sorting).
    """
    ends: list[int] = []  # the place of the least last value of a rise of each length
    values: list[int] = []
    before: list[int] = []
    for place, value in enumerate(times.astype(np.int64).tolist()):
        length = bisect.bisect_right(values, value)
        before.append(ends[length - 1] if length else -1)
        ends[length : length + 1] = [place]
        values[length : length + 1] = [value]
    found, place = [], ends[-1]
    while place >= 0:
        found.append(place)
        place = before[place]
    return np.array(found[::-1], dtype=np.int64)
