"""The options of jobs on AWS: each reaches the requests, and what is impossible is refused by its name."""

import json

import pytest

from tests.support.account import BUCKET, RAW
from trapline.errors import UsageError
from trapline.launching.aws.options import FLAGS, AwsOptions
from trapline.launching.checkout import Experiment
from trapline.launching.flags import AWS_ALONE, parser, read_plan

EXPERIMENT = Experiment("trial", "a trial", {"arch": "resnet18"})
AWS = ["--data", "s3://bucket/raw"]
DAY = 24 * 3600
VPC = ["--subnets", "subnet-0a", "subnet-1b", "--security-groups", "sg-0a"]
NETWORK = {"Subnets": ["subnet-0a", "subnet-1b"], "SecurityGroupIds": ["sg-0a"]}


@pytest.fixture
def account(shared_account):
    return shared_account


def options(*words):
    return read_plan(EXPERIMENT, [*AWS, *words]).aws


def at(request, path):
    """What lies at a path such as A.B.0 of a request; None where nothing does."""
    for name in path.split("."):
        request = request[int(name)] if isinstance(request, list) else request.get(name)
        if request is None:
            return None
    return request


def test_without_flags_nothing_is_said_that_the_accounts_defaults_could_say():
    assert options() == AwsOptions()
    assert (options().max_run, options().max_wait, options().kms_key, options().tags) == (DAY, None, None, ())


TRAINING = [
    ([], "StoppingCondition", {"MaxRuntimeInSeconds": DAY}),
    ([], "EnableManagedSpotTraining", None),
    (["--spot"], "EnableManagedSpotTraining", True),
    (["--spot"], "StoppingCondition", {"MaxRuntimeInSeconds": DAY, "MaxWaitTimeInSeconds": 2 * DAY}),
    (["--spot", "--max-wait", "90000"], "StoppingCondition.MaxWaitTimeInSeconds", 90000),
    (["--spot", "--max-run", "20d"], "StoppingCondition.MaxWaitTimeInSeconds", 28 * DAY),
    (["--max-run", "90m"], "StoppingCondition.MaxRuntimeInSeconds", 5400),
    (["--keep-alive", "30m"], "ResourceConfig.KeepAlivePeriodInSeconds", 1800),
    (["--keep-alive", "0"], "ResourceConfig.KeepAlivePeriodInSeconds", None),
    (["--volume-size", "250"], "ResourceConfig.VolumeSizeInGB", 250),
    (["--kms-key", "alias/a"], "OutputDataConfig.KmsKeyId", "alias/a"),
    (["--kms-key", "alias/a"], "ResourceConfig.VolumeKmsKeyId", None),  # of ml.g4dn, whose disk is its own
    (["--kms-key", "a-b", "--instance-type", "ml.p3.2xlarge"], "ResourceConfig.VolumeKmsKeyId", "a-b"),
    (VPC, "VpcConfig", NETWORK),
    (["--network-isolation", "--set", "weights=none"], "EnableNetworkIsolation", True),
    (["--encrypt-inter-container"], "EnableInterContainerTrafficEncryption", True),
    (["--tags", "a=1", "b="], "Tags", [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]),
    (["--input-mode", "FastFile"], "InputDataConfig.0.InputMode", "FastFile"),
    (["--input-mode", "FastFile"], "AlgorithmSpecification.TrainingInputMode", "FastFile"),
    (
        ["--code-output", "s3://traps/code/"],
        "HyperParameters.sagemaker_submit_directory",
        '"s3://traps/code/night-run/source/sourcedir.tar.gz"',
    ),
]
PROCESSING = [
    (["--max-run", "12h"], "StoppingCondition.MaxRuntimeInSeconds", DAY // 2),
    (["--max-run", "20d"], "StoppingCondition.MaxRuntimeInSeconds", 9 * DAY),
    (["--volume-size", "250"], "ProcessingResources.ClusterConfig.VolumeSizeInGB", 250),
    (["--kms-key", "a-b"], "ProcessingOutputConfig.KmsKeyId", "a-b"),
    (["--kms-key", "a-b"], "ProcessingResources.ClusterConfig.VolumeKmsKeyId", "a-b"),
    (VPC, "NetworkConfig.VpcConfig", NETWORK),
    (["--network-isolation", "--set", "weights=none"], "NetworkConfig.EnableNetworkIsolation", True),
    (["--encrypt-inter-container"], "NetworkConfig.EnableInterContainerTrafficEncryption", True),
    (["--spot"], "NetworkConfig", None),
    (["--tags", "a=1"], "Tags", [{"Key": "a", "Value": "1"}]),
    (
        ["--code-output", "s3://traps/code"],
        "ProcessingInputs.0.S3Input.S3Uri",
        "s3://traps/code/night-run-prepare/input/code",
    ),
]


@pytest.mark.parametrize(
    ("number", "flags", "path", "value"),
    [(1, *case) for case in TRAINING] + [(0, *case) for case in PROCESSING],
)
def test_each_flag_reaches_the_request(account, number, flags, path, value):
    ended = account.launch(*RAW, *flags, "--dry-run")
    assert ended.code == 0, ended.err
    (request,) = json.loads(ended.out)["requests"][number].values()
    assert at(request, path) == value


def test_code_is_shipped_to_its_own_prefix(account):
    ended = account.launch(*RAW, "--code-output", f"s3://{BUCKET}/code", "--dry-run")
    assert {uri.split("/")[3] for uri in json.loads(ended.out)["uploads"]} == {"code"}


def test_jobs_without_network_get_the_training_code_as_a_channel(account):
    ended = account.launch(*RAW, "--network-isolation", "--set", "weights=none", "--dry-run")
    training = json.loads(ended.out)["requests"][1]["CreateTrainingJob"]
    assert [channel["ChannelName"] for channel in training["InputDataConfig"]] == ["prepared", "code"]
    assert (
        training["HyperParameters"]["sagemaker_submit_directory"]
        == '"/opt/ml/input/data/code/sourcedir.tar.gz"'
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--spot", "--keep-alive", "1h"], "--keep-alive: a warm pool holds no spot machines"),
        (["--max-wait", "1h"], "--max-wait: only with --spot"),
        (["--spot", "--max-run", "2h", "--max-wait", "1h"], "--max-wait 1h: is shorter than --max-run"),
        (["--max-run", "29d"], "--max-run 29d: is 2505600 s; must be from 1 to 2419200 s"),
        (["--max-run", "0"], "--max-run 0: is 0 s; must be from 1"),
        (["--max-run", "soon"], "--max-run soon: must be a duration, as in 5400, 90m, 12h or 2d"),
        (["--spot", "--max-wait", "29d"], "--max-wait 29d: is 2505600 s"),
        (["--keep-alive", "7h"], "--keep-alive 7h: is 25200 s; must be from 0 to 21600 s"),
        (["--volume-size", "0"], "--volume-size 0: must be a whole number of GB from 1 to 16384"),
        (["--volume-size", "1.5"], "--volume-size 1.5: must be a whole number"),
        (["--kms-key", "a key"], "--kms-key a key: must be a key's id, alias or ARN"),
        (["--subnets", "subnet-0a"], "--subnets: a VPC needs --security-groups as well"),
        (["--security-groups", "sg-0a"], "--security-groups: a VPC needs --subnets as well"),
        (["--subnets", "sg-0a", "--security-groups", "sg-0a"], "--subnets sg-0a: must be an id, as in s"),
        ([*VPC, "sg-1", "sg-2", "sg-3", "sg-4", "sg-5"], "--security-groups: 6 given, at most 5"),
        (["--tags", "team"], "--tags team: must be KEY=VALUE"),
        (["--tags", "a=1", "a=2"], "--tags a: given twice"),
        (["--tags", "aws:a=1"], "--tags aws:a: keys that begin with aws: are AWS's own"),
        (["--tags", "a=#"], "--tags a=#: only letters, digits, spaces and"),
        (["--tags", f"{'k' * 129}=1"], f"--tags {'k' * 128}: a key has at most 128 characters"),
        (["--tags", f"k={'v' * 257}"], "--tags k: a key has at most 128 characters, a value 256"),
        (["--tags", *(f"k{number}=" for number in range(51))], "--tags: 51 given, at most 50 are possible"),
        (["--checkpoints", "out"], "--checkpoints out: must be an s3:// URI"),
        (["--checkpoints", "s3://b/c", "--fresh"], "--checkpoints: has no effect with --fresh"),
        (["--code-output", "code"], "--code-output code: must be an s3:// URI"),
        (["--network-isolation"], "--network-isolation: weights=imagenet is downloaded by the job"),
        (["--network-isolation"], "launch/stage_weights.py and give --weights URI"),
        (["--network-isolation", "--set", "weights=s3://b/w.pth"], "--network-isolation: weights=s3://b/w.p"),
        (["--network-isolation", "--dlc"], "--network-isolation: jobs in --dlc install packages"),
        (["--dlc", "--image-uri", "x"], "--dlc: is AWS's own image; leave out --image-uri"),
        (["--framework-version", "2.8.0"], "--framework-version: only with --dlc"),
        (["--py-version", "py312"], "--py-version: only with --dlc"),
    ],
)
def test_what_is_impossible_is_refused_by_its_flag(words, message):
    with pytest.raises(UsageError) as refused:
        options(*words)
    assert message in str(refused.value)


VALUES = {
    "tags": ["a=1"], "subnets": ["subnet-0a"], "security_groups": ["sg-0a"], "input_mode": ["File"],
    "spot": [], "network_isolation": [], "encrypt_inter_container": [], "dlc": [], "parallel": ["2"],
}  # fmt: skip


@pytest.mark.parametrize("backend", ["process", "local"])
@pytest.mark.parametrize("name", AWS_ALONE)
def test_a_flag_that_only_aws_takes_is_refused_elsewhere(backend, name):
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(UsageError, match=f"{flag}: only with --backend aws; leave it out with {backend}"):
        read_plan(EXPERIMENT, ["--backend", backend, "--data", "demo", flag, *VALUES.get(name, ["1h"])])


def test_every_flag_of_the_group_is_among_those_that_only_aws_takes():
    groups = parser(EXPERIMENT)._action_groups
    (group,) = [group for group in groups if (group.title or "").startswith("aws:")]
    assert {action.dest for action in group._group_actions} == set(FLAGS)
