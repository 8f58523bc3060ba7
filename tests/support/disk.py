"""What somebody has on disk, and what Trapline makes of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests.conftest import write_jpeg
from trapline.data.prepared import open_prepared
from trapline.preparation.division import divide, split_policy
from trapline.preparation.listing import UNLABELED, SiteRule
from trapline.preparation.sources import read_source

PARTS = ("train", "val", "test", "unlabeled")


def put(folder, files):
    """Write `files` below `folder`: a text or bytes as they are, a number as a picture of that seed."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            write_jpeg(path, content, side=16)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def features(rows, columns="id,filepath,site"):
    """A table of features: a line of text for each row."""
    return "\n".join([columns, *rows]) + "\n"


def competition(rows, columns="id,filepath,site", classes="hog,bird"):
    """The competition's layout of `rows` (text cells by the columns), labels in turn, with their pictures."""
    names = [row.split(",")[0] for row in rows]
    labels = [f"{name},{number % 2},{1 - number % 2}" for number, name in enumerate(names)]
    return {
        **{f"img/{name.strip()}.jpg": number for number, name in enumerate(names)},
        "train_features.csv": features(rows, columns),
        "train_labels.csv": "\n".join([f"id,{classes}", *labels]) + "\n",
    }


@dataclass(frozen=True)
class Read:
    """A source as it was listed: rows by id, classes, notes, and reason and detail of what was set aside."""

    images: pd.DataFrame
    classes: list[str]
    notes: str
    quarantined: dict[str, str]
    details: str

    @property
    def labels(self):
        """The class of each id, None for unlabelled images; a set of classes where it may have several."""
        if "labels" in self.images:
            return {
                name: {self.classes[label] for label in row} for name, row in self.images["labels"].items()
            }
        return {
            name: None if label == UNLABELED else self.classes[label]
            for name, label in self.images["label"].items()
        }


def read(folder, rule=None, **options):
    """List what lies in `folder`, with what would not be opened as set aside."""
    source = read_source(Path(folder), rule or SiteRule(), **options)
    barred = [row for row in source.images.itertuples() if row.path in source.barred]
    aside = {row.id: row.reason for row in source.quarantined}
    aside |= {row.id: source.barred[row.path][0] for row in barred}
    details = [row.detail for row in source.quarantined] + [detail for _, detail in source.barred.values()]
    images = source.images[~source.images["path"].isin(list(source.barred))].set_index("id")
    return Read(images, source.classes, "\n".join(source.notes), aside, "\n".join(details))


def divided(folder, kind=None, rule=None):
    """The part of each labelled image, by id, as if all images differed."""
    source = read_source(Path(folder), rule or SiteRule())
    images = source.images[~source.images["path"].isin(list(source.barred))]
    images = images.assign(sha256=images["id"])
    shares = (0.5, 0.25, 0.25) if kind == "random" else None
    parts, _ = divide(images, source.classes, split_policy(source, kind, shares, None, 0))
    return dict(zip(parts["id"], parts["part"], strict=True))


def prepared(folder):
    """Ids of each part of a prepared set, and its summary."""
    opened = open_prepared(folder)
    ids = {part: set(opened.part(part).table["id"].to_pylist()) for part in PARTS}
    return ids, json.loads((folder / "summary.json").read_text())
