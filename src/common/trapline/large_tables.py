"""What spares time and memory where tables have a million rows."""

import contextlib
import gc
from collections.abc import Iterator

BLOCK = 5000  # rows that are looked at together
SHORT = 20  # characters of a cell that may come often


class SharedRows:
    """Rows of a table, in which of equal cells of a column that repeats itself there is one object.

    Which columns do is seen from the first rows; of a small table equal short cells are one.
    """

    def __init__(self) -> None:
        self._rows: list[list[str]] = []
        self._block: list[list[str]] = []
        self._once: dict[str, str] = {}
        self._columns: list[int] | None = None

    def append(self, row: list[str]) -> None:
        """Add one row."""
        self._block.append(row)
        if len(self._block) == BLOCK:
            self._take_in()

    def all(self) -> list[list[str]]:
        """All rows, in their order."""
        self._take_in()
        return self._rows

    def _take_in(self) -> None:
        block, self._block = self._block, []
        once = self._once.setdefault
        if self._columns is None:
            block = [[once(cell, cell) if len(cell) < SHORT else cell for cell in row] for row in block]
            self._columns = [
                at
                for at in range(min(map(len, block), default=0))
                if 2 * len({row[at] for row in block}) < len(block)
            ]
        elif self._columns and len({len(row) for row in block}) == 1:  # else some are refused later
            columns: list[tuple[str, ...]] = list(zip(*block, strict=True))
            for at in self._columns:
                if at < len(columns):
                    columns[at] = tuple(map(once, columns[at], columns[at]))
            block = list(map(list, zip(*columns, strict=True)))
        self._rows += block


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Let Python look for no circles of unused objects inside the block.

    Where millions of objects are made that stay, each look walks all of them and finds nothing: a fifth of
    the time of reading a large table.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
