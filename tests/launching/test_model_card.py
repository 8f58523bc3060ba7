"""The registry: the group, the model that is meant, and the card that its evaluation bears out."""

import json

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from tests.support.account import BUCKET, REGION, SERVICE_MODELS, call_here, furnish, sign_in
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.registry import (
    MODELS,
    card,
    content,
    describe,
    ensure_group,
    find_package,
    first_card,
    fitting,
    properties,
    write_card,
)
from trapline.launching.commands import model_card

PACKAGE = f"arn:aws:sagemaker:{REGION}:123456789012:model-package/{MODELS}/3"
EXECUTION = f"arn:aws:sagemaker:{REGION}:123456789012:pipeline/p/execution/abcdefghijkl"
UNSEEN = "Nothing can be claimed about unseen cameras: the parts may share cameras."


def section(**changes):
    known = {
        "available": True, "reason": None, "images": 300, "sites": 9, "log_loss": 1.25, "accuracy": 0.5,
        "macro_f1": 0.4, "uniform_log_loss": 2.08, "prior_log_loss": 1.9, "interval_unit": "site",
        "intervals": {"log_loss": {"low": 1.1, "high": 1.4}, "accuracy": None},
        "per_class": [{"class": "hog", "recall": 0.75, "support": 12}, {"class": "bird", "recall": None}],
    }  # fmt: skip
    return {**known, **changes}


def evaluation(**changes):
    known = {
        "classes": ["hog", "bird"], "bootstrap": {"confidence": 0.95},
        "data": {"fingerprint": "f" * 16, "split": "site", "unseen_sites": True},
        "champion": {
            "phase": "phase2", "reason": "better by 0.1.", "architecture": "resnet18",
            "training_job": "pipelines-abc-TrainPhase2-x",
        },
        "test": section(),
        "validation": section(),
        "claimed": ["The champion's accuracy is 0.500 at 9 cameras that it was not trained on."],
        "not_claimed": ["The test speaks of cameras like those in it."],
    }  # fmt: skip
    return {**known, **changes}


def random_split():
    """An evaluation of data without sites: no test part, and no claim."""
    absent = {"available": False, "reason": "none", "log_loss": None, "accuracy": None}
    return evaluation(
        data={"fingerprint": "e" * 16, "split": "random", "unseen_sites": False},
        test=absent,
        claimed=[],
        not_claimed=[UNSEEN],
    )


@pytest.fixture
def session(monkeypatch):
    sign_in(monkeypatch)
    monkeypatch.setattr(botocore.session, "create_loader", SERVICE_MODELS)
    with mock_aws():
        furnish()
        yield boto3.Session()


def register(session, group=MODELS, report=None):
    """A registered model, as a pipeline leaves it; returns its ARN."""
    uri = f"s3://{BUCKET}/out/e1/Evaluate/evaluation.json"
    body = json.dumps(report or evaluation()).encode()
    session.client("s3").put_object(Bucket=BUCKET, Key="out/e1/Evaluate/evaluation.json", Body=body)
    return session.client("sagemaker").create_model_package(
        ModelPackageGroupName=group,
        ModelMetrics={
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": uri}},
        },
        CustomerMetadataProperties={"recipe": "small"},
    )["ModelPackageArn"]


def numbers(described, part, group):
    (found,) = [item for item in described["evaluation_details"] if item["name"] == part]
    (metrics,) = [item for item in found["metric_groups"] if item["name"] == group]
    return {metric["name"]: metric["value"] for metric in metrics["metric_data"]}


def test_a_card_holds_the_numbers_of_the_evaluation_and_its_claims():
    described = card(evaluation(), "arn:job")
    assert numbers(described, "test", "champion") == {"log_loss": 1.25, "accuracy": 0.5, "macro_f1": 0.4}
    assert numbers(described, "test", "without-looking")["prior_log_loss"] == 1.9
    assert numbers(described, "test", "recall-per-class") == {"hog": 0.75}
    test, validation = described["evaluation_details"]
    assert "at 9 cameras that it was not trained on" in test["evaluation_observation"]
    assert "not trained on" not in validation["evaluation_observation"]
    assert "95% interval over sites: 1.1000 to 1.4000" in json.dumps(test)
    assert described["training_details"]["training_job_details"] == {"training_arn": "arn:job"}


def test_after_a_random_split_a_card_claims_nothing_about_unseen_cameras():
    described = card(random_split(), None)
    assert [item["name"] for item in described["evaluation_details"]] == ["validation"]
    assert UNSEEN in described["additional_information"]["caveats_and_recommendations"]
    assert "not trained on" not in content(described)
    assert properties(random_split())["unseen-cameras"] == "not measured"
    assert properties(evaluation())["unseen-cameras"] == "measured"


def test_the_first_card_claims_nothing():
    described = first_card("small", "abc")
    assert "evaluation_details" not in described
    assert (
        "claims nothing about unseen cameras"
        in described["additional_information"]["caveats_and_recommendations"]
    )


@pytest.mark.parametrize("described", [card(evaluation(), "arn:job"), first_card("small", "abc")])
def test_a_card_is_of_the_form_that_the_sdk_knows(described):
    cards = pytest.importorskip("sagemaker.model_card")
    kinds = {
        "intended_uses": cards.IntendedUses,
        "training_details": cards.TrainingDetails,
        "additional_information": cards.AdditionalInformation,
    }
    known = dict(described)
    for found in known.pop("evaluation_details", []):
        groups = [cards.MetricGroup._from_dict(group) for group in found["metric_groups"]]
        assert cards.EvaluationJob(**{**found, "metric_groups": groups}).name == found["name"]
        assert all(
            cards.Metric(**metric) for group in found["metric_groups"] for metric in group["metric_data"]
        )
    for name, content_of in known.items():
        assert kinds[name]._from_dict(content_of)


def test_long_caveats_lose_whole_sentences_and_say_so():
    text = fitting([f"Sentence {number}." for number in range(100)], 200)
    assert len(text) <= 200
    assert text.endswith(". More stands in evaluation.json.")
    assert fitting(["One.", "Two."], 200) == "One. Two."


def test_the_group_is_made_once_with_a_description(session):
    sagemaker = session.client("sagemaker")
    assert ensure_group(sagemaker, MODELS, [{"Key": "project", "Value": "trapline"}])
    assert not ensure_group(sagemaker, MODELS, [])
    described = sagemaker.describe_model_package_group(ModelPackageGroupName=MODELS)
    assert "Camera-trap models" in described["ModelPackageGroupDescription"]


def test_a_model_gets_its_card_and_properties_from_its_evaluation(session):
    sagemaker = session.client("sagemaker")
    ensure_group(sagemaker, MODELS, [])
    arn = register(session)
    described = describe(session, find_package(sagemaker, None))
    assert described.arn == arn
    sent = []
    session.events.register(
        "provide-client-params.sagemaker.UpdateModelPackage", lambda params, **_: sent.append(params)
    )
    write_card(session, described)
    kept = sagemaker.describe_model_package(ModelPackageName=arn)["CustomerMetadataProperties"]
    assert kept["data-fingerprint"] == "f" * 16
    assert kept["champion-training-job"] == "pipelines-abc-TrainPhase2-x"
    assert kept["recipe"] == "small"
    (request,) = sent
    written = json.loads(request["ModelCard"]["ModelCardContent"])
    job = written["training_details"]["training_job_details"]["training_arn"]
    assert job == f"arn:aws:sagemaker:{REGION}:123456789012:training-job/pipelines-abc-TrainPhase2-x"


def test_an_executions_model_is_found_by_its_step(session):
    sagemaker = session.client("sagemaker")
    steps = [
        {"StepName": "Prepare", "StepStatus": "Succeeded"},
        {
            "StepName": "Registry-RegisterModel",
            "StepStatus": "Succeeded",
            "Metadata": {"RegisterModel": {"Arn": PACKAGE}},
        },
    ]
    with Stubber(sagemaker) as stub:
        stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": steps})
        assert find_package(sagemaker, EXECUTION) == PACKAGE
        stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": steps[:1]})
        with pytest.raises(TraplineError, match="has registered no model"):
            find_package(sagemaker, EXECUTION)


def test_what_names_no_model_is_refused_by_its_name(session):
    sagemaker = session.client("sagemaker")
    with pytest.raises(UsageError, match="nothing: neither the ARN"):
        find_package(sagemaker, "nothing")
    ensure_group(sagemaker, MODELS, [])
    with pytest.raises(TraplineError, match="holds no model yet"):
        find_package(sagemaker, None)


def test_a_model_without_trapline_s_evaluation_says_so(session):
    sagemaker = session.client("sagemaker")
    ensure_group(sagemaker, MODELS, [])
    arn = register(session, report={"accuracy": 1})
    with pytest.raises(TraplineError, match=r"evaluation.json: is no evaluation of Trapline"):
        describe(session, arn)
    bare = sagemaker.create_model_package(ModelPackageGroupName=MODELS)["ModelPackageArn"]
    with pytest.raises(TraplineError, match="names no evaluation"):
        describe(session, bare)


@pytest.fixture
def call(session, monkeypatch, capsys):
    def call(*words):
        ended = call_here(monkeypatch, capsys, model_card, *words)
        return ended.code, ended

    return call


def test_the_script_prints_the_card_of_a_model_without_writing_it(session, call):
    sagemaker = session.client("sagemaker")
    ensure_group(sagemaker, MODELS, [])
    arn = register(session)
    code, said = call(arn, "--print")
    assert code == 0
    assert json.loads(said.out)["evaluation_details"][0]["name"] == "test"
    assert "data-fingerprint" not in sagemaker.describe_model_package(ModelPackageName=arn).get(
        "CustomerMetadataProperties", {}
    )


def test_the_script_writes_the_card_of_the_latest_model(session, call):
    sagemaker = session.client("sagemaker")
    ensure_group(sagemaker, MODELS, [])
    arn = register(session)
    code, said = call()
    assert code == 0
    assert said.out.startswith(f"model: {arn}\ncard: written from s3://{BUCKET}/out/e1/Evaluate/")
    kept = sagemaker.describe_model_package(ModelPackageName=arn)["CustomerMetadataProperties"]
    assert kept["unseen-cameras"] == "measured"


def test_the_script_says_in_one_line_what_it_cannot_find(call):
    code, said = call("nothing")
    assert code == 2
    assert said.err.startswith("error: nothing: neither the ARN of a registered model")
    code, said = call(PACKAGE)
    assert code == 1
    assert len(said.err.splitlines()) == 1
