"""--trial-s3: a folder read as S3 would be, without an account, and nothing of it stays."""

import os
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import moto.backends
import pytest

from tests.support.launching import Place, only_run, record, tiny
from trapline.errors import TraplineError, UsageError
from trapline.launching.checkout import Experiment
from trapline.launching.flags import read_plan
from trapline.launching.local import trial_s3 as module
from trapline.launching.local.trial_s3 import BUCKET, URI, trial_folder, trial_s3

EXPERIMENT = Experiment("trial", "a trial", {"arch": "resnet18"})
MINE = {"AWS_ACCESS_KEY_ID": "mine", "AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "token"}


def test_the_folder_is_there_under_its_names_with_credentials_of_the_trial_and_gone_afterwards(
    class_folders, monkeypatch
):
    (class_folders / "cat" / "a name: 50% é.jpg").write_bytes(b"jpeg")
    for name, value in MINE.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with trial_s3(class_folders):
        endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
        listed = boto3.Session().client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
        assert set(MINE.values()).isdisjoint(os.environ.values())
    assert {entry["Key"]: entry["Size"] for entry in listed} == {
        f"data/{path.relative_to(class_folders).as_posix()}": path.stat().st_size
        for path in class_folders.rglob("*.jpg")
    }
    assert len(listed) == 25
    assert dict(os.environ) == before
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(endpoint, timeout=5)


def test_without_a_folder_nothing_is_served():
    before = dict(os.environ)
    with trial_s3(None):
        assert dict(os.environ) == before


@pytest.fixture
def linked(class_folders):
    """The folder with links to a file and a folder outside of it, a pipe, and a name that is not UTF-8."""
    other = class_folders.with_name("other")
    other.mkdir()
    (other / "secret.jpg").write_bytes(b"secret")
    (class_folders / "cat" / "inside.jpg").symlink_to("s0_0.jpg")
    (class_folders / "cat" / "secret.jpg").symlink_to(other / "secret.jpg")
    (class_folders / "cat" / "zero.jpg").symlink_to("/dev/zero")
    (class_folders / "dog" / "whole").symlink_to(other)
    os.mkfifo(class_folders / "dog" / "pipe.jpg")
    (class_folders / "dog" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"jpeg")
    return class_folders


def served(folder, **how):
    """The keys of what is served, without the prefix; moto remembers what an earlier test had there."""
    moto.backends.get_backend("s3")["123456789012"]["aws"].reset()
    with trial_s3(folder, **how):
        listed = boto3.Session().client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    return {entry["Key"].removeprefix("data/") for entry in listed}


def test_what_links_outside_of_the_folder_lead_to_is_not_served_and_said(linked, capsys):
    keys = served(linked)
    assert "cat/inside.jpg" in keys
    assert not [key for key in keys if "secret" in key]
    assert capsys.readouterr().out.startswith(
        "trial S3: 5 entries left out, first cat/secret.jpg: a link that leads out of the folder; "
        f"--prepare follow-links=true follows it\ntrial S3: 25 files of {linked} are {URI}/"
    )


def test_where_links_are_to_be_followed_it_is_served_and_still_no_device(linked, capsys):
    keys = served(linked, follow_links=True)
    said = capsys.readouterr().out
    assert {"cat/secret.jpg", "dog/whole/secret.jpg"} <= keys
    assert "trial S3: 3 entries left out, first cat/zero.jpg: no regular file\ntrial S3: 27 files" in said


def test_what_is_not_served_does_not_count_towards_the_size(class_folders, monkeypatch, tmp_path):
    (tmp_path / "large").write_bytes(bytes(10_000_000))
    (class_folders / "cat" / "large.jpg").symlink_to(tmp_path / "large")
    monkeypatch.setattr(module, "LARGEST", 5_000_000)
    trial_folder(str(class_folders), "process")
    following = ["--backend", "process", "--data", str(class_folders), "--trial-s3"]
    with pytest.raises(UsageError, match=r"which would lie in memory"):
        read_plan(EXPERIMENT, [*following, "--prepare", "follow-links=true"])


def test_a_file_that_cannot_be_read_is_named(class_folders, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(
        TraplineError, match=r"s0_0.jpg: cannot be read \(Permission denied\), and would be lost"
    ):
        served(class_folders)


def test_the_plan_names_s3_and_keeps_the_folder(class_folders):
    plan = read_plan(EXPERIMENT, ["--backend", "process", "--data", str(class_folders), "--trial-s3"])
    assert (plan.data, plan.trial_s3) == (URI, class_folders)


@pytest.mark.parametrize(
    ("data", "backend", "message"),
    [
        ("s3://bucket/raw", "process", "serves a folder; give --data DIR, not s3://bucket/raw"),
        ("demo", "local", "serves a folder; give --data DIR, not demo"),
        (None, "process", "serves a folder"),
        ("s3://bucket/raw", "aws", "only with --backend process or local"),
        ("/nowhere/at/all", "process", "--data /nowhere/at/all: no such folder"),
    ],
)
def test_what_cannot_be_served_is_said(data, backend, message):
    with pytest.raises(UsageError, match=message):
        trial_folder(data, backend)


def test_a_folder_larger_than_memory_should_hold_is_refused(class_folders, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(UsageError, match=r"which would lie in memory; at most"):
        trial_folder(str(class_folders), "process")


@pytest.mark.long
def test_a_job_reads_its_images_from_it(tmp_path, class_folders):
    pytest.importorskip("sagemaker_training")
    place = Place(tmp_path)
    pairs = ["short-side=32", "split=random", "shares=0.5,0.25,0.25"]
    words = ["--backend", "process", "--data", class_folders, "--trial-s3", "--prepare", *pairs]
    done = place.run("resnet18_baseline", *words, *tiny(batch_size=4))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"trial S3: 24 files of {class_folders} are {URI}/" in done.stdout
    assert "24 inputs: 24 labelled" in done.stdout
    assert record(only_run(place.folder))["data"] == URI
    assert place.leftovers() == []
