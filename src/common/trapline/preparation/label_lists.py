"""What divides the labels in the cells of a table: blanks, or a comma, a bar or a semicolon."""

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from trapline.errors import TraplineError
from trapline.names import Kind, clean, fault, shown

MAX_LIST_LENGTH = 1 << 16  # characters of a list that is written as Python or JSON does
SEPARATORS = ",|;"
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def label_lists(cells: Sequence[str], path: Path, place: Callable[[int], str]) -> list[tuple[str, ...]]:
    """The labels in each cell of a column. `place` calls a row as a message does.

    Blanks divide them, unless a cell has a comma, a bar or a semicolon: then that does, and blanks belong to
    the names. Lists as Python and JSON write them are read as such. Raises TraplineError, naming the file at
    `path` and rows, where it is not certain which.
    """
    for row, cell in enumerate(cells):
        if problem := fault(" ".join(cell.split()), Kind.CLASS):
            raise TraplineError(f"{path}: {place(row)}: {shown(cell)} {problem}; give the labels other names")
    cleaned = [clean(cell) for cell in cells]
    if any(cell.startswith("[") for cell in cleaned):
        return [_written_list(cell, path, place(row)) for row, cell in enumerate(cleaned)]
    held = {
        mark: next((row for row, cell in enumerate(cleaned) if mark in cell), None) for mark in SEPARATORS
    }
    found = {mark: row for mark, row in held.items() if row is not None}
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise TraplineError(
            f"{path}: {one} divides labels in {place(first)} ({cleaned[first]!r}), "
            f"{other} in {place(second)} ({cleaned[second]!r}); use one of them"
        )
    if not found:
        return [tuple(cell.split()) for cell in cleaned]
    mark = next(iter(found))
    lists = [tuple(filter(None, map(str.strip, cell.split(mark)))) for cell in cleaned]
    if _blanks_divide_too(lists, path, mark, place):
        return [tuple(label for part in parts for label in part.split()) for parts in lists]
    return lists


def _written_list(cell: str, path: Path, place: str) -> tuple[str, ...]:
    """The labels of a cell that a program wrote as a list: ['fox', 'owl']."""
    try:
        # What is longer is no list of labels, and to nest brackets in it would exhaust the parser.
        found = ast.literal_eval(cell or "[]") if len(cell) <= MAX_LIST_LENGTH else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(label, str | int | float) for label in found):
        raise TraplineError(
            f"{path}: {place}: {cell[:80]!r} is no list of labels, though other cells are lists"
        )
    return tuple(clean(str(label)) for label in found)


def _blanks_divide_too(
    lists: Sequence[tuple[str, ...]], path: Path, mark: str, place: Callable[[int], str]
) -> bool:
    """Whether blanks divide labels beside `mark`: where the words are numbers, or labels of their own."""
    single = {label for labels in lists for label in labels if " " not in label}
    spaced = [(row, label) for row, labels in enumerate(lists) for label in labels if " " in label]
    divided = [all(NUMBER.fullmatch(word) or word in single for word in label.split()) for _, label in spaced]
    if all(divided):
        return bool(divided)
    if any(divided):
        row, label = spaced[divided.index(True)]
        other, name = spaced[divided.index(False)]
        raise TraplineError(
            f"{path}: {mark} divides labels, and {label!r} in {place(row)} would be two more, but {name!r} "
            f"in {place(other)} one with a blank; put {mark} between all labels"
        )
    return False
