"""The checker and the pipeline: every step is sound, and of what is broken once step and field are named."""

import copy
import json

import pytest

pytest.importorskip("sagemaker")

from tests.support.account import REGION
from tests.support.broken_requests import broken_variants
from tests.support.golden_definitions import COMMANDS, whole
from trapline.errors import UsageError
from trapline.launching.checking.pipeline_definition import check_definition
from trapline.launching.checking.pipeline_steps import (
    OPERATIONS,
    all_steps,
    check_references,
    references,
)
from trapline.launching.checking.service_model import check_request, count_values, input_of, settle
from trapline.launching.checking.soundness import with_values
from trapline.pipeline.check import rehearse, require_sound_start

WORDS = ["--data", "s3://traps/raw", "--output", "s3://traps/out", "--recipe", "resnet18_baseline"]
LONG = "x" * 65


@pytest.fixture(scope="module")
def good():
    """A definition in which all parameters have a default."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "SAGEMAKER_ROLE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_REGION", REGION)
        role = "arn:aws:iam::123456789012:role/Trapline"
        image = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/trapline:latest"
        requests, region = rehearse([*WORDS, "--role", role, "--image-uri", image])
    assert region == REGION
    (creation,) = requests
    return json.loads(creation["CreatePipeline"]["PipelineDefinition"])


def found(definition):
    findings, _ = check_definition(json.dumps(definition), REGION)
    return [(finding.step, finding.field, finding.rule) for finding in findings]


def step_of(definition, name):
    """The body of a step, wherever it stands."""
    return next(step.body for step in all_steps(definition["Steps"]) if step.name == name)


def test_the_definition_is_sound_and_every_value_of_it_was_looked_at(good):
    findings, values = check_definition(json.dumps(good), REGION)
    assert findings == []
    assert values == count_values(good) > 500


@pytest.mark.parametrize("case", COMMANDS)
def test_the_definition_of_a_command_is_sound(case):
    assert check_definition(json.dumps(whole(case)))[0] == []


def test_every_constraint_of_every_step_that_is_broken_once_names_its_field_and_no_other(good):
    tried = 0
    defaults = {item["Name"]: item["DefaultValue"] for item in good["Parameters"]}
    for step in all_steps(good["Steps"]):
        if step.kind not in OPERATIONS:
            continue
        operation, name, _ = OPERATIONS[step.kind]
        request = {**step.arguments, **({name: "x"} if name else {})}
        for broken in broken_variants(input_of(operation), request):
            faults = check_request(operation, broken.request, step.name, defaults)
            assert [(one.field, one.rule) for one in faults] == [(broken.field or "request", broken.rule)]
            tried += 1
    assert tried > 1000


def test_the_same_holds_of_the_definition_as_a_whole(good):
    for name in ("Prepare", "TrainPhase1", "Transform", "Champion-CreateModel", "Registry-RegisterModel"):
        changed = copy.deepcopy(good)
        arguments = step_of(changed, name)["Arguments"]
        arguments["Nonsense"] = 1
        assert found(changed) == [(f"step {name}", "Arguments.Nonsense", "unknown")]


def test_each_reference_that_is_broken_once_is_named_with_its_step_and_field(good):
    places = [
        (step.name, field, target)
        for step in all_steps(good["Steps"])
        for field, target in references({"Arguments": step.arguments})
    ]
    assert len(places) > 60
    definition = json.dumps(good)
    for name, field, target in places:
        for wrong in broken_targets(target):
            changed = json.loads(definition)
            replace_reference(step_of(changed, name), field, wrong)
            assert unresolved(changed) == [(f"step {name}", field)], wrong


def unresolved(definition):
    """Step and field of each reference that leads nowhere."""
    names = frozenset(item["Name"] for item in definition["Parameters"])
    steps = {step.name: step for step in all_steps(definition["Steps"])}
    return [(finding.step, finding.field) for finding in check_references(steps, names)]


def broken_targets(target):
    """A reference with one thing wrong: its kind, its name, its path, the key of an item."""
    kind, _, rest = target.partition(".")
    yield f"{kind[:-1]}.{rest}"
    if kind != "Steps":
        yield f"{target}x"
        return
    name, _, path = rest.partition(".")
    yield f"Steps.{name}x.{path}"
    yield f"Steps.{name}.{path}x"
    if "['" in path:
        yield target.replace("['", "['no-")
        yield target.split("[")[0]


def replace_reference(step, field, target):
    """Put another target in the place of the reference at a field."""
    holder = step
    for part in field.replace("[", ".[").split("."):
        holder = holder[int(part[1:-1])] if part.startswith("[") else holder[part]
    holder["Get"] = target


def job(name="Prepare", **changes):
    return lambda definition: step_of(definition, name).update(changes)


def argument(name, path, value):
    def change(definition):
        holder = step_of(definition, name)["Arguments"]
        *above, last = path.split(".")
        for part in above:
            holder = holder[part]
        holder[last] = value

    return change


def parameter(number, **changes):
    return lambda definition: definition["Parameters"][number].update(changes)


RETRY = {"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 3, "IntervalSeconds": 10, "BackoffRate": 2.0}
BREACHES = {
    "version": (lambda d: d.update(Version="2019"), "pipeline", "Version"),
    "no steps": (lambda d: d.update(Steps=[]), "pipeline", "Steps"),
    "name of a parameter": (lambda d: d["Parameters"].append({"Name": "a b", "Type": "String"}),
                            "pipeline", "Parameters[{n}].Name"),
    "parameter twice": (lambda d: d["Parameters"].append(d["Parameters"][0]),
                        "pipeline", "Parameters[{n}].Name"),
    "type of a parameter": (lambda d: d["Parameters"].append({"Name": "More", "Type": "Text"}),
                            "pipeline", "Parameters[{n}].Type"),
    "default of the wrong type": (
        lambda d: d["Parameters"].append({"Name": "More", "Type": "Integer", "DefaultValue": "1"}),
        "pipeline", "Parameters[{n}].DefaultValue"),
    "default that is no choice": (lambda d: d["Parameters"].append(
        {"Name": "More", "Type": "String", "DefaultValue": "c", "EnumValues": ["a", "b"]}),
        "pipeline", "Parameters[{n}].DefaultValue"),
    "too many parameters": (lambda d: d["Parameters"].extend(
        {"Name": f"More{number}", "Type": "String"} for number in range(200)), "pipeline", "Parameters"),
    "step's name": (job("Collect", Name="Col lect"), "step Col lect", "Name"),
    "step's long name": (job("Collect", Name=LONG), f"step {LONG}", "Name"),
    "step's name twice": (job("Collect", Name="Transform"), "step Transform", "Name"),
    "step's display name": (job("Collect", DisplayName="x" * 257), "step Collect", "DisplayName"),
    "step's description": (job("Collect", Description="x" * 3073), "step Collect", "Description"),
    "step's type": (job("Collect", Type="Proccessing"), "step Collect", "Type"),
    "depends on nothing": (job("Collect", DependsOn=["Colect"]), "step Collect", "DependsOn[0]"),
    "waits for itself": (job("Collect", DependsOn=["Collect"]), "step Collect", "DependsOn"),
    "cache's duration": (job(CacheConfig={"Enabled": True, "ExpireAfter": "30d"}),
                         "step Prepare", "CacheConfig.ExpireAfter"),
    "cache's switch": (job(CacheConfig={"Enabled": "yes"}), "step Prepare", "CacheConfig.Enabled"),
    "retries": (job(RetryPolicies=[{**RETRY, "MaxAttempts": 21}]),
                "step Prepare", "RetryPolicies[0].MaxAttempts"),
    "retries' pause": (job(RetryPolicies=[{**RETRY, "IntervalSeconds": 43201}]),
                       "step Prepare", "RetryPolicies[0].IntervalSeconds"),
    "retries' growth": (job(RetryPolicies=[{**RETRY, "BackoffRate": -1}]),
                        "step Prepare", "RetryPolicies[0].BackoffRate"),
    "retries' two ends": (job(RetryPolicies=[{**RETRY, "ExpireAfterMin": 5}]),
                          "step Prepare", "RetryPolicies[0].ExpireAfterMin"),
    "what is tried again": (job(RetryPolicies=[{**RETRY, "ExceptionType": ["Step.FAULT"]}]),
                            "step Prepare", "RetryPolicies[0].ExceptionType[0]"),
    "tried again twice": (job(RetryPolicies=[RETRY, RETRY]),
                          "step Prepare", "RetryPolicies[1].ExceptionType[0]"),
    "nothing is tried again": (job(RetryPolicies=[{**RETRY, "ExceptionType": []}]),
                               "step Prepare", "RetryPolicies[0].ExceptionType"),
    "property file of no output": (job("Evaluate", PropertyFiles=[
        {"PropertyFileName": "Evaluation", "OutputName": "evalution", "FilePath": "evaluation.json"}]),
        "step Evaluate", "PropertyFiles[0].OutputName"),
    "property file without a path": (job("Evaluate", PropertyFiles=[
        {"PropertyFileName": "Evaluation", "OutputName": "evaluation", "FilePath": ""}]),
        "step Evaluate", "PropertyFiles[0].FilePath"),
    "condition's type": (argument("QualityGate", "Conditions", [{"Type": "Less", "LeftValue": 1}]),
                         "step QualityGate", "Arguments.Conditions[0].Type"),
    "half a condition": (argument("QualityGate", "Conditions", [{"Type": "Equals", "LeftValue": 1}]),
                         "step QualityGate", "Arguments.Conditions[0].RightValue"),
    "no condition": (argument("QualityGate", "Conditions", []),
                     "step QualityGate", "Arguments.Conditions"),
    "the other branch": (argument("GateNotMet", "ErrorMessage", {"Get": "Steps.Transform.TransformJobName"}),
                         "step GateNotMet", "Arguments.ErrorMessage"),
    "a structure for a value": (argument("GateNotMet", "ErrorMessage", {"Get": "Steps.Evaluate.RoleArn.x"}),
                                "step GateNotMet", "Arguments.ErrorMessage"),
    "payload": (argument("Transform", "MaxPayloadInMB", 100),
                "step Transform", "Arguments.MaxConcurrentTransforms"),
    "shell": (argument("TrainPhase1", "HyperParameters.arch", '"a b"'),
              "step TrainPhase1", "Arguments.HyperParameters.arch"),
    "a metric's regex": (argument("TrainPhase2", "AlgorithmSpecification.MetricDefinitions", [
        {"Name": "epoch", "Regex": "epoch"}]),
        "step TrainPhase2", "Arguments.AlgorithmSpecification.MetricDefinitions[0].Regex"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_names_its_step_and_field(good, name):
    change, step, field = BREACHES[name]
    changed = copy.deepcopy(good)
    change(changed)
    places = {(where, what) for where, what, _ in found(changed)}
    expected = (step, field.replace("{n}", str(len(good["Parameters"]))))
    assert expected in places, places
    # What named the step or read the file or a missing metric is said too.
    assert {where for where, _ in places} <= {
        step,
        "step QualityGate",
        "step Collect",
        "step TrainPhase2",
    } or (name in ("no steps", "step's name twice", "step's type"))


def test_a_circle_of_steps_is_found_once(good):
    changed = copy.deepcopy(good)
    step_of(changed, "Prepare")["DependsOn"] = ["Evaluate"]
    ((step, field, rule),) = found(changed)
    assert (field, rule) == ("DependsOn", "cycle")
    findings, _ = check_definition(json.dumps(changed))
    assert "waits for itself" in findings[0].detail
    assert step.removeprefix("step ") in findings[0].detail


def test_a_definition_over_one_mebibyte_or_that_is_no_json_is_refused(good):
    large = {**good, "Metadata": {"note": "x" * 2**20}}
    assert found(large) == [("pipeline", "PipelineDefinition", "max")]
    for text in ("not json", "[]", '{"Steps": 1}', "{}"):
        findings, _ = check_definition(text)
        assert [finding.field for finding in findings] == ["PipelineDefinition"]


def test_a_parameters_default_is_checked_at_each_place_where_it_stands(good):
    changed = json.loads(with_values(json.dumps(good), {"TransformInstanceType": "ml.no"}))
    steps = {step for step, _, rule in found(changed) if rule == "enum"}
    assert steps == {"step Transform", "step Registry-RegisterModel"}


def test_the_values_of_a_start_are_checked_with_the_pipeline_that_is_there(good):
    text = json.dumps(good)
    require_sound_start("trapline-x", text, {"TrainingInstanceCount": 2}, REGION)
    with pytest.raises(
        UsageError, match=r"step TrainPhase1: Arguments\.ResourceConfig\.InstanceType: 'ml.no'"
    ):
        require_sound_start("trapline-x", text, {"TrainingInstanceType": "ml.no"}, REGION)
    with pytest.raises(UsageError, match=r"PipelineParameters\[0\]\.Value: .*at most 1024"):
        require_sound_start("trapline-x", text, {"Views": "x" * 1025}, REGION)


def test_a_pipeline_that_an_earlier_version_made_may_be_started(good):
    older = copy.deepcopy(good)
    training = step_of(older, "TrainPhase1")["Arguments"]
    training["AlgorithmSpecification"]["MetricDefinitions"].pop()
    training["HyperParameters"]["of_earlier_days"] = "1"
    assert len(found(older)) == 2
    require_sound_start("trapline-x", json.dumps(older), {}, REGION)


def test_what_is_settled_is_a_copy_with_the_values_of_its_variables(good):
    training = step_of(good, "TrainPhase1")["Arguments"]
    settled = settle(training, {"EpochsPhase1": 7})
    assert settled["HyperParameters"]["epochs"] == "7"
    assert training["HyperParameters"]["epochs"] != "7"
