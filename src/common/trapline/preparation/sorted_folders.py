"""Images that predict.py --sort laid into folders by class, and that a person may have moved since.

    <class>/<file>   unclassified/<file>   people/<class or unclassified>/<file>   sorted.csv

The label of an image is the folder in which it lies now. Where the model put it there, the label is the
model's: to look through folders leaves no trace in them, and a person says it with --machine-labels true.
An image with several labels is in several folders. Its id is the name that it had before it was sorted, and
its camera the folder that it had there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.preparation.camera_folders import sites_of
from trapline.preparation.image_sets import loose_images
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listed_rows import source_of, statements
from trapline.preparation.listing import Reading, Source, printable
from trapline.preparation.machine_labels import told_of_machines, with_told
from trapline.preparation.media import Media
from trapline.storage import restored
from trapline.tables import header_of, read_table, read_text

LAYOUT = "sorted"
PEOPLE, UNCLASSIFIED, TABLE = "people", "unclassified", "sorted.csv"
COLUMNS = ("file", "folder", "sorted_file", "label", "confidence", "status")  # of TABLE


@dataclass
class _Sorted:
    """What sorted.csv says: where the model put each image, and what the folders stand for."""

    original: dict[str, str] = field(default_factory=dict)  # file below a class's folder -> before the sort
    by_name: dict[str, list[str]] = field(default_factory=dict)  # the same, of names without folders
    put: set[str] = field(default_factory=set)  # where the model put something
    label_of: dict[str, str] = field(default_factory=dict)  # folder -> class, where that is called otherwise


def is_sorted(folder: InputFolder, reading: Reading) -> bool:
    """Whether predict.py has sorted the images of the folder."""
    other = reading.table or reading.folders or reading.label_tag
    return (reading.among_others or not other) and any(map(_is_ours, folder.tables(TABLE)))


def _is_ours(table: Path) -> bool:
    if table.name != TABLE:
        return False
    try:
        return tuple(header_of(read_text(table)[0], [COLUMNS[0]])[0]) == COLUMNS
    except TraplineError:  # whatever it is, it is not as predict.py wrote it
        return False


def read_sorted(folder: InputFolder, reading: Reading) -> Source:
    """List the images of the folders by class.

    Raises TraplineError where none is there.
    """
    said = _read(folder.path / TABLE)
    places = [(*_divided(file), file) for name in folder.folders() for file in folder.files(name)]
    before = _names(said, folder, [(below, file) for _, below, file in places])
    first: dict[str, str] = {}
    for name, (_, _, file) in zip(before, places, strict=True):
        first.setdefault(name, file)
    of_machine = [file in said.put and label is not None for (label, _, file) in places]
    left_out = 0 if reading.machine_labels or not reading.needs_labels else sum(of_machine)
    labels = [
        None if label is None or (left_out and machine) else said.label_of.get(label, label)
        for (label, _, _), machine in zip(places, of_machine, strict=True)
    ]
    cameras = [below if name == file else name for name, (_, below, file) in zip(before, places, strict=True)]
    sites = sites_of([printable(name.rpartition("/")[0]) for name in cameras])
    notes = _told_of_sites(before, sites)
    rows = statements(
        TABLE,
        [file for _, _, file in places],
        file=[first[name] for name in before],
        id=before,
        label=labels,
        site=sites,
    )
    source = source_of(rows, Media(folder, reading.origin, reading.copies), notes=notes)
    told = told_of_machines(TABLE, left_out, "labels, of images where predict.py put them,")
    source = with_told(source, told)
    return replace(source, quarantined=[*loose_images(folder), *source.quarantined])


def _read(path: Path) -> _Sorted:
    table, said = read_table(path, []), _Sorted()
    columns = (map(restored, table.cells[name]) for name in ("file", "folder", "sorted_file", "label"))
    for file, folder, place, label in zip(*columns, strict=True):
        if not place:
            continue  # left out, or its file was not there
        said.put.add(place)
        said.original[place.removeprefix(f"{folder}/")] = file
        inner = folder.removeprefix(f"{PEOPLE}/")
        if label and inner != UNCLASSIFIED:
            said.label_of.setdefault(inner, label)
    for below, file in said.original.items():
        said.by_name.setdefault(below.rpartition("/")[2], []).append(file)
    return said


def _names(said: _Sorted, folder: InputFolder, files: Sequence[tuple[str, str]]) -> list[str]:
    """What each image was called before the sort; files of one name are copies of one image.

    `files`: below the class's folder, and below the sorted one. An image that was moved without its folders
    is known by its name where that was the only one of that name. Whatever else lies there, and another image
    in the place of a copy, is called as it lies.
    """
    kept = {said.original[below] for below, _ in files if below in said.original}
    sizes: dict[str, int] = {}
    names = []
    for below, file in files:
        size = _size(folder.full(file))
        name, is_known = said.original.get(below), below in said.original
        if name is None:
            namesakes = said.by_name.get(below.rpartition("/")[2], [])
            name = namesakes[0] if len(namesakes) == 1 and namesakes[0] not in kept else below
        if name in sizes and not (is_known and sizes[name] == size):
            name = file
        sizes[name] = size
        names.append(name)
    return names


def _size(path: str) -> int:
    """Of a file, in bytes; -1 for a link that leads nowhere."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1


def _divided(file: str) -> tuple[str | None, str]:
    """The name of the class's folder, None where it says none, and the file below it."""
    label, _, below = file.partition("/")
    if label == PEOPLE and "/" in below:
        label, _, below = below.partition("/")
    return (None if label == UNCLASSIFIED else label), below


def _told_of_sites(before: list[str], sites: list[str | None]) -> list[str]:
    known = Counter(site for site in sites if site)
    if not known:
        return []
    example = next(f"{site!r} for {name!r}" for name, site in zip(before, sites, strict=True) if site)
    return [
        f"{TABLE}: sites are the folders of cameras before the sort, as {example} ({len(known)} in all); "
        f"{prepare_option('site-csv')} or {prepare_option('site-regex')} says otherwise"
    ]
