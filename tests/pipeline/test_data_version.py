"""The version of the data that a start sends: what changes it, what does not, and what is said."""

import json

import boto3
import pytest
from botocore.stub import Stubber

from tests.pipeline.test_account import NAME, do
from tests.support.account import BUCKET, REGION, ROLE, sign_in
from tests.support.golden_definitions import whole
from trapline.errors import TraplineError
from trapline.launching.checking.pipeline_steps import all_steps
from trapline.pipeline import starting
from trapline.pipeline.starting import listing_digest, read_from_outside, with_version

pytest.importorskip("sagemaker")

PLACES = ["--data", f"s3://{BUCKET}/raw", "--output", f"s3://{BUCKET}/out", "--role", ROLE]
RECORD = f"out/completed/{NAME}/last.json"


class Listing:
    """A client of S3 that lists (key, size, ETag), in pages of a size."""

    def __init__(self, *objects, page=1000):
        self.objects, self.page = objects, page

    def get_paginator(self, operation):
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket, Prefix):
        found = [item for item in self.objects if item[0].startswith(Prefix)]
        for start in range(0, len(found), self.page):
            page = found[start : start + self.page]
            yield {"Contents": [dict(zip(("Key", "Size", "ETag"), item, strict=True)) for item in page]}
        if not found:
            yield {}


A, B, C = ("raw/a.jpg", 1, '"1"'), ("raw/b.jpg", 2, '"2"'), ("raw/c.jpg", 3, '"3"')
RAW = ["s3://traps/raw/"]


def digest(*objects, uris=RAW, page=1000):
    return listing_digest(Listing(*objects, page=page), uris)[0]


@pytest.mark.parametrize(
    "other",
    [
        [A, B, C], [A], [], [A, ("raw/b.jpg", 3, '"2"')], [A, ("raw/b.jpg", 2, '"3"')],
        [A, ("raw/B.jpg", 2, '"2"')], [A, B, B],
    ],
    ids=["one more", "one less", "none", "another size", "another content", "another name", "one twice"],
)  # fmt: skip
def test_another_listing_is_another_version(other):
    assert digest(*other) != digest(A, B)


def test_neither_pages_nor_order_nor_what_lies_beside_make_another_version():
    assert digest(A, B, C, page=1) == digest(A, B, C, page=2) == digest(A, B, C)
    assert digest(C, A, B) == digest(A, B, C)
    assert digest(A, B, ("raw-2/c.jpg", 3, '"3"')) == digest(A, B)


def test_the_same_objects_at_another_place_are_another_version():
    places = ["s3://traps/raw/", "s3://traps/sites.csv"]
    sites = ("sites.csv", 5, '"5"')
    assert digest(A, sites, uris=places) != digest(A, sites, uris=places[:1])
    assert digest(A, sites, uris=places) != digest(A, ("sites.csv", 6, '"6"'), uris=places)


def test_a_hundred_thousand_objects_take_no_more_memory_than_a_page():
    client = Listing()
    client.paginate = lambda Bucket, Prefix: (
        {"Contents": [{"Key": f"raw/{page}-{n}", "Size": n, "ETag": "x"} for n in range(1000)]}
        for page in range(20)
    )
    version, number = listing_digest(client, RAW)
    assert (len(version), number) == (64, 20_000)


def test_every_place_outside_of_the_pipeline_that_a_cached_step_reads_is_listed():
    definition = whole("spot_in_a_vpc")
    values = {item["Name"]: item.get("DefaultValue") for item in definition["Parameters"]}
    literal = "s3://traps/names.csv"
    words = definition["Steps"][0]["Arguments"]["AppSpecification"]["ContainerArguments"]
    words += ["--label-names", literal]
    expected = {values[name] for name in ("InputData", "SiteCsv", "WeightsUri") if name in values} | {literal}
    assert set(read_from_outside(definition, values)) == expected
    assert len(expected) > 2
    assert set(read_from_outside(definition, {**values, "InputData": "s3://traps/other/"})) > {literal}
    assert read_from_outside(definition, {**values, "InputData": "demo"}) == sorted(
        expected - {values["InputData"]}
    )


def test_what_an_uncached_step_reads_is_made_anew_anyhow():
    definition = whole("plain")
    for step in all_steps(definition["Steps"]):
        if step.name == "Collect":
            step.arguments["ProcessingInputs"][0]["S3Input"]["S3Uri"] = "s3://traps/elsewhere/"
    assert read_from_outside(definition, {"InputData": "s3://traps/raw/"}) == ["s3://traps/raw/"]


# --- a start in an account ----------------------------------------------------------------------------------


@pytest.fixture
def s3(sagemaker):
    """The S3 of an account in which the pipeline of a golden file is, which spares the making of one."""
    text = json.dumps(whole("plain")).replace("us-east-1", REGION).replace("s3://traps/", f"s3://{BUCKET}/")
    sagemaker.create_pipeline(
        PipelineName=NAME, RoleArn=ROLE, ClientRequestToken="x" * 32, PipelineDefinition=text
    )
    return boto3.client("s3")


def sent(sagemaker):
    """The parameters of the latest execution."""
    found = sagemaker.list_pipeline_executions(PipelineName=NAME)["PipelineExecutionSummaries"]
    arn = max(found, key=lambda item: item["StartTime"])["PipelineExecutionArn"]
    given = sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)["PipelineParameters"]
    return {item["Name"]: item["Value"] for item in given}


def versions(sagemaker, *words):
    do("start", *words)
    return sent(sagemaker)["DataVersion"]


def test_a_start_sends_the_version_of_what_lies_there(s3, sagemaker, capsys):
    first = versions(sagemaker)
    assert "data: 1 objects, version " in capsys.readouterr().out
    assert versions(sagemaker) == first
    assert versions(sagemaker, "--param", "EpochsPhase1=3") == first  # or Prepare would prepare anew
    s3.put_object(Bucket=BUCKET, Key="raw-2/b.jpg", Body=b"beside")
    assert versions(sagemaker) == first
    s3.put_object(Bucket=BUCKET, Key="raw/b.jpg", Body=b"new")
    second = versions(sagemaker)
    s3.put_object(Bucket=BUCKET, Key="raw/b.jpg", Body=b"neu")
    third = versions(sagemaker)
    assert len({first, second, third}) == 3
    assert "Scheduled" not in sent(sagemaker)


def test_the_data_of_this_start_are_listed_and_not_those_by_default(s3, sagemaker):
    by_default = versions(sagemaker)
    assert versions(sagemaker, "--data", f"s3://{BUCKET}/raw-old") != by_default
    assert versions(sagemaker, "--param", f"InputData=s3://{BUCKET}/raw") == by_default


def test_a_version_that_is_given_is_sent_and_nothing_is_listed(s3, sagemaker, monkeypatch):
    monkeypatch.setattr(starting, "listing_digest", None)
    assert versions(sagemaker, "--param", "DataVersion=monday") == "monday"


def test_the_demo_has_no_listing(monkeypatch, capsys):
    sign_in(monkeypatch)
    drawn = {"InputData": "demo"}
    found = with_version(boto3.Session(), whole("plain"), drawn, drawn, scheduled=False)
    assert found.keys() == {"InputData", "DataVersion"}
    assert capsys.readouterr().out == ""


def test_a_bucket_that_is_not_there_is_said_before_anything_starts(s3, sagemaker):
    with pytest.raises(TraplineError, match=r"s3://not-there/raw/.*: no such bucket"):
        do("start", "--data", "s3://not-there/raw")
    assert not sagemaker.list_pipeline_executions(PipelineName=NAME)["PipelineExecutionSummaries"]


def test_where_listing_is_denied_the_message_says_the_way_without_it():
    client = boto3.client("s3", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        stub.add_client_error("list_objects_v2", "AccessDenied", "no")
        with pytest.raises(TraplineError, match=r"starts without it\): access denied"):
            listing_digest(client, RAW)


def test_a_pipeline_of_an_earlier_version_is_started_as_it_is(sagemaker):
    text = json.dumps(whole("plain")).replace("us-east-1", REGION).replace("s3://traps/", f"s3://{BUCKET}/")
    definition = json.loads(text.replace("Parameters.DataVersion", "Parameters.Views"))
    definition["Parameters"] = [item for item in definition["Parameters"] if item["Name"] != "DataVersion"]
    sagemaker.create_pipeline(
        PipelineName=NAME, RoleArn=ROLE, ClientRequestToken="x" * 32,
        PipelineDefinition=json.dumps(definition),
    )  # fmt: skip
    do("start")
    assert "DataVersion" not in sent(sagemaker)


def test_the_record_that_prepare_reads_is_there_from_the_first_and_stays(s3, sagemaker):
    do("start")
    assert json.load(s3.get_object(Bucket=BUCKET, Key=RECORD)["Body"]) == {"data": "", "settings": ""}
    s3.put_object(Bucket=BUCKET, Key=RECORD, Body=b'{"data": "d", "settings": "s"}')
    do("start")
    do("schedule", "--every", "7d", "--role", ROLE)
    assert json.load(s3.get_object(Bucket=BUCKET, Key=RECORD)["Body"]) == {"data": "d", "settings": "s"}


def test_upsert_puts_the_record_beside_the_code(sagemaker):
    do("upsert", *PLACES, "--image-uri", "own:1")
    assert boto3.client("s3").head_object(Bucket=BUCKET, Key=RECORD)
