"""Data without sequences is divided as before sequences counted: the digests are of the code of then."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from tests.data.test_folds import made
from trapline.data.parts import fold_of_each_image
from trapline.preparation.demo import CLASSES, DemoSettings, plan_part
from trapline.preparation.division import divide
from trapline.preparation.splits import SplitPolicy

NAMES = [f"class{index}" for index in range(5)]
THREE, TWO = (0.65, 0.20, 0.15), (0.75, 0.25, 0.0)


def drawn(images=900, sites=40, seed=0):
    """A table of labelled and unlabelled images at uneven sites, some of them copies, in no sequence."""
    generator = np.random.default_rng(seed)
    weights = generator.exponential(1, sites)
    site = generator.choice(sites, images, p=weights / weights.sum())
    label = (site + generator.integers(0, 3, images)) % 5
    label[generator.random(images) < 0.1] = -1
    columns = {
        "id": [str(number) for number in range(images)],
        "label": label,
        "site": [f"cam {number}" for number in site],
        "sequence": [None] * images,
        "sha256": [f"{number:05d}" for number in generator.integers(0, 8 * images, images) // 4],
        "given": generator.choice(["train", "val", "test"], images, p=THREE),
    }
    return pd.DataFrame(columns)


def several_labels(table):
    """The same images, each with its label and sometimes the next one."""
    both = [(label, label + 1) if label in (0, 2) and row % 3 else (label,)
            for row, label in enumerate(table["label"])]  # fmt: skip
    numbers = {labels: number for number, labels in enumerate(sorted(set(both)))}
    numbered = [-1 if label < 0 else numbers[labels]
                for label, labels in zip(table["label"], both, strict=True)]  # fmt: skip
    return table.assign(labels=both, label=numbered)


def demo():
    """The listing of the demo data, whose sequences each lie within one site."""
    shots = [shot for part in (0, 1) for shot in plan_part(DemoSettings(images=1200, sites=24), part)]
    columns = {name: [getattr(shot, name) for shot in shots] for name in ("label", "site", "sequence")}
    names = [shot.name for shot in shots]
    labels = [-1 if shot.filepath.startswith("test") else shot.label for shot in shots]
    return pd.DataFrame({"id": names, "sha256": names, **columns, "label": labels})


def digest(values):
    return hashlib.sha256(",".join(map(str, values)).encode()).hexdigest()[:16]


def without_val(table):
    return table.assign(given=table["given"].replace("val", "train"))


GIVEN_WITHOUT_VAL = SplitPolicy("given", seed=2, val_share=0.2)
DIVISIONS = {
    "by site": (drawn, SplitPolicy("site", THREE, 1)),
    "by site, without test": (drawn, SplitPolicy("site", TWO, 3)),
    "random": (drawn, SplitPolicy("random", THREE, 1)),
    "random, without test": (drawn, SplitPolicy("random", TWO, 3)),
    "several labels, random": (lambda: several_labels(drawn()), SplitPolicy("random", THREE, 1)),
    "several labels, by site": (lambda: several_labels(drawn()), SplitPolicy("site", THREE, 1)),
    "given": (drawn, SplitPolicy("given")),
    "val by site": (lambda: without_val(drawn()), GIVEN_WITHOUT_VAL),
    "val by class": (lambda: without_val(drawn().assign(site=None)), GIVEN_WITHOUT_VAL),
    "demo": (demo, SplitPolicy("site", THREE, 0)),
}
DIGESTS = {
    "by site": "8c90815b8b7d5e3c",
    "by site, without test": "41153d8edf3e0415",
    "random": "853f1a395cf61e75",
    "random, without test": "c942e2ed62c84576",
    "several labels, random": "ebd9989c8ca94791",
    "several labels, by site": "944a2e3d406af1f5",
    "given": "84403cb91f35773a",
    "val by site": "cc085c7aa7910d7a",
    "val by class": "4bde86230b2950a6",
    "demo": "7484337681d372b0",
    "folds by site": "25b6802c9fa43e72",
    "folds": "501154cc5f5d3991",
}


@pytest.mark.parametrize("name", DIVISIONS)
def test_a_table_without_sequences_is_divided_as_ever(name):
    table, policy = DIVISIONS[name][0](), DIVISIONS[name][1]
    classes = list(CLASSES) if name == "demo" else NAMES
    assert digest(divide(table, classes, policy)[0]["part"]) == DIGESTS[name]


@pytest.mark.parametrize("by_site", [True, False])
def test_a_set_without_sequences_is_folded_as_ever(tmp_path, by_site):
    table = several_labels(drawn())
    rows = [
        ("val" if number % 4 == 0 else "train", list(row.labels), row.site, row.sha256)
        for number, row in enumerate(table[table["label"] >= 0].itertuples())
    ]
    fold_of = fold_of_each_image(made(tmp_path, rows, by_site=by_site, classes=5), 4)
    assert digest(fold_of) == DIGESTS["folds by site" if by_site else "folds"]
