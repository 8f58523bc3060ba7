"""Times of camera traps as Camtrap DP wants them: ISO 8601 to the second, with an offset from UTC.

A camera's clock is set once and does not follow the change to summer time and back. So its times without an
offset have that of their deployment's start throughout, even where the law changed the clocks of people
meanwhile; where none is written there, it is that of --timezone at that moment. What people write of their
own watches in a field sheet, such as a deployment's end, follows the law: there a time zone by name gives the
offset of each local time. Of an hour that comes twice it is the first, and an hour that is left out has the
offset before it.

Clocks are counted in whole seconds since 1970 as they showed the time, offsets in seconds east of UTC.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from trapline.errors import UsageError
from trapline.names import shown
from trapline.preparation.times import Moment

EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)
DAY_ALONE = len("2024-05-31")  # characters: no text as short as that has a time of day
EXAMPLE = "2024-05-31T14:02:11+02:00"


@dataclass(frozen=True)
class Clock:
    """A time as a camera, or a person, wrote it: `seconds` since 1970 by that clock; `offset` None: unknown.

    Where it cannot be used, `fault` says why and the rest is of no meaning.
    """

    seconds: int = 0
    offset: int | None = None
    fault: str = ""


def read_zone(text: str | None) -> tzinfo | None:
    """The zone of --timezone, None for None. Raises UsageError for what is none."""
    if text is None:
        return None
    try:
        named = datetime.strptime(text, "%z").tzinfo  # +01:00, +0100 and Z
    except ValueError:
        named = None
    if named is not None:
        return named
    try:
        return ZoneInfo(text)
    except (ValueError, KeyError, OSError):  # no such zone; a path; a folder of zones
        raise UsageError(
            f"--timezone {shown(text)}: no such time zone; give a name such as Europe/Oslo or an offset such "
            "as +01:00"
        ) from None


def clock_of(text: str) -> Clock:
    """The time of an image, from ISO 8601; parts of a second are dropped."""
    plain = text.strip()
    try:
        read = datetime.fromisoformat(plain)
    except ValueError:
        return Clock(fault=f"its time {shown(plain)} cannot be read")
    if len(plain) <= DAY_ALONE:
        return Clock(fault=f"of its time only the day is known ({plain})")
    offset = read.utcoffset()
    seconds = (read.replace(tzinfo=None) - EPOCH) // SECOND
    return Clock(seconds, None if offset is None else offset // SECOND)


def clock_of_moment(moment: Moment) -> Clock:
    """The time of a field sheet."""
    return Clock((moment.local - EPOCH) // SECOND, None if moment.offset is None else moment.offset * 60)


def offset_of(clock: Clock, zone: tzinfo) -> int:
    """The offset of a zone when people's clocks showed `clock`."""
    local = (EPOCH + clock.seconds * SECOND).replace(tzinfo=zone)
    return (local.utcoffset() or timedelta()) // SECOND


def written(seconds: int, offset: int) -> str:
    """ISO 8601 of a clock's `seconds` with its offset; in UTC where the offset is of no whole minutes."""
    if offset % 60:
        seconds, offset = seconds - offset, 0
    sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60
    local = EPOCH + timedelta(seconds=seconds)
    return f"{local.isoformat()}{sign}{minutes // 60:02}:{minutes % 60:02}"


def written_moment(moment: datetime) -> str:
    """ISO 8601 of a time that has its zone, to the second."""
    offset = moment.utcoffset() or timedelta()
    return written((moment.replace(tzinfo=None) - EPOCH) // SECOND, offset // SECOND)
