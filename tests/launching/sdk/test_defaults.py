"""The SDK's file of an account's defaults counts wherever no flag says otherwise."""

import pytest

from tests.support.account import RAW, ROLE, open_account, refused, without

VPC = {"SecurityGroupIds": ["sg-0d"], "Subnets": ["subnet-0d"]}
DEFAULTS = f"""
SchemaVersion: '1.0'
SageMaker:
  TrainingJob:
    RoleArn: {ROLE}
    EnableInterContainerTrafficEncryption: true
    OutputDataConfig:
      KmsKeyId: alias/defaults
    ResourceConfig:
      VolumeKmsKeyId: alias/disks
    VpcConfig:
      SecurityGroupIds: [sg-0d]
      Subnets: [subnet-0d]
    Environment:
      COLOUR: green
    Tags:
    - Key: centre
      Value: '17'
  ProcessingJob:
    RoleArn: {ROLE}
    NetworkConfig:
      EnableInterContainerTrafficEncryption: true
      VpcConfig:
        SecurityGroupIds: [sg-0d]
        Subnets: [subnet-0d]
    ProcessingOutputConfig:
      KmsKeyId: alias/defaults
    ProcessingResources:
      ClusterConfig:
        VolumeKmsKeyId: alias/disks
    Tags:
    - Key: centre
      Value: '17'
"""


@pytest.fixture
def account(monkeypatch, capsys, tmp_path):
    (tmp_path / "config.yaml").write_text(DEFAULTS)
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", str(tmp_path / "config.yaml"))
    with open_account(monkeypatch, capsys, tmp_path) as opened:
        yield opened


def launched(account, *more):
    """The requests of the two jobs that a launch starts."""
    ended = account.launch(*without(RAW, "--role"), "--instance-type", "ml.p3.2xlarge", *more)
    assert ended.code == 0, ended.err
    processing, training = account.jobs()
    return processing["CreateProcessingJob"], training["CreateTrainingJob"]


def test_network_keys_tags_and_environment_are_those_of_the_file(account):
    processing, training = launched(account)
    assert (processing["NetworkConfig"]["VpcConfig"], training["VpcConfig"]) == (VPC, VPC)
    assert processing["NetworkConfig"]["EnableInterContainerTrafficEncryption"]
    assert training["EnableInterContainerTrafficEncryption"]
    assert processing["ProcessingOutputConfig"]["KmsKeyId"] == "alias/defaults"
    assert training["OutputDataConfig"]["KmsKeyId"] == "alias/defaults"
    assert processing["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == "alias/disks"
    assert training["ResourceConfig"]["VolumeKmsKeyId"] == "alias/disks"
    assert processing["Tags"] == training["Tags"] == [{"Key": "centre", "Value": "17"}]
    assert training["Environment"] == {"COLOUR": "green"}


def test_jobs_that_the_file_keeps_from_the_network_are_told_about_weights_from_there(
    account, monkeypatch, tmp_path
):
    isolated = DEFAULTS.replace("  TrainingJob:", "  TrainingJob:\n    EnableNetworkIsolation: true")
    (tmp_path / "config.yaml").write_text(isolated)
    ended = account.launch(*RAW)
    refused(ended, "the SDK's defaults file, EnableNetworkIsolation: weights=imagenet is downloaded", code=2)
    assert account.launch(*RAW, "--set", "weights=none").code == 0
    training = account.jobs()[1]["CreateTrainingJob"]
    assert [channel["ChannelName"] for channel in training["InputDataConfig"]] == ["prepared", "code"]


def test_a_flag_counts_before_the_file(account):
    network = ["--subnets", "subnet-0f", "--security-groups", "sg-0f"]
    processing, training = launched(account, "--kms-key", "alias/mine", *network, "--tags", "a=1")
    assert training["VpcConfig"] == {"SecurityGroupIds": ["sg-0f"], "Subnets": ["subnet-0f"]}
    assert processing["NetworkConfig"]["VpcConfig"] == training["VpcConfig"]
    keys = (training["OutputDataConfig"]["KmsKeyId"], training["ResourceConfig"]["VolumeKmsKeyId"])
    assert keys == ("alias/mine", "alias/mine")
    assert {"Key": "a", "Value": "1"} in training["Tags"]
    assert {"Key": "centre", "Value": "17"} in training["Tags"]
