"""Answers as JSON and CSV: complete, in the order of the classes, without NaN."""

import csv
import io
import json

import numpy as np
import pytest

from trapline.inference.answers import Answers, choose_type, failed, http_status, predicted, render
from trapline.inference.content import RequestError

CLASSES = ["bird", "a, b", "Zibet \u00e9"]
PREDICTED = predicted(np.array([0.2, 0.7, 0.1]), CLASSES, "x1")
FAILED = failed("truncated", "the end is missing")


def as_rows(body):
    return list(csv.reader(io.StringIO(body.decode())))


def test_json_gives_the_label_its_confidence_and_every_classs_probability():
    assert json.loads(render(Answers([PREDICTED], CLASSES, many=False), "application/json")) == {
        "id": "x1",
        "status": "ok",
        "reason": None,
        "label": "a, b",
        "confidence": 0.7,
        "probabilities": {"bird": 0.2, "a, b": 0.7, "Zibet \u00e9": 0.1},
    }


def test_a_failed_image_has_a_reason_and_no_numbers():
    assert json.loads(render(Answers([FAILED], CLASSES, many=False), "application/json")) == {
        "status": "failed",
        "reason": "truncated",
        "label": None,
        "confidence": None,
        "probabilities": None,
    }


def test_several_images_are_a_list_even_if_there_is_one():
    assert isinstance(json.loads(render(Answers([FAILED], CLASSES, many=True), "application/json")), list)


def test_csv_has_a_header_and_a_row_for_each_image_with_the_probabilities_in_the_models_order():
    header, first, second = as_rows(render(Answers([PREDICTED, FAILED], CLASSES, many=True), "text/csv"))
    assert header == ["id", "status", "reason", "label", "confidence", *CLASSES]
    assert first == ["x1", "ok", "", "a, b", "0.7", "0.2", "0.7", "0.1"]
    assert second == ["", "failed", "truncated", "", "", "", "", ""]


def test_numbers_survive_both_forms_exactly():
    third = predicted(np.array([1 / 3, 2 / 3 - 1e-12, 1e-12]), CLASSES)
    answers = Answers([third], CLASSES, many=False)
    assert list(json.loads(render(answers, "application/json"))["probabilities"].values()) == list(
        third.probabilities
    )
    assert tuple(map(float, as_rows(render(answers, "text/csv"))[1][5:])) == third.probabilities


def test_nan_cannot_be_rendered():
    with pytest.raises(ValueError, match="JSON"):
        render(Answers([predicted(np.array([np.nan] * 3), CLASSES)], CLASSES, many=False), "application/json")


def test_an_id_that_is_no_valid_text_does_not_stop_the_answer():
    answers = Answers([failed("corrupt", "", "\ud800")], CLASSES, many=True)
    assert json.loads(render(answers, "application/json"))[0]["id"] == "\ud800"
    assert render(answers, "text/csv")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV; header=present", "text/csv"),
        ("text/*", "text/csv"),
        ("text/html, text/csv;q=0.2, application/json;q=0.9", "application/json"),
        ("application/json;q=0, text/csv;q=0.1", "text/csv"),
        ("application/jsonlines, */*;q=0.1", "application/json"),
        ("text/csv;q=nonsense", "text/csv"),
    ],
)
def test_the_form_is_the_one_that_accept_prefers(accept, expected):
    assert choose_type(accept) == expected


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0"])
def test_a_form_that_there_is_not_is_refused_with_406(accept):
    with pytest.raises(RequestError) as caught:
        choose_type(accept)
    assert caught.value.status == 406


def test_in_real_time_a_request_fails_when_all_its_images_do():
    assert http_status(Answers([FAILED], CLASSES, many=False), batch=False) == 422
    assert http_status(Answers([FAILED, PREDICTED], CLASSES, many=True), batch=False) == 200
    assert http_status(Answers([failed("not_finite", "")], CLASSES, many=False), batch=False) == 500


def test_in_batch_a_failed_image_is_an_answer_like_any_other():
    assert http_status(Answers([FAILED], CLASSES, many=False), batch=True) == 200
