"""Names for the classes of a source, where a person gives them: a CSV of labels and names."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd

from trapline.errors import TraplineError, UsageError
from trapline.names import Kind, clean, key, keys, refuse
from trapline.preparation.listing import Source
from trapline.tables import read_table
from trapline.typed import prepare_option

LABEL, NAME = "Label", "Name"


def renamed(source: Source, path: Path, shown_as: str) -> Source:
    """`source` with the names of the CSV `path` (Label, Name) for its classes, and its own as their codes.

    A label without a row, or with an empty name, keeps its own. Raises UsageError, which calls the file
    `shown_as`, where there is none; TraplineError where it names none of the labels, a label twice, two
    classes alike, or one with a name that none may have.
    """
    if not path.is_file():
        raise UsageError(f"{prepare_option('label-names', shown_as)}: no such file, here or in the input")
    table = read_table(path, [LABEL, NAME]).cells
    codes = source.class_codes or source.classes
    labels = pd.Series(keys([*codes, *table[LABEL]], Kind.CLASS))
    own, labels = labels[: len(codes)], labels[len(codes) :].reset_index(drop=True)
    if labels.duplicated().any():
        raise TraplineError(
            f"{shown_as}: label {table[LABEL][labels.duplicated()].iloc[0]} has two rows; keep one"
        )
    refuse(table[NAME], Kind.CLASS, shown_as)
    names = dict(zip(labels, table[NAME].map(clean), strict=True))
    if not set(own) & set(names):
        raise TraplineError(f"{shown_as}: names none of the set's labels ({', '.join(codes[:5])}, ...)")
    classes = [names.get(code) or known for code, known in zip(own, source.classes, strict=True)]
    alike = Counter(key(name, Kind.CLASS) for name in classes)
    shared = next((name for name in classes if alike[key(name, Kind.CLASS)] > 1), None)
    if shared is not None:
        raise TraplineError(f"{shown_as}: two labels are called {shared!r}; give each its own name")
    return replace(source, classes=classes, class_codes=codes)
