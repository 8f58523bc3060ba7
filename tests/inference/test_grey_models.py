"""A model that learnt from grey images sees grey ones ever after, whoever shows them to it."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.small_models import described, write_small_model
from trapline.augmentation import VIEW_SETS
from trapline.data.loader import Batch
from trapline.errors import UsageError
from trapline.images.budget import PREPARATION
from trapline.images.canonical import DecodingProcesses, greyed
from trapline.inference.answers import answer_request
from trapline.inference.content import read_request
from trapline.inference.predictor import load_predictor
from trapline.models.artefact import read_description
from trapline.models.build import IMAGENET_NORMALISATION
from trapline.models.ensemble import check_alike
from trapline.training.validation import predict

GREY = replace(IMAGENET_NORMALISATION, grey=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("grey"), normalisation=GREY)


def coloured(seed):
    """A frame of two colours of the same brightness: in grey it is another than in colour."""
    frame = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    frame[:, ::2] = (200, 40, 40)
    return frame


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("views", VIEW_SETS)
def test_it_gives_the_same_logits_for_a_photograph_in_colour_and_in_grey(folder, precision, views):
    predictor = load_predictor(folder, precision=precision, views=VIEW_SETS[views])
    squares = [predictor.squares(coloured(seed)) for seed in range(3)]
    in_colour = predictor.logits_of_squares(squares)
    assert np.array_equal(in_colour, predictor.logits_of_squares([greyed(each) for each in squares]))


def test_a_model_of_the_same_weights_that_sees_colours_answers_otherwise(folder, tmp_path):
    grey, colour = (load_predictor(each, precision="fp32")
                    for each in (folder, write_small_model(tmp_path)))  # fmt: skip
    assert np.abs(grey.logits([coloured(0)]) - colour.logits([coloured(0)])).max() > 0.05
    assert np.array_equal(grey.logits([greyed(coloured(0))]), colour.logits([greyed(coloured(0))]))


def test_validation_in_training_sees_grey_too(folder):
    predictor = load_predictor(folder, precision="fp32")
    pixels = torch.from_numpy(np.stack([predictor.squares(coloured(seed))[0] for seed in range(3)]))
    batch = Batch(pixels, torch.zeros(3, dtype=torch.int64), torch.ones(3))
    validated = predict(predictor.model, [batch], predictor.execution, GREY, VIEW_SETS["shifts"]).logits
    averaged = load_predictor(folder, precision="fp32", views=VIEW_SETS["shifts"])
    assert validated == pytest.approx(averaged.logits([coloured(seed) for seed in range(3)]), abs=1e-5)


def test_a_served_photograph_in_colour_gets_the_answer_of_the_one_in_grey(folder):
    predictor = load_predictor(folder, precision="fp32")
    frame = coloured(1)[:64, :64]  # of the model's side, so that nothing is resized in between
    grey = np.stack([np.asarray(Image.fromarray(frame).convert("L"))] * 3, axis=-1)
    processes = DecodingProcesses(1, PREPARATION)
    answers = [
        answer_request(read_request(npy(each), "application/x-npy"), predictor, processes)
        for each in (frame, grey)
    ]
    assert answers[0] == answers[1]


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_a_description_without_the_entry_is_of_a_model_that_sees_colours(folder, tmp_path):
    content = json.loads((folder / "model.json").read_text())
    assert content["normalisation"].pop("grey") is True
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert read_description(tmp_path).normalisation == IMAGENET_NORMALISATION
    assert read_description(folder).normalisation == GREY


def test_models_that_see_colours_and_grey_make_no_ensemble():
    members = {"first": described(), "second": described(normalisation=GREY)}
    with pytest.raises(UsageError, match=r"second: .*grey=True.*, that of first .*grey=False"):
        check_alike(members)
