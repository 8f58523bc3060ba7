"""Rules between fields: each is kept by every request that is sent, and its breach names the field."""

import copy
import json
import re

import pytest

from tests.launching.checking.test_service_model import TUNING
from tests.support.account import REGION, golden, whole
from trapline.launching.checking.field_rules import DEFINITIONS, SAFE
from trapline.launching.checking.findings import SHOWN, Finding, refuse
from trapline.launching.checking.soundness import check_requests
from trapline.metrics import BY_NAME, definitions

# In two pieces, so that nobody takes it for a real one.
KEY_ID = "AKIA" + "Q3EGTC5YZLKMJ2WX"
TRANSFORM = {
    "TransformJobName": "night",
    "ModelName": "champion",
    "MaxConcurrentTransforms": 4,
    "MaxPayloadInMB": 20,
    "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://traps/images/"}}},
    "TransformOutput": {"S3OutputPath": "s3://traps/out"},
    "TransformResources": {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1},
}  # fmt: skip


def good(case):
    """A sound request by name: of a golden file, or a tuner's, or a transform's."""
    if case in ("tuner", "transform"):
        return copy.deepcopy(
            {"CreateHyperParameterTuningJob": TUNING}
            if case == "tuner"
            else {"CreateTransformJob": TRANSFORM}
        )
    name, _, operation = case.partition(" ")
    requests = whole(golden(name)["requests"])
    return next(request for request in requests if operation in request)


def put(request, field, value):
    """Set what lies at a field's path; None takes it out."""
    (holder,) = request.values()
    *above, last = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", field)]
    for part in above:
        holder = holder.setdefault(part, {}) if isinstance(holder, dict) else holder[part]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    return request


def findings(request):
    return check_requests([request], REGION).findings


TRAIN = "resnet18_baseline CreateTrainingJob"
PREPARE = "resnet18_baseline CreateProcessingJob"
SPOT = "spot CreateTrainingJob"
HYPER = "HyperParameters"
KEEP = "ResourceConfig.KeepAlivePeriodInSeconds"
WAIT = "StoppingCondition.MaxWaitTimeInSeconds"
OUT = "OutputDataConfig.S3OutputPath"
CONFIG = "HyperParameterTuningJobConfig"
RANGES = f"{CONFIG}.ParameterRanges"
BREACHES = [  # request, what is set, the field that is named, a word of the finding
    ("transform", {"MaxConcurrentTransforms": 6}, "MaxConcurrentTransforms", "6 at once of 20 MB"),
    ("transform", {"MaxPayloadInMB": 50}, "MaxConcurrentTransforms", "at most 100"),
    (SPOT, {WAIT: 60}, WAIT, "60 s"),
    (SPOT, {WAIT: None}, WAIT, "--max-w"),
    (SPOT, {"EnableManagedSpotTraining": False}, WAIT, "--spot"),
    (SPOT, {KEEP: 600}, KEEP, "warm"),
    (SPOT, {"CheckpointConfig": None}, "CheckpointConfig", "begin again"),
    (TRAIN, {OUT: "s3:/traps/out"}, OUT, "s3://BUCKET"),
    (TRAIN, {OUT: "s3://Traps/out"}, OUT, "small letters"),
    (TRAIN, {"InputDataConfig[0].DataSource.S3DataSource.S3Uri": "s3://t/x"},
     "InputDataConfig[0].DataSource.S3DataSource.S3Uri", "3 to 63"),
    (TRAIN, {"RoleArn": "arn:aws-cn:iam::123456789012:role/Trapline"}, "RoleArn", "arn:aws:"),
    (TRAIN, {"AlgorithmSpecification.TrainingImage": "123456789012.dkr.ecr.us-east-2.amazonaws.com/x:1"},
     "AlgorithmSpecification.TrainingImage", "us-east-2"),
    (PREPARE, {"AppSpecification.ImageUri": "123456789012.dkr.ecr.us-east-2.amazonaws.com/x:1"},
     "AppSpecification.ImageUri", "push it there"),
    (TRAIN, {"ResourceConfig.VolumeKmsKeyId": "alias/traps"},
     "ResourceConfig.VolumeKmsKeyId", "disks of its own"),
    ("dlc CreateProcessingJob", {"NetworkConfig": {"EnableNetworkIsolation": True}},
     "AppSpecification.ContainerEntrypoint[2]", "no network"),
    (TRAIN, {"EnableNetworkIsolation": True}, f"{HYPER}.weights", "stage_weights"),
    (TRAIN, {"Environment": {"KEY": KEY_ID}}, "Environment.KEY", "an AWS access key id"),
    (TRAIN, {f"{HYPER}.arch": '"resnet18; rm -rf /"'}, f"{HYPER}.arch", "survive a shell"),
    (TRAIN, {f"{HYPER}.arch": '"$(id)"'}, f"{HYPER}.arch", "survive a shell"),
    (TRAIN, {f"{HYPER}.weights": "`id`"}, f"{HYPER}.weights", "survive a shell"),
    (TRAIN, {f"{HYPER}.augment": '["flip", "a b"]'}, f"{HYPER}.augment", "survive a shell"),
    (TRAIN, {f"{HYPER}.seed": '{"a": 1}'}, f"{HYPER}.seed", "plain value"),
    (TRAIN, {f"{HYPER}.lr": "1000"}, f"{HYPER}.lr", "less than or equal to 100"),
    (TRAIN, {f"{HYPER}.leaning_rate": "1"}, f"{HYPER}.leaning_rate", "unknown"),
    (TRAIN, {f"{HYPER}.a b": "1"}, f"{HYPER}.a b", "an option of train.py"),
    (TRAIN, {f"{DEFINITIONS}[2].Regex": "train_acc=["}, f"{DEFINITIONS}[2].Regex", "no regular expression"),
    (TRAIN, {f"{DEFINITIONS}[2].Regex": "train_acc=.*"}, f"{DEFINITIONS}[2].Regex", "a group"),
    (TRAIN, {f"{DEFINITIONS}[4].Regex": "loss=([0-9.]+)"}, f"{DEFINITIONS}[4].Regex", "val_loss: reads"),
    (TRAIN, {f"{DEFINITIONS}[4].Regex": "val_loss=([0-9.]+)"}, f"{DEFINITIONS}[4].Regex", "does not match"),
    (TRAIN, {f"{DEFINITIONS}[4].Regex": r"val_loss=([-.\w]+)"}, f"{DEFINITIONS}[4].Regex", "nan"),
    (TRAIN, {f"{DEFINITIONS}[4].Name": "val_los"}, f"{DEFINITIONS}[4].Name", "no line of the job prints it"),
    (TRAIN, {f"{DEFINITIONS}[4]": definitions()[5]}, f"{DEFINITIONS}[5].Name", "defined twice"),
    (TRAIN, {DEFINITIONS: definitions()[1:]}, DEFINITIONS, "epoch: the job prints it"),
    ("tuner", {f"{CONFIG}.ResourceLimits": {"MaxParallelTrainingJobs": 10, "MaxNumberOfTrainingJobs": 5}},
     f"{CONFIG}.ResourceLimits.MaxParallelTrainingJobs", "at most MaxNumberOfTrainingJobs, 5"),
    ("tuner", {f"{CONFIG}.HyperParameterTuningJobObjective.MetricName": "val_log_loss"},
     f"{CONFIG}.HyperParameterTuningJobObjective.MetricName", "no metric definition"),
    ("tuner", {"TrainingJobDefinition.StaticHyperParameters.lr": "0.1"},
     f"{RANGES}.ContinuousParameterRanges[0].Name", "also static"),
    ("tuner", {f"{RANGES}.IntegerParameterRanges[0].Name": "lr"},
     f"{RANGES}.ContinuousParameterRanges[0].Name", "another range"),
    ("tuner", {f"{RANGES}.ContinuousParameterRanges[0].MaxValue": "1e-06"},
     f"{RANGES}.ContinuousParameterRanges[0].MinValue", "below MaxValue"),
    ("tuner", {f"{RANGES}.ContinuousParameterRanges[0].MaxValue": "1000"},
     f"{RANGES}.ContinuousParameterRanges[0].MaxValue", "hyperparameter lr"),
    ("tuner", {f"{RANGES}.ContinuousParameterRanges[0].MinValue": "low"},
     f"{RANGES}.ContinuousParameterRanges[0].MinValue", "must be a number"),
    ("tuner", {"TrainingJobDefinition.StaticHyperParameters.dropout": None,
     f"{RANGES}.ContinuousParameterRanges[0]":
         {"Name": "dropout", "MinValue": "0", "MaxValue": "0.5", "ScalingType": "Logarithmic"}},
     f"{RANGES}.ContinuousParameterRanges[0].ScalingType", "above 0"),
    ("tuner", {f"{RANGES}.IntegerParameterRanges[0].Name": "epoch"},
     f"{RANGES}.IntegerParameterRanges[0].Name", "no hyperparameter"),
    ("tuner", {f"{RANGES}.CategoricalParameterRanges[0].Values": ['"16"', '"none"']},
     f"{RANGES}.CategoricalParameterRanges[0].Values[1]", "batch_size"),
    ("tuner", {f"{CONFIG}.Strategy": "Grid", f"{RANGES}.IntegerParameterRanges": []},
     f"{RANGES}.ContinuousParameterRanges", "categorical ranges alone"),
]  # fmt: skip


@pytest.mark.parametrize("case", [TRAIN, PREPARE, SPOT, "tuner", "transform"])
def test_what_the_breaches_are_made_of_is_sound(case):
    assert findings(good(case)) == ()


@pytest.mark.parametrize(("case", "changes", "field", "word"), BREACHES, ids=lambda value: str(value)[:40])
def test_a_breach_names_its_field_and_no_other(case, changes, field, word):
    request = good(case)
    for place, value in changes.items():
        put(request, place, value)
    found = findings(request)
    assert field in {finding.field for finding in found}, found
    assert any(word in str(finding) for finding in found), found
    # What a definition that is gone leaves unread, or a range of another name, is said as well.
    others = {finding.field for finding in found} - {field}
    assert others <= {DEFINITIONS, f"{RANGES}.IntegerParameterRanges[0].Name",
                      f"{RANGES}.IntegerParameterRanges[0].MaxValue",
                      f"{RANGES}.IntegerParameterRanges[0].MinValue"}  # fmt: skip


def test_isolated_jobs_cannot_install_what_awss_image_lacks():
    request = put(good("network_isolation CreateTrainingJob"), "EnableNetworkIsolation", True)
    assert check_requests([request], REGION).findings == ()
    (finding,) = check_requests([request], REGION, of_aws=True).findings
    assert finding.field == "EnableNetworkIsolation"


def test_isolated_jobs_may_have_their_weights_as_an_input_or_need_none():
    request = put(good(TRAIN), "EnableNetworkIsolation", True)
    assert findings(put(copy.deepcopy(request), f"{HYPER}.weights", '"none"')) == ()
    (body,) = request.values()
    channel = {**copy.deepcopy(body["InputDataConfig"][0]), "ChannelName": "weights"}
    body["InputDataConfig"].append(channel)
    assert findings(request) == ()


@pytest.mark.parametrize("name", list(BY_NAME))
def test_every_metric_whose_regex_is_lost_is_missed(name):
    left = [one for one in definitions() if one["Name"] != name]
    (finding,) = findings(put(good(TRAIN), DEFINITIONS, left))
    assert (finding.field, name in finding.detail) == (DEFINITIONS, True)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_regex_that_reads_another_metric_is_found(name):
    swapped = definitions()
    place = [one["Name"] for one in swapped].index(name)
    swapped[place]["Regex"] = swapped[place - 1]["Regex"]
    (finding,) = findings(put(good(TRAIN), DEFINITIONS, swapped))
    assert finding.field == f"{DEFINITIONS}[{place}].Regex"


@pytest.mark.parametrize(
    "text", [";", "$HOME", "a b", "a'b", 'a"b', "a|b", "a>b", "a&b", "*", "(", "~", "\\", "é"]
)
def test_what_a_shell_would_change_is_refused(text):
    assert not SAFE.search(text)
    (finding,) = findings(put(good(TRAIN), f"{HYPER}.arch", json.dumps(text)))
    assert (finding.field, finding.rule) == (f"{HYPER}.arch", "shell")


def test_a_secret_is_named_and_never_shown():
    request = put(good(TRAIN), f"{HYPER}.arch", json.dumps(f"{KEY_ID} and more"))
    said = " ".join(str(finding) for finding in findings(request))
    assert "an AWS access key id" in said
    assert KEY_ID not in said


def test_the_first_findings_are_listed_and_the_others_counted():
    many = [Finding("step", f"Field{number}", "max", "too much") for number in range(SHOWN + 5)]
    with pytest.raises(Exception, match=r"(?s)25 findings.*step: Field19: too much \(max\)\nand 5 more$"):
        refuse(many)
    refuse([])
