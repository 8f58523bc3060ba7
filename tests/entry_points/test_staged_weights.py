"""A job begins with staged ImageNet weights in every backend, and with none but those that were staged."""

import json

import pytest
import torch

from tests.support.entry_jobs import QUICK, tensors
from tests.support.launching import Place, only_run, tiny
from trapline.models.build import build_model
from trapline.models.staged import describe, manifest, published
from trapline.storage import write_json

ARCH = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A folder of staged weights, and their tensors. The file is one of ours: its name has no hash."""
    folder = tmp_path_factory.mktemp("staged")
    torch.manual_seed(7)
    state = build_model(ARCH, 1000).state_dict()
    torch.save(state, folder / "ours.pth")
    write_json(
        folder / "weights.json", manifest({ARCH: describe(ARCH, folder / "ours.pth", published(ARCH))})
    )
    return folder, state


@pytest.fixture
def no_downloads(monkeypatch):
    monkeypatch.delattr(torch.hub, "download_url_to_file")


def test_training_begins_with_staged_weights_and_says_so(
    staged, small_demo, tmp_path, call_script, no_downloads
):
    folder, state = staged
    flags = [*QUICK, "--arch", ARCH, "--weights", "imagenet", "--epochs", "1", "--lr", "1e-9"]
    done = call_script(
        "train.py", "--prepared", small_demo, "--staged-weights", folder, "--output", tmp_path, *flags
    )
    assert done.returncode == 0, done.stderr
    name = "conv1.0.weight"
    assert torch.allclose(tensors(tmp_path)[name], state[name], atol=1e-4)
    assert json.loads((tmp_path / "model" / "model.json").read_text())["weights"]["source"] == "imagenet"


def test_a_staged_file_that_was_changed_ends_the_job_before_it_trains(
    staged, small_demo, tmp_path, call_script, no_downloads
):
    copy = tmp_path / "staged"
    copy.mkdir()
    for path in staged[0].iterdir():
        (copy / path.name).write_bytes(path.read_bytes() + (b" " if path.suffix == ".pth" else b""))
    done = call_script(
        "train.py", "--prepared", small_demo, "--staged-weights", copy, "--output", tmp_path / "out",
        *QUICK, "--arch", ARCH, "--weights", "imagenet",
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{copy / 'ours.pth'}: its SHA-256 is" in done.stderr


def test_a_folder_that_is_not_there_is_named_by_its_flag(small_demo, tmp_path, call_script):
    done = call_script("train.py", "--prepared", small_demo, "--staged-weights", "gone", "--output", tmp_path)
    assert done.returncode == 2
    assert "--staged-weights gone: no such folder; launch/stage_weights.py makes one" in done.stderr


@pytest.mark.slow
def test_the_launcher_hands_staged_weights_to_the_job(staged, small_demo, tmp_path):
    place = Place(tmp_path)
    done = place.run(
        "resnet18_baseline", "--backend", "process", "--prepared", small_demo, "--weights", staged[0],
        *tiny(weights="imagenet", arch=ARCH),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "weights imagenet [" in (only_run(tmp_path) / "log.txt").read_text()


@pytest.mark.slow
def test_the_launcher_refuses_a_folder_that_nobody_staged(small_demo, tmp_path):
    place = Place(tmp_path)
    done = place.run(
        "resnet18_baseline", "--backend", "process", "--prepared", small_demo, "--weights", small_demo
    )
    assert done.returncode == 2
    assert "holds no weights.json; launch/stage_weights.py makes such a folder" in done.stderr
