"""What belongs together in a part of the data: the images of one site."""

from dataclasses import dataclass

import numpy as np

from trapline.data.prepared import PackedPart
from trapline.names import Kind, Merged, merged


@dataclass(frozen=True)
class Clusters:
    """What is resampled as one. numbers: int64 (images,); names: of the sites; None: every image alone."""

    numbers: np.ndarray
    names: list[str] | None

    @property
    def unit(self) -> str:
        """What a cluster is."""
        return "image" if self.names is None else "site"

    @property
    def counted(self) -> str:
        """Their number in words, as in `4 sites`."""
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.numbers.max()) + 1


def clusters_of(part: PackedPart) -> Clusters:
    """The sites of a part where every image has one, else each image for itself.

    A site that is spelt in several ways is one, under its commonest spelling.
    """
    sites = merged_sites(part).names
    if any(site is None for site in sites):
        return Clusters(np.arange(len(sites)), None)
    names, numbers = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
    return Clusters(numbers.astype(np.int64), names.tolist())


def merged_sites(part: PackedPart) -> Merged:
    """The site of each image, (images,), in one spelling each; None where it is not known."""
    return merged(part.table["site"].to_pylist(), Kind.SITE)
