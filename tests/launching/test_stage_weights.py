"""Weights are staged once, whole and checked, in a folder or in S3, and a job reads them from there."""

import json
import shutil
import urllib.error
from functools import partial

import boto3
import pytest
import torch
from moto import mock_aws

from tests.support.account import call_here
from tests.support.runs import ARCH, aws_test_settings, make_bucket
from trapline.launching.commands import stage_weights
from trapline.models import staged
from trapline.models.build import build_model
from trapline.models.staged import Published, checked_file
from trapline.storage import file_digest


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A file as torchvision publishes it, with the start of its SHA-256 in its name."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(1)
    torch.save(build_model(ARCH, 1000).state_dict(), folder / "plain.pth")
    digest = file_digest(folder / "plain.pth")
    return (folder / "plain.pth").rename(folder / f"shufflenet-{digest[:10]}.pth")


@pytest.fixture(autouse=True)
def internet(original, monkeypatch, tmp_path):
    """A download that copies the file; returns the list of what was downloaded."""
    downloads = []

    def download(url, target, hash_prefix, progress):
        downloads.append((url, hash_prefix))
        shutil.copy(original, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    known = Published(ARCH, "ShuffleNet.V1", f"https://weights.example/{original.name}", "a licence")
    monkeypatch.setattr(staged, "published", {ARCH: known}.__getitem__)
    return downloads


@pytest.fixture
def bucket(monkeypatch):
    aws_test_settings(monkeypatch)
    with mock_aws():
        yield make_bucket()


@pytest.fixture
def stage(monkeypatch, capsys):
    """Run the command in this process: its exit code and output."""
    return partial(call_here, monkeypatch, capsys, stage_weights)


def test_a_folder_gets_the_file_and_a_manifest_with_its_checksum(stage, original, tmp_path, internet):
    code, out, _ = stage(ARCH, "--to", tmp_path / "weights")
    assert code == 0
    assert internet == [(f"https://weights.example/{original.name}", original.stem.rpartition("-")[2])]
    entry = json.loads((tmp_path / "weights" / "weights.json").read_text())["files"][ARCH]
    assert entry == {
        "arch": ARCH,
        "file": original.name,
        "weights": "ShuffleNet.V1",
        "sha256": file_digest(original),
        "bytes": original.stat().st_size,
        "licence": "a licence",
    }
    assert checked_file(tmp_path / "weights", ARCH)[1] == "ShuffleNet.V1"
    assert file_digest(original) in out


def test_what_is_there_is_not_copied_again(stage, original, tmp_path, internet):
    stage(ARCH, "--to", tmp_path)
    before = (tmp_path / original.name).stat().st_mtime_ns
    shutil.rmtree(tmp_path / "hub")
    code, out, _ = stage(ARCH, "--to", tmp_path)
    assert (code, len(internet)) == (0, 1)
    assert f"{original.name} is there" in out
    assert (tmp_path / original.name).stat().st_mtime_ns == before


def test_a_file_that_is_gone_is_staged_again(stage, original, tmp_path):
    stage(ARCH, "--to", tmp_path)
    (tmp_path / original.name).unlink()
    assert stage(ARCH, "--to", tmp_path)[0] == 0
    checked_file(tmp_path, ARCH)


def test_s3_gets_the_same_and_is_not_written_twice(stage, bucket, original):
    to = "s3://bucket/some/weights/"
    code, out, err = stage(ARCH, "--to", to)
    assert (code, err) == (0, "")
    listed = {item["Key"]: item for item in bucket.list_objects_v2(Bucket="bucket")["Contents"]}
    assert set(listed) == {f"some/weights/{original.name}", "some/weights/weights.json"}
    body = bucket.get_object(Bucket="bucket", Key="some/weights/weights.json")["Body"].read()
    assert json.loads(body)["files"][ARCH]["sha256"] == file_digest(original)
    assert "s3://bucket/some/weights (--weights takes it)" in out
    again = stage(ARCH, "--to", to)
    assert "is there" in again[1]
    after = {item["Key"]: item for item in bucket.list_objects_v2(Bucket="bucket")["Contents"]}
    assert {key: item["LastModified"] for key, item in after.items()} == {
        key: item["LastModified"] for key, item in listed.items()
    }


def test_a_bucket_that_is_not_there_is_one_message(stage, bucket):
    code, _, err = stage(ARCH, "--to", "s3://nowhere/weights")
    assert code == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert "nowhere" in err or "bucket" in err


def test_a_file_that_is_here_needs_no_download(stage, original, tmp_path, internet):
    assert stage(ARCH, "--from", original, "--to", tmp_path)[0] == 0
    assert internet == []
    assert checked_file(tmp_path, ARCH)[1] == "ShuffleNet.V1"


def test_a_given_file_that_is_damaged_is_refused_and_nothing_is_staged(stage, original, tmp_path):
    damaged = tmp_path / original.name
    damaged.write_bytes(original.read_bytes()[:-1])
    code, _, err = stage(ARCH, "--from", damaged, "--to", tmp_path / "to")
    assert code == 1
    assert "the hash in its name; the file is damaged" in err
    assert not (tmp_path / "to").exists()


def test_a_given_file_of_another_model_is_refused(stage, tmp_path):
    torch.save({"conv1.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    code, _, err = stage(ARCH, "--from", tmp_path / "other.pth", "--to", tmp_path / "to")
    assert code == 1
    assert f"lacks tensors of {ARCH}" in err


def test_without_internet_the_message_names_the_address_and_the_way_out(stage, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    code, _, err = stage(ARCH, "--to", tmp_path)
    assert code == 1
    assert "could not be downloaded (URLError" in err
    assert "fetch https://weights.example/" in err
    assert "--from shufflenet-" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([ARCH, "resnet18", "--from", "x.pth", "--to", "d"], "--from: is the file of one architecture"),
        ([ARCH, "--from", "gone.pth", "--to", "d"], "--from gone.pth: no such file"),
        ([ARCH], "--to"),
    ],
)
def test_wrong_usage_is_named(stage, words, message):
    code, _, err = stage(*words)
    assert code == 2
    assert message in err


def test_credentials_are_asked_for_only_where_s3_is_meant(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(boto3, "Session", None)
    assert stage(ARCH, "--to", tmp_path)[0] == 0
