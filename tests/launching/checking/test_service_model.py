"""The checker takes every request that is sent, and names the field of each constraint that one breaks."""

import pytest
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.account import GOLDEN, REGION, TUNING_GOLDEN, golden, whole
from tests.support.broken_requests import broken_variants
from trapline.config import TrainingConfig
from trapline.launching.checking.service_model import (
    UNKNOWN,
    check_request,
    check_value,
    input_of,
    python_pattern,
    resolve,
    service,
)
from trapline.launching.checking.soundness import check_requests
from trapline.metrics import definitions

ROLE = "arn:aws:iam::123456789012:role/Trapline"
STATIC = {
    name: str(value).lower()
    if isinstance(value, bool)
    else f'"{value}"'
    if isinstance(value, str)
    else "null"
    for name, value in TrainingConfig().record().items()
    if value is None or isinstance(value, str | bool)
}
TUNING = {
    "HyperParameterTuningJobName": "night-search",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "val_loss"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": {
            "ContinuousParameterRanges": [
                {"Name": "lr", "MinValue": "1e-05", "MaxValue": "0.001", "ScalingType": "Logarithmic"}
            ],
            "IntegerParameterRanges": [
                {"Name": "epochs", "MinValue": "5", "MaxValue": "20", "ScalingType": "Auto"}
            ],
            "CategoricalParameterRanges": [{"Name": "batch_size", "Values": ['"16"', '"32"']}],
        },
        "TrainingJobEarlyStoppingType": "Auto",
    },
    "TrainingJobDefinition": {
        "StaticHyperParameters": STATIC,
        "AlgorithmSpecification": {
            "TrainingImage": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/trapline:latest",
            "TrainingInputMode": "File",
            "MetricDefinitions": definitions(),
        },
        "RoleArn": ROLE,
        "InputDataConfig": [
            {
                "ChannelName": "prepared",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://traps/sets/v1/"}},
            }
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://traps/out"},
        "ResourceConfig": {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 100},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    },
}  # fmt: skip


def tuning(case):
    """The request of a tuner's golden case, with the metrics that the file leaves out."""
    (((operation, body),),) = (request.items() for request in TUNING_GOLDEN.read(case)["requests"])
    body["TrainingJobDefinition"]["AlgorithmSpecification"]["MetricDefinitions"] = definitions()
    return operation, body


REQUESTS = {
    **{
        f"{case}-{operation}": (operation, body)
        for case in GOLDEN.cases
        for request in whole(golden(case)["requests"])
        for operation, body in request.items()
    },
    "tuner": ("CreateHyperParameterTuningJob", TUNING),
    **{f"tuner-{case}": tuning(case) for case in TUNING_GOLDEN.cases},
}

# Those that have members which the others lack.
KINDS = ("dlc-CreateP", "site_csv-CreateP", "spot-CreateT", "vpc", "warm_pool-CreateT", "tuner-b")
DIFFERENT = [name for name in REQUESTS if name.startswith(KINDS)]


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_of_a_golden_file_is_sound(name):
    operation, body = REQUESTS[name]
    assert check_requests([{operation: body}], REGION).findings == ()
    assert not ParamValidator().validate(body, input_of(operation)).has_errors()


@pytest.mark.parametrize("name", DIFFERENT)
def test_of_every_constraint_that_is_broken_once_the_field_is_named_and_no_other(name):
    operation, body = REQUESTS[name]
    tried = 0
    for broken in broken_variants(input_of(operation), body):
        found = [(finding.field, finding.rule) for finding in check_request(operation, broken.request, name)]
        assert found == [(broken.field or "request", broken.rule)], broken.rule
        tried += 1
    assert tried > 100


def test_the_variants_break_every_kind_of_constraint():
    kinds = {
        broken.rule
        for operation, body in map(REQUESTS.get, DIFFERENT)
        for broken in broken_variants(input_of(operation), body)
    }
    assert kinds == {"required", "unknown", "type", "enum", "pattern", "min", "max"}


def test_a_finding_names_request_field_rule_and_what_to_do():
    operation, body = REQUESTS["resnet18_baseline-CreateTrainingJob"]
    body = {**body, "ResourceConfig": {**body["ResourceConfig"], "InstanceType": "ml.g4dn.xlarg"}}
    (finding,) = check_requests([{operation: body}]).findings
    assert str(finding).startswith(
        "CreateTrainingJob night-run: ResourceConfig.InstanceType: 'ml.g4dn.xlarg'"
    )
    assert "did you mean ml.g4dn.xlarge" in str(finding)
    assert str(finding).endswith("(enum)")


def test_a_union_must_have_exactly_one_member():
    shape = service().shape_for("MetricSpecification")
    assert shape.is_tagged_union
    predefined = {"Predefined": {"PredefinedMetricType": "x"}}
    assert check_value("MetricSpecification", predefined, "s", "f") == []
    for wrong in ({}, {**predefined, "Customized": {}}):
        assert [one.rule for one in check_value("MetricSpecification", wrong, "s", "f")] == ["union"]


def test_all_patterns_of_the_model_but_those_of_javas_own_characters_are_used():
    shapes = [service().shape_for(name) for name in service().shape_names]
    unused = {
        shape.name
        for shape in shapes
        if "pattern" in shape.metadata and python_pattern(shape.metadata["pattern"]) is None
    }
    assert unused <= {"AthenaCatalog", "Catalog", "Database", "TableName"}


SINGLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NAMES = st.sampled_from(["RoleArn", "Tags", "Key", "x", "Get"])


def lists_and_maps(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner)


@settings(max_examples=60, deadline=None)
@given(st.recursive(SINGLE, lists_and_maps, max_leaves=12))
def test_no_request_is_too_strange_to_be_judged(request):
    for defaults in (None, {}):
        body = {"TrainingJobName": "x", "Tags": request, "ResourceConfig": request}
        assert check_request("CreateTrainingJob", body, "x", defaults)
    check_requests([{"CreateTrainingJob": body}], REGION)


def test_variables_are_what_their_parameters_are_by_default_and_else_unknown():
    defaults = {"Count": 3, "Prefix": "s3://traps/out"}
    assert resolve({"Get": "Parameters.Count"}, defaults) == 3
    assert resolve({"Get": "Parameters.Role"}, defaults) is UNKNOWN
    parts = [{"Get": "Parameters.Prefix"}, "code", {"Get": "Parameters.Count"}]
    joined = {"Std:Join": {"On": "/", "Values": parts}}
    assert resolve(joined, defaults) == "s3://traps/out/code/3"
    parts.append({"Get": "Execution.PipelineExecutionId"})
    assert resolve(joined, defaults) is UNKNOWN
    assert resolve({"Std:JsonGet": {"Path": "a"}}, defaults) is UNKNOWN
