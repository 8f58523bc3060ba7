"""The registration: what the registry is told of the champion when the pipeline runs."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("sagemaker")

from tests.pipeline.test_account import PLACES, do, upserted  # noqa: F401
from trapline.errors import TraplineError
from trapline.launching.aws.registry import Described
from trapline.launching.checking.pipeline_steps import all_steps
from trapline.pipeline import account
from trapline.pipeline.account import Client
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline
from trapline.pipeline.design import read_recipe
from trapline.pipeline.steps import configuration_digest

AWS = ["definition", "--data", "s3://traps/raw", "--output", "s3://traps/out", "--image-uri", "own/image:1"]


@pytest.fixture(scope="module")
def design():
    return read_command(AWS).design


@pytest.fixture(scope="module")
def arguments(design):
    steps = all_steps(json.loads(definition_text(make_pipeline(design)))["Steps"])
    (found,) = [step for step in steps if step.kind == "RegisterModel"]
    assert found.branches == (("QualityGate", "IfSteps"),)
    return found.arguments


def test_it_names_the_code_the_configuration_the_execution_and_both_trainings(arguments, design):
    known = arguments["CustomerMetadataProperties"]
    assert known == {
        "recipe": "resnet18_baseline",
        "code": design.code,
        "configuration": configuration_digest(replace(design.recipe, prepare=design.prepare)),
        "execution": {"Get": "Execution.PipelineExecutionId"},
        "training-job-phase1": {"Get": "Steps.TrainPhase1.TrainingJobName"},
        "training-job-phase2": {"Get": "Steps.TrainPhase2.TrainingJobName"},
    }


def test_its_metrics_are_the_evaluation_and_it_waits_for_approval(arguments):
    statistics = arguments["ModelMetrics"]["ModelQuality"]["Statistics"]
    assert statistics["S3Uri"]["Std:Join"]["Values"][-1] == "evaluation.json"
    assert arguments["ModelApprovalStatus"] == {"Get": "Parameters.ApprovalStatus"}
    assert arguments["ModelPackageGroupName"] == "trapline-models"


def test_its_first_card_is_a_draft_that_claims_nothing(arguments):
    assert arguments["ModelCard"]["ModelCardStatus"] == "Draft"
    card = json.loads(arguments["ModelCard"]["ModelCardContent"])
    assert "evaluation_details" not in card
    assert "claims nothing" in card["additional_information"]["caveats_and_recommendations"]


def test_the_configuration_s_digest_changes_with_a_hyperparameter_and_with_the_preparation():
    recipe = read_recipe("small", [], [])
    others = [read_recipe("small", ["seed=7"], []), replace(recipe, prepare={"split": "random"})]
    digests = {configuration_digest(item) for item in [recipe, *others]}
    assert len(digests) == 3
    assert configuration_digest(read_recipe("small", [], [])) in digests


@pytest.fixture
def watched(upserted, monkeypatch):  # noqa: F811
    """An account whose executions end at once, with a registered model; returns those that got a card."""
    cards = []
    monkeypatch.setattr(account, "make_clients", lambda session: Client(session, upserted))
    monkeypatch.setattr(account, "wait_for_execution", lambda client, arn: None)
    monkeypatch.setattr(account, "find_package", lambda client, named: f"model of {named}")
    monkeypatch.setattr(account, "describe", lambda session, arn: Described(arn, "s3://b/e.json", {}, {}))
    monkeypatch.setattr(account, "write_card", lambda session, described: cards.append(described.arn))
    return cards


def test_run_ends_with_the_card_of_the_model_that_it_registered(watched, capsys):
    do("run", *PLACES, "--image-uri", "own:1")
    (arn,) = watched
    assert arn.startswith("model of arn:aws:sagemaker:")
    assert f"model: {arn}, with its card" in capsys.readouterr().out


def test_run_without_a_card_says_that_all_else_is_done_and_how_to_write_it(watched, monkeypatch):
    def refuse(session, described):
        raise TraplineError("model card of x: access denied")

    monkeypatch.setattr(account, "write_card", refuse)
    with pytest.raises(TraplineError, match=r"all else is done; .*: python launch/model_card.py arn:aws:"):
        do("run", *PLACES, "--image-uri", "own:1")
