"""Which images of a prepared set are of one site or of one sequence.

Names are compared by their keys: sets that older versions prepared keep them as they were spelt.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trapline.data.groups import Integers, Sequences, numbered
from trapline.data.prepared import Split
from trapline.names import Kind, keys


def keys_of(column: pa.ChunkedArray, kind: Kind) -> npt.NDArray[np.object_]:
    """The key of each of n names, (n,), None where there is none."""
    encoded = column.dictionary_encode().combine_chunks()
    distinct = np.array([*keys(encoded.dictionary.to_pylist(), kind), None], dtype=object)
    return distinct[np.asarray(encoded.indices.fill_null(len(distinct) - 1), dtype=np.int64)]


def sites_and_sequences(table: pa.Table, split: Split) -> tuple[Integers, Sequences]:
    """The number of each image's site, (n,), -1 for none, and its sequence; `table` has both as columns."""
    sites, names = keys_of(table["site"], Kind.SITE), keys_of(table["sequence"], Kind.SEQUENCE)
    return numbered(sites), Sequences.of(names, sites, split.sequence_scope(sites, names))
