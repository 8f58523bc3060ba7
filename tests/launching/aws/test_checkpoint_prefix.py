"""Where checkpoints lie on AWS: the same command finds them, another does not."""

import json

import pytest

from tests.support.account import BUCKET, PREPARED, RAW, without
from trapline import job_contract


@pytest.fixture
def account(shared_account):
    return shared_account


def place(account, command, *more):
    """The checkpoints' URI in the request of a launch."""
    ended = account.launch(*command, *more, "--dry-run")
    assert ended.code == 0, ended.err
    training = json.loads(ended.out)["requests"][-1]["CreateTrainingJob"]
    assert training["CheckpointConfig"].keys() == {"S3Uri"}  # the folder is SageMaker's default
    return training["CheckpointConfig"]["S3Uri"]


def test_a_retry_finds_the_checkpoints_whatever_its_name_machine_and_patience(account):
    first = place(account, RAW)
    assert first.startswith(f"s3://{BUCKET}/out/checkpoints/")
    assert place(account, without(RAW, "--job-name")) == first
    assert place(account, RAW, "--spot", "--max-run", "2d", "--instance-type", "ml.g5.xlarge") == first
    assert place(account, RAW, "--set", "num_workers=2") == first  # what no weight depends on


@pytest.mark.parametrize(
    "more",
    [
        ["--set", "lr=0.01"],
        ["--set", "seed=1"],
        ["--prepare", "split=random"],
        ["--output", f"s3://{BUCKET}/other"],
        ["--fresh"],
    ],
)
def test_a_change_begins_anew(account, more):
    assert place(account, RAW, *more) != place(account, RAW)


def test_other_data_or_other_channels_begin_anew(account):
    phase2 = ["swin_stage2", *PREPARED[1:], "--phase1", f"s3://{BUCKET}/earlier/model.tar.gz"]
    labels = [["--pseudo", f"s3://{BUCKET}/pseudo/{name}"] for name in ("v1", "v2")]
    raw_too = [*without(RAW, "--data"), "--data", f"s3://{BUCKET}/raw-old"]
    places = [place(account, command) for command in (RAW, PREPARED, raw_too)]
    places += [place(account, phase2, *pseudo) for pseudo in labels]
    assert len(set(places)) == 5


def test_a_slash_at_the_end_is_no_other_data(account):
    same = [*without(PREPARED, "--prepared"), "--prepared", f"s3://{BUCKET}/sets/v1/"]
    assert place(account, same) == place(account, PREPARED)


def test_what_a_failure_says_finds_the_checkpoints_again_without_a_second_prepare_job(account):
    account.answers["DescribeTrainingJob"] = {"TrainingJobStatus": "Failed", "FailureReason": "no GPU"}
    account.launch(*RAW)
    account.answers.clear()
    sent = account.jobs()[1]["CreateTrainingJob"]["CheckpointConfig"]["S3Uri"]
    assert place(account, PREPARED, "--checkpoints", f"{sent}/") == sent
    assert place(account, PREPARED) != sent


def test_other_code_begins_anew(account, monkeypatch, tmp_path):
    before = place(account, PREPARED)
    (tmp_path / "__init__.py").write_text("CHANGED = True\n")
    monkeypatch.setattr(job_contract, "LIBRARY", tmp_path)
    assert place(account, PREPARED) != before
