"""A launch on AWS: the requests that arrive, the code that is shipped, how jobs end, and Ctrl-C."""

import io
import signal
import tarfile

import boto3
import pytest
from moto.sagemaker.models import FakeTrainingJob

from tests.conftest import ENTRY_POINTS
from tests.support.account import (
    BUCKET,
    COMMON_FLAGS,
    KEPT,
    PREPARED,
    RAW,
    ROLE,
    WAYS,
    by_digest,
    essence,
    golden,
    keys,
    refused,
    serve,
    start,
    without,
)
from trapline.launching import checkout
from trapline.launching.checkout import missing_from_aws_image


@pytest.mark.slow
@pytest.mark.parametrize("case", ["resnet18_baseline", "swin_stage2", *WAYS])
def test_what_arrives_is_what_the_dry_run_shows_with_the_digest_of_the_image(account, case):
    ended = account.launch(*golden(case)["command"])
    assert (ended.code, ended.err) == (0, "")
    assert essence(account.jobs()) == by_digest(golden(case)["requests"])


def test_a_launch_ends_with_the_model_and_the_way_to_fetch_it(account):
    ended = account.launch(*RAW)
    said = ended.out.splitlines()
    assert said[0] == "processing job: night-run-prepare"
    assert f"prepared data: s3://{BUCKET}/out/night-run-prepare/prepared (--prepared takes it)" in said
    assert "training job: night-run" in said
    assert said[-2:] == [
        f"model: s3://{BUCKET}/out/night-run/output/model.tar.gz",
        "fetch it: python launch/artifacts.py night-run --to DIR",
    ]


def test_an_archive_is_given_to_the_job_as_the_object_that_it_is(account):
    boto3.client("s3").put_object(Bucket=BUCKET, Key="traps.tar.xz", Body=b"x")
    ended = account.launch("resnet18_baseline", "--data", f"s3://{BUCKET}/traps.tar.xz", *COMMON_FLAGS)
    assert (ended.code, ended.err) == (0, "")
    inputs = account.jobs()[0]["CreateProcessingJob"]["ProcessingInputs"]
    places = {item["InputName"]: item["S3Input"]["S3Uri"] for item in inputs}
    assert places["data"] == f"s3://{BUCKET}/traps.tar.xz"


def test_no_wait_does_not_look_at_the_training_job(account):
    ended = account.launch(*PREPARED, "--no-wait")
    assert ended.code == 0
    assert account.operations()[-1] == "CreateTrainingJob"
    assert "follow it: python launch/follow.py night-run" in ended.out.splitlines()
    assert ended.out.splitlines()[-1] == "fetch it: python launch/artifacts.py night-run --to DIR"


def test_no_wait_still_waits_for_the_data_that_training_needs(account):
    account.launch(*RAW, "--no-wait")
    assert "DescribeProcessingJob" in account.operations()
    assert "DescribeTrainingJob" not in account.operations()


def test_throttling_that_ends_is_waited_for(account):
    account.refuse("CreateTrainingJob", "ThrottlingException", "Rate exceeded", times=1)
    assert account.launch(*PREPARED).code == 0
    assert account.operations().count("CreateTrainingJob") == 2


# How jobs end

ENDINGS = [
    (
        {"FailureReason": "AlgorithmError: no val part\nexit code 1"},
        "AlgorithmError: no val part exit code 1",
    ),
    ({"FailureReason": "CapacityError: Unable to provision"}, "CapacityError: Unable to provision"),
    ({}, "no reason given"),
]


@pytest.mark.parametrize(("described", "reason"), ENDINGS)
def test_a_failed_training_job_is_named_with_its_reason(account, described, reason):
    failed = {"TrainingJobStatus": "Failed", "SecondaryStatus": "Failed"}
    account.answers["DescribeTrainingJob"] = failed | described
    ended = account.launch(*PREPARED)
    refused(ended, f"error: training job night-run: Failed ({reason})\n")
    assert "model:" not in ended.out


@pytest.mark.parametrize(
    ("secondary", "reason"),
    [
        ("Stopped", "on request, before its end"),
        ("MaxRuntimeExceeded", "the longest run is over"),
        ("MaxWaitTimeExceeded", "the longest wait for spot machines is over"),
    ],
)
def test_a_stopped_training_job_is_a_failure(account, secondary, reason):
    account.answers["DescribeTrainingJob"] = {
        "TrainingJobStatus": "Stopped",
        "SecondaryStatus": secondary,
    }
    ended = account.launch(*PREPARED)
    refused(ended, f"error: training job night-run: Stopped ({reason}")
    assert "model:" not in ended.out


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        *ENDINGS,
        ({"ExitMessage": "traps.csv: no such file"}, "traps.csv: no such file"),
        (
            {"ExitMessage": "traps.csv: no such file", "FailureReason": "AlgorithmError: See job logs"},
            "traps.csv: no such file; AlgorithmError: See job logs",
        ),
    ],
)
def test_after_a_failed_prepare_job_nothing_is_trained(account, described, reason):
    account.answers["DescribeProcessingJob"] = {"ProcessingJobStatus": "Failed", **described}
    refused(account.launch(*RAW), f"error: processing job night-run-prepare: Failed ({reason})\n")
    assert "CreateTrainingJob" not in account.operations()


def test_after_a_stopped_prepare_job_nothing_is_trained(account):
    account.answers["DescribeProcessingJob"] = {"ProcessingJobStatus": "Stopped"}
    ended = account.launch(*RAW)
    refused(ended, "error: processing job night-run-prepare: Stopped (on request, before its end)\n")
    assert "CreateTrainingJob" not in account.operations()


def test_what_fails_after_the_prepare_job_says_where_its_set_lies(account):
    account.answers["DescribeTrainingJob"] = {"TrainingJobStatus": "Failed", "FailureReason": "no GPU"}
    refused(account.launch(*RAW), f"error: training job night-run: Failed (no GPU)\n{KEPT}")


def test_the_set_that_is_kept_is_one_that_prepared_takes(account):
    kept = KEPT.split()[7]
    boto3.client("s3").put_object(Bucket=BUCKET, Key="out/night-run-prepare/prepared/dataset.json", Body=b"x")
    ended = account.launch("resnet18_baseline", "--prepared", kept, *COMMON_FLAGS)
    assert ended.code == 0
    (training,) = account.jobs()
    source = training["CreateTrainingJob"]["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    assert source["S3Uri"] == kept


def test_without_permission_for_the_log_the_job_is_waited_for_all_the_same(account):
    account.refuse("DescribeLogStreams", "AccessDeniedException", "not authorized")
    ended = account.launch(*PREPARED)
    assert ended.code == 0
    assert "log of training job night-run: access denied" in ended.out
    assert "waiting without it" in ended.out
    assert "model:" in ended.out


def test_trouble_while_waiting_neither_ends_the_launch_nor_sends_the_job_again(account):
    account.refuse("DescribeTrainingJob", "ThrottlingException", "Rate exceeded", times=5)
    ended = account.launch(*PREPARED)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("AWS asks to slow down") == 1
    assert "training job night-run: AWS answers again, after" in ended.out
    assert account.operations().count("CreateTrainingJob") == 1
    assert ended.out.splitlines()[-1].startswith("fetch it: ")


def test_a_sign_in_that_ends_before_the_job_does_not_end_the_job(account):
    account.refuse("DescribeTrainingJob", "ExpiredTokenException", "The security token included is expired")
    ended = account.launch(*PREPARED)
    refused(ended, "waiting for the training job night-run: the AWS session has expired; sign in again")
    assert "the job goes on; take it up again with: python launch/follow.py night-run\n" in ended.err


@pytest.mark.parametrize(
    ("command", "kind", "name"),
    [(PREPARED, "training", "night-run"), (RAW, "processing", "night-run-prepare")],
)
def test_ctrl_c_while_waiting_says_that_the_job_goes_on_and_how_to_stop_it(account, command, kind, name):
    account.interrupt(f"Describe{kind.capitalize()}Job")
    expected = (
        f"error: interrupted; the {kind} job {name} goes on; "
        f"take it up again with: python launch/follow.py {name}; "
        f"stop it with: aws sagemaker stop-{kind}-job --{kind}-job-name {name}\n"
    )
    refused(account.launch(*command), expected, code=130)


@pytest.mark.parametrize(
    ("command", "kind", "name"),
    [(PREPARED, "training", "night-run"), (RAW, "processing", "night-run-prepare")],
)
def test_ctrl_c_while_a_job_is_sent_says_how_to_see_whether_it_runs(account, command, kind, name):
    account.interrupt(f"Create{kind.capitalize()}Job")
    ended = account.launch(*command)
    refused(ended, f"error: interrupted while the {kind} job was sent; whether it runs says: ", code=130)
    assert ended.err.endswith(f"aws sagemaker describe-{kind}-job --{kind}-job-name {name}\n")


@pytest.mark.parametrize("operation", ["CreateTrainingJob", "DescribeTrainingJob"])
def test_ctrl_c_after_the_prepare_job_says_where_its_set_lies(account, operation):
    account.after("DescribeProcessingJob", lambda: account.interrupt(operation))
    refused(account.launch(*RAW), f"\n{KEPT}", code=130)


# What is shipped


def archived(key, **where):
    """The names in an archive in the bucket, and the content of its requirements.txt."""
    body = boto3.client("s3", **where).get_object(Bucket=BUCKET, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        needed = archive.extractfile("requirements.txt").read().decode()
        return {item.name for item in archive if item.isfile()}, needed


def check_shipped(**where):
    """Check that both jobs got the scripts, `trapline` and requirements.txt, and nothing else."""
    names, needed = archived("out/night-run/source/sourcedir.tar.gz", **where)
    scripts = {path.name for path in ENTRY_POINTS.glob("*.py")}
    assert {"train.py", "prepare.py"} <= scripts
    assert {name for name in names if "/" not in name} == {*scripts, "requirements.txt"}
    assert "trapline/__init__.py" in names
    assert all(name.startswith("trapline/") and name.endswith(".py") for name in names if "/" in name)
    assert needed.splitlines() == missing_from_aws_image()
    prefix = "out/night-run-prepare/input/code/"
    assert {key.removeprefix(prefix) for key in keys(**where) if key.startswith(prefix)} == names


def test_to_awss_image_the_scripts_are_shipped_with_the_library_and_requirements(account):
    account.launch(*RAW, "--dlc")
    check_shipped()


def test_to_the_projects_own_image_no_requirements_are_shipped(account):
    assert account.launch(*RAW).code == 0
    assert not [key for key in keys() if key.endswith("requirements.txt")]


def test_requirements_are_those_of_the_checkout_whatever_is_installed(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["torch>=2", "New_Thing>=1", "a.b"]\n'
    )
    (tmp_path / "constraints.txt").write_text("a-b==2.0\ntorch==2.15.0\nnew-thing==1.5\n")
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    assert missing_from_aws_image() == ["a-b==2.0", "new-thing==1.5"]


@pytest.mark.parametrize(("text", "message"), [("a==1\n", "no version of albumentations"), (None, "No such")])
def test_without_a_version_for_a_requirement_nothing_is_sent(account, monkeypatch, tmp_path, text, message):
    monkeypatch.setattr(checkout, "CONSTRAINTS", str(tmp_path / "constraints.txt"))
    if text:
        (tmp_path / "constraints.txt").write_text(text)
    refused(account.launch(*RAW, "--dlc"), message)
    assert "PutObject" not in account.operations()


# The whole road: a launcher's process, and a server in place of AWS


@pytest.fixture
def endpoint(monkeypatch):
    with serve(monkeypatch) as address:
        yield address


@pytest.mark.slow  # a process that loads the SDK
def test_a_launcher_starts_both_jobs_and_ships_the_code(endpoint):
    launcher = start(endpoint, *without(RAW, "--role"), "--role", "Trapline", "--dlc")
    out, err = launcher.communicate(timeout=120)
    assert (launcher.returncode, err) == (0, "")
    assert out.splitlines()[-2:] == [
        f"model: s3://{BUCKET}/out/night-run/output/model.tar.gz",
        "fetch it: python launch/artifacts.py night-run --to DIR",
    ]
    sagemaker = boto3.client("sagemaker", endpoint_url=endpoint)
    assert sagemaker.describe_training_job(TrainingJobName="night-run")["RoleArn"] == ROLE
    assert sagemaker.describe_processing_job(ProcessingJobName="night-run-prepare")["RoleArn"] == ROLE
    check_shipped(endpoint_url=endpoint)


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_running_and_ends_with_130(endpoint, monkeypatch):
    original = FakeTrainingJob.response_object.fget
    running = {"TrainingJobStatus": "InProgress", "SecondaryStatus": "Training"}
    described = property(lambda job: {**original(job), **running})
    monkeypatch.setattr(FakeTrainingJob, "response_object", described)
    launcher = start(endpoint, *PREPARED)
    assert launcher.stdout.readline() == "training job: night-run\n"
    launcher.send_signal(signal.SIGINT)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    assert err == (
        "error: interrupted; the training job night-run goes on; "
        "take it up again with: python launch/follow.py night-run; "
        "stop it with: aws sagemaker stop-training-job --training-job-name night-run\n"
    )
