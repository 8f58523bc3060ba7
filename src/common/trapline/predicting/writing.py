"""The answers written down: every format that was asked for, events, effort and counts; and said in words."""

from collections import Counter
from pathlib import Path

import numpy as np

from trapline.console import note, table
from trapline.formats.predictions import FAILED, OK, Predictions
from trapline.formats.sorting import sort_images
from trapline.formats.writing import WRITTEN, write_answers
from trapline.predicting.options import PredictOptions
from trapline.predicting.predicting import predicted

CLASSES_SHOWN = 40
SITES_SHOWN = 8


def predict_and_write(options: PredictOptions, model: Path, name: str) -> None:
    """Predict `options.input` with the artefact `model`, called `name`, and write what was asked for.

    Raises as `predicted` and the formats do; what was predicted by then is kept.
    """
    with predicted(options, model, name) as (found, settings):
        for said in found.notes:
            note(said)
        output = Path(options.output)
        written = write_answers(found.predictions, output, options, settings)
        if earlier := _of_earlier_runs(output, written):
            note(f"{output} holds files of an earlier run, not written anew: {', '.join(earlier)}")
        if options.sort is not None:
            placed = sort_images(
                found.predictions,
                Path(options.sort),
                options.sort_by,
                settings.drop_classes,
                settings.taxonomy,
            )
            for said in placed.notes:
                note(said)
            written.append(Path(options.sort))
        _say(found.predictions, found.pooled, written)


def _of_earlier_runs(output: Path, written: list[Path]) -> list[str]:
    """What may be written into the folder, is there, and was not written by this run."""
    new = {path for file in written for path in (file, *file.parents)}
    return [name for name in WRITTEN if (output / name).exists() and output / name not in new]


def _say(predictions: Predictions, pooled: int, written: list[Path]) -> None:
    labels = np.zeros(len(predictions.classes), dtype=np.int64)
    none = 0
    for batch in predictions.batches():
        found = predictions.labels_of(batch)
        labels += found.sum(axis=0)
        none += int((~found.any(axis=1)).sum())
    rows = predictions.rows
    failed = Counter(rows["reason"][rows["status"] == FAILED])
    order = np.argsort(-labels, kind="stable")[:CLASSES_SHOWN]
    print(
        table(["class", "images"], [[predictions.classes[at], str(labels[at])] for at in order if labels[at]])
    )
    sites = rows["site"][rows["status"] == OK].value_counts()
    if len(sites):
        named = ", ".join(f"{site} {count}" for site, count in sites.head(SITES_SHOWN).items())
        print(f"{len(sites)} sites: {named}{', ...' if len(sites) > SITES_SHOWN else ''}")
    reasons = ", ".join(f"{count} {reason}" for reason, count in failed.most_common())
    unclassified = none - failed.total()
    print(
        f"{len(predictions)} images: {len(predictions) - failed.total()} predicted"
        + (f", {unclassified} of them without a label" if unclassified else "")
        + (f"; {failed.total()} failed ({reasons})" if failed else "")
        + (f"; {pooled} pooled over their sequences" if pooled else "")
    )
    for path in written:
        print(f"written: {path}")
