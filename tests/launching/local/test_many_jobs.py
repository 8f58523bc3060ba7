"""Sweeps and cross-validations with their jobs, on this machine: killed, gone on with, averaged."""

import csv
import json
import time

import pytest

from tests.support.launching import Place, same, tiny, wait_for, weights
from tests.support.mosaics import drawn_images, make_mosaics

pytest.importorskip("sagemaker_training")

ARCHS, OPTIMIZER = ["shufflenet_v2_x1_0", "shufflenet_v2_x0_5"], "sgd"


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory):
    """Sixty images with one to four labels each."""
    return make_mosaics(drawn_images(4, 30, 16, seed=0), tmp_path_factory.mktemp("set") / "raw", 60, seed=0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, mosaics):
    """The folder of a sweep that ran through."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    done = place.run("multilabel_sweep", *sweep_of(mosaics))
    assert done.returncode == 0, done.stdout + done.stderr
    return place.folder / "runs" / "multilabel-sweep"


def sweep_of(mosaics):
    settings = tiny(arch=None, epochs=6, batch_size=8, patience="None", min_delta=0, lr=0.01)
    words = ["--archs", ",".join(ARCHS), "--optimizers", OPTIMIZER, "--min-val-f1", "0.01"]
    return ["--backend", "process", "--data", mosaics, "--prepare", "short-side=32", *words, *settings]


def table(folder, name="sweep.csv"):
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_sweep_ranks_what_it_has_trained(undisturbed):
    rows = table(undisturbed)
    assert {row["arch"] for row in rows} == set(ARCHS)
    assert {row["meets"] for row in rows} == {"yes"}
    values = [float(row["val_macro_f1"]) for row in rows]
    assert values == sorted(values, reverse=True)
    for row in rows:
        test = json.loads((undisturbed / f"{row['arch'].replace('_', '-')}-sgd" / "test.json").read_text())
        assert float(row["test_micro_f1"]) == pytest.approx(test["test_micro_f1"], abs=1e-5)
        assert float(row["speed_over_fp32"]) > 0
        assert float(row["size_mb"]) == pytest.approx(int(row["parameters"]) * 4 / 1e6, rel=0.05)
    assert (undisturbed / "sweep.png").stat().st_size
    assert len(list((undisturbed / "prepared").iterdir())) == 1


@pytest.mark.long
def test_a_sweep_that_was_killed_goes_on_and_ends_with_the_same_models(undisturbed, mosaics, tmp_path):
    place = Place(tmp_path)
    output = place.folder / "output.txt"
    launcher = place.start("multilabel_sweep", *sweep_of(mosaics), output=output)
    wait_for("(2 of 4)", output, launcher)
    log = place.folder / log_of(ARCHS[1])
    while not log.exists():
        assert launcher.poll() is None, output.read_text()
        time.sleep(0.05)
    wait_for("epoch_3_start", log, launcher)
    launcher.kill()
    launcher.wait()
    done = place.run("multilabel_sweep", *sweep_of(mosaics))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on with it" in done.stdout
    assert "(1 of 4)" not in done.stdout
    assert "resumed after epoch " in log.read_text()
    assert place.leftovers() == []
    folder = place.folder / "runs" / "multilabel-sweep"
    assert len(table(folder)) == len(ARCHS)
    for arch in ARCHS:
        name = f"{arch.replace('_', '-')}-sgd"
        one, other = (
            weights(where / name, tmp_path / f"{arch}-{number}")
            for number, where in enumerate((folder, undisturbed))
        )
        assert same(one, other)


def log_of(arch):
    return f"runs/multilabel-sweep/{arch.replace('_', '-')}-sgd/log.txt"


@pytest.mark.slow
def test_folds_are_trained_and_averaged_and_the_average_is_measured_on_the_test_part(
    small_demo, call_script, tmp_path
):
    place = Place(tmp_path)
    arguments = ["--backend", "process", "--prepared", small_demo, "--folds", "2", "--ensemble"]
    done = place.run("resnet18_baseline", *arguments, *tiny(epochs=2))
    assert done.returncode == 0, done.stdout + done.stderr
    folder = place.folder / "runs" / "resnet18-baseline-2-folds"
    rows = table(folder, "folds.csv")
    assert [row["fold"] for row in rows] == ["fold-1", "fold-2", "mean", "std"]
    logs = [(folder / f"fold-{fold}" / "log.txt").read_text() for fold in (1, 2)]
    counts = [profile(log, "val_images") for log in logs]
    assert {profile(log, "train_images") + profile(log, "val_images") for log in logs} == {sum(counts)}
    described = json.loads((folder / "ensemble" / "model.json").read_text())
    assert len(described["members"]) == 2
    evaluated = call_script(
        "evaluate.py", "--prepared", small_demo, "--phase1", folder / "ensemble",
        "--output", tmp_path / "evaluation", "--resamples", 100, "--views", "none",
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    again = place.run("resnet18_baseline", *arguments, *tiny(epochs=2))
    assert again.returncode == 0
    assert "[METRICS]" not in again.stdout


def profile(log, name):
    """A number of the line in which a job says what it trains on."""
    return int(log.split(f" {name}=")[1].split()[0])
