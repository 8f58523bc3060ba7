"""What prepare.py makes of predictions that were written in a format, and what it should make of them."""

import csv

import numpy as np

from trapline.data.prepared import open_prepared

PARTS = ("train", "val", "test", "unlabeled")
MACHINE = ("--machine-labels", "true")  # for that is what predictions are


def read_back(call_script, table, media, *options):
    """Prepare what `table` names, taking a machine's labels: labels, site, sequence and time of each usable
    image by its id, and the ids in quarantine.csv.
    """
    output = table.with_name(f"prepared {table.name}")
    done = call_script(
        "prepare.py", "--input", table, "--media", media, "--output", output, "--split", "random",
        "--max-quarantine", "1", "--processes", "1", "--short-side", "16", *MACHINE, *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    prepared = open_prepared(output)
    names = prepared.description.classes
    found = {}
    for part in PARTS:
        columns = ("id", "labels", "site", "sequence", "time")
        for own, labels, site, sequence, time in zip(
            *(prepared.part(part).table[name].to_pylist() for name in columns), strict=True
        ):
            found[own] = ({names[label] for label in labels or ()}, site, sequence, time)
    with (output / "quarantine.csv").open(newline="") as file:
        return found, {row["id"] for row in csv.DictReader(file)}


def facts_of(predictions, key="id", *, labels=True):
    """The same of the predictions, and the ids of those that failed; `labels` false: the most probable."""
    usable, failed = {}, set()
    own = predictions.labels_of(slice(0, len(predictions)))
    for place, row in enumerate(predictions.rows.itertuples()):
        if row.status != "ok":
            failed.add(getattr(row, key))
            continue
        found = np.flatnonzero(own[place]).tolist() if labels else [row.label]
        named = {predictions.classes[label] for label in found}
        usable[getattr(row, key)] = (named, row.site, row.sequence, row.time)
    return usable, failed
