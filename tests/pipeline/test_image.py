"""A pipeline in an account names its image by the digest, and a tag that is pushed anew is another image."""

import json

import pytest

from tests.support.account import (
    BUCKET,
    REGION,
    ROLE,
    digests,
    push_again,
)
from trapline.errors import UsageError
from trapline.pipeline.account import act
from trapline.pipeline.command_line import read_command
from trapline.pipeline.starting import DESCRIPTION, with_image

pytest.importorskip("sagemaker")

NAME = "trapline-resnet18-baseline"
PLACES = ["--data", f"s3://{BUCKET}/raw", "--output", f"s3://{BUCKET}/out", "--role", ROLE]
OWN = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/trapline"


def do(*words):
    act(read_command(words))


def stored(sagemaker):
    """The image in the definition, and the pipeline's description."""
    described = sagemaker.describe_pipeline(PipelineName=NAME)
    declared = json.loads(described["PipelineDefinition"])["Parameters"]
    (image,) = [item.get("DefaultValue") for item in declared if item["Name"] == "ImageUri"]
    return image, described.get("PipelineDescription")


def started(sagemaker):
    """The image that the latest start named; None where it named none."""
    listed = sagemaker.list_pipeline_executions(PipelineName=NAME, SortOrder="Ascending")
    arn = listed["PipelineExecutionSummaries"][-1]["PipelineExecutionArn"]
    given = sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)["PipelineParameters"]
    return {item["Name"]: item["Value"] for item in given}.get("ImageUri")


def by_digest(tag):
    return f"{OWN}@{digests()[tag]}"


def test_upsert_stores_the_digest_and_says_of_which_tag_it_is(sagemaker, capsys):
    do("upsert", *PLACES)
    assert stored(sagemaker) == (by_digest("latest"), f"{DESCRIPTION}; image: {OWN}:latest")
    assert f"image: {OWN}:latest is {digests()['latest']}" in capsys.readouterr().out
    do("start")
    assert started(sagemaker) is None  # what is stored is what the tag still stands for


def test_a_start_takes_what_was_pushed_since_the_upsert(sagemaker):
    do("upsert", *PLACES)
    push_again("latest")
    do("start")
    assert started(sagemaker) == by_digest("latest") != stored(sagemaker)[0]
    do("upsert", *PLACES)
    assert stored(sagemaker)[0] == by_digest("latest")


def test_a_start_looks_up_the_tag_that_it_is_given(sagemaker):
    do("upsert", *PLACES)
    do("start", "--image-uri", f"{OWN}:1.0")
    assert started(sagemaker) == by_digest("1.0")
    do("start", "--param", f"ImageUri={OWN}:1.0")
    assert started(sagemaker) == by_digest("1.0")


def test_an_image_that_was_given_by_its_digest_stays(sagemaker):
    pinned = by_digest("1.0")
    do("upsert", *PLACES, "--image-uri", pinned)
    push_again("latest")
    do("start")
    assert (stored(sagemaker)[0], started(sagemaker)) == (pinned, None)


def test_an_image_of_another_registry_stays_as_it_was_given(sagemaker):
    do("upsert", *PLACES, "--image-uri", "registry.example.org/trapline:1")
    do("start")
    assert stored(sagemaker)[0] == "registry.example.org/trapline:1"
    assert started(sagemaker) is None


def test_upsert_of_an_image_that_is_not_there_sends_nothing(sagemaker):
    with pytest.raises(UsageError, match=r":old: no such image in the registry; .* docker/build.sh --push"):
        do("upsert", *PLACES, "--image-uri", f"{OWN}:old")
    assert sagemaker.list_pipelines()["PipelineSummaries"] == []


def test_a_definition_asks_nobody_and_takes_the_tag_that_it_is_given(monkeypatch):
    monkeypatch.setenv("AWS_REGION", REGION)
    command = read_command(["definition", *PLACES])
    defaults = {item.name: item.default for item in command.design.parameters}
    assert defaults["ImageUri"] == f"{OWN}:latest"


DENIED, PUSHED = f"{OWN}:latest", f"{OWN}@sha256:{'b' * 64}"
STORED = f"{OWN}@sha256:{'a' * 64}"
NAMED = {"PipelineDescription": f"{DESCRIPTION}; image: {OWN}:latest"}


@pytest.mark.parametrize(
    ("described", "values", "found", "scheduled", "image"),
    [
        (NAMED, {}, PUSHED, False, PUSHED),
        (NAMED, {}, DENIED, False, None),  # who may not look starts what is stored
        (NAMED, {}, STORED, True, None),  # a schedule names none: an upsert changes what it runs
        (NAMED, {"ImageUri": f"{OWN}:1.0"}, PUSHED, True, PUSHED),
        ({}, {}, STORED, False, None),  # of a pipeline that has no such description
        ({"PipelineDescription": "somebody's own words"}, {}, STORED, False, None),
    ],
)
def test_a_start_names_an_image_where_the_stored_one_is_not_meant(
    monkeypatch, described, values, found, scheduled, image
):
    monkeypatch.setattr("trapline.pipeline.starting.require_image", lambda session, uri: found)
    chosen = with_image(None, described, {"EpochsPhase1": 3, **values}, STORED, scheduled=scheduled)
    assert chosen == {"EpochsPhase1": 3, **({"ImageUri": image} if image else {})}
