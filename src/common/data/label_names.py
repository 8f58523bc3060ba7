"""Names for the classes of a source, where a person gives them: a CSV of labels and names."""

from dataclasses import replace
from pathlib import Path

from common.data.listing import Source, read_table
from common.errors import TraplineError, UsageError

LABEL, NAME = "Label", "Name"


def renamed(source: Source, path: Path, shown_as: str) -> Source:
    """`source` with the names of the CSV `path` (Label, Name) for its classes, and its own as their codes.

    A label without a row, or with an empty name, keeps its own. Raises UsageError, which calls the file
    `shown_as`, where there is none; TraplineError where it names none of the labels, a label twice, or two
    classes alike.
    """
    if not path.is_file():
        raise UsageError(f"--label-names {shown_as}: no such file, here or in the input")
    table = read_table(path, [LABEL, NAME])
    labels = table[LABEL].str.strip()
    if labels.duplicated().any():
        raise TraplineError(f"{shown_as}: label {labels[labels.duplicated()].iloc[0]} has two rows; keep one")
    names = dict(zip(labels, table[NAME].str.strip(), strict=True))
    codes = source.class_codes or source.classes
    if not set(codes) & set(names):
        raise TraplineError(f"{shown_as}: names none of the set's labels ({', '.join(codes[:5])}, ...)")
    classes = [names.get(code) or own for code, own in zip(codes, source.classes, strict=True)]
    alike = next((name for name in classes if classes.count(name) > 1), None)
    if alike is not None:
        raise TraplineError(f"{shown_as}: two labels are called {alike!r}; give each its own name")
    return replace(source, classes=classes, class_codes=codes)
