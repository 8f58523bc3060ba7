"""The model of a run is fetched whole and checked, or there is one clear message and nothing else."""

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from tests.conftest import ROOT
from tests.support import runs
from tests.support.account import call_here
from tests.support.runs import archive_of, history, pack, write_history, write_model, write_run
from trapline.errors import TraplineError
from trapline.launching.commands import artifacts
from trapline.launching.fetching import find_run
from trapline.models.artefact import load_model

ROWS = history([1.2, 0.9, 1.1])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("job") / "model", ROWS)


@pytest.fixture
def aws(monkeypatch):
    runs.aws_test_settings(monkeypatch)
    with mock_aws():
        yield


@pytest.fixture
def fetch(monkeypatch, capsys, tmp_path):
    """Run the script in an empty folder: (*arguments) -> (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    return partial(call_here, monkeypatch, capsys, artifacts)


def names_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def nothing_else(tmp_path, *names):
    """Whether a folder holds only `names`: no target, no hidden leftover."""
    return {path.name for path in tmp_path.iterdir()} == set(names)


WHOLE = {"model.json", "model.safetensors", "last.safetensors", "code/inference.py"}


def test_the_model_of_a_run_is_unpacked_and_described(fetch, model, tmp_path):
    write_run(tmp_path / "runs" / "night", model, ROWS)
    code, output, _ = fetch("night", "--to", "models/night")
    assert code == 0
    assert names_below(tmp_path / "models" / "night") == WHOLE
    assert load_model(tmp_path / "models" / "night")[1].best_epoch == 2
    facts = dict(line.split("  ", 1) for line in output.splitlines())
    facts = {name: fact.strip() for name, fact in facts.items()}
    assert facts == {
        "model": "models/night (4 files)",
        "from": "runs/night/model.tar.gz",
        "job": "night",
        "architecture": "shufflenet_v2_x0_5, 344,867 parameters",
        "image size": "64 px",
        "classes": "3: blank, hog, leopard",
        "best epoch": "2 of 3",
        "validation": "log loss 0.9000, accuracy 0.7750, macro F1 0.5000",
        "code": "models/night/code, not that of this checkout: look at it before you run it",
    }


@pytest.mark.parametrize("layout", ["folder of train.py", "model folder", "archive", "run", "copy of S3"])
def test_every_way_of_naming_a_local_model_leads_to_the_same_files(fetch, model, tmp_path, layout):
    here = tmp_path / "here"
    named = {
        "folder of train.py": lambda: model.parent,
        "model folder": lambda: model,
        "archive": lambda: pack(here / "any-name.tar.gz", model),
        "run": lambda: write_run(here, model, ROWS),
        "copy of S3": lambda: pack(here / "output" / "model.tar.gz", model).parents[1],
    }[layout]()
    code, _, errors = fetch(named, "--to", tmp_path / "to")
    assert (code, errors) == (0, "")
    assert names_below(tmp_path / "to") == WHOLE


@pytest.mark.parametrize(
    "key", ["night/output/model.tar.gz", "night/output", "night/output/", "night", "night/", ""]
)
def test_a_model_in_s3_is_found_by_its_key_or_its_prefix(aws, fetch, model, tmp_path, key):
    client = runs.make_bucket()
    real = "model.tar.gz" if not key else "night/output/model.tar.gz"
    client.upload_file(str(pack(tmp_path / "a" / "m.tar.gz", model)), "bucket", real)
    code, output, errors = fetch(f"s3://bucket/{key}", "--to", "to")
    assert (code, errors) == (0, "")
    assert f"s3://bucket/{real}" in output
    assert names_below(tmp_path / "to") == WHOLE
    assert nothing_else(tmp_path, "a", "to")


def describe(monkeypatch, **answer):
    """Let SageMaker answer DescribeTrainingJob with this."""
    client = boto3.client("sagemaker")
    stub = Stubber(client)
    required = {
        "TrainingJobName": "night",
        "TrainingJobArn": f"arn:aws:sagemaker:{runs.REGION}:123456789012:training-job/night",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/night/output/model.tar.gz"},
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {},
        "CreationTime": 0,
    }
    stub.add_response("describe_training_job", required | answer, {"TrainingJobName": "night"})
    stub.activate()
    make = boto3.client
    monkeypatch.setattr(boto3, "client", lambda name: client if name == "sagemaker" else make(name))


def test_the_model_of_a_sagemaker_job_is_fetched_with_where_its_code_lies(
    aws, fetch, model, tmp_path, monkeypatch
):
    source = "s3://bucket/night/source/sourcedir.tar.gz"
    describe(monkeypatch, HyperParameters={"sagemaker_submit_directory": json.dumps(source)})
    archive = pack(tmp_path / "a" / "m.tar.gz", model)
    runs.make_bucket().upload_file(str(archive), "bucket", "night/output/model.tar.gz")
    code, output, errors = fetch("night", "--to", "to")
    assert (code, errors) == (0, "")
    assert source in output
    assert names_below(tmp_path / "to") == WHOLE


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        ("Failed", "AlgorithmError: no GPU", "night: the job has failed: AlgorithmError: no GPU"),
        ("Stopped", "", "night: the job was stopped before its end"),
        ("InProgress", "", "night: the job has not ended; wait for its end"),
        ("Stopping", "", "night: the job has not ended"),
    ],
)
def test_a_sagemaker_job_that_did_not_end_well_is_told_with_its_reason(
    aws, fetch, tmp_path, monkeypatch, status, reason, message
):
    changes = {"FailureReason": reason} if reason else {}
    describe(monkeypatch, TrainingJobStatus=status, **changes)
    code, output, errors = fetch("night", "--to", "to")
    assert (code, output) == (1, "")
    assert message in errors
    assert nothing_else(tmp_path)


def test_a_job_known_to_moto_is_described_through_the_real_client(aws, fetch, model, tmp_path):
    client = boto3.client("sagemaker")
    client.create_training_job(
        TrainingJobName="night",
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        RoleArn="arn:aws:iam::123456789012:role/service-role/SageMaker",
        OutputDataConfig={"S3OutputPath": "s3://bucket/"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    place = client.describe_training_job(TrainingJobName="night")["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, key = place.removeprefix("s3://").split("/", 1)
    runs.make_bucket(bucket).upload_file(str(pack(tmp_path / "a" / "m.tar.gz", model)), bucket, key)
    code, _, errors = fetch("night", "--to", "to")
    assert (code, errors) == (0, "")
    assert names_below(tmp_path / "to") == WHOLE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s3://absent/night", "s3://absent/night: no such bucket"),
        ("s3://bucket/night", "neither night/output/model.tar.gz nor night/model.tar.gz is there"),
        ("s3://bucket/night/model.tar.gz", "s3://bucket/night/model.tar.gz: no such object in S3"),
        ("no-such-job", "no-such-job (no file, no run in runs; as a SageMaker job): AWS finds no such thing"),
    ],
)
def test_what_aws_does_not_have_is_one_message(aws, fetch, tmp_path, name, message):
    runs.make_bucket()
    code, output, errors = fetch(name, "--to", "to")
    assert (code, output) == (1, "")
    assert message in errors
    assert errors.count("\n") == 1
    assert nothing_else(tmp_path)


def test_a_prefix_is_found_without_the_permission_to_list_the_bucket(aws, monkeypatch):
    client = boto3.client("s3")
    stub = Stubber(client)
    stub.add_client_error("head_object", "403", "Forbidden", 403)
    stub.add_response("head_object", {})
    stub.add_client_error("head_object", "403", "Forbidden", 403)
    stub.add_client_error("head_object", "403", "Forbidden", 403)
    stub.activate()
    monkeypatch.setattr(boto3, "client", lambda _: client)
    assert find_run("s3://bucket/night", Path("runs")).model == "s3://bucket/night/model.tar.gz"
    with pytest.raises(TraplineError, match="s3://bucket/night: access denied"):
        find_run("s3://bucket/night", Path("runs"))


@pytest.mark.parametrize("name", ["no/such/path", "gone.tar.gz", "-", "a_b", "s3:///key"])
def test_what_cannot_be_a_run_is_wrong_usage_and_asks_nobody(fetch, name):
    code, _, errors = fetch(name, "--to", "to")
    assert code == 2
    assert errors.startswith(f"error: {name}: ")


def test_without_credentials_the_message_says_so(fetch, monkeypatch):
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_DEFAULT_REGION", runs.REGION)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    code, _, errors = fetch("night", "--to", "to")
    assert code == 1
    assert "no AWS credentials found; run `aws configure`" in errors
    assert "a run on this machine is named by its folder" in errors


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"status": "Failed", "failure_reason": "out of memory"}, "night: the job has failed: out of memory"),
        ({"status": "InProgress", "failure_reason": None}, "night: the job has not ended"),
        ({"status": "Stopped"}, "night: the job was stopped"),
    ],
)
def test_a_local_run_that_did_not_end_well_is_told_even_where_a_model_lies(
    fetch, model, tmp_path, record, message
):
    write_run(tmp_path / "runs" / "night", model, ROWS, **record)
    code, _, errors = fetch("night", "--to", "to")
    assert code == 1
    assert message in errors
    assert not (tmp_path / "to").exists()


def test_a_damaged_record_does_not_hide_a_whole_model(fetch, model, tmp_path):
    (write_run(tmp_path / "night", model, ROWS) / "job.json").write_text("{")
    assert fetch("night", "--to", "to")[0] == 0


def test_a_folder_without_a_model_is_no_run(fetch, tmp_path):
    write_history(tmp_path / "night" / "output" / "data" / "metrics.csv", ROWS)
    code, _, errors = fetch("night", "--to", "to")
    assert code == 1
    assert "night: holds neither model.tar.gz nor" in errors


def test_a_folder_in_use_is_refused_before_anything_is_fetched(fetch, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "precious").write_text("x")
    code, _, errors = fetch("s3://bucket/never-asked", "--to", "to")
    assert code == 1
    assert "to: is not empty, and left as it is; choose another folder with --to" in errors
    assert names_below(tmp_path / "to") == {"precious"}


def test_a_hostile_archive_leaves_nothing(fetch, tmp_path):
    archive_of(tmp_path / "bad.tar.gz", ("model.json", b"{}"), ("../outside", b"x"))
    code, _, errors = fetch("bad.tar.gz", "--to", "to")
    assert code == 1
    assert "bad.tar.gz: holds '../outside', which lies outside its folder" in errors
    assert nothing_else(tmp_path, "bad.tar.gz")


def test_a_truncated_archive_leaves_nothing(fetch, model, tmp_path):
    whole = pack(tmp_path / "m.tar.gz", model).read_bytes()
    (tmp_path / "m.tar.gz").write_bytes(whole[: len(whole) // 2])
    code, _, errors = fetch("m.tar.gz", "--to", "to")
    assert code == 1
    assert "m.tar.gz: is truncated; copy or download it again" in errors
    assert nothing_else(tmp_path, "m.tar.gz")


def other_classes(content):
    return content | {"classes": ["blank", "hog"]}


def newer(content):
    return content | {"format_version": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [(other_classes, "does not agree with model.json"), (newer, "by a newer Trapline; update this one")],
)
def test_a_description_that_does_not_fit_the_weights_is_refused_under_the_name_that_was_given(
    fetch, tmp_path, change, message
):
    folder = write_model(tmp_path / "job" / "model", ROWS)
    description = folder / "model.json"
    description.write_text(json.dumps(change(json.loads(description.read_text()))))
    pack(tmp_path / "m.tar.gz", folder)
    code, _, errors = fetch("m.tar.gz", "--to", "to")
    assert code == 1
    assert message in errors
    assert "error: m.tar.gz/" in errors
    assert ".unpacking" not in errors
    assert nothing_else(tmp_path, "job", "m.tar.gz")


@pytest.mark.parametrize("name", ["last.safetensors", "model.json", "model.safetensors"])
def test_an_artefact_that_lacks_a_part_is_refused(fetch, tmp_path, name):
    folder = write_model(tmp_path / "job" / "model", ROWS)
    (folder / name).unlink()
    code, _, errors = fetch(pack(tmp_path / "m.tar.gz", folder), "--to", "to")
    assert code == 1
    assert f"m.tar.gz/{name}: no such file" in errors
    assert not (tmp_path / "to").exists()


def test_a_link_in_a_model_folder_is_refused_as_in_an_archive(fetch, tmp_path):
    folder = write_model(tmp_path / "job" / "model", ROWS)
    (folder / "code" / "secrets").symlink_to("/etc/passwd")
    code, _, errors = fetch(folder, "--to", "to")
    assert code == 1
    assert "secrets: is no plain file" in errors
    assert nothing_else(tmp_path, "job")


def test_help_and_typing_errors_need_no_heavy_library():
    script = ROOT / "launch" / "artifacts.py"
    started = time.perf_counter()
    wrong = subprocess.run([sys.executable, script, "night"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    assert wrong.returncode == 2
    assert "--to" in wrong.stderr
    assert seconds < 2  # half a second on an idle machine; torch alone takes more than this
    commands = ", ".join(f"trapline.launching.commands.{name}" for name in ("artifacts", "compare"))
    probe = f"import sys; sys.argv[1:] = []; import {commands}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "boto3", "pandas", "matplotlib", "sagemaker"} & set(loaded.split())
