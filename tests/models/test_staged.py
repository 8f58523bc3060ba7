"""Staged weights are loaded only when they are, byte for byte, what was staged."""

import json
import shutil

import pytest
import torch

from trapline.errors import TraplineError, UsageError
from trapline.models.build import build_model, head_parameters
from trapline.models.staged import (
    Published,
    checked_file,
    describe,
    fetch_staged,
    manifest,
    published,
    read_manifest,
)
from trapline.models.weights import load_weights
from trapline.storage import file_digest, write_json

ARCH = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A file as torchvision publishes it: 1000 classes, the start of its SHA-256 in its name."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(1)
    torch.save(build_model(ARCH, 1000).state_dict(), folder / "plain.pth")
    path = folder / f"shufflenet-{file_digest(folder / 'plain.pth')[:10]}.pth"
    return (folder / "plain.pth").rename(path)


@pytest.fixture
def source(original):
    return Published(ARCH, "ShuffleNet.V1", f"https://weights.example/{original.name}", "a licence")


@pytest.fixture
def folder(tmp_path, original, source):
    """A staged folder."""
    shutil.copy(original, tmp_path)
    write_json(tmp_path / "weights.json", manifest({ARCH: describe(ARCH, original, source)}))
    return tmp_path


def load(folder):
    torch.manual_seed(0)
    model = build_model(ARCH, 3)
    head = head_parameters(ARCH)
    return model, load_weights(model, "imagenet", arch=ARCH, head=head, cache=None, staged=folder)


def test_staged_weights_load_without_a_network_and_bear_torchvisions_name(folder, original, monkeypatch):
    monkeypatch.delattr(torch.hub, "download_url_to_file")
    model, report = load(folder)
    tensors = torch.load(original, weights_only=True)
    assert torch.equal(model.state_dict()["conv1.0.weight"], tensors["conv1.0.weight"])
    assert (report.source, report.identity) == ("imagenet", "ShuffleNet.V1")
    assert set(report.new) == {"fc.weight", "fc.bias"}


def test_a_file_that_was_changed_is_not_loaded_and_both_sums_are_named(folder, original):
    path = folder / original.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(TraplineError, match=r"its SHA-256 is \w{64}, but weights.json says \w{64}") as caught:
        load(folder)
    assert str(path) in str(caught.value)
    assert file_digest(path) in str(caught.value)
    assert file_digest(original) in str(caught.value)


def test_an_architecture_that_was_not_staged_is_named_with_what_is_there(folder):
    with pytest.raises(TraplineError, match=rf"no weights of resnet18 \(it holds {ARCH}\).*stage_weights"):
        checked_file(folder, "resnet18")


def test_a_file_that_the_manifest_names_and_is_not_there_is_named(folder, original):
    (folder / original.name).unlink()
    with pytest.raises(TraplineError, match=rf"{original.name}: no such file, but weights.json names it"):
        checked_file(folder, ARCH)


def test_a_folder_without_a_manifest_says_what_makes_one(tmp_path):
    with pytest.raises(TraplineError, match=r"holds no weights.json; launch/stage_weights.py ARCH --to it"):
        checked_file(tmp_path, ARCH)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"version": 2, "files": {}},
        {"version": 1, "files": {"resnet18": {"file": "a.pth"}}},
        {
            "version": 1,
            "files": {
                "resnet18": {
                    "arch": "resnet18", "file": "../a.pth", "weights": "", "sha256": "", "bytes": 1,
                    "licence": "",
                }
            },
        },
    ],
)  # fmt: skip
def test_a_manifest_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "weights.json").write_text(json.dumps(content))
    with pytest.raises(TraplineError, match="not a manifest of staged weights"):
        read_manifest(tmp_path / "weights.json")


def test_a_file_that_is_not_what_its_name_says_is_not_described(tmp_path, original, source):
    damaged = tmp_path / original.name
    damaged.write_bytes(b"half a file")
    with pytest.raises(TraplineError, match=r"does not begin with .*, the hash in its name; the file is dam"):
        describe(ARCH, damaged, source)


def test_a_file_of_ones_own_is_known_by_its_checksum(tmp_path, original, source):
    own = shutil.copy(original, tmp_path / "own.pth")
    entry = describe(ARCH, own, source)
    assert (entry.weights, entry.identity) == ("", file_digest(original))


def test_from_s3_only_the_wanted_file_is_copied_and_only_once(
    folder, original, tmp_path_factory, monkeypatch
):
    copied = []

    def fetch(uri, target):
        copied.append(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        return shutil.copy(folder / uri.rpartition("/")[2], target) and target

    monkeypatch.setattr("trapline.models.staged.fetch", fetch)
    target = tmp_path_factory.mktemp("copy")
    fetch_staged("s3://bucket/weights/", target, ARCH)
    assert copied == [f"s3://bucket/weights/{name}" for name in ("weights.json", original.name)]
    assert checked_file(target, ARCH)[0].name == original.name
    fetch_staged("s3://bucket/weights", target, ARCH)
    assert copied[2:] == ["s3://bucket/weights/weights.json"]


def test_torchvisions_names_and_licences_are_those_of_its_best_weights():
    resnet = published("resnet18")
    assert (resnet.weights, resnet.file) == ("ResNet18_Weights.IMAGENET1K_V1", "resnet18-f37072fd.pth")
    assert "BSD" in resnet.licence
    assert "SWAG" in published("vit_h_14").licence
    with pytest.raises(UsageError, match="no architecture is called 'resnet19'"):
        published("resnet19")
