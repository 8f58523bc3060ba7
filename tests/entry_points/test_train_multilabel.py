"""Training where an image may have several labels, from raw mosaics to a model with thresholds."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.conftest import ENTRY_POINTS
from tests.support.entry_jobs import QUICK, deterministic, same, stop_in_epoch, tensors
from tests.support.mosaics import drawn_images, make_mosaics
from trapline import metrics
from trapline.data.loader import LoaderSettings, make_loader
from trapline.data.prepared import open_prepared
from trapline.models.artefact import load_model
from trapline.reports.run_logs import read_history
from trapline.scoring.predictions import multilabel_metrics
from trapline.training.execution import Execution
from trapline.training.validation import predict

TWO_EPOCHS = [
    *QUICK, "--arch", "shufflenet_v2_x0_5", "--loss", "bce", "--optimizer", "adam", "--batch-size", 8,
    "--epochs", 2, "--augment", "multilabel", "--best-metric", "val_macro_f1",
]  # fmt: skip


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory, call_script):
    """A prepared set of 60 labelled mosaics with 5 labels. Read it only."""
    folder = tmp_path_factory.mktemp("mosaics")
    raw = make_mosaics(drawn_images(5, 10, 32, seed=0), folder / "raw", 60, seed=0)
    done = call_script(
        "prepare.py", "--input", raw, "--output", folder / "prepared", "--short-side", 64, "--processes", 1
    )
    assert done.returncode == 0, done.stderr
    return folder / "prepared"


def trained(call_script, prepared, folder, *flags):
    done = call_script("train.py", "--prepared", prepared, "--output", folder, *TWO_EPOCHS, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def described(folder):
    return json.loads((folder / "model" / "model.json").read_text())


@pytest.mark.slow
def test_metrics_thresholds_and_test_scores_are_where_they_are_looked_for(mosaics, tmp_path, call_script):
    said = trained(
        call_script, mosaics, tmp_path, "--score-test=true", "--positive-weights=balanced",
        "--mixup=0.2", "--target-accuracy=1.0", "--log-every=1",
    )  # fmt: skip
    rows = read_history(tmp_path / "output" / "data" / "metrics.csv")
    assert {"val_map", "val_micro_f1", "val_macro_recall", "val_loss", "train_macro_f1"} <= rows[1].keys()
    model, description = load_model(tmp_path / "model")
    assert (description.task, len(description.thresholds)) == ("multilabel", 5)
    assert model.fc.out_features == 5
    tested = json.loads((tmp_path / "output" / "data" / "test.json").read_text())
    assert tested["thresholds"] == description.thresholds
    numbers = {name: tested[name] for name in ("test_loss", "test_acc", "test_macro_f1", "test_micro_f1")}
    assert description.metrics["test"] == numbers
    assert description.metrics["target_epoch"] is None
    last = [line for line in said.splitlines() if line.startswith(metrics.START)][-1]
    assert metrics.read_values(last) == pytest.approx(numbers, rel=1e-5)
    assert "target: val_acc 1 not reached in 2 epochs" in said
    report = (tmp_path / "output" / "data" / "classification_report.txt").read_text()
    assert report in said
    assert "micro average" in report
    assert (tmp_path / "output" / "data" / "curves.png").is_file()


@pytest.mark.slow
def test_between_validations_an_epoch_has_no_validation_numbers(mosaics, tmp_path, call_script):
    said = trained(
        call_script, mosaics, tmp_path, "--epochs=3", "--validate-every=2", "--tune-thresholds=false"
    )
    rows = read_history(tmp_path / "output" / "data" / "metrics.csv")
    assert [("val_loss" in row, "train_loss" in row) for row in rows] == [
        (False, True), (True, True), (True, True),
    ]  # fmt: skip
    lines = [metrics.read_values(line) for line in said.splitlines() if line.startswith(metrics.START)]
    assert ["val_map" in line for line in lines] == [False, True, True]
    assert described(tmp_path)["best_epoch"] in (2, 3)
    assert described(tmp_path)["thresholds"] == [0.5] * 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--loss=focal", "--best-metric=val_acc"], "hyperparameter loss: focal is for multiclass data"),
        (["--pseudo={folder}"], "pseudo-labels are of one label an image"),
    ],
)
def test_what_is_for_one_label_an_image_is_refused(mosaics, tmp_path, call_script, flags, words):
    flags = [flag.format(folder=tmp_path) for flag in flags]
    done = call_script("train.py", "--prepared", mosaics, "--output", tmp_path / "out", *TWO_EPOCHS, *flags)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.slow
def test_the_loss_of_several_labels_and_a_missing_test_part_are_refused(small_demo, tmp_path, call_script):
    job = ["train.py", "--prepared", small_demo, "--output", tmp_path, *QUICK, "--epochs", 1]
    done = call_script(*job, "--loss", "bce")
    assert (done.returncode, "bce is for multilabel data" in done.stderr) == (2, True)
    description = json.loads((small_demo / "dataset.json").read_text())
    del description["parts"]["test"]
    less = tmp_path / "less"
    less.mkdir()
    for part in ("train", "val"):
        (less / part).symlink_to(small_demo / part)
    (less / "dataset.json").write_text(json.dumps(description))
    done = call_script(*job[:2], less, *job[3:], "--score-test", "true")
    assert done.returncode == 2
    assert f"score_test: {less} has no test part" in done.stderr


@pytest.mark.slow
def test_one_label_an_image_has_test_scores_too(small_demo, tmp_path, call_script):
    job = ["--prepared", small_demo, "--output", tmp_path, *QUICK, "--epochs", 1, "--score-test", "true"]
    done = call_script("train.py", *job, "--target-accuracy", 0.001)
    assert done.returncode == 0, done.stderr
    tested = json.loads((tmp_path / "output" / "data" / "test.json").read_text())
    assert tested["thresholds"] is None
    assert (
        tested["images"] == json.loads((small_demo / "dataset.json").read_text())["parts"]["test"]["images"]
    )
    assert described(tmp_path)["metrics"]["test"].keys() == {"test_loss", "test_acc", "test_macro_f1"}
    assert described(tmp_path)["metrics"]["target_epoch"] == 1
    assert "target: val_acc 0.001 reached after 1 epochs" in done.stdout


@pytest.mark.long
def test_a_stopped_multi_label_job_ends_like_one_never_stopped(mosaics, tmp_path, call_script):
    flags = [*TWO_EPOCHS, "--epochs", 4, "--validate-every", 2, "--schedule", "plateau"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert call_script("train.py", "--prepared", mosaics, "--output", whole, *flags).returncode == 0
    job = ["--prepared", mosaics, "--output", stopped, *flags]
    stop_in_epoch(4, call_script, *job)
    done = call_script("train.py", *job)
    assert done.returncode == 0, done.stderr
    assert "resumed after epoch 3" in done.stdout
    assert same(tensors(stopped), tensors(whole))
    assert same(tensors(stopped, "last"), tensors(whole, "last"))
    assert described(stopped)["thresholds"] == described(whole)["thresholds"]
    one, other = (read_history(folder / "output" / "data" / "metrics.csv")[1:] for folder in (whole, stopped))
    assert deterministic(one[::2]) == deterministic(other[::2])


@pytest.mark.long
def test_two_processes_score_the_whole_test_part_with_the_best_weights(mosaics, tmp_path):
    flags = [*TWO_EPOCHS, "--precision", "fp32", "--score-test", "true", "--best-metric", "val_loss"]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2,
        ENTRY_POINTS / "train.py", "--prepared", mosaics, "--output", tmp_path, *flags,
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    model, description = load_model(tmp_path / "model")
    part = open_prepared(mosaics).part("test")
    loader = make_loader(part, LoaderSettings(size=32, batch_size=4, num_classes=5))
    execution = Execution(torch.device("cpu"), "fp32", channels_last=False)
    expected = multilabel_metrics(
        predict(model, loader.epoch(1), execution, description.normalisation),
        np.array(description.thresholds),
    )
    tested = json.loads((tmp_path / "output" / "data" / "test.json").read_text())
    assert tested["images"] == len(part)
    for name in ("loss", "acc", "macro_f1", "micro_f1"):
        assert tested[f"test_{name}"] == pytest.approx(expected[name], rel=1e-4)


LIGHT = ("googlenet", "shufflenet_v2_x2_0")
HEAVY = ("efficientnet_v2_s", "regnet_x_3_2gf", "resnet50", "resnext50_32x4d")


@pytest.mark.parametrize(
    "arch",
    [*(pytest.param(arch, marks=pytest.mark.slow) for arch in LIGHT),
     *(pytest.param(arch, marks=pytest.mark.long) for arch in HEAVY)],
)  # fmt: skip
def test_the_six_architectures_train_at_64_px(mosaics, tmp_path, call_script, arch):
    auxiliary = ["--aux-weight", 0.3] if arch == "googlenet" else []
    done = call_script(
        "train.py", "--prepared", mosaics, "--output", tmp_path, *TWO_EPOCHS, "--arch", arch, "--epochs", 1,
        "--image-size", 64, *auxiliary,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not any("aux" in name for name in tensors(tmp_path))
    assert load_model(tmp_path / "model")[1].architecture == arch
