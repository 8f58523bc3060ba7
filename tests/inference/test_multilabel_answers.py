"""Models that give an image several labels: each label's own probability, and those above their threshold."""

import asyncio
import base64
import csv
import io
import json

import numpy as np
import pytest
from scipy.special import expit, logit

from tests.support.asgi_client import running
from tests.support.small_models import CLASSES, picture, write_small_model
from trapline.images.budget import PREPARATION
from trapline.images.canonical import DecodingProcesses
from trapline.inference.answers import Answers, answer_request, failed, predicted, render
from trapline.inference.content import read_request
from trapline.inference.limits import ServingSettings
from trapline.inference.predictor import average_views, load_predictor
from trapline.inference.serving import make_app
from trapline.storage import joined

PICTURES = [picture(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """Two views, and thresholds that some images reach and others do not."""
    folder = tmp_path_factory.mktemp("model")
    settings = {"task": "multilabel", "views": ["plain", "horizontal_flip"], "temperature": 2.0}
    write_small_model(folder, **settings)
    middle = probabilities_of(load_predictor(folder, precision="fp32"))
    thresholds = np.median(middle, axis=0).tolist()
    return load_predictor(write_small_model(folder, **settings, thresholds=thresholds), precision="fp32")


def probabilities_of(predictor):
    return predictor.probabilities(predictor.logits([predictor.decode(image) for image in PICTURES]))


def test_probabilities_are_sigmoids_of_the_logits_averaged_label_by_label_at_the_temperature(predictor):
    views = predictor.view_logits([predictor.decode(image) for image in PICTURES])
    assert np.abs(views[:, 0] - views[:, 1]).max() > 1e-3
    assert probabilities_of(predictor) == pytest.approx(expit(views.mean(axis=1) / 2))


def test_probabilities_can_be_averaged_in_place_of_logits():
    views = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32) * 3
    averaged = average_views(views, "probabilities", "multilabel")
    assert averaged == pytest.approx(logit(expit(views).mean(axis=1)), abs=1e-5)


def test_a_served_answer_is_the_offline_one_with_every_probability_and_the_labels_above_their_threshold(
    predictor,
):
    body = json.dumps({"images": [base64.b64encode(image).decode() for image in PICTURES]}).encode()

    async def ask():
        async with running(make_app(predictor, ServingSettings())) as client:
            return await client.ask(body, content_type="application/json")

    served = asyncio.run(ask()).json
    offline = answer_request(
        read_request(body, "application/json"), predictor, DecodingProcesses(1, PREPARATION)
    )
    assert served == json.loads(render(offline, "application/json"))
    for answer, values in zip(served, probabilities_of(predictor), strict=True):
        assert list(answer["probabilities"].values()) == pytest.approx(values)
        above = [name for name, p, t in zip(CLASSES, values, predictor.thresholds, strict=True) if p >= t]
        assert answer["labels"] == above
        assert (answer["label"], answer["confidence"]) == (
            CLASSES[int(values.argmax())],
            max(answer["probabilities"].values()),
        )
    assert {len(answer["labels"]) for answer in served} != {0}
    assert {len(answer["labels"]) for answer in served} != {len(CLASSES)}


def test_without_thresholds_of_its_own_a_model_labels_from_a_half(tmp_path):
    assert load_predictor(write_small_model(tmp_path, task="multilabel")).thresholds.tolist() == [0.5] * 3
    assert load_predictor(write_small_model(tmp_path)).thresholds is None


def test_csv_has_a_column_with_the_labels_also_where_an_image_has_none_or_failed():
    answers = [
        predicted(np.array([0.9, 0.2, 0.6]), CLASSES, "x1", np.array([0.5, 0.1, 0.7])),
        predicted(np.array([0.3, 0.2, 0.1]), CLASSES, "x2", np.array([0.5, 0.5, 0.5])),
        failed("truncated", "the end is missing", "x3"),
    ]
    body = render(Answers(answers, CLASSES, many=True, multilabel=True), "text/csv").decode()
    header, first, second, third = csv.reader(io.StringIO(body))
    assert header == ["id", "status", "reason", "label", "confidence", "labels", *CLASSES]
    assert first == ["x1", "ok", "", "bird", "0.9", "bird blank", "0.9", "0.2", "0.6"]
    assert second == ["x2", "ok", "", "bird", "0.3", "", "0.3", "0.2", "0.1"]
    assert third == ["x3", "failed", "truncated", "", "", "", "", "", ""]
    assert joined(["traffic light", "bus"]) == "traffic_light bus"


def test_in_batch_a_bad_image_is_answered_as_by_any_other_model(predictor):
    async def ask():
        async with running(make_app(predictor, ServingSettings(batch=True))) as client:
            return await client.ask(PICTURES[0][:-30], content_type="image/jpeg")

    reply = asyncio.run(ask())
    assert (reply.status, reply.json["status"], reply.json["reason"]) == (200, "failed", "truncated")
    assert set(reply.json) == {"status", "reason", "label", "confidence", "probabilities"}
