"""The definition: what AWS gets, checked against AWS's own model of it, without asking AWS."""

import json
import re
import subprocess

import pytest

from tests.support.pipeline_runs import REAL, clean_environment
from trapline.launching.checking.pipeline_definition import check_definition
from trapline.launching.checkout import model_code_digest
from trapline.trusted_code import TRUSTED

pytest.importorskip("sagemaker")

from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline

AWS = ["definition", "--data", "s3://traps/raw", "--output", "s3://traps/out", "--image-uri", "own/image:1"]
EXPERIMENTS = ["resnet18_baseline", "resnet50_baseline", "swin_stage1"]
PARAMETERS = {
    "InputData", "OutputPrefix", "RoleArn", "ImageUri", "PrepareInstanceType", "ScoringInstanceType",
    "TrainingInstanceType", "TrainingInstanceCount", "TransformInstanceType", "TransformInstanceCount",
    "EpochsPhase1", "EpochsPhase2", "LearningRatePhase1", "LearningRatePhase2", "ConfidenceThreshold",
    "Views", "QualityGate", "QualityGateAccuracy", "ApprovalStatus", "DataVersion", "Scheduled",
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("without_account")


def define(*words):
    return json.loads(definition_text(make_pipeline(read_command(list(words)).design)))


@pytest.fixture(scope="module")
def definition():
    return define(*AWS)


def steps_of(definition):
    """All steps, those behind the gate too, by name."""
    found = {}
    waiting = list(definition["Steps"])
    while waiting:
        step = waiting.pop()
        assert step["Name"] not in found
        found[step["Name"]] = step
        if step["Type"] == "Condition":
            waiting += step["Arguments"]["IfSteps"] + step["Arguments"]["ElseSteps"]
    return found


def variables_in(value, kind):
    """The content of each {kind: content} anywhere in `value`."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == kind and len(value) == 1:
                yield item
            yield from variables_in(item, kind)
    elif isinstance(value, list):
        for item in value:
            yield from variables_in(item, kind)


def test_the_steps_are_the_camera_trap_systems(definition):
    assert {name: step["Type"] for name, step in steps_of(definition).items()} == {
        "Prepare": "Processing", "NothingNew": "Condition", "TrainPhase1": "Training",
        "PseudoLabel": "Processing", "TrainPhase2": "Training", "Evaluate": "Processing",
        "QualityGate": "Condition",
        "Champion-CreateModel": "Model", "Transform": "Transform", "Collect": "Processing",
        "Registry-RegisterModel": "RegisterModel", "GateNotMet": "Fail",
    }  # fmt: skip


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_aws_would_accept_every_job_and_every_reference_leads_somewhere(experiment):
    definition = define(*AWS, "--recipe", experiment, "--prepare", "site-csv=s3://traps/s/sites.csv")
    assert check_definition(json.dumps(definition))[0] == []
    assert len(set(variables_in(definition["Steps"], "Get"))) > 20


def test_every_parameter_is_declared_and_used(definition):
    assert {item["Name"] for item in definition["Parameters"]} == PARAMETERS
    used = {name.removeprefix("Parameters.") for name in variables_in(definition["Steps"], "Get")}
    assert used >= PARAMETERS


def test_every_step_explains_itself_and_jobs_are_cached_tried_again_and_tagged(definition):
    for name, step in steps_of(definition).items():
        assert step["DisplayName"], name
        assert step["Description"], name
        if step["Type"] in ("Processing", "Training", "Transform"):
            assert ("CacheConfig" in step) == (name not in ("Transform", "Collect")), name
            assert step["Arguments"]["Tags"][0] == {"Key": "project", "Value": "trapline"}
            tried = [kind for policy in step["RetryPolicies"] for kind in policy["ExceptionType"]]
            assert {"Step.THROTTLING", "SageMaker.CAPACITY_ERROR"} <= set(tried)
            assert len(tried) == len(set(tried))


def test_results_go_below_the_output_prefix_and_the_executions_id(definition):
    steps = steps_of(definition)
    for name in ("Prepare", "PseudoLabel", "Evaluate", "Collect"):
        output, *_ = steps[name]["Arguments"]["ProcessingOutputConfig"]["Outputs"]
        assert output["S3Output"]["S3Uri"]["Std:Join"]["Values"] == [
            {"Get": "Parameters.OutputPrefix"}, {"Get": "Execution.PipelineExecutionId"}, name,
        ]  # fmt: skip


def test_the_gate_compares_the_test_part_and_names_metric_value_and_bound(definition):
    steps = steps_of(definition)
    loss, accuracy = steps["QualityGate"]["Arguments"]["Conditions"]
    assert (loss["Type"], accuracy["Type"]) == ("LessThanOrEqualTo", "GreaterThanOrEqualTo")
    assert loss["LeftValue"]["Std:JsonGet"]["Path"] == "test.log_loss"
    assert loss["RightValue"] == {"Get": "Parameters.QualityGate"}
    said = json.dumps(steps["GateNotMet"]["Arguments"])
    for part in ("log loss", "test.log_loss", "Parameters.QualityGate", "accuracy", "test.accuracy"):
        assert part in said


def test_nothing_is_repacked_the_archive_holds_its_code(definition):
    container = steps_of(definition)["Champion-CreateModel"]["Arguments"]["PrimaryContainer"]
    assert container["ModelDataUrl"]["Std:Join"]["Values"][1:] == ["champion", "model.tar.gz"]
    assert container["Environment"] == {TRUSTED: model_code_digest()}  # no other code of it runs


@pytest.mark.slow
def test_the_same_command_prints_the_same_bytes_in_another_folder_and_without_an_account(tmp_path):
    printed = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        done = subprocess.run(
            [*REAL, *AWS], cwd=tmp_path / name, capture_output=True, env=clean_environment(), timeout=60
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == printed[1]


def test_no_path_of_this_machine_and_no_secret_is_in_it(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secretsecret")
    local = ["--backend", "process", "--data", "/data/mine", "--prepare", "site-csv=/data/sites.csv"]
    for words in (AWS, ["definition", *local], ["definition", "--backend", "process", "--data", "demo"]):
        text = json.dumps(define(*words))
        assert "AKIAEXAMPLE" not in text
        assert "secretsecret" not in text
        paths = set(re.findall(r'"((?:file://)?/[^"\\]*)', text)) - {"/"}  # the separator of Std:Join
        assert all(path.startswith("/opt/ml/processing/") for path in paths), paths


def without_aws(step):
    """A step without what only AWS's jobs have; of their time it says what the service has by default."""
    arguments = {name: value for name, value in step["Arguments"].items() if name != "CheckpointConfig"}
    if step["Type"] == "Processing":
        assert arguments.pop("StoppingCondition") == {"MaxRuntimeInSeconds": 86400}
    algorithm = arguments.get("AlgorithmSpecification", {})
    if algorithm.get("EnableSageMakerMetricsTimeSeries"):
        rest = {name: value for name, value in algorithm.items() if not name.startswith("Enable")}
        arguments["AlgorithmSpecification"] = rest
    rest = {name: value for name, value in step.items() if name != "DependsOn"}  # of Collect, on the registry
    return without_digest(rest | {"Arguments": arguments})


def without_digest(step):
    """A step without the digest of the definition, which the options of jobs on AWS change."""
    return json.loads(re.sub(r'"definition=[0-9a-f]{16}"', '"definition"', json.dumps(step)))


def test_the_process_backends_definition_lacks_what_only_aws_has_and_nothing_else(definition):
    local = define(
        "definition", "--backend", "process", "--data", "/data/mine", "--recipe", "resnet18_baseline"
    )
    ours, theirs = steps_of(definition), steps_of(local)
    assert ours.keys() - theirs.keys() == {"Registry-RegisterModel"}
    conditions = {name for name, step in theirs.items() if step["Type"] == "Condition"}
    jobs = theirs.keys() - conditions
    assert all(without_aws(ours[name]) == without_digest(theirs[name]) for name in jobs)
    for name in conditions:
        mine, other = (without_digest(each[name])["Arguments"]["Conditions"] for each in (ours, theirs))
        assert mine == other
    names = [[item["Name"] for item in one["Parameters"]] for one in (definition, local)]
    assert names[0] == names[1]


def test_it_is_far_from_the_platforms_limits(definition):
    assert len(json.dumps(definition)) < 100 * 1024  # from there on it would have to lie in S3
    assert all(re.fullmatch(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,63}", name) for name in steps_of(definition))
