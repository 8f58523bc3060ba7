"""The options of jobs on AWS reach every step that takes them; checkpoints and caching agree."""

import json

import pytest

from trapline.errors import UsageError
from trapline.launching.checking.pipeline_definition import check_definition

pytest.importorskip("sagemaker")

from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline

pytestmark = pytest.mark.usefixtures("without_account")
PLACES = ["--data", "s3://traps/raw", "--output", "s3://traps/out", "--image-uri", "own/image:1"]
NETWORK = {"Subnets": ["subnet-0a"], "SecurityGroupIds": ["sg-0a"]}
EVERYTHING = [
    "--spot", "--max-run", "12h", "--kms-key", "alias/traps", "--subnets", "subnet-0a",
    "--security-groups", "sg-0a", "--encrypt-inter-container", "--tags", "team=owls", "recipe=mine",
    "--volume-size", "250", "--input-mode", "FastFile",
]  # fmt: skip
KINDS = {
    "Processing": ["Prepare", "PseudoLabel", "Evaluate", "Collect"],
    "Training": ["TrainPhase1", "TrainPhase2"],
    "Model": ["Champion-CreateModel"],
    "Transform": ["Transform"],
}


def define(*words, verb="definition", place=PLACES):
    """The text of a definition."""
    return definition_text(make_pipeline(read_command([verb, *place, *words]).design))


def steps(*words, **where):
    """All steps of a definition, those behind the gate too, by name."""
    found, waiting = {}, json.loads(define(*words, **where))["Steps"]
    while waiting:
        step = waiting.pop()
        found[step["Name"]] = step
        waiting += step["Arguments"].get("IfSteps", []) + step["Arguments"].get("ElseSteps", [])
    return found


def test_every_option_reaches_every_kind_of_job_that_takes_it():
    made = {name: step["Arguments"] for name, step in steps(*EVERYTHING).items()}
    tags = [{"Key": "project", "Value": "trapline"}, {"Key": "recipe", "Value": "mine"}]
    tags.append({"Key": "team", "Value": "owls"})
    for name in KINDS["Processing"]:
        job = made[name]
        network = {"EnableNetworkIsolation": False, "EnableInterContainerTrafficEncryption": True}
        assert job["NetworkConfig"] == {**network, "VpcConfig": NETWORK}
        assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 43200}
        assert job["ProcessingOutputConfig"]["KmsKeyId"] == "alias/traps"
        assert job["ProcessingResources"]["ClusterConfig"]["VolumeSizeInGB"] == 250
        assert job["Tags"] == tags
    for name in KINDS["Training"]:
        job = made[name]
        assert job["EnableManagedSpotTraining"]
        assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 43200, "MaxWaitTimeInSeconds": 86400}
        assert (job["VpcConfig"], job["OutputDataConfig"]["KmsKeyId"]) == (NETWORK, "alias/traps")
        assert job["EnableInterContainerTrafficEncryption"]
        assert job["ResourceConfig"]["VolumeSizeInGB"] == 250
        assert job["AlgorithmSpecification"]["TrainingInputMode"] == "FastFile"
        assert job["Tags"] == tags
    assert made["Champion-CreateModel"]["VpcConfig"] == NETWORK
    assert made["Champion-CreateModel"]["Tags"] == tags
    assert made["Transform"]["TransformOutput"]["KmsKeyId"] == "alias/traps"
    assert made["Transform"]["Tags"] == tags


def test_disks_have_the_key_only_where_the_default_instance_can_have_one():
    made = {name: step["Arguments"] for name, step in steps("--kms-key", "alias/traps").items()}
    assert made["Prepare"]["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == "alias/traps"
    assert "VolumeKmsKeyId" not in made["Evaluate"]["ProcessingResources"]["ClusterConfig"]  # ml.g4dn
    assert "VolumeKmsKeyId" not in made["TrainPhase1"]["ResourceConfig"]
    assert "VolumeKmsKeyId" not in made["Transform"]["TransformResources"]


ISOLATED = ["--recipe", "small", "--network-isolation", "--keep-alive", "1h"]


@pytest.mark.parametrize("words", [EVERYTHING, ISOLATED])
def test_aws_would_accept_the_arguments_of_every_job(words):
    assert check_definition(define(*words))[0] == []


def test_without_network_the_code_is_a_channel_that_the_platform_copies():
    made = {
        name: step["Arguments"] for name, step in steps("--recipe", "small", "--network-isolation").items()
    }
    for name in KINDS["Training"]:
        job = made[name]
        assert job["EnableNetworkIsolation"]
        (code,) = [channel for channel in job["InputDataConfig"] if channel["ChannelName"] == "code"]
        source = code["DataSource"]["S3DataSource"]["S3Uri"]["Std:Join"]["Values"]
        assert source[0] == {"Get": "Parameters.OutputPrefix"}
        assert source[-1] == "sourcedir.tar.gz"
        submitted = job["HyperParameters"]["sagemaker_submit_directory"]
        assert submitted == '"/opt/ml/input/data/code/sourcedir.tar.gz"'
    for name in KINDS["Processing"]:
        assert made[name]["NetworkConfig"] == {"EnableNetworkIsolation": True}
    assert made["Champion-CreateModel"]["EnableNetworkIsolation"]


def test_a_warm_pool_is_for_trainings():
    made = steps("--keep-alive", "30m")
    assert made["TrainPhase2"]["Arguments"]["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 1800


# Checkpoints


def checkpoints(*words):
    """Where both phases keep their checkpoints, as parts of a path."""
    made = steps(*words)
    return [
        made[name]["Arguments"]["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"]
        for name in ("TrainPhase1", "TrainPhase2")
    ]


def test_checkpoints_lie_where_no_execution_changes_the_step_and_its_cache_key():
    code = read_command(["definition", *PLACES]).design.code
    for number, place in enumerate(checkpoints(), start=1):
        prefix, folder, sources, name = place
        assert (prefix, folder, sources) == ({"Get": "Parameters.OutputPrefix"}, "checkpoints", code)
        assert name.startswith(f"TrainPhase{number}-")
    assert "PipelineExecutionId" not in json.dumps(checkpoints())


def test_parameters_of_an_execution_leave_the_place_and_other_hyperparameters_change_it():
    before = checkpoints()
    assert checkpoints("--param", "EpochsPhase1=9", "LearningRatePhase1=0.01") == before
    assert checkpoints("--spot", "--tags", "a=1") == before
    changed = checkpoints("--set", "weight_decay=0.5")
    assert changed[0] != before[0]
    assert changed[1] != before[1]
    second = checkpoints("--set-phase2", "weight_decay=0.5")
    assert (second[0], second[1] == before[1]) == (before[0], False)


def test_local_runs_have_no_checkpoints_in_s3():
    place = ["--backend", "process", "--data", "demo"]
    made = steps(place=place)
    assert "CheckpointConfig" not in made["TrainPhase1"]["Arguments"]


# What is refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--spot", "--keep-alive", "1h"], "--keep-alive: a warm pool holds no spot machines"),
        (["--network-isolation"], "--network-isolation: weights=imagenet is downloaded by the job"),
        (
            ["--recipe", "small", "--network-isolation", "--set-phase2", "weights=imagenet"],
            "--network-isolation: weights=imagenet",
        ),
        (["--backend", "process", "--output", "runs", "--spot"], "--spot: only with --backend aws"),
        (["--backend", "local", "--output", "runs", "--tags", "a=1"], "--tags: only with --backend aws"),
    ],
)
def test_what_is_impossible_is_refused_by_its_flag(words, message):
    with pytest.raises(UsageError) as refused:
        read_command(["run", *PLACES[:4], *words])
    assert str(refused.value).startswith(message)


# The SDK's file of an account's defaults

DEFAULTS = """
SchemaVersion: '1.0'
SageMaker:
  TrainingJob:
    EnableNetworkIsolation: true
    VpcConfig: {SecurityGroupIds: [sg-0a], Subnets: [subnet-0a]}
    OutputDataConfig: {KmsKeyId: alias/defaults}
    Tags: [{Key: centre, Value: '17'}]
  ProcessingJob:
    NetworkConfig:
      VpcConfig: {SecurityGroupIds: [sg-0a], Subnets: [subnet-0a]}
    ProcessingOutputConfig: {KmsKeyId: alias/defaults}
  Model:
    VpcConfig: {SecurityGroupIds: [sg-0a], Subnets: [subnet-0a]}
  TransformJob:
    TransformOutput: {KmsKeyId: alias/defaults}
"""


@pytest.fixture
def defaults_file(monkeypatch, tmp_path):
    (tmp_path / "config.yaml").write_text(DEFAULTS)
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", str(tmp_path / "config.yaml"))


def test_the_sdks_defaults_file_counts_where_no_flag_says_otherwise(defaults_file):
    made = {name: step["Arguments"] for name, step in steps("--recipe", "small").items()}
    training, processing = made["TrainPhase1"], made["Evaluate"]
    assert training["EnableNetworkIsolation"]
    assert training["OutputDataConfig"]["KmsKeyId"] == "alias/defaults"
    assert {"Key": "centre", "Value": "17"} in training["Tags"]
    assert processing["ProcessingOutputConfig"]["KmsKeyId"] == "alias/defaults"
    places = (training, processing["NetworkConfig"], made["Champion-CreateModel"])
    assert [place["VpcConfig"] for place in places] == [NETWORK] * 3
    assert made["Transform"]["TransformOutput"]["KmsKeyId"] == "alias/defaults"


def test_the_defaults_files_isolation_is_heeded_before_anything_runs(defaults_file):
    with pytest.raises(UsageError, match="the SDK's defaults file, EnableNetworkIsolation: weights=imagenet"):
        steps("--recipe", "resnet18_baseline")


def test_a_run_here_knows_nothing_of_the_defaults_file(defaults_file):
    training = steps(place=["--backend", "process", "--data", "demo"])["TrainPhase1"]["Arguments"]
    assert "VpcConfig" not in training
