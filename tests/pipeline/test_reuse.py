"""The second execution on AWS: what comes from the cache, what is made anew, when a schedule ends early."""

import json

import pytest

pytest.importorskip("sagemaker")

from tests.support.executions import Account
from tests.support.golden_definitions import COMMANDS, whole
from trapline.launching.checking.pipeline_definition import check_definition
from trapline.launching.checking.pipeline_steps import all_steps
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline

RAW, OUTPUT = ["--data", "s3://traps/raw"], ["--output", "s3://traps/out"]
VARIANTS = {
    "small, drawn": ["--data", "demo", *OUTPUT],
    "baseline": [*RAW, *OUTPUT],
    "swin": [*RAW, *OUTPUT, "--recipe", "swin_stage1"],
    "resnet50": [*RAW, *OUTPUT, "--recipe", "resnet50_baseline"],
    "enhanced, with weights": [*RAW, *OUTPUT, "--recipe", "enhanced_resnet18", "--weights", "s3://traps/weights"],
    "phase 2 from ImageNet": [
        *RAW, *OUTPUT, "--set-phase2", "weights=imagenet", "--weights", "s3://traps/weights",
    ],
    "tables": [*RAW, *OUTPUT, "--prepare", "site-csv=s3://traps/sites.csv", "label-names=s3://traps/names.csv"],
    "spot": [*RAW, *OUTPUT, "--spot", "--max-wait", "2d"],
    "validation": [*RAW, *OUTPUT, "--gate-part", "validation", "--prepare", "split=random"],
    "code elsewhere": [*RAW, *OUTPUT, "--code-output", "s3://traps/sources"],
}  # fmt: skip
OUTSIDE = {"s3://traps/raw", "s3://traps/weights", "s3://traps/sites.csv", "s3://traps/names.csv",
           "s3://traps/out/code", "s3://traps/sources/code", "s3://traps/out/completed"}  # fmt: skip
TO_EVALUATE = ["Prepare", "TrainPhase1", "PseudoLabel", "TrainPhase2", "Evaluate"]
ALWAYS = ["Champion-CreateModel", "Transform", "Registry-RegisterModel", "Collect"]


pytestmark = pytest.mark.usefixtures("without_account")


def define(*words):
    return json.loads(definition_text(make_pipeline(read_command(["definition", *words]).design)))


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def variant(request):
    return define(*VARIANTS[request.param])


@pytest.fixture(scope="module")
def definition():
    return define(*VARIANTS["baseline"])


@pytest.fixture
def account():
    return Account(set(OUTSIDE))


def start(account, definition, version="one", **values):
    """What `start` makes."""
    return account.execute(definition, DataVersion=version, **values)


def scheduled(account, definition, time, **values):
    """What a schedule starts at a time."""
    return account.execute(definition, DataVersion=time, Scheduled="yes", **values)


def test_a_second_execution_finds_everything_that_its_steps_read(variant, account):
    first, second = start(account, variant), start(account, variant)
    assert first.missing == second.missing == []
    assert sorted(first.ran) == sorted([*TO_EVALUATE, *ALWAYS])
    assert sorted(second.reused) == sorted(TO_EVALUATE)
    assert sorted(second.ran) == sorted(ALWAYS)


def test_so_it_does_where_only_a_part_of_the_steps_comes_from_the_cache(variant, account):
    start(account, variant)
    for changed, anew in (
        ({"ConfidenceThreshold": 0.5}, TO_EVALUATE[2:]),
        ({"EpochsPhase2": 1}, TO_EVALUATE[3:]),
        ({"Views": "none"}, TO_EVALUATE[4:]),
        ({"QualityGate": 5.0}, []),
        ({"version": "two"}, TO_EVALUATE),
    ):
        execution = start(account, variant, **changed)
        assert execution.missing == []
        assert sorted(execution.ran) == sorted([*anew, *ALWAYS]), changed


def test_no_value_is_joined_of_two_executions(variant, account):
    """Every value of every step, with a cached step's properties those of the execution that ran it."""
    start(account, variant)
    second = start(account, variant)
    joined = 0
    for step in all_steps(variant["Steps"]):
        if step.kind == "Condition":
            continue
        for text in texts(second.settle(step.arguments)):
            assert not ("execution1" in text and "execution2" in text), (step.name, text)
            joined += "execution1" in text
    assert joined > 8  # the second execution does look at what the first has left


def texts(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def test_the_checker_finds_nothing_wrong_with_it(variant):
    assert [one for one in check_definition(json.dumps(variant))[0] if one.rule != "image's region"] == []


# --- what the checker refuses -------------------------------------------------------------------------------

EXECUTION = {"Get": "Execution.PipelineExecutionId"}
PREFIX = {"Get": "Parameters.OutputPrefix"}
JOB1, JOB2 = ({"Get": f"Steps.TrainPhase{number}.TrainingJobName"} for number in (1, 2))
PLACE1 = {"Get": "Steps.TrainPhase1.OutputDataConfig.S3OutputPath"}


def found(definition):
    findings, _ = check_definition(json.dumps(definition))
    return {(one.step.removeprefix("step "), one.rule) for one in findings}


def step_of(definition, name):
    return next(step.body for step in all_steps(definition["Steps"]) if step.name == name)


def read_from(definition, step, *parts):
    """Let Collect read, in the place of its last input, what is joined of `parts`."""
    inputs = step_of(definition, step)["Arguments"]["ProcessingInputs"]
    inputs[-1]["S3Input"]["S3Uri"] = {"Std:Join": {"On": "/", "Values": list(parts)}}


@pytest.mark.parametrize(
    "parts",
    [
        [PREFIX, EXECUTION, "TrainPhase1", JOB1, "output.tar.gz"],
        [{"Std:Join": {"On": "/", "Values": [PREFIX, EXECUTION]}}, JOB2],
        [PREFIX, {"Get": "Execution.StartDateTime"}, JOB2],
        [PREFIX, EXECUTION, "TrainPhase1", "output.tar.gz"],
        [PLACE1, JOB2],
        [PLACE1, {"Get": "Steps.Transform.TransformJobName"}],
    ],
    ids=["id and job", "nested", "time", "guessed place", "two cached steps", "a cached and another step"],
)  # fmt: skip
def test_a_place_that_may_be_of_two_executions_is_refused(parts):
    definition = whole("plain")
    read_from(definition, "Collect", *parts)
    assert found(definition) == {("Collect", "executions")}


def test_places_of_one_step_or_of_all_executions_are_none_of_them():
    for parts in (
        [PLACE1, JOB1],
        [{"Get": "Steps.Transform.TransformOutput.S3OutputPath"}, "1.jpg.out"],
        [PREFIX, {"Get": "Execution.PipelineName"}, "last.json"],
    ):  # fmt: skip
        definition = whole("plain")
        read_from(definition, "Collect", *parts)
        assert found(definition) == set()


def test_a_cache_that_can_never_hit_is_refused():
    for name in ("Transform", "Collect"):
        definition = whole("plain")
        step_of(definition, name)["CacheConfig"] = {"Enabled": True, "ExpireAfter": "P30D"}
        assert found(definition) == {(name, "cache")}
    definition = whole("plain")
    step_of(definition, "Prepare")["Arguments"]["AppSpecification"]["ContainerArguments"].append(EXECUTION)
    assert found(definition) == {("Prepare", "cache")}


def test_a_condition_behind_another_is_refused_as_aws_does_not_support_it():
    definition = whole("plain")
    (gate,) = [step for step in definition["Steps"] if step["Name"] == "QualityGate"]
    definition["Steps"].remove(gate)
    step_of(definition, "NothingNew")["Arguments"]["ElseSteps"].append(gate)
    assert found(definition) == {("QualityGate", "nested")}


# --- a schedule ---------------------------------------------------------------------------------------------


def test_a_schedule_costs_one_processing_job_while_nothing_is_new(definition, account):
    first = scheduled(account, definition, "monday")
    assert sorted(first.ran) == sorted([*TO_EVALUATE, *ALWAYS])
    for time in ("tuesday", "wednesday"):
        execution = scheduled(account, definition, time)
        assert (execution.ran, execution.reused) == (["Prepare"], [])
        assert execution.outcomes == {"NothingNew": True}


def test_a_schedule_sees_what_a_completed_start_has_used(definition, account):
    start(account, definition)
    assert scheduled(account, definition, "monday").ran == ["Prepare"]


def test_new_images_under_the_same_prefix_are_trained_on(definition, account):
    scheduled(account, definition, "monday")
    account.data = "with new ones"
    execution = scheduled(account, definition, "tuesday")
    assert sorted(execution.ran) == sorted([*TO_EVALUATE, *ALWAYS])
    assert execution.missing == []
    assert scheduled(account, definition, "wednesday").ran == ["Prepare"]


@pytest.mark.parametrize(
    "changed",
    [
        {"EpochsPhase1": 31}, {"LearningRatePhase2": 0.5}, {"ConfidenceThreshold": 0.9}, {"Views": "none"},
        {"QualityGate": 1.5}, {"ApprovalStatus": "Approved"}, {"TrainingInstanceCount": 2},
        {"ImageUri": "own/image@sha256:0"}, {"InputData": "s3://traps/raw-old/"},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_another_setting_or_image_is_something_new(definition, account, changed):
    account.places.add("s3://traps/raw-old")
    scheduled(account, definition, "monday")
    execution = scheduled(account, definition, "tuesday", **changed)
    assert execution.outcomes["NothingNew"] is False
    assert "Collect" in execution.ran


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "seed=7"], ["--set-phase2", "pseudo_weight=0.1"], ["--prepare", "crop-bottom=0.1"],
        ["--gate-part", "validation"],
    ],
    ids=lambda words: words[-1],
)  # fmt: skip
def test_another_definition_is_something_new(definition, account, words):
    scheduled(account, definition, "monday")
    other = define(*VARIANTS["baseline"], *words)
    assert "Collect" in scheduled(account, other, "tuesday").ran


def test_other_code_is_something_new(definition, account, monkeypatch):
    scheduled(account, definition, "monday")
    monkeypatch.setattr("trapline.pipeline.command_line.model_code_digest", lambda: "0" * 64)
    assert "Collect" in scheduled(account, define(*VARIANTS["baseline"]), "tuesday").ran


def test_tags_alone_are_nothing_new(definition, account):
    scheduled(account, definition, "monday")
    tagged = define(*VARIANTS["baseline"], "--tags", "team=hare")
    assert scheduled(account, tagged, "tuesday").ran == ["Prepare"]


def test_what_you_start_yourself_is_never_ended_early(definition, account):
    start(account, definition)
    execution = start(account, definition)
    assert execution.outcomes == {"NothingNew": False, "QualityGate": True}
    assert "Collect" in execution.ran


def test_an_execution_that_did_not_complete_does_not_count(definition, account):
    account.evaluation = {"test": {"log_loss": 9.0, "accuracy": 0.0}}
    first = scheduled(account, definition, "monday")
    assert first.ran[-1] == "GateNotMet"
    second = scheduled(account, definition, "tuesday")
    assert second.outcomes == {"NothingNew": False, "QualityGate": False}


def test_the_record_is_written_after_everything_else_and_in_each_completed_execution(definition):
    steps = {step.name: step for step in all_steps(definition["Steps"])}
    collect = steps["Collect"]
    assert collect.body["DependsOn"] == ["Registry-RegisterModel"]
    assert "CacheConfig" not in collect.body
    waited = json.dumps(collect.arguments["ProcessingInputs"])
    assert "Steps.Transform." in waited
    outputs = {item["OutputName"]: item["S3Output"]["S3Uri"]
               for item in collect.arguments["ProcessingOutputConfig"]["Outputs"]}  # fmt: skip
    (read,) = [item["S3Input"]["S3Uri"] for item in steps["Prepare"].arguments["ProcessingInputs"]
               if item["InputName"] == "completed"]  # fmt: skip
    assert [*outputs["completed"]["Std:Join"]["Values"], ""] == read["Std:Join"]["Values"]


def test_a_pipeline_whose_name_begins_as_anothers_reads_its_own_record():
    places = []
    for recipe in ("enhanced_resnet18", "resnet18_baseline"):
        inputs = define(*RAW, *OUTPUT, "--recipe", recipe)["Steps"][0]["Arguments"]["ProcessingInputs"]
        (read,) = [item["S3Input"]["S3Uri"] for item in inputs if item["InputName"] == "completed"]
        places.append("/".join(read["Std:Join"]["Values"][1:]))
    assert places == ["completed/trapline-enhanced-resnet18/", "completed/trapline-resnet18-baseline/"]


def test_epochs_are_no_part_of_what_prepare_is_asked(definition):
    prepare = json.dumps(definition["Steps"][0]["Arguments"])
    for name in ("Epochs", "LearningRate", "Threshold", "Views", "Scheduled", "QualityGate"):
        assert name not in prepare


@pytest.mark.parametrize("case", COMMANDS)
def test_no_step_exceeds_the_inputs_and_outputs_and_arguments_of_a_job(case):
    for step in all_steps(whole(case)["Steps"]):
        if step.kind == "Processing":
            assert len(step.arguments["ProcessingInputs"]) <= 10
            assert len(step.arguments["ProcessingOutputConfig"]["Outputs"]) <= 10
            words = step.arguments["AppSpecification"]["ContainerArguments"]
            assert len(words) < 100
            assert all(len(word) <= 256 for word in words if isinstance(word, str))
