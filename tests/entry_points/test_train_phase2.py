"""Phase 2: on from Phase 1's weights, with pseudo-labels beside the labelled images."""

import csv
import json
import os
import shutil

import pytest
import torch

from tests.entry_points.test_train_distributed import TRAIN, finished, start_ranks
from tests.support.entry_jobs import QUICK, deterministic, history, same, same_trained, stop_in_epoch, tensors
from tests.support.object_store import BUCKET, serve
from trapline.data.parts import COLUMNS
from trapline.data.prepared import open_prepared
from trapline.storage import file_digest, write_json

PHASE2 = [
    *QUICK, "--batch-size", "16", "--epochs", "2", "--dropout", "0.3", "--augment", "crops", "--mixup", "0.2",
]  # fmt: skip


def write_labels(folder, prepared, accepted, shift=0):
    """Pseudo-labels for the first `accepted` unlabelled images: class after class, from `shift` on."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = prepared.description.classes
    names = prepared.part("unlabeled").table["id"].to_pylist()
    with (folder / "pseudo_labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, name in enumerate(names):
            label = (number + shift) % len(classes)
            sure = number < accepted
            reason = "" if sure else "below_threshold"
            writer.writerow([name, classes[label], label, 0.9, "true" if sure else "false", reason])
    content = {"data_fingerprint": prepared.description.fingerprint}
    content["labels_sha256"] = file_digest(folder / "pseudo_labels.csv")
    write_json(folder / "pseudo_labels.json", content)
    return folder


@pytest.fixture(scope="module")
def labels(small_demo, tmp_path_factory):
    return write_labels(tmp_path_factory.mktemp("labels"), open_prepared(small_demo), 20)


@pytest.fixture(scope="module")
def second(small_demo, labels, trained, tmp_path_factory, call_script):
    """An undisturbed Phase 2 from the weights of `trained`: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("second")
    done = call_script("train.py", *arguments(small_demo, labels, trained, folder))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def arguments(prepared, labels, trained, output, *flags):
    phase1 = ["--phase1", trained[0] / "model", "--weights", "phase1"]
    return ["--prepared", prepared, "--pseudo", labels, "--output", output, *PHASE2, *phase1, *flags]


@pytest.mark.slow
def test_it_says_how_many_of_each_it_trains_on_and_from_what(second, trained, small_demo, labels):
    identity = file_digest(trained[0] / "model" / "model.safetensors")
    train = len(open_prepared(small_demo).part("train"))
    loaded = len(tensors(trained[0]))
    assert f"weights phase1 [{identity[:40]}]: {loaded} tensors loaded" in second[1]
    assert f"train_images={train} " in second[1]
    assert "pseudo_images=20 " in second[1]
    assert "running statistics" not in second[1]  # they go on from Phase 1's
    description = json.loads((second[0] / "model" / "model.json").read_text())
    assert description["pseudo_labels"] == file_digest(labels / "pseudo_labels.csv")
    assert description["weights"] == {
        "source": "phase1", "identity": identity, "loaded": loaded, "new": 0, "unused": 0
    }  # fmt: skip


@pytest.mark.slow
def test_a_stopped_phase_2_goes_on_exactly_and_one_with_other_labels_starts_afresh(
    second, small_demo, labels, trained, tmp_path, call_script
):
    stop_in_epoch(2, call_script, *arguments(small_demo, labels, trained, tmp_path))
    others = write_labels(tmp_path / "others", open_prepared(small_demo), 20, shift=1)
    changed = call_script("train.py", *arguments(small_demo, others, trained, tmp_path))
    assert changed.returncode == 0, changed.stderr
    assert "resumed" not in changed.stdout
    other_weights = tensors(tmp_path, "last")
    done = call_script("train.py", *arguments(small_demo, labels, trained, tmp_path, "--num-workers", "1"))
    assert done.returncode == 0, done.stderr
    assert "resumed after epoch 1" in done.stdout
    for name in ("model", "last"):
        assert same(tensors(tmp_path, name), tensors(second[0], name))
    assert deterministic(history(tmp_path)) == deterministic(history(second[0]))
    assert not same(other_weights, tensors(second[0], "last"))


@pytest.mark.slow
def test_phase_2_begins_where_phase_1_was_best(small_demo, trained, tmp_path, call_script):
    flags = [*QUICK, "--weights", "phase1", "--phase1", trained[0] / "model", "--epochs", "1", "--lr", "1e-9"]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert same_trained(tensors(tmp_path), tensors(trained[0]))
    assert not same_trained(tensors(trained[0]), tensors(trained[0], "last"))


@pytest.mark.slow
def test_the_normalisation_is_that_of_phase_1(small_demo, trained, tmp_path, call_script):
    model = tmp_path / "phase1"
    shutil.copytree(trained[0] / "model", model, ignore=shutil.ignore_patterns("code"))
    content = json.loads((model / "model.json").read_text())
    content["normalisation"] = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (model / "model.json").write_text(json.dumps(content))
    flags = [*QUICK, "--weights", "phase1", "--phase1", model, "--epochs", "1"]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path / "job", *flags)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "job" / "model" / "model.json").read_text())
    assert written["normalisation"] == {**content["normalisation"], "grey": False}


@pytest.mark.slow
def test_with_none_accepted_it_is_the_job_on_labelled_images_alone(small_demo, tmp_path, call_script):
    nothing = write_labels(tmp_path / "labels", open_prepared(small_demo), 0)
    flags = ["--prepared", small_demo, *QUICK, "--epochs", "1"]
    plain = call_script("train.py", *flags, "--output", tmp_path / "plain")
    mixed = call_script("train.py", *flags, "--output", tmp_path / "mixed", "--pseudo", nothing)
    assert (plain.returncode, mixed.returncode) == (0, 0)
    assert "pseudo-labels: none was accepted; training on the labelled images alone" in mixed.stdout
    assert same(tensors(tmp_path / "plain"), tensors(tmp_path / "mixed"))


@pytest.mark.slow
def test_the_channels_of_sagemaker_are_those_of_the_flags(
    second, small_demo, labels, trained, tmp_path, run_script
):
    shutil.make_archive(tmp_path / "phase1" / "model", "gztar", trained[0] / "model")
    variables = {
        "SM_CHANNEL_PREPARED": str(small_demo),
        "SM_CHANNEL_PSEUDO": str(labels),
        "SM_CHANNEL_PHASE1": str(tmp_path / "phase1"),
    }
    flags = ["--output", tmp_path / "job", *PHASE2, "--weights", "phase1"]
    done = run_script("train.py", *flags, environment=variables)
    assert done.returncode == 0, done.stderr
    assert same(tensors(tmp_path / "job", "last"), tensors(second[0], "last"))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["model.tar.gz", ""], ids=["the archive", "its folder"])
def test_both_can_lie_in_s3(place, small_demo, labels, trained, tmp_path, monkeypatch, call_script):
    shutil.make_archive(tmp_path / "phase1" / "model", "gztar", trained[0] / "model")
    with serve() as store:
        store.upload(labels, "labels")
        store.upload(tmp_path / "phase1", "phase1")
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        sources = ["--pseudo", f"s3://{BUCKET}/labels", "--phase1", f"s3://{BUCKET}/phase1/{place}"]
        flags = [*QUICK, "--epochs", "1", "--weights", "phase1", "--prepared", small_demo]
        done = call_script("train.py", *flags, *sources, "--output", tmp_path / "job")
    assert done.returncode == 0, done.stderr
    assert f"{len(tensors(trained[0]))} tensors loaded" in done.stdout
    assert "pseudo_images=20 " in done.stdout


@pytest.mark.long
def test_two_ranks_train_as_one_with_twice_the_batch(small_demo, labels, tmp_path, call_script):
    flags = [
        *QUICK, "--arch", "swin_t", "--dropout", "0", "--stochastic-depth", "0", "--augment", "none",
        "--precision", "fp32", "--optimizer", "sgd", "--lr", "3e-3", "--clip-norm", "5", "--epochs", "1",
        "--prepared", small_demo, "--pseudo", labels,
    ]  # fmt: skip
    one = call_script("train.py", *flags, "--output", tmp_path / "one", "--batch-size", "16")
    two = finished(start_ranks(TRAIN, *flags, "--output", tmp_path / "two", "--batch-size", "8"))
    assert [done.returncode for done in (one, *two)] == [0, 0, 0], one.stderr + two[0].stderr
    expected, found = tensors(tmp_path / "one", "last"), tensors(tmp_path / "two", "last")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    [row], [same_row] = (deterministic(history(tmp_path / name)) for name in ("one", "two"))
    assert same_row == pytest.approx(row, rel=1e-4)


@pytest.mark.slow
def test_what_does_not_go_together_is_refused(small_demo, labels, trained, tmp_path, call_script):
    copy = shutil.copytree(labels, tmp_path / "copy")
    content = json.loads((copy / "pseudo_labels.json").read_text())
    write_json(copy / "pseudo_labels.json", content | {"data_fingerprint": "0" * 64})
    model = trained[0] / "model"
    for flags, code, message in (
        (["--weights", "phase1"], 2, "weights phase1: say where the model lies with --phase1"),
        (["--weights", "phase1", "--phase1", tmp_path / "no"], 2, "no such folder"),
        (["--weights", "phase1", "--phase1", model, "--arch", "resnet34"], 2, "set arch=shufflenet_v2_x0_5"),
        (["--pseudo", tmp_path / "no"], 2, "entry_points/pseudo_label.py makes one"),
        (["--pseudo", copy], 1, "made from another prepared set"),
        (["--pseudo", labels, "--batch-size", "2", "--pseudo-share", "0.1"], 2, "pseudo_share"),
    ):
        done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path / "job", *QUICK, *flags)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert message in done.stderr


@pytest.mark.slow
def test_a_phase_1_that_is_given_and_not_asked_for_is_said(small_demo, tmp_path, call_script):
    flags = [*QUICK, "--epochs", "1", "--phase1", tmp_path]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path / "job", *flags)
    assert done.returncode == 0, done.stderr
    assert "phase1: not used, for weights is none" in done.stdout
