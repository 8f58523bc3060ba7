"""Whether train, validation and test share no camera, as their data set says, looked up in the images.

A set that an older version prepared may hold one camera in two spellings, and so in two parts.
"""

from pathlib import Path

from trapline.data.prepared import DatasetDescription, open_prepared
from trapline.names import Kind, keys

PARTS = ("train", "val", "test")


def shared_sites(folder: Path) -> list[str]:
    """The sites that more than one of train, val and test has, each as it is first spelt, sorted.

    None where the data set does not say that its parts share none. A part whose files are not in `folder`
    is passed over: an evaluation needs no train. Raises TraplineError where one is damaged.
    """
    description = open_prepared(folder, parts=()).description
    if not description.split.unseen_sites:
        return []
    present = _present(folder, description)
    prepared = open_prepared(folder, parts=present)
    found = [
        (part, site) for part in present for site in prepared.part(part).table["site"].unique().to_pylist()
    ]
    parts_of: dict[str, set[str]] = {}
    spelt: dict[str, str] = {}
    for (part, site), own in zip(found, keys([site for _, site in found], Kind.SITE), strict=True):
        if own is not None:
            parts_of.setdefault(own, set()).add(part)
            spelt.setdefault(own, site)
    return sorted(spelt[own] for own, parts in parts_of.items() if len(parts) > 1)


def _present(folder: Path, description: DatasetDescription) -> list[str]:
    return [
        part
        for part in PARTS
        if part in description.parts
        and all((folder / file).is_file() for file in description.parts[part].files)
    ]
