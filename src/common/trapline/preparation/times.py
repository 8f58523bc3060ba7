"""When images were taken: times as tables, cameras and file names write them, read for certain or not at all.

`5/6/2019` is the fifth of June or the sixth of May: the whole column decides, or what the cameras themselves
say, and where neither does, none of it is read. Times are local, as the camera's clock showed them; an offset
from UTC stays with them where one is written.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from trapline.names import ascii_quoted

DAY_FIRST, MONTH_FIRST = "day", "month"
MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan january", "feb february", "mar march", "apr april", "may", "jun june", "jul july",
         "aug august", "sep sept september", "oct october", "nov november", "dec december"),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
CLOCK = (
    r"(?:[T ,_]+(?P<hour>\d{1,2})[:.h](?P<minute>\d{1,2})(?:[:.](?P<second>\d{1,2})(?:[.,](?P<part>\d+))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?"
)
YEAR_FIRST = re.compile(rf"(?P<year>\d{{4}})[-/.:](?P<month>\d{{1,2}})[-/.:](?P<day>\d{{1,2}}){CLOCK}")
YEAR_LAST = re.compile(
    rf"(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<second_>\d{{1,2}})[-/.](?P<year>\d{{4}}|\d\d){CLOCK}"
)
NAMED = re.compile(
    rf"(?:(?P<day>\d{{1,2}})[-. ]+(?P<name>[A-Za-z]{{3,9}})\.?[-, ]+|"
    rf"(?P<name_>[A-Za-z]{{3,9}})\.? (?P<day_>\d{{1,2}}),? )(?P<year>\d{{4}}|\d\d){CLOCK}"
)
COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?:[T _-]?(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)?)?"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)
# In a file's name: a day and a time of day, with or without marks between the numbers.
IN_NAME = re.compile(
    r"(?<!\d)(20\d\d)(?:([-_.])(\d\d)\2(\d\d)|(\d\d)(\d\d))[-_ T.]{0,3}"
    r"(\d\d)(?:([-_.:h])(\d\d)\8(\d\d)|(\d\d)(\d\d))(?!\d)"
)
STANDARD_LENGTH = len("2019-05-31 14:02:11")
STANDARD_ZONE = re.compile(r"Z|[+-]\d\d:\d\d")
MIN_AMBIGUOUS = 20  # times of 1 to 12 o'clock, and no others: then perhaps AM and PM were lost
EXAMPLES = 3


class Moment(NamedTuple):
    """A time by a camera's clock, and its offset from UTC in minutes, None where that is not written.

    is_day: whether only the day is known.
    """

    local: datetime
    offset: int | None = None
    is_day: bool = False

    def text(self) -> str:
        """ISO 8601 to the second, with the offset where it is known; a day alone where no more is."""
        if self.is_day:
            return self.local.date().isoformat()
        text = self.local.isoformat(timespec="seconds")
        if self.offset is None:
            return text
        hours, minutes = divmod(abs(self.offset), 60)
        return f"{text}{'-' if self.offset < 0 else '+'}{hours:02d}:{minutes:02d}"


@dataclass
class Column:
    """The times of a column: `moments`, one for each cell, None where it is not read; `notes` say why."""

    moments: list[Moment | None]
    notes: list[str] = field(default_factory=list)


def read_times(
    cells: Sequence[str | None], witnesses: Callable[[], Sequence[Moment | None]] = tuple
) -> Column:
    """Read a column of times as a whole.

    `witnesses` gives what the images themselves say, by which the order of day and month is told where the
    column does not tell it. An hour of 24 is midnight at the end of its day. Cells that are no time are None.
    """
    cells = [None if cell is None else " ".join(cell.split()) for cell in cells]
    every = dict.fromkeys(cell for cell in cells if cell)
    found: dict[str, Moment | None] = {cell: moment for cell in every if (moment := _standard(cell))}
    different = {cell: _parsed(cell) for cell in every if cell not in found}
    order, notes = _order_of(cells, different, witnesses)
    lost_halves = _have_lost_halves([moment for moment in found.values() if moment], different.values())
    found |= {cell: _moment(parts, order) for cell, parts in different.items() if parts}
    if lost_halves:
        found = {}
        notes.append(
            f"all times are of 1 to 12 o'clock, as in {lost_halves!r}: AM and PM were lost, and none is read"
        )
    unread = [cell for cell in different if found.get(cell) is None]
    if unread and not lost_halves and (order or not any(_is_ambiguous(different[cell]) for cell in unread)):
        shown = ", ".join(map(ascii_quoted, unread[:EXAMPLES]))
        notes.append(f"{len(unread)} different cells are no times, as {shown}")
    return Column([found.get(cell) if cell else None for cell in cells], notes)


def time_in_name(name: str) -> Moment | None:
    """The time that a file's name says, as in StationA__2009-04-21__00-40-00(1).JPG."""
    found = IN_NAME.search(name)
    if not found:
        return None
    year, month, day = found[1], found[3] or found[5], found[4] or found[6]
    hour, minute, second = found[7], found[9] or found[11], found[10] or found[12]
    return _made(int(year), int(month), int(day), (int(hour), int(minute), int(second)), None)


# --- one cell -----------------------------------------------------------------------------------------------


def _standard(cell: str) -> Moment | None:
    """The time of a cell in the form that most programs write, 2019-05-31 14:02:11; None for any other."""
    if not (len(cell) >= STANDARD_LENGTH and cell[4] == cell[7] == "-" and cell[10] in " T"):
        return None
    if len(cell) > STANDARD_LENGTH and not STANDARD_ZONE.fullmatch(cell, STANDARD_LENGTH):
        return None
    try:
        local = datetime.fromisoformat(cell[:STANDARD_LENGTH])
    except ValueError:  # 24:00:00, and what is no time
        return None
    return Moment(local, _offset(cell[STANDARD_LENGTH:]))


def _parsed(cell: str) -> dict[str, str] | None:
    """The parts of a time, by name; None where it is none."""
    for pattern in (YEAR_FIRST, YEAR_LAST, NAMED, COMPACT):
        if found := pattern.fullmatch(cell):
            parts = {name: text for name, text in found.groupdict().items() if text is not None}
            name = parts.pop("name", parts.pop("name_", None))
            if name is not None:
                if name.casefold() not in MONTHS:
                    return None
                parts["month"] = str(MONTHS[name.casefold()])
                parts["day"] = parts.pop("day_", parts.get("day", ""))
            return parts
    return None


def _is_ambiguous(parts: dict[str, str] | None) -> bool:
    """Whether day and month could be either: numbers, the year at the end."""
    return parts is not None and "first" in parts


def _order_of(
    cells: Sequence[str | None],
    different: dict[str, dict[str, str] | None],
    witnesses: Callable[[], Sequence[Moment | None]],
) -> tuple[str | None, list[str]]:
    """Whether day or month comes first where the year is last; None where that is not certain, and a note."""
    unclear = {cell: parts for cell, parts in different.items() if parts and _is_ambiguous(parts)}
    if not unclear:
        return DAY_FIRST, []
    by_day = next((cell for cell, parts in unclear.items() if int(parts["first"]) > 12), None)
    by_month = next((cell for cell, parts in unclear.items() if int(parts["second_"]) > 12), None)
    if by_day and by_month:
        return None, [
            f"the day comes first in {by_day!r} and the month in {by_month!r}: none of these times is read; "
            "write them as 2019-05-31"
        ]
    if by_day or by_month:
        return (DAY_FIRST if by_day else MONTH_FIRST), []
    if all(parts["mark"] == "." for parts in unclear.values()):  # where people write so, days come first
        return DAY_FIRST, []
    if order := _by_witnesses(cells, unclear, witnesses()):
        said = "day" if order == DAY_FIRST else "month"
        return order, [f"the {said} comes first in {next(iter(unclear))!r}, as the images themselves say"]
    return None, [
        f"{next(iter(unclear))!r}: day or month may come first, and nothing in the column tells: none of "
        "these times is read; write them as 2019-05-31"
    ]


def _by_witnesses(
    cells: Sequence[str | None],
    unclear: dict[str, dict[str, str]],
    witnesses: Sequence[Moment | None],
) -> str | None:
    """The order under which more cells are of the day that their images say, if one is right for most."""
    right = {DAY_FIRST: 0, MONTH_FIRST: 0}
    seen = 0
    for cell, witness in zip(cells, witnesses, strict=False):
        if cell not in unclear or witness is None:
            continue
        seen += 1
        for order in right:
            moment = _moment(unclear[cell], order)
            right[order] += moment is not None and abs(moment.local - witness.local) < timedelta(days=1.5)
    best = max(right, key=lambda order: right[order])
    is_clear = right[best] > seen / 2 and right[best] > 2 * min(right.values())
    return best if is_clear else None


def _moment(parts: dict[str, str], order: str | None) -> Moment | None:
    year = int(parts["year"])
    if len(parts["year"]) == 2:
        year += 2000
    if _is_ambiguous(parts):
        if order is None:
            return None
        first, second = int(parts["first"]), int(parts["second_"])
        day, month = (first, second) if order == DAY_FIRST else (second, first)
    else:
        day, month = int(parts["day"]), int(parts["month"])
    hour = int(parts.get("hour", 0))
    half = parts.get("half", "").replace(".", "").casefold()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    clock = (hour, int(parts.get("minute", 0)), int(parts.get("second", 0)))
    moment = _made(year, month, day, clock, _offset(parts.get("zone")))
    return moment if moment is None or "hour" in parts else moment._replace(is_day=True)


def _made(year: int, month: int, day: int, clock: tuple[int, int, int], offset: int | None) -> Moment | None:
    midnight = clock == (24, 0, 0)
    try:
        local = datetime(year, month, day, *((0, 0, 0) if midnight else clock))
        return Moment(local + timedelta(days=1) if midnight else local, offset)
    except (ValueError, OverflowError):  # no such day or hour
        return None


def _offset(zone: str | None) -> int | None:
    """Minutes from UTC; None where nothing is written."""
    if not zone:
        return None
    if zone in ("Z", "UTC", "GMT"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    return (60 * hours + minutes) * (-1 if zone[0] == "-" else 1) if hours <= 14 and minutes < 60 else None


def _have_lost_halves(standard: Sequence[Moment], parsed: Collection[dict[str, str] | None]) -> str | None:
    """An example where the times of a column are of 1 to 12 o'clock alone, without AM and PM; None elsewhere.

    Twenty times of a clock of 24 hours are all so once in a million.
    """
    clocks = [parts for parts in parsed if parts and "hour" in parts]
    if len(clocks) + len(standard) < MIN_AMBIGUOUS or any("half" in parts for parts in clocks):
        return None
    hours = {moment.local.hour for moment in standard} | {int(parts["hour"]) for parts in clocks}
    if not hours <= set(range(1, 13)) or 12 not in hours or len(hours) < 4:
        return None
    if standard:
        return f"{standard[0].local:%H:%M}"
    return f"{clocks[0]['hour']}:{clocks[0].get('minute', '00')}"
