"""Predictions of the small model for pictures in folders."""

import json
from pathlib import Path

import pytest

from tests.support.small_models import picture, write_small_model
from trapline.predicting.options import PredictOptions
from trapline.predicting.predicting import predicted


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model") / "small")


def put_pictures(folder, names):
    """A picture at each of the names, another one each, but a text where the name says damaged."""
    for number, name in enumerate(names):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture" if "damaged" in name else picture(number))
    return Path(folder)


def options(output, *inputs, **more):
    """Options of predict.py for a trial, fp32 so that nothing is measured."""
    given = {"precision": "fp32", "processes": 1, "review_below": 0.0, **more}
    return PredictOptions(model="small", input=tuple(map(str, inputs)), output=str(output), **given)


def answers(model, chosen):
    """The rows of predictions by file, with their probabilities in `given`; and the notes."""
    with predicted(chosen, model, "small") as (found, _):
        rows = found.predictions.rows.copy()
        rows["given"] = [tuple(row) for row in found.predictions.probabilities.tolist()]
    return rows.set_index("file"), list(found.notes)


def journalled(output):
    """The lines of the journal of shards."""
    text = (Path(output) / ".predicting" / "shards.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
