"""--dry-run prints the very requests of a launch, asks AWS only what it must, and starts nothing.

The golden files hold command lines and the requests that come of each: of one the whole, of the others what
they have otherwise than it. After a change that is meant, they are written anew, to be read before they are
committed, by

    TRAPLINE_WRITE_GOLDEN=1 pytest -n 0 tests/launching/test_dry_run.py
"""

import json
import socket

import boto3
import pytest

from tests.support.account import (
    BUCKET,
    CASES,
    DEFAULTS,
    GOLDEN,
    REGION,
    ROLE,
    essence,
    golden,
    hyperparameters_by_default,
    keys,
    serve,
    start,
)
from tests.support.golden import WRITING
from trapline.launching.checkout import experiment_names, stage_code
from trapline.launching.pricing.cost import outermost

RAW = ["resnet18_baseline", "--data", f"s3://{BUCKET}/raw", "--job-name", "night-run", "--dry-run"]
OFFLINE = ["--output", f"s3://{BUCKET}/out", "--role", ROLE]


@pytest.fixture
def no_network(monkeypatch):
    """Fail where anything opens a connection or looks up a name."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def signed_out(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def printed(ended):
    """What a dry run printed; standard output is JSON alone."""
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def names(requests):
    return [name for request in requests for name in request]


@pytest.mark.parametrize("case", CASES)
def test_the_requests_are_those_of_the_golden_file(account, case):
    command = golden(case)["command"]
    requests = essence(printed(account.launch(*command, "--dry-run"))["requests"])
    GOLDEN.write(case, command, requests)
    assert requests == golden(case)["requests"]
    assert account.asked == []


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_has_a_golden_file(name):
    assert golden(name)["command"][0] == name


@pytest.mark.parametrize(
    "case", ["spot", "warm_pool", "vpc_kms_tags", "network_isolation", "dlc", "fast_file", "two_instances"]
)
def test_every_way_to_run_on_aws_has_a_golden_file(case):
    assert case in CASES


def test_the_hyperparameters_that_no_golden_file_names_are_those_of_defaults_json():
    if WRITING:
        DEFAULTS.write_text(json.dumps(hyperparameters_by_default(), indent=2) + "\n")
    assert hyperparameters_by_default() == json.loads(DEFAULTS.read_text())


def test_without_credentials_and_without_network_the_requests_are_the_same(account, signed_out, no_network):
    requests = printed(account.launch(*RAW, *OFFLINE))["requests"]
    assert essence(requests) == golden("resnet18_baseline")["requests"]


def test_a_role_in_the_environment_will_do_without_credentials(account, signed_out, no_network, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_ROLE", ROLE)
    requests = printed(account.launch(*RAW, *OFFLINE[:2]))["requests"]
    assert requests[1]["CreateTrainingJob"]["RoleArn"] == ROLE


@pytest.mark.parametrize("missing", [OFFLINE[2:], [*OFFLINE[:2], "--role", "Trapline"], OFFLINE[:2]])
def test_without_credentials_what_would_be_looked_up_must_be_given(account, signed_out, missing):
    ended = account.launch(*RAW, *missing)
    assert (ended.code, ended.out) == (2, "")
    assert (
        "--dry-run without AWS credentials: give --output s3://BUCKET/PREFIX and --role as an ARN"
        in ended.err
    )


def test_with_credentials_bucket_and_role_are_looked_up(account):
    shown = printed(account.launch(*RAW, "--role", "Trapline"))
    bucket = f"sagemaker-{REGION}-123456789012"
    assert names(shown["requests"]) == ["CreateBucket", "CreateProcessingJob", "CreateTrainingJob"]
    assert shown["requests"][0]["CreateBucket"]["Bucket"] == bucket
    training = shown["requests"][2]["CreateTrainingJob"]
    assert training["OutputDataConfig"]["S3OutputPath"] == f"s3://{bucket}/trapline"
    assert training["RoleArn"] == ROLE
    assert set(account.operations()) == {"GetRole", "GetCallerIdentity", "ListBuckets", "HeadBucket"}


def test_a_default_bucket_that_is_there_is_not_made_again(account):
    where = {"LocationConstraint": REGION}
    boto3.client("s3").create_bucket(
        Bucket=f"sagemaker-{REGION}-123456789012", CreateBucketConfiguration=where
    )
    shown = printed(account.launch(*RAW, "--role", "Trapline"))
    assert names(shown["requests"]) == ["CreateProcessingJob", "CreateTrainingJob"]


def test_the_cost_is_an_estimate_from_the_requests(account):
    ended = account.launch(*RAW, *OFFLINE)
    cost = json.loads(ended.out)["cost"]
    assert [job["job"] for job in cost["jobs"]] == ["night-run-prepare", "night-run"]
    assert cost["ceiling_usd"] == pytest.approx(24 * (0.461 + 0.7364) + 48 * 100 * 0.14 / 730, abs=0.01)
    assert ended.err.startswith("estimate: at most 29.66 USD")


def test_what_would_be_copied_is_the_staged_code(account, tmp_path):
    uploads = printed(account.launch(*RAW, *OFFLINE))["uploads"]
    staged = stage_code(tmp_path / "staged")
    files = [path for path in staged.rglob("*") if path.is_file()]
    job = f"s3://{BUCKET}/out/night-run"
    assert uploads == {f"{job}-prepare/input/code/": len(files), f"{job}/source/": 1}


def test_folders_are_counted_with_the_one_in_which_they_lie():
    counted = {"s3://b/code/": 2, "s3://b/code/data/": 3, "s3://b/codex/": 1, "s3://a/x/": 1}
    assert outermost(counted) == {"s3://a/x/": 1, "s3://b/code/": 5, "s3://b/codex/": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prepare", "site-csv=sites.csv"], "--prepare site-csv=sites.csv: must be an s3:// URI"),
        (["--instance-type", "g4dn"], "--instance-type, --instance-count, --framework-version or --py-"),
        (["--dlc", "--instance-count", "2", "--instance-type", "ml.m5.xlarge"], "only for GPU and Trainium"),
        (["--dlc", "--framework-version", "9.9"], "Unsupported pytorch version: 9.9"),
        (["--dlc", "--framework-version", "nine"], "Unsupported pytorch version: nine"),
        (
            ["--dlc", "--prepare-instance-type", "m5"],
            "--prepare-instance-type, --framework-version or --py-version",
        ),
    ],
)
def test_what_no_job_can_take_is_wrong_usage(account, arguments, message):
    ended = account.launch(*RAW, *OFFLINE, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_a_region_without_sagemaker_is_named(account, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "mars-north-1")
    ended = account.launch(*RAW, *OFFLINE)
    assert ended.code == 2
    assert "AWS has no region mars-north-1; check AWS_REGION" in ended.err


def test_aws_region_counts_before_aws_default_region(account, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    requests = printed(account.launch(*RAW, *OFFLINE))["requests"]
    assert ".dkr.ecr.eu-central-1." in requests[0]["CreateProcessingJob"]["AppSpecification"]["ImageUri"]
    assert requests[1]["CreateTrainingJob"]["HyperParameters"]["sagemaker_region"] == '"eu-central-1"'


@pytest.mark.slow
def test_a_dry_run_leaves_the_account_as_it_was(monkeypatch):
    with serve(monkeypatch) as endpoint:
        before = keys(endpoint_url=endpoint)
        launcher = start(endpoint, *RAW, *OFFLINE[:2], "--role", "Trapline")
        out, err = launcher.communicate(timeout=120)
        assert launcher.returncode == 0
        assert err.startswith("estimate: at most ")
        assert len(err.splitlines()) == 1
        assert names(json.loads(out)["requests"]) == ["CreateProcessingJob", "CreateTrainingJob"]
        sagemaker = boto3.client("sagemaker", endpoint_url=endpoint)
        assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []
        assert sagemaker.list_processing_jobs()["ProcessingJobSummaries"] == []
        assert keys(endpoint_url=endpoint) == before
