"""The definition that AWS gets: one whole, as a file whose changes are seen in review, and fields of others.

After a change that is meant, the file is written anew, to be read before it is committed, by

    TRAPLINE_WRITE_GOLDEN=1 pytest -n 0 tests/pipeline/test_golden_definition.py
"""

import json

import pytest

pytest.importorskip("sagemaker")

from tests.support.golden import WRITING, fields
from tests.support.golden_definitions import FILE, made, shortened, whole
from trapline.launching.checking.pipeline_steps import all_steps

SUBNETS, GROUPS = ["subnet-0a1b2c3d", "subnet-1a1b2c3d"], ["sg-0a1b2c3d"]
PLACE = {
    "VpcConfig.Subnets[0]": SUBNETS[0],
    "VpcConfig.Subnets[1]": SUBNETS[1],
    "VpcConfig.SecurityGroupIds[0]": GROUPS[0],
}
TAGS = {"Tags[1].Key": "recipe", "Tags[2].Key": "team", "Tags[2].Value": "owls"}
# What each job of a kind has otherwise than in the plain definition.
SPOT_IN_A_VPC = {
    "Processing": {
        **{f"NetworkConfig.{place}": value for place, value in PLACE.items()},
        **TAGS,
        "NetworkConfig.EnableInterContainerTrafficEncryption": True,
        "NetworkConfig.EnableNetworkIsolation": False,
        "ProcessingOutputConfig.KmsKeyId": "alias/traps",
        "ProcessingResources.ClusterConfig.VolumeSizeInGB": 250,
        "StoppingCondition.MaxRuntimeInSeconds": 43200,
        "Tags[1].Value": "swin_stage1",
    },
    "Training": {
        **PLACE,
        **TAGS,
        "AlgorithmSpecification.TrainingInputMode": "FastFile",
        "EnableInterContainerTrafficEncryption": True,
        "EnableManagedSpotTraining": True,
        "HyperParameters.arch": '"swin_t"',
        "HyperParameters.stochastic_depth": "0.2",
        "OutputDataConfig.KmsKeyId": "alias/traps",
        "ResourceConfig.VolumeSizeInGB": 250,
        "StoppingCondition.MaxRuntimeInSeconds": 43200,
        "StoppingCondition.MaxWaitTimeInSeconds": 86400,
    },
    "Model": {**PLACE, **TAGS},
    "Transform": {**TAGS, "TransformOutput.KmsKeyId": "alias/traps"},
    "RegisterModel": {"CustomerMetadataProperties.recipe": "swin_stage1"},
}
WITHOUT_NETWORK = {
    "Processing": {
        "NetworkConfig.EnableNetworkIsolation": True,
        "ProcessingInputs[0].InputName": "code",
        "ProcessingInputs[0].S3Input.S3Uri.Std:Join.Values[0]": "s3://traps/code",
        "Tags[1].Value": "small",
    },
    "Training": {
        "EnableNetworkIsolation": True,
        "HyperParameters.image_size": "96",
        "HyperParameters.sagemaker_submit_directory": '"/opt/ml/input/data/code/sourcedir.tar.gz"',
        "ResourceConfig.KeepAlivePeriodInSeconds": 1800,
        "Tags[1].Value": "small",
    },
    "Model": {"EnableNetworkIsolation": True, "Tags[1].Value": "small"},
    "Transform": {"Tags[1].Value": "small"},
    "RegisterModel": {"CustomerMetadataProperties.recipe": "small"},
}
KEYS = ["Prepare", "Collect"]  # whose disks are on instances that take a key


def steps(case):
    return list(all_steps(whole(case)["Steps"]))


def step(case, name):
    return next(one for one in steps(case) if one.name == name)


def test_the_definition_is_that_of_the_golden_file():
    definition = shortened(made("plain"))
    if WRITING:
        FILE.write_text(json.dumps(definition, indent=2) + "\n")
    assert definition == json.loads(FILE.read_text())


@pytest.mark.parametrize(
    ("case", "expected"), [("spot_in_a_vpc", SPOT_IN_A_VPC), ("without_network", WITHOUT_NETWORK)]
)
def test_each_job_of_a_kind_is_run_as_the_options_say(case, expected):
    looked_at = dict.fromkeys(expected, 0)
    for one in steps(case):
        found = fields(one.arguments)
        for place, value in expected.get(one.kind, {}).items():
            assert found.get(place) == value, (one.name, place)
            looked_at[one.kind] += 1
    assert all(looked_at.values())


@pytest.mark.parametrize("case", ["spot_in_a_vpc", "without_network"])
def test_the_steps_are_those_of_the_plain_definition(case):
    plain = [(one.name, one.kind, one.branches, one.body.get("DependsOn")) for one in steps("plain")]
    assert [(one.name, one.kind, one.branches, one.body.get("DependsOn")) for one in steps(case)] == plain


def test_none_of_what_the_options_say_stands_in_the_plain_definition():
    for one in steps("plain"):
        found = fields(one.arguments)
        for options in (SPOT_IN_A_VPC, WITHOUT_NETWORK):
            told = {
                place: value for place, value in options.get(one.kind, {}).items() if place[-4:] != ".Key"
            }
            same = {place for place, value in told.items() if found.get(place) == value}
            assert same <= {"ProcessingInputs[0].InputName"}, one.name


def test_a_key_is_given_to_the_disks_that_take_one():
    place = "ProcessingResources.ClusterConfig.VolumeKmsKeyId"
    keys = {one.name: fields(one.arguments).get(place) for one in steps("spot_in_a_vpc")}
    assert {name: key for name, key in keys.items() if key} == dict.fromkeys(KEYS, "alias/traps")


def test_code_of_a_training_without_network_is_a_channel():
    for name in ("TrainPhase1", "TrainPhase2"):
        channels = {
            item["ChannelName"]: item for item in step("without_network", name).arguments["InputDataConfig"]
        }
        where = channels["code"]["DataSource"]["S3DataSource"]["S3Uri"]["Std:Join"]
        assert where == {"On": "/", "Values": ["s3://traps/code", "code", "CODE", "sourcedir.tar.gz"]}


def test_what_prepare_is_asked_follows_from_the_options():
    words = step("spot_in_a_vpc", "Prepare").arguments["AppSpecification"]["ContainerArguments"]
    assert words[words.index("--site-csv") + 1] == "/opt/ml/processing/input/sites/sites.csv"
    inputs = {
        item["InputName"]: item for item in step("spot_in_a_vpc", "Prepare").arguments["ProcessingInputs"]
    }
    assert inputs["sites"]["S3Input"]["S3Uri"] == {"Get": "Parameters.SiteCsv"}
    words = step("without_network", "Prepare").arguments["AppSpecification"]["ContainerArguments"]
    assert words[words.index("--crop-bottom") + 1] == "0.07"
