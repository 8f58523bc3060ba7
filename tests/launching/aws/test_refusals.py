"""What AWS refuses and what the user has not set up: one message each, before anything is paid for."""

import boto3
import pytest

from tests.support.account import (
    BUCKET,
    COMMON_FLAGS,
    KEPT,
    PREPARED,
    RAW,
    ROLE,
    refused,
    without,
)
from trapline.launching.aws import account as aws_account

QUOTA = "The account-level service limit 'ml.g4dn.xlarge for training job usage' is 0 Instances"
REFUSALS = [
    ("GetRole", "AccessDenied", "--role Trapline: access denied"),
    ("HeadBucket", "403", f"--output s3://{BUCKET}/out: access denied"),
    ("HeadBucket", "ExpiredToken", f"--output s3://{BUCKET}/out: the AWS session has expired; sign in again"),
    ("HeadBucket", "InvalidAccessKeyId", "does not know these credentials; check AWS_PROFILE"),
    ("ListObjectsV2", "AccessDenied", f"--data s3://{BUCKET}/raw: access denied"),
    (
        "PutObject",
        "AccessDenied",
        f"copying the code to s3://{BUCKET}/out/night-run-prepare/input/code: access",
    ),
    ("CreateProcessingJob", "AccessDeniedException", "processing job night-run-prepare: access denied"),
    ("CreateProcessingJob", "ResourceInUse", "processing job night-run-prepare: the name is taken"),
    ("CreateProcessingJob", "ValidationException", "AWS calls the request invalid: as AWS words it"),
]


@pytest.mark.parametrize(("operation", "code", "message"), REFUSALS)
def test_each_refusal_is_one_message_that_names_the_thing(account, operation, code, message):
    account.refuse(operation, code, status=403 if code == "403" else 400)
    refused(account.launch(*without(RAW, "--role"), "--role", "Trapline"), message)
    assert "CreateTrainingJob" not in account.operations()


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [
        ("ResourceLimitExceeded", QUOTA, "quota does not allow it; ask for more under Service Quotas"),
        ("ResourceLimitExceeded", QUOTA, QUOTA),
        ("AccessDeniedException", "not authorized", "access denied; the role or user needs the permission"),
        (
            "ValidationException",
            "Could not assume role",
            "AWS calls the request invalid: Could not assume role",
        ),
        ("ResourceInUse", "Training job names must be unique", "the name is taken or in use; choose another"),
        ("ExpiredTokenException", "expired", "the AWS session has expired; sign in again"),
    ],
)
def test_a_training_job_that_aws_refuses_leaves_the_prepared_set(account, code, said, message):
    account.refuse("CreateTrainingJob", code, said)
    ended = account.launch(*RAW)
    refused(ended, message)
    assert ended.err.startswith("error: training job night-run: ")
    assert ended.err.endswith(f"\n{KEPT}")


def test_throttling_that_does_not_end_is_given_up_with_advice(account, monkeypatch):
    monkeypatch.setattr(aws_account, "RETRIES", {"mode": "standard", "max_attempts": 2})
    account.refuse("CreateTrainingJob", "ThrottlingException", "Rate exceeded")
    refused(account.launch(*PREPARED), "training job night-run: AWS asks to slow down; try again in a minute")
    assert account.operations().count("CreateTrainingJob") == 1 + 2


# What the user has not set up


def test_without_a_role_nothing_is_sent(account):
    refused(account.launch(*without(RAW, "--role")), "no role: give --role NAME or ARN", code=2)
    assert "PutObject" not in account.operations()


@pytest.mark.parametrize("command", [RAW, PREPARED])
def test_a_role_in_the_environment_will_do(account, monkeypatch, command):
    monkeypatch.setenv("SAGEMAKER_ROLE", ROLE)
    assert account.launch(*without(command, "--role")).code == 0
    assert {body["RoleArn"] for request in account.jobs() for body in request.values()} == {ROLE}


def test_the_role_of_the_sdks_defaults_file_will_do(account, monkeypatch, tmp_path):
    defaults = tmp_path / "config.yaml"
    kinds = "".join(f"    {kind}Job:\n      RoleArn: {ROLE}\n" for kind in ("Training", "Processing"))
    defaults.write_text(f"SchemaVersion: '1.0'\nSageMaker:\n{kinds}".replace("    ", "  "))
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", str(defaults))
    assert account.launch(*without(RAW, "--role")).code == 0
    assert {body["RoleArn"] for request in account.jobs() for body in request.values()} == {ROLE}


@pytest.mark.parametrize("text", ["SageMaker: {TrainingJob: [", "SchemaVersion: '1.0'\nSageMaker: 7"])
def test_a_defaults_file_that_the_sdk_cannot_read_is_named(account, monkeypatch, tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", str(tmp_path / "config.yaml"))
    refused(account.launch(*RAW), "the SDK's defaults file, ~/.config/sagemaker/config.yaml: ", code=2)


def test_a_role_that_does_not_exist_is_named(account):
    ended = account.launch(*without(RAW, "--role"), "--role", "Nobody")
    refused(ended, "--role Nobody: the account has no such role; `aws iam list-roles` lists them", code=2)
    assert "PutObject" not in account.operations()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--data", "s3://nowhere/raw", *COMMON_FLAGS], "--data s3://nowhere/raw: no such bucket"),
        (
            ["--data", f"s3://{BUCKET}/raw", "--output", "s3://nowhere/x", "--role", ROLE],
            "--output s3://nowhere/x: no such bucket; check its name",
        ),
        (
            ["--data", f"s3://{BUCKET}/ra", *COMMON_FLAGS],
            f"--data s3://{BUCKET}/ra: nothing there; look with",
        ),
        (["--prepared", f"s3://{BUCKET}/raw", *COMMON_FLAGS], f"s3://{BUCKET}/raw: no dataset.json there"),
        (["--prepared", f"s3://{BUCKET}", *COMMON_FLAGS], f"s3://{BUCKET}: no dataset.json there"),
        (
            ["--prepared", f"s3://{BUCKET}/sets/v1", "--weights", f"s3://{BUCKET}/raw", *COMMON_FLAGS],
            f"--weights s3://{BUCKET}/raw: no weights.json there",
        ),
        (
            [*RAW[1:], "--prepare", f"site-csv=s3://{BUCKET}/sites"],
            f"--prepare site-csv s3://{BUCKET}/sites: no such file",
        ),
        ([*RAW[1:], "--prepare", "site-csv=sites.csv"], "site-csv=sites.csv: must be an s3:// URI"),
        (
            [*RAW[1:], "--prepare", f"label-names=s3://{BUCKET}/names.csv"],
            f"--prepare label-names s3://{BUCKET}/names.csv: no such file",
        ),
        (
            [*RAW[1:], "--prepare", "label-names=names.csv"],
            f"--prepare label-names s3://{BUCKET}/raw/names.csv: no such file",
        ),
        (
            ["--data", f"s3://{BUCKET}/traps.zip", *COMMON_FLAGS],
            f"--data s3://{BUCKET}/traps.zip: nothing there",
        ),
    ],
)
def test_what_is_not_in_s3_is_named_before_anything_is_sent(account, command, message):
    ended = account.launch("resnet18_baseline", *command)
    refused(ended, message, code=1 if "bucket" in message else 2)
    assert not {"PutObject", "CreateProcessingJob", "CreateTrainingJob"} & set(account.operations())


def test_a_bucket_in_another_region_is_named(account):
    where = {"LocationConstraint": "eu-north-1"}
    s3 = boto3.client("s3", region_name="eu-north-1")
    s3.create_bucket(Bucket="north", CreateBucketConfiguration=where)
    s3.put_object(Bucket="north", Key="raw/a.jpg", Body=b"x")
    ended = account.launch("resnet18_baseline", "--data", "s3://north/raw", *COMMON_FLAGS)
    message = "--data s3://north/raw: the bucket lies in eu-north-1, the jobs would run in eu-west-1"
    refused(ended, message, code=2)


def test_without_credentials_the_way_without_an_account_is_named(account, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    ended = account.launch(*RAW)
    refused(ended, "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and", code=2)
    assert "--backend process runs the same job here, without an account" in ended.err
    assert account.asked == []


def test_half_of_the_credentials_is_told_from_none(account, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    ended = account.launch(*RAW)
    refused(ended, "the AWS credentials are incomplete")
    assert "--backend process" in ended.err


def test_a_profile_that_does_not_exist_is_named(account, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    refused(account.launch(*RAW), "(nobody) could not be found; check AWS_PROFILE")


def test_without_a_region_the_variable_is_named(account, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    refused(account.launch(*RAW), "no AWS region: set AWS_REGION or AWS_DEFAULT_REGION", code=2)
