"""Training on grey images, and all that follows it: each step sees what the model has learnt from."""

import json

import numpy as np
import pytest
import torch

from tests.support.entry_jobs import QUICK, history
from trapline.data.prepared import open_prepared
from trapline.images.canonical import decode_packed, greyed
from trapline.inference.predictor import load_predictor
from trapline.inference.pseudo_labels import part_logits

pytestmark = pytest.mark.slow

ARCH = ["--arch", "shufflenet_v2_x0_5", "--precision", "fp32"]


def test_a_job_with_the_grey_chain_validates_and_predicts_in_grey(small_demo, tmp_path, call_script):
    flags = [*QUICK, *ARCH, "--augment", "grey", "--epochs", "1"]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    predictor = load_predictor(tmp_path / "model", precision="fp32")
    assert predictor.description.normalisation.grey
    val = open_prepared(small_demo).part("val")
    logits = part_logits(predictor, val, "validation")
    assert mean_loss(logits, val.labels) == pytest.approx(history(tmp_path)[0]["val_loss"], rel=1e-4)
    squares = [greyed(predictor.squares(decode_packed(val.jpeg(row)))) for row in range(len(val))]
    assert np.array_equal(predictor.logits_of_squares(squares), logits)


def mean_loss(logits, labels):
    return torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()


def test_a_phase_2_that_sees_other_colours_than_phase_1_says_so(small_demo, trained, tmp_path, call_script):
    flags = [
        *QUICK,
        "--weights",
        "phase1",
        "--phase1",
        trained[0] / "model",
        "--augment",
        "grey",
        "--epochs",
        "1",
    ]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert (
        "note: phase 1 saw images in colour, and with augment=grey this job sees them in grey" in done.stdout
    )
    assert json.loads((tmp_path / "model" / "model.json").read_text())["normalisation"]["grey"]
