"""SageMaker's four functions, called as a container calls them."""

import base64
import importlib.util
import json

import numpy as np
import pytest

from tests.conftest import ENTRY_POINTS
from tests.support.hostile_images import textual_ppm
from tests.support.small_models import CLASSES, picture, write_small_model
from trapline.inference.content import RequestError
from trapline.inference.predictor import load_predictor


@pytest.fixture(scope="module")
def inference():
    specification = importlib.util.spec_from_file_location("inference", ENTRY_POINTS / "inference.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model"), views=["plain", "horizontal_flip"])


@pytest.fixture
def answer(inference, model_dir, monkeypatch):
    """From a body to the answer's body, through all four functions, in fp32."""
    monkeypatch.setenv("TRAPLINE_PRECISION", "fp32")
    monkeypatch.delenv("SAGEMAKER_BATCH", raising=False)
    model = inference.model_fn(str(model_dir))

    def ask(body, content_type="image/jpeg", accept="application/json"):
        prediction = inference.predict_fn(inference.input_fn(body, content_type), model)
        content, media_type = inference.output_fn(prediction, accept)
        assert media_type == accept
        return content.decode()

    return ask


def test_the_four_functions_give_the_predictors_probabilities(answer, model_dir):
    predictor = load_predictor(model_dir, precision="fp32")
    expected = predictor.probabilities(predictor.logits([predictor.decode(picture(3))]))[0]
    found = json.loads(answer(picture(3)))
    assert list(found["probabilities"]) == CLASSES
    assert np.allclose(list(found["probabilities"].values()), expected, atol=1e-4)
    assert found["label"] == CLASSES[int(expected.argmax())]
    assert found["confidence"] == max(found["probabilities"].values())


def test_a_body_may_be_a_bytearray_as_some_servers_pass_it(answer):
    assert answer(bytearray(picture(3))) == answer(picture(3))


def test_a_bad_image_is_an_error_in_real_time(answer):
    with pytest.raises(RequestError) as caught:
        answer(picture(3)[:-300])
    assert (caught.value.status, caught.value.reason) == (422, "truncated")


def test_a_bad_image_is_an_answer_in_batch(answer, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_BATCH", "true")
    found = json.loads(answer(picture(3)[:-300]))
    assert (found["status"], found["reason"], found["probabilities"]) == ("failed", "truncated", None)


def test_one_bad_image_among_several_leaves_the_others_their_answers(answer):
    images = [base64.b64encode(data).decode() for data in (picture(1), b"damaged", picture(2))]
    found = json.loads(answer(json.dumps({"images": images}).encode(), "application/json"))
    assert [one["status"] for one in found] == ["ok", "failed", "ok"]
    assert answer(picture(2), accept="text/csv").splitlines()[1].startswith(",ok,,")


@pytest.mark.slow
def test_an_image_that_takes_too_long_is_ended_and_the_next_is_answered(inference, model_dir, monkeypatch):
    monkeypatch.setenv("TRAPLINE_PRECISION", "fp32")
    monkeypatch.setenv("TRAPLINE_MAX_SECONDS", "0.5")
    monkeypatch.setenv("SAGEMAKER_BATCH", "true")
    model = inference.model_fn(str(model_dir))
    try:
        for body in (textual_ppm(1500), picture(3), textual_ppm(1500), picture(3)):
            answers = inference.predict_fn(inference.input_fn(body, "image/jpeg"), model)
            content, _ = inference.output_fn(answers, "text/csv")
            assert (b"too_costly" in content) == (body != picture(3))
            assert (b"ok" in content) == (body == picture(3))
    finally:
        model.processes.close()
