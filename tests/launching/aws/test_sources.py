"""What jobs on AWS are given to read is what the URI names, and is looked for before anything is paid."""

import boto3
import pytest

from tests.support.account import BUCKET, COMMON_FLAGS, RAW, refused

START = ["resnet18_baseline"]


def put(*keys):
    for key in keys:
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"x")


def read_by_prepare(account):
    """The data's URI in the request of the prepare job, and what prepare.py is told to read."""
    request = account.jobs()[0]["CreateProcessingJob"]
    places = {item["InputName"]: item["S3Input"]["S3Uri"] for item in request["ProcessingInputs"]}
    words = request["AppSpecification"]["ContainerArguments"]
    return places["data"], words[words.index("--input") + 1]


@pytest.mark.parametrize(
    ("key", "given", "uri", "read"),
    [
        ("raw/a.jpg", "raw", "raw/", ""),
        ("raw/a.jpg", "raw//", "raw/", ""),
        ("raw/a.jpg", "", "", ""),
        ("x.zip", "x.zip", "x.zip", "/x.zip"),
        ("deep/two words #1.ZIP", "deep/two words #1.ZIP", "deep/two words #1.ZIP", "/two words #1.ZIP"),
        ("x.zip/a.jpg", "x.zip/", "x.zip/", ""),
    ],
)
def test_the_prepare_job_reads_what_the_uri_names_and_nothing_beside_it(account, key, given, uri, read):
    put(key, "x.zip.md5", "raw-2/b.jpg")
    ended = account.launch(*START, "--data", f"s3://{BUCKET}/{given}", *COMMON_FLAGS)
    assert (ended.code, ended.err) == (0, "")
    assert read_by_prepare(account) == (f"s3://{BUCKET}/{uri}", f"/opt/ml/processing/input/data{read}")


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        ("x.zip/a.jpg", "x.zip", "no such file, but a folder, which is named with a slash at its end"),
        ("x.zip.md5", "x.zip", "nothing there"),
        ("alone", "alone", "one object and no folder; give a folder, or .zip, .tar"),
        ("alone-2/a.jpg", "alone", "nothing there"),
    ],
)
def test_what_is_not_what_its_name_says_is_found_out_before_anything_is_sent(account, key, given, said):
    put(key)
    ended = account.launch(*START, "--data", f"s3://{BUCKET}/{given}", *COMMON_FLAGS)
    refused(ended, f"--data s3://{BUCKET}/{given}: {said}", code=2)
    assert not {"PutObject", "CreateProcessingJob"} & set(account.operations()[1:])


def test_one_file_that_is_no_archive_is_refused_without_asking_anybody(account):
    ended = account.launch(*START, "--data", f"s3://{BUCKET}/labels.csv", *COMMON_FLAGS)
    refused(ended, f"--data s3://{BUCKET}/labels.csv: is one file; give the folder that holds it", code=2)
    assert account.operations() == []


def test_a_folder_where_a_table_is_wanted_is_refused(account):
    table = f"site-csv=s3://{BUCKET}/sites/"
    refused(account.launch(*RAW, "--prepare", table), "names a folder; give one file", code=2)


def test_a_model_of_phase_1_that_no_job_would_find_is_refused(account):
    given = ["--prepared", f"s3://{BUCKET}/sets/v1", "--pseudo", f"s3://{BUCKET}/pseudo/v1"]
    model = ["--phase1", f"s3://{BUCKET}/earlier/night.tar.gz"]
    ended = account.launch("swin_stage2", *given, *model, *COMMON_FLAGS)
    refused(ended, "night.tar.gz: jobs look for model.tar.gz; give one, or the folder that holds it", code=2)
