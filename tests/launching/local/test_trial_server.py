"""A trial S3 answers its own jobs, and no page that the user's browser shows."""

import http.client
import os
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import moto.backends
import pytest
from botocore.exceptions import ClientError

from trapline.launching.local.trial_s3 import BUCKET, trial_s3

PATH = f"/{BUCKET}/data/one.jpg"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A trial S3 with one file: the port."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "one.jpg").write_bytes(b"picture")
    moto.backends.get_backend("s3")["123456789012"]["aws"].reset()
    with trial_s3(folder):
        yield urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]).port
    moto.backends.get_backend("s3")["123456789012"]["aws"].reset()  # which remembers it for later tests


@pytest.fixture
def ask(served):
    """Send a request as a job of this command would: (method, path, **headers) -> (status, headers, body)."""

    def ask(method="GET", path=PATH, body=None, **headers):
        key = os.environ["AWS_ACCESS_KEY_ID"]
        signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/s3/aws4_request"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", served, timeout=10)
        connection.request(method, path, body, signed | named)
        answer = connection.getresponse()
        return answer.status, {name.lower() for name, _ in answer.getheaders()}, answer.read()

    return ask


def test_a_job_reads_and_writes(served):
    client = boto3.Session().client("s3")
    assert client.get_object(Bucket=BUCKET, Key="data/one.jpg")["Body"].read() == b"picture"
    client.put_object(Bucket=BUCKET, Key="more", Body=b"x")
    url = client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "more"})
    connection = http.client.HTTPConnection("127.0.0.1", served, timeout=10)
    connection.request("GET", url.partition(str(served))[2])
    assert connection.getresponse().read() == b"x"


def test_an_answer_lets_no_other_origin_read_it(ask):
    status, headers, body = ask()
    assert (status, body) == (200, b"picture")
    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Host": "sagemaker.us-east-1.amazonaws.com"},
        {"Authorization": ""},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=trial/20260101/us-east-1/s3/aws4_request"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "POST", "DELETE"])
def test_a_page_in_the_browser_is_refused(ask, served, method, headers):
    named = {name: text.format(port=served) for name, text in headers.items()}
    status, answered, body = ask(method, **named)
    assert status == 403
    assert body.startswith(b"the trial S3 answers") or method == "HEAD"
    assert not [name for name in answered if name.startswith("access-control-")]


def test_motos_own_pages_are_refused_without_the_key(ask):
    assert ask("POST", "/moto-api/reset", Authorization="")[0] == 403


def test_two_trials_have_keys_of_their_own(served, tmp_path):
    first = os.environ["AWS_ACCESS_KEY_ID"]
    with trial_s3(tmp_path):
        assert os.environ["AWS_ACCESS_KEY_ID"] != first
        with pytest.raises(ClientError, match="403"):
            boto3.Session().client("s3", aws_access_key_id=first, aws_secret_access_key=first).head_bucket(
                Bucket=BUCKET
            )


def test_it_listens_on_loopback_alone(served):
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {fields[1] for fields in lines if fields[3] == "0A" and fields[1].endswith(f":{served:04X}")}
    assert listening == {f"0100007F:{served:04X}"}
