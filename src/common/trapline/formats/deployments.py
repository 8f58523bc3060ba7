"""Deployments of cameras, from a field sheet: where each stood, from when to when, and how its clock went.

Columns are those of Camtrap DP, and two more: `cameraTime`, what a camera's clock showed, and `actualTime`,
what time it really was then. The difference is added to every time of that deployment.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from trapline.console import note
from trapline.errors import TraplineError
from trapline.formats.camtrap_fields import DEPLOYMENTS, MISSING, REQUIRED, BadCell, cell_of, is_usable_id
from trapline.formats.camtrap_times import EXAMPLE, Clock, clock_of_moment, offset_of, written
from trapline.formats.field_sheet import ACTUAL_TIME, CAMERA_TIME, FieldSheet, read_field_sheet
from trapline.names import Kind, keys, shown
from trapline.preparation.times import Moment, read_times

START, END = "deploymentStart", "deploymentEnd"
TIMES = (START, END, CAMERA_TIME, ACTUAL_TIME)
YEARS = (1970, 2200)  # from which no camera trap is older, up to which none is planned
SHOWN = 10  # faults in one message


@dataclass(frozen=True)
class Deployment:
    """One placement of a camera. cells: of Camtrap DP's table, by column, as it writes them.

    start and end: seconds since 1970, UTC, both in it. offset: of its camera's clock, seconds east of UTC.
    shift: seconds to add to what that clock showed.
    """

    cells: Mapping[str, str]
    start: int
    end: int
    offset: int
    shift: int = 0

    @property
    def id(self) -> str:
        """Its deploymentID."""
        return self.cells["deploymentID"]

    def when(self) -> str:
        """Its start and its end, as messages say them."""
        return f"{self.cells[START]} to {self.cells[END]}"


def read_deployments(
    path: Path | None, zone: tzinfo | None, say: Callable[[str], None] = note
) -> list[Deployment]:
    """The deployments of a field sheet, in its order. zone: of times without an offset, None for none.
    say: takes what a person should know of how it was read.

    A time without an offset has that of its deployment's start, else that of `zone`. Raises TraplineError as
    `read_field_sheet`, and for rows that do not hold what they must, the first ten of them named.
    """
    sheet = read_field_sheet(path)
    for said in sheet.notes:
        say(said)
    moments, notes = _moments(sheet)
    faults: list[str] = []
    found = []
    for number, row in enumerate(sheet.rows):
        own: list[str] = []
        deployment = _deployment(row, {name: read[number] for name, read in moments.items()}, zone, own)
        faults += [f"line {sheet.lines[number]}: {fault}" for fault in own]
        if deployment is not None:
            found.append(deployment)
    faults += _repeated(sheet)
    if faults:
        raise TraplineError(f"{sheet.path}: {some(faults)}{''.join(f' ({said})' for said in notes)}")
    return found


def some(faults: Sequence[str]) -> str:
    """The first of some faults, and how many more there are."""
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return "; ".join(faults[:SHOWN]) + more


def _repeated(sheet: FieldSheet) -> list[str]:
    seen: dict[str, int] = {}
    faults = []
    for row, line in zip(sheet.rows, sheet.lines, strict=True):
        own = row["deploymentID"].strip()
        if own and seen.setdefault(own, line) != line:
            faults.append(
                f"line {line}: its deploymentID {shown(own)} is in line {seen[own]} too; give another"
            )
    return faults


# --- one row ------------------------------------------------------------------------------------------------


def _deployment(
    row: Mapping[str, str], moments: Mapping[str, Moment | None], zone: tzinfo | None, faults: list[str]
) -> Deployment | None:
    """One deployment; None where the row has `faults`, which are added."""
    cells = _checked_cells(row, faults)
    clocks = _clocks(row, moments, faults)
    if faults:
        return None
    offset = _own_offset(clocks, zone)
    if offset is None:
        faults.append(
            f"its {START} {shown(row[START].strip())} has no offset; write it as {EXAMPLE}, or give "
            "--timezone such as Europe/Oslo"
        )
        return None
    start, end = (_instant(clocks[name], clocks[START], zone, offset) for name in (START, END))
    if end < start:
        faults.append(f"its {END} {shown(row[END].strip())} is before its {START}; correct one of them")
    cells[START] = written(clocks[START].seconds, offset)
    end_offset = clocks[END].seconds - end
    cells[END] = written(clocks[END].seconds, end_offset)
    shift = 0
    if CAMERA_TIME in clocks:
        shift = _shift(clocks, zone, offset)
        cells["deploymentComments"] = _with_correction(cells.get("deploymentComments", ""), shift)
    return None if faults else Deployment(cells, start, end, offset, shift)


def _checked_cells(row: Mapping[str, str], faults: list[str]) -> dict[str, str]:
    """The cells of the standard's columns but those of times; what is wrong with them goes to `faults`."""
    cells = {}
    for name, field in DEPLOYMENTS.items():
        try:
            cells[name] = cell_of(row.get(name, ""), field)
        except BadCell as bad:
            faults.append(f"its {name} {bad}")
            continue
        if name in REQUIRED and not cells[name]:
            faults.append(f"its {name} is empty")
    own = cells["deploymentID"]
    if own and not is_usable_id(own):
        faults.append(f"its deploymentID {shown(own)} is no id that every program can read; give another")
    return cells


def _clocks(
    row: Mapping[str, str], moments: Mapping[str, Moment | None], faults: list[str]
) -> dict[str, Clock]:
    """What the clocks of a row showed, by column; what is wrong with them goes to `faults`."""
    clocks = {}
    for name in TIMES:
        text, moment = row.get(name, "").strip(), moments[name]
        if text in MISSING:
            continue  # which has been said where it must not be so
        if moment is None or not YEARS[0] <= moment.local.year < YEARS[1]:
            faults.append(f"its {name} {shown(text)} is no time for certain; write it as {EXAMPLE}")
        elif moment.is_day:
            faults.append(f"its {name} {shown(text)} is a day; add the time of day, as in {EXAMPLE}")
        else:
            clocks[name] = clock_of_moment(moment)
    if (CAMERA_TIME in clocks) != (ACTUAL_TIME in clocks) and not faults:
        faults.append(f"has one of {CAMERA_TIME} and {ACTUAL_TIME}; give both, or neither")
    return clocks


def _moments(sheet: FieldSheet) -> tuple[dict[str, list[Moment | None]], list[str]]:
    """The times of a sheet by column, read as a whole: one order of day and month holds for all of it."""
    size = len(sheet.rows)
    texts = [row.get(name, "").strip() for name in TIMES for row in sheet.rows]
    read = read_times([None if text in MISSING else text for text in texts])
    return {
        name: read.moments[place * size : (place + 1) * size] for place, name in enumerate(TIMES)
    }, read.notes


# --- offsets ------------------------------------------------------------------------------------------------


def _own_offset(clocks: Mapping[str, Clock], zone: tzinfo | None) -> int | None:
    """The offset of the camera's clock: that of its deployment's start."""
    start = clocks[START]
    if start.offset is not None:
        return start.offset
    return None if zone is None else offset_of(start, zone)


def _instant(clock: Clock, start: Clock, zone: tzinfo | None, offset: int) -> int:
    """Seconds since 1970, UTC, of what a person wrote: with its offset, that of the start, or of the zone."""
    if clock.offset is not None:
        return clock.seconds - clock.offset
    if start.offset is not None or zone is None:
        return clock.seconds - offset
    return clock.seconds - offset_of(clock, zone)


def _shift(clocks: Mapping[str, Clock], zone: tzinfo | None, offset: int) -> int:
    """Seconds from what the camera's clock showed to what it should have shown."""
    camera = clocks[CAMERA_TIME]
    showed = camera.seconds - (offset if camera.offset is None else camera.offset)
    return _instant(clocks[ACTUAL_TIME], clocks[START], zone, offset) - showed


def _with_correction(comments: str, shift: int) -> str:
    said = f"times of media are the camera's {shift:+d} s" if shift else ""
    return " | ".join(filter(None, (comments, said)))


# --- sites --------------------------------------------------------------------------------------------------


def deployments_by_site(
    deployments: Sequence[Deployment], sites: Iterable[str | None]
) -> dict[str, list[int]]:
    """For each of `sites` the numbers of its deployments, none where it has none.

    Those that have it as their locationID, else as their locationName, else as their deploymentID; however
    either is spelt.
    """
    different = sorted({site for site in sites if site})
    found: dict[str, list[int]] = {site: [] for site in different}
    for column in ("locationID", "locationName", "deploymentID"):
        open_sites = [site for site in different if not found[site]]
        both = keys([*open_sites, *(each.cells[column] for each in deployments)], Kind.SITE)
        numbers: dict[str, list[int]] = {}
        for number, own in enumerate(both[len(open_sites) :]):
            if own is not None:
                numbers.setdefault(own, []).append(number)
        for site, own in zip(open_sites, both, strict=False):
            found[site] = numbers.get(own or "", [])
    return found
