"""Which images are media of a Camtrap DP: their deployments, times, ids, paths and kinds of file."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trapline.errors import TraplineError
from trapline.formats.camtrap_fields import is_usable_id
from trapline.formats.camtrap_times import Clock, clock_of, written
from trapline.formats.deployments import Deployment, deployments_by_site, some
from trapline.formats.predictions import Predictions
from trapline.images.files import announced_kind
from trapline.names import shown

NOT_A_MEDIUM = -1
HEAD = 64  # bytes that announce a kind of file
DIGITS = 16  # of an id that is made
# The path that the standard refuses: it begins with . / or ~, has two points in a row, or more than a line.
REFUSED = re.compile(r"^[./~]|(?<=\.)\.|[\0\n\r\u2028\u2029]")
MEDIA_TYPES = {
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "jpe": "image/jpeg", "jfif": "image/jpeg", "png": "image/png",
    "gif": "image/gif", "bmp": "image/bmp", "tif": "image/tiff", "tiff": "image/tiff", "webp": "image/webp",
    "jp2": "image/jp2", "avif": "image/avif", "heic": "image/heic", "heif": "image/heif",
    "ppm": "image/x-portable-pixmap", "pgm": "image/x-portable-graymap", "mp4": "video/mp4",
    "m4v": "video/mp4", "mov": "video/quicktime", "avi": "video/x-msvideo", "mkv": "video/x-matroska",
    "webm": "video/webm", "mpg": "video/mpeg", "mpeg": "video/mpeg", "wav": "audio/wav", "mp3": "audio/mpeg",
}  # fmt: skip
TYPE_OF_KIND = {
    "JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "BMP": "image/bmp", "TIFF": "image/tiff",
    "WEBP": "image/webp", "JPEG2000": "image/jp2", "AVIF": "image/avif", "HEIC or HEIF": "image/heif",
    "PPM": "image/x-portable-anymap",
}  # fmt: skip


@dataclass(frozen=True)
class Media:
    """The media among the images of some predictions, an entry for each medium, in the order of the rows.

    rows: of the predictions. deployments: the number of each medium's. times: ISO 8601 with an offset.
    instants: seconds since 1970, UTC. ids: the mediaIDs, unique. types: of the files. left_out: each row that
    is no medium, with why.
    """

    rows: npt.NDArray[np.int64]
    deployments: npt.NDArray[np.int64]
    times: list[str]
    instants: npt.NDArray[np.int64]
    ids: list[str]
    types: list[str]
    left_out: list[tuple[int, str]]

    def places(self, images: int) -> npt.NDArray[np.int64]:
        """For each of the images its place here, NOT_A_MEDIUM for one that is none."""
        places = np.full(images, NOT_A_MEDIUM)
        places[self.rows] = np.arange(len(self.rows))
        return places


def find_media(predictions: Predictions, deployments: Sequence[Deployment], sheet: Path) -> Media:
    """The media with their deployments.

    Left out are images without any time, with a day alone or what is no time, and files of which it is not
    known what they are. Raises TraplineError, naming `sheet`, where an image with a time is of no deployment,
    or of two.
    """
    rows = predictions.rows
    clocks = [clock_of(text) if text else Clock(fault="has no time") for text in texts(predictions, "time")]
    types = [
        "" if clock.fault else media_type(str(file), str(path))
        for clock, file, path in zip(clocks, rows["file"], rows["path"], strict=True)
    ]
    kept = [row for row, kind in enumerate(types) if kind]
    found = _assigned(predictions, deployments, sheet, kept, clocks)
    files = rows["file"].astype(str).to_numpy(dtype=object)[kept]
    return Media(
        rows=np.array(kept, dtype=np.int64),
        deployments=np.array([number for number, _, _ in found], dtype=np.int64),
        times=[written(seconds, offset) for _, seconds, offset in found],
        instants=np.array([seconds - offset for _, seconds, offset in found], dtype=np.int64),
        ids=media_ids(list(rows["id"].astype(str).to_numpy(dtype=object)[kept]), list(files)),
        types=[types[row] for row in kept],
        left_out=[
            (row, clocks[row].fault or "it is not known what kind of file this is")
            for row, kind in enumerate(types)
            if not kind
        ],
    )


def texts(predictions: Predictions, column: str) -> list[str | None]:
    """The texts of a column of the rows, None where there is none."""
    cells = predictions.rows[column].to_numpy(dtype=object)
    return [None if cell is None or cell != cell else str(cell) for cell in cells]


# --- deployments --------------------------------------------------------------------------------------------


def _assigned(
    predictions: Predictions,
    deployments: Sequence[Deployment],
    sheet: Path,
    kept: Sequence[int],
    clocks: Sequence[Clock],
) -> list[tuple[int, int, int]]:
    """For each of the rows `kept` the number of its deployment, its corrected seconds and its offset."""
    sites = texts(predictions, "site")
    of_site = deployments_by_site(deployments, (sites[row] for row in kept))
    found, faults = [], []
    for row in kept:
        numbers = of_site.get(sites[row] or "", [])
        own = _within(clocks[row], numbers, deployments)
        if len(own) == 1:
            found.append(own[0])
        else:
            said = _fault(
                sites[row], clocks[row], numbers, [deployments[each[0]] for each in own], deployments
            )
            faults.append(f"{shown(str(predictions.rows['file'].iat[row]))} {said}")
    if faults:
        raise TraplineError(
            f"{sheet}: {len(faults)} of {len(kept)} images are of no deployment, or of two: {some(faults)}. "
            "The site of an image is its deployment's locationID, else locationName or deploymentID, and its "
            "time lies from deploymentStart to deploymentEnd: add rows or correct these, give cameraTime and "
            "actualTime where a camera's clock was wrong, or say the sites of images with --folders or "
            "--site-csv"
        )
    return found


def _within(
    clock: Clock, numbers: Sequence[int], deployments: Sequence[Deployment]
) -> list[tuple[int, int, int]]:
    """Those of some deployments that a time lies in, each with the seconds and the offset that it has there.

    Where one ends in the second in which the next begins, it is of the next.
    """
    found = []
    for number in numbers:
        own = deployments[number]
        seconds, offset = clock.seconds + own.shift, own.offset if clock.offset is None else clock.offset
        if own.start <= seconds - offset <= own.end:
            found.append((number, seconds, offset))
    if len(found) > 1:
        begun = [each for each in found if each[1] - each[2] < deployments[each[0]].end]
        return begun or found
    return found


def _fault(
    site: str | None,
    clock: Clock,
    numbers: Sequence[int],
    own: Sequence[Deployment],
    deployments: Sequence[Deployment],
) -> str:
    """Why an image is of no deployment, as words that follow its name."""
    if not site:
        return "(has no site)"
    if not numbers:
        return f"(its site {shown(site)} has no row)"
    if own:
        both = f"{shown(own[0].id)} and {shown(own[1].id)}"
        return f"(its time is in {both}, both of its site {shown(site)}: give its deploymentID as its site)"
    first = deployments[numbers[0]]
    offset = first.offset if clock.offset is None else clock.offset
    time = written(clock.seconds, offset)
    if len(numbers) == 1:
        corrected = f", corrected by {first.shift:+d} s," if first.shift else ""
        return (
            f"({time}{corrected} is outside of {shown(first.id)}, the deployment of {shown(site)}, "
            f"{first.when()})"
        )
    return f"({time} is in none of the {len(numbers)} deployments of its site {shown(site)})"


# --- files --------------------------------------------------------------------------------------------------


def media_ids(ids: Sequence[str], files: Sequence[str]) -> list[str]:
    """The ids, where they are fit and unique; of others one that is made of the id and the file's name."""
    taken = {own for own in ids if is_usable_id(own)}
    used: set[str] = set()
    found = []
    for own, file in zip(ids, files, strict=True):
        if own in used or own not in taken:
            own = _made_id(f"{own}\0{file}", taken)
            taken.add(own)
        used.add(own)
        found.append(own)
    return found


def _made_id(text: str, taken: set[str]) -> str:
    number = 0
    while True:
        made = digest_of(text if not number else f"{text}\0{number}")
        if made not in taken:
            return made
        number += 1


def digest_of(text: str) -> str:
    """An id for a text that is none itself."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def media_path(file: str) -> str:
    """The path of a file in the form that the standard takes: what it refuses is percent-encoded as in URLs.

    Any other path stays as it is, percent signs too.
    """
    if not REFUSED.search(file):
        return file
    return REFUSED.sub(lambda found: f"%{ord(found[0]):02X}", file.replace("%", "%25"))


def media_type(file: str, path: str) -> str:
    """The media type of a file by its suffix, else by its first bytes; empty where neither tells."""
    _, _, suffix = file.rpartition("/")[2].rpartition(".")
    known = MEDIA_TYPES.get(suffix.lower())
    if known:
        return known
    if not Path(path).is_file():  # a pipe would block for ever
        return ""
    try:
        with Path(path).open("rb") as opened:
            head = opened.read(HEAD)
    except OSError:
        return ""
    return TYPE_OF_KIND.get(announced_kind(head), "")
