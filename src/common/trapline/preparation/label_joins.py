"""Which labels are said of which rows, where a row has an id and labels name ids."""

import numpy as np
import numpy.typing as npt
import pandas as pd

NO_LABEL = -1
Integers = npt.NDArray[np.int64]


def codes_of(ids: list[str], named: list[str | None]) -> tuple[Integers, Integers]:
    """A number for each of `ids`, from 0, alike for equal ones, and that of each of `named`, or -1."""
    codes, different = pd.factorize(np.array(ids, dtype=object))
    known = pd.Index(different, dtype=object)
    return codes.astype(np.int64), known.get_indexer(np.array(named, dtype=object))


def labelled_rows(codes: Integers, of: Integers, labels: Integers) -> tuple[Integers, Integers]:
    """A row with a label for each label that is said of it, in the order of rows, and NO_LABEL where none is.

    `codes`: of each row the number of its id, from 0. `of`, `labels`: the ids that labels are said of, and
    those labels; the same pair again counts once. Of rows that share an id, which is a fault of theirs, the
    first has all labels and each other has one, so that a fault makes no million rows of a thousand.
    """
    pairs = pd.DataFrame({"of": of, "label": labels}).drop_duplicates().sort_values(["of", "label"])
    of, labels = pairs["of"].to_numpy(), pairs["label"].to_numpy()
    _, first_row = np.unique(codes, return_index=True)
    one_label = np.full(len(first_row), NO_LABEL)
    one_label[of[::-1]] = labels[::-1]
    has_all = np.zeros(len(codes), dtype=bool)
    has_all[first_row[of]] = True
    others = np.flatnonzero(~has_all)
    rows = np.concatenate([first_row[of], others])
    said = np.concatenate([labels, one_label[codes[others]]])
    order = np.argsort(rows, kind="stable")
    return rows[order], said[order]
