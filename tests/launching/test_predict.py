"""launch/predict.py: its command line, and which model a name means."""

import json
import shutil
import subprocess
import sys
import tarfile

import boto3
import pytest
from moto import mock_aws

from tests.conftest import ROOT
from tests.support.account import sign_in
from tests.support.predicting import put_pictures
from tests.support.predicting import small_model as small_model
from trapline.errors import TraplineError, UsageError
from trapline.launching.commands.predicting import found_model, read


@pytest.fixture
def photos(tmp_path):
    return put_pictures(tmp_path / "photos", ["cam1/a.jpg", "cam1/damaged.jpg", "cam2/b.jpg"])


def predict(*words, cwd):
    command = [sys.executable, str(ROOT / "launch" / "predict.py"), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_writes_what_is_asked_for_and_says_what_became_of_the_images(tmp_path, small_model, photos):
    done = predict(small_model, photos, "--output", "out", "--formats", "csv", "megadetector", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 images: 2 predicted; 1 failed (1 not_an_image)" in done.stdout
    assert "2 sites: cam1 1, cam2 1" in done.stdout
    written = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert written == {"predictions.csv", "megadetector.json", "events.csv", "effort.csv", "counts.csv"}
    images = json.loads((tmp_path / "out" / "megadetector.json").read_text())["images"]
    assert [image["file"] for image in images] == ["cam1/a.jpg", "cam1/damaged.jpg", "cam2/b.jpg"]
    again = predict(small_model, photos, "--output", "out", "--formats", "coco", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "3 of 3 images have been predicted already" in again.stdout
    assert "predicting:" not in again.stdout


@pytest.mark.slow
def test_images_are_copied_into_folders_by_class_and_stay_where_they_are(tmp_path, small_model, photos):
    done = predict(small_model, photos, "--output", "out", "--sort", "by-class", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    copied = sorted(path.name for path in (tmp_path / "by-class").rglob("*.jpg"))
    assert copied == ["a.jpg", "b.jpg"]
    assert sorted(path.name for path in photos.rglob("*.jpg")) == ["a.jpg", "b.jpg", "damaged.jpg"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--formats", "xml"], "--formats"),
        (["--event-gap", "none"], "--event-gap none: events need a time between them"),
        (["--threshold", "1.5"], "--threshold"),
        (["--output", "s3://b/out"], "must be a folder here"),
        (["--output", "{photos}/answers"], "lies in the input"),
        (["--sort", "{photos}/sorted"], "lies in the input"),
        (["--sort", "out"], "must be another folder"),
        (["--taxonmy", "x"], "unrecognized arguments"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(words, said, tmp_path, photos, capsys):
    given = [word.format(photos=photos) for word in words]
    if "out" in words:
        given = ["--sort", str(tmp_path / "out")]
    with pytest.raises((UsageError, SystemExit)) as problem:
        read(["model", str(photos), "--output", str(tmp_path / "out"), *given])
    assert said in str(problem.value) + capsys.readouterr().err


def archive(model, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as packed:
        for file in model.iterdir():
            packed.add(file, file.name)
    return path


def test_a_model_is_a_folder_an_archive_a_run_or_the_champion_of_a_pipelines_run(tmp_path, small_model):
    packed = archive(small_model, tmp_path / "packed" / "model.tar.gz")
    shutil.copytree(small_model, tmp_path / "runs" / "first" / "model")
    archive(small_model, tmp_path / "runs" / "whole" / "Evaluate" / "champion" / "model.tar.gz")
    expected = {
        str(small_model): (small_model, "small"),
        str(packed): (packed, "packed"),
        "first": (tmp_path / "runs" / "first" / "model", "first"),
        "whole": (tmp_path / "runs" / "whole" / "Evaluate" / "champion", "whole"),
    }
    for given, found in expected.items():
        with found_model(given, tmp_path / "runs") as (model, name):
            assert (model, name) == found


def test_a_model_in_s3_and_a_registered_one_are_fetched_for_the_run(tmp_path, small_model, monkeypatch):
    sign_in(monkeypatch)
    packed = archive(small_model, tmp_path / "model.tar.gz")
    with mock_aws():
        s3 = boto3.client("s3")
        place = {"LocationConstraint": s3.meta.region_name}
        s3.create_bucket(Bucket="models", CreateBucketConfiguration=place)
        s3.upload_file(str(packed), "models", "jobs/one/output/model.tar.gz")
        client = boto3.client("sagemaker")
        client.create_model_package_group(ModelPackageGroupName="trapline-models")
        arn = client.create_model_package(
            ModelPackageGroupName="trapline-models",
            InferenceSpecification={
                "Containers": [{"Image": "i", "ModelDataUrl": "s3://models/jobs/one/output/model.tar.gz"}],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )["ModelPackageArn"]
        for given in ("s3://models/jobs/one", "s3://models/jobs/one/output/model.tar.gz", arn):
            with found_model(given, tmp_path / "runs") as (model, name):
                assert model.read_bytes() == packed.read_bytes()
                assert name == "one"
            assert not model.exists()
        with pytest.raises(TraplineError, match="is there"), found_model("s3://models/none", tmp_path):
            pass


def test_a_name_that_is_no_model_says_so(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"), found_model("no/such", tmp_path):
        pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraplineError, match="holds neither"), found_model(str(tmp_path / "empty"), tmp_path):
        pass
