"""What a pipeline is given to read in S3 means the same as for a launcher, wherever it is said."""

import boto3
import pytest
from moto import mock_aws

from launch.resnet18_baseline import EXPERIMENT
from tests.support.account import BUCKET, furnish, sign_in
from trapline.errors import TraplineError, UsageError
from trapline.launching.flags import read_plan
from trapline.pipeline.account import _given
from trapline.pipeline.command_line import read_command
from trapline.pipeline.design import settled
from trapline.pipeline.starting import check_places, with_places

PLACES = ["--output", "s3://b/out", "--role", "arn:aws:iam::123456789012:role/Trapline"]


def values(*words, verb="definition"):
    """The values of the parameters that an execution would have."""
    command = read_command([verb, *PLACES, *words])
    return settled(command.design.parameters, command.values)


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("s3://b/raw", "s3://b/raw/"),
        ("s3://b/raw//", "s3://b/raw/"),
        ("s3://b", "s3://b/"),
        ("s3://b/x.zip", "s3://b/x.zip"),
        ("s3://b/two words/x.TGZ", "s3://b/two words/x.TGZ"),
        ("s3://b/x.zip/", "s3://b/x.zip/"),
        ("demo", "demo"),
    ],
)
def test_the_data_are_what_their_uri_names_and_nothing_beside_it(given, uri):
    assert values("--data", given)["InputData"] == uri
    assert values("--param", f"InputData={given}")["InputData"] == uri
    assert _given(read_command(["start", "--data", given]))["InputData"] == uri


@pytest.mark.parametrize("given", ["s3://b/x.7z", "s3://b/labels.csv", "s3://b/raw ", "s3:///raw"])
def test_what_a_launcher_refuses_a_pipeline_refuses_in_the_same_words(given):
    with pytest.raises(UsageError) as of_launcher:
        read_plan(EXPERIMENT, ["--data", given, *PLACES])
    with pytest.raises(UsageError) as of_pipeline:
        values("--data", given)
    assert str(of_pipeline.value) == str(of_launcher.value)
    with pytest.raises(UsageError):
        values("--param", f"InputData={given}")


def test_other_places_are_folders_or_files_whoever_names_them():
    weights = ["--weights", "s3://b/weights.v1", "--prepare", "site-csv=s3://b/sites.csv"]
    assert values(*weights)["WeightsUri"] == "s3://b/weights.v1/"
    assert values(*weights, "--param", "WeightsUri=s3://b/w")["WeightsUri"] == "s3://b/w/"
    assert values("--param", "OutputPrefix=s3://b/out//")["OutputPrefix"] == "s3://b/out"
    for words in (["--prepare", "site-csv=s3://b/sites/"], [*weights, "--param", "SiteCsv=s3://b/sites/"]):
        with pytest.raises(UsageError, match="s3://b/sites/: names a folder; give one file"):
            values(*words)


def test_a_run_here_reads_what_the_jobs_on_aws_would():
    command = read_command(["run", "--backend", "process", "--data", "s3://b/raw"])
    assert command.data == "s3://b/raw/"


def test_a_start_corrects_the_places_of_a_pipeline_that_was_upserted_without_slashes():
    known = {"InputData": "s3://b/raw", "WeightsUri": "s3://b/w/", "EpochsPhase1": 3}
    assert with_places({"EpochsPhase1": 3}, known) == {"EpochsPhase1": 3, "InputData": "s3://b/raw/"}
    assert with_places({}, {"InputData": "demo"}) == {}


@pytest.fixture
def session(monkeypatch):
    """An account with a bucket, in which an archive has another key beside it that begins so."""
    sign_in(monkeypatch)
    with mock_aws():
        furnish()
        for key in ("x.zip", "x.zip.md5", "alone.zip"):
            boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"x")
        yield boto3.Session()


def test_a_start_looks_for_all_that_the_jobs_will_read(session):
    places = {"SiteCsv": f"s3://{BUCKET}/sites.csv", "WeightsUri": f"s3://{BUCKET}/weights/"}
    for data in (f"s3://{BUCKET}/raw/", f"s3://{BUCKET}/alone.zip", "demo"):
        check_places(session, {**places, "InputData": data})


@pytest.mark.parametrize(
    ("name", "key", "said"),
    [
        ("InputData", "ra/", "--data s3://traps/ra/: nothing there"),
        ("InputData", "absent.zip", "--data s3://traps/absent.zip: nothing there"),
        ("InputData", "x.zip", "a job reads all keys that begin so, x.zip.md5 too; move one of them"),
        ("SiteCsv", "sites", "--prepare site-csv s3://traps/sites: no such file"),
        ("WeightsUri", "raw/", "--weights s3://traps/raw/: no weights.json there"),
    ],
)
def test_what_is_not_there_is_found_out_before_an_execution_starts(session, name, key, said):
    with pytest.raises(TraplineError, match=said):
        check_places(session, {"InputData": "demo", name: f"s3://{BUCKET}/{key}"})
