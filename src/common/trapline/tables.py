"""Tables as people save them: read whole as text, or refused by name.

Excel and others save CSV in a Windows code page or UTF-16, with semicolons or tabs, with an index column,
with another case or a blank in a column's name. What cannot be read for certain is refused: never half.
"""

import codecs
import csv
import gzip
import re
import stat
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from trapline.column_names import KNOWN, LABELS, known_columns, named_columns, plain_column
from trapline.errors import TraplineError, refuse_any
from trapline.large_tables import SharedRows
from trapline.names import clean
from trapline.storage import IDS, restored

DELIMITERS = ",;\t|"
UNICODE_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UNNAMED = re.compile(r"(Unnamed: \d+(\.\d+)?)?")  # as pandas calls a column without a name
GZIP, GZIP_RATIO = ".gz", 100  # how many times larger a table is than its packed file, at most
LARGEST = 4 << 30  # bytes; a table of ten million images has a tenth of that
csv.field_size_limit(1 << 20)  # characters of a cell, for all of the process
SEPARATOR = re.compile(r"sep=([,;|\t])\r?\n", re.IGNORECASE)  # Excel's own first line
COMMENT = "#"
MARK = "'"  # before what a spreadsheet would take for a formula
EXAMPLE = 40  # characters of a word that is shown
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # with its end
LINE_END = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # as str.splitlines knows them


@dataclass(frozen=True)
class Table:
    """A table as text: `cells` has its columns by their cleaned names, `lines` the line of each row.

    `columns`: for each of the KNOWN columns that it has, its name in the table. `notes`: what a person should
    know of how it was read. `written`: for each cleaned name of a column how the table writes it.
    """

    path: Path
    cells: pd.DataFrame
    lines: list[int]
    columns: dict[str, str]
    notes: list[str]
    written: dict[str, str] = field(default_factory=dict)

    def column(self, known: str) -> pd.Series | None:
        """The cells of a KNOWN column, None where the table has none."""
        return self.cells[self.columns[known]] if known in self.columns else None

    def place(self, row: int) -> str:
        """A row as messages call it."""
        return f"{self.path.name}, line {self.lines[row]}"


def read_table(
    path: Path,
    required: Sequence[str],
    given: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> Table:
    """Read a CSV whole. `required`: KNOWN columns, or names of others, that it must have.

    `given`: what a person says that KNOWN columns, or further ones, are called in it; those that it lacks are
    looked for by the names that are known. `only`: the columns to keep, by their names, which of a large
    table spares memory; None keeps all.

    Cells and the names of columns come as text; blanks around a column's name and its case make no other
    column. An apostrophe that `write_table` has put before what is no formula is gone, but in columns of ids
    and files. Raises TraplineError naming the file, the line or the column, and what is wrong: an encoding
    that is not certain, two columns of one name, a row of too many cells, an open quote, no such column.
    """
    text, notes = read_text(path)
    header, rows, lines = _parsed(path, text, required, only)
    places = _places_of_columns(path, header, rows)
    if len(places) < len(header):
        notes.append(f"{path.name}: its column of running numbers was left out")
    named = named_columns(list(places), given or {})
    columns = {**known_columns(list(places)), **named}
    if LABELS in named and "label" not in named:
        columns.pop("label", None)
    said = {name: [row[at] for row in rows] for name, at in places.items()}
    if MARK in text:
        said = {name: own if _is_exact(name, columns) else _restored(own) for name, own in said.items()}
    cells = pd.DataFrame(said, dtype=object)
    _check_has(path, list(places), [name for name in required if name not in columns])
    return Table(path, cells, lines, columns, notes, {name: header[at] for name, at in places.items()})


def _is_exact(name: str, columns: Mapping[str, str]) -> bool:
    """Whether a column names images: their ids and files are joined and found as they are written."""
    exact = plain_column(name) in (*KNOWN["id"], *KNOWN["filepath"])
    return exact or name in (columns.get("id"), columns.get("filepath"))


def _restored(cells: list[str]) -> list[str]:
    return [restored(cell) if cell[:1] == MARK else cell for cell in cells]


def read_rows(path: Path, required: Collection[str] = ()) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV, every cell as it is written. Raises TraplineError as `read_table`."""
    header, rows, _ = _parsed(path, read_text(path)[0], required)
    return header, rows


def read_strings(path: Path, required: Sequence[str], exact: Collection[str] | None = IDS) -> pd.DataFrame:
    """A CSV file with every cell as text, as it was before `write_table` wrote it with the same `exact`.

    Raises TraplineError naming the file and what it lacks.
    """
    try:
        written = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise TraplineError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TraplineError(f"{path}: not a CSV file ({' '.join(str(error).split())[:120]})") from None
    table = restored_table(written, exact)
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise TraplineError(
            f"{path}: lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
    return table


def restored_table(table: pd.DataFrame, exact: Collection[str] | None = IDS) -> pd.DataFrame:
    """A table of texts as it was before `write_table` wrote it with the same `exact`."""
    if exact is None:
        return table
    texts = {name: table[name].map(restored) for name in map(str, table.columns) if name not in exact}
    return table.assign(**texts).rename(columns={name: restored(name) for name in texts})


# --- text ---------------------------------------------------------------------------------------------------


def read_text(path: Path) -> tuple[str, list[str]]:
    """The text of a file in UTF-8, UTF-16 or UTF-32, or in Windows' code page 1252, and a note where so.

    Raises TraplineError where it cannot be read, or is in no encoding that is certain.
    """
    try:
        status = path.stat()
        refusals = (
            (
                not stat.S_ISREG(status.st_mode),
                "cannot be read (not a regular file)",
            ),  # a pipe would block for ever
            (status.st_size > LARGEST, f"more than {LARGEST >> 30} GiB, which no table has"),
        )
        refuse_any(((found, f"{path}: {fault}") for found, fault in refusals), TraplineError)
        data = path.read_bytes() if not path.name.lower().endswith(GZIP) else _unpacked(path, status.st_size)
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return _decoded(path, data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TraplineError(
            f"{path}: line {line}: in no encoding that is certain; save the table as CSV UTF-8"
        ) from None


def _unpacked(path: Path, size: int) -> bytes:
    """The content of a .gz of `size` bytes. Raises TraplineError where it is damaged or too large."""
    largest = min(LARGEST, GZIP_RATIO * size)
    try:
        with gzip.open(path) as file:
            data = file.read(largest + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraplineError(f"{path}: cannot be unpacked ({error}); write or download it again") from None
    if len(data) > largest:
        raise TraplineError(f"{path}: unpacks to more than {largest} bytes, which no table does")
    return data


def _decoded(path: Path, data: bytes) -> tuple[str, list[str]]:
    marked = next((name for mark, name in UNICODE_MARKS if data.startswith(mark)), None)
    encoding = marked or _without_mark(data)
    try:
        return data.decode(encoding).removeprefix("\ufeff"), []
    except UnicodeDecodeError:
        # Where UTF-8 finds letters beyond ASCII too, a broken one is damage, and no code page.
        if encoding != "utf-8" or marked or not data.decode("utf-8", "ignore").isascii():
            raise
    text = data.decode("cp1252")
    words = (found[0] for found in re.finditer(r"[^,;|\"\r\n]+", text))
    example = next((word for word in words if not word.isascii()), text)[:EXAMPLE]
    return text, [f"{path.name}: is no UTF-8; read in Windows' code page 1252, as in {example!r}"]


def _without_mark(data: bytes) -> str:
    """UTF-16 shows by its zeros: every second byte of plain letters."""
    start = data[:4096]
    if start[1::2].count(0) > len(start) / 5 and not start[::2].count(0):
        return "utf-16-le"
    if start[::2].count(0) > len(start) / 5 and not start[1::2].count(0):
        return "utf-16-be"
    return "utf-8"


# --- rows ---------------------------------------------------------------------------------------------------


def _parsed(
    path: Path, text: str, required: Collection[str], only: Collection[str] | None = None
) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows and their lines, with the delimiter that finds most of the required columns."""
    first_line, delimiter = 1, None
    if separator := SEPARATOR.match(text):
        text, delimiter, first_line = text[separator.end() :], separator.group(1), 2
    has_comment = text.lstrip().startswith(COMMENT) and header_of(text)[0] != _first_cells(text, delimiter)
    refusals = (
        (not text.strip(), "not a readable CSV (it is empty)"),
        ("\0" in text, "not a readable CSV (it holds zero bytes); save the table as CSV UTF-8"),
        (has_comment, f"begins with a comment ({COMMENT} ...); remove it, so that the header is first"),
    )
    refuse_any(((found, f"{path}: {fault}") for found, fault in refusals), TraplineError)
    delimiter = delimiter or delimiter_of(text, required)
    reader = csv.reader((found[0] for found in LINE.finditer(text)), delimiter=delimiter, strict=True)
    found_rows = SharedRows()
    lines: list[int] = []
    width, places = 0, None
    begin = reader.line_num
    try:
        for row in reader:
            if (row and row[0].strip()) or any(map(str.strip, row)):
                if places is not None:
                    row = _filled(path, row, begin + first_line, width)
                    row = [row[place] for place in places]
                elif only is not None:
                    _check_has(path, row, required)
                    width, places = len(row), [at for at, name in enumerate(row) if clean(name) in only]
                    row = [row[place] for place in places]
                found_rows.append(row)
                lines.append(begin + first_line)
            begin = reader.line_num
    except csv.Error as error:
        raise TraplineError(
            f"{path}: not a readable CSV (line {begin + first_line}: {error}); mend the quotes of that line"
        ) from None
    if not lines:
        raise TraplineError(f"{path}: not a readable CSV (all its cells are empty)")
    header, *rows = found_rows.all()
    if places is None:
        for row, line in zip(rows, lines[1:], strict=True):
            _filled(path, row, line, len(header))
    return header, rows, lines[1:]


def header_of(text: str, required: Collection[str] = ()) -> tuple[list[str], str]:
    """The cleaned cells of a table's first line, comments and Excel's own line apart, and what divides them.

    No cells, and a comma, where there is no such line.
    """
    found = SEPARATOR.match(text)
    text = text[found.end() :] if found else text
    line = next((each for each in text.splitlines() if each.strip() and not each.startswith(COMMENT)), "")
    delimiter = found.group(1) if found else delimiter_of(line, required) if line else ","
    return _first_cells(line, delimiter), delimiter


def _first_cells(text: str, delimiter: str | None) -> list[str]:
    start = len(text) - len(text.lstrip())  # of the first line that holds something
    end = next((found.start() for found in LINE_END.finditer(text, start)), len(text))
    try:
        return [clean(cell) for cell in next(csv.reader([text[start:end]], delimiter=delimiter or ","), [])]
    except csv.Error:  # an endless cell
        return []


def delimiter_of(text: str, required: Collection[str] = ()) -> str:
    """What divides the cells of the first line: the character that finds most of the required columns."""

    def score(delimiter: str) -> tuple[int, int, int]:
        cells = _first_cells(text, delimiter)
        known = known_columns(cells)
        return sum(name in known or name in cells for name in required), len(known), len(cells)

    return max(DELIMITERS, key=score)  # of equals the first, a comma


def _check_has(path: Path, header: Sequence[str], required: Collection[str]) -> None:
    names = [clean(name) for name in header]
    for name in required:
        if name not in names:
            raise TraplineError(f"{path}: no column {name} (its columns: {', '.join(names[:8])})")


def _filled(path: Path, row: list[str], line: int, width: int) -> list[str]:
    """A row brought to the header's length: programs leave out empty cells at a line's end."""
    if len(row) > width and any(map(str.strip, row[width:])):
        raise TraplineError(
            f"{path}: line {line} has {len(row)} cells, its header {width}: put cells that hold the "
            "delimiter into quotes"
        )
    if len(row) != width:
        row[width:] = [""] * max(0, width - len(row))
    return row


def _places_of_columns(path: Path, header: Sequence[str], rows: list[list[str]]) -> dict[str, int]:
    """The place of each column by its cleaned name, but for those that hold nothing, or an index.

    Raises TraplineError for two columns of one name, or one without a name.
    """
    places: dict[str, int] = {}
    taken: dict[str, int] = {}
    for place, name in enumerate(map(clean, header)):
        if UNNAMED.fullmatch(name):
            if _says_nothing([row[place] for row in rows]):
                continue
            raise TraplineError(f"{path}: its column {place + 1} has no name; name it, or remove it")
        if (other := taken.setdefault(name.casefold(), place)) != place:
            both = f"{header[other]!r} and {header[place]!r}"
            raise TraplineError(f"{path}: has two columns of one name ({both}); rename or remove one")
        places[name] = place
    return places


def _says_nothing(cells: Sequence[str]) -> bool:
    """Whether a column is empty, or the running number that a program has added."""
    numbered = len(set(cells)) == len(cells) and all(cell.strip().isdecimal() for cell in cells)
    return numbered or not any(map(str.strip, cells))
