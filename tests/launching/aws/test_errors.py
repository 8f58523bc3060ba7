"""Every refusal by AWS ends in one message that names the thing and the way out."""

import boto3
import pytest
from boto3.exceptions import S3UploadFailedError
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from moto import mock_aws

from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.errors import (
    HIDDEN,
    explain,
    explained,
    is_absent,
    is_signed_out,
    will_pass,
    without_credentials,
)

HINT = "or stay on this machine"


def refused(code, message="as AWS words it", operation="DescribeTrainingJob"):
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


@pytest.mark.parametrize(
    ("codes", "advice"),
    [
        ("ExpiredToken ExpiredTokenException RequestExpired", "expired; sign in again"),
        ("AccessDenied AccessDeniedException 403", "access denied; the role or user needs"),
        ("InvalidClientTokenId UnrecognizedClientException", "check AWS_PROFILE or the access key"),
        ("ThrottlingException Throttling RequestLimitExceeded SlowDown", "try again in a minute"),
        ("NoSuchBucket", "no such bucket; check its name"),
        ("NoSuchKey 404", "no such object in S3; check the URI"),
        ("ResourceLimitExceeded", "quota does not allow it; ask for more"),
        ("ResourceNotFound ResourceNotFoundException", "no such thing; check the name"),
        ("PermanentRedirect", "another region; set AWS_DEFAULT_REGION"),
        ("RequestTimeTooSkewed", "set the clock"),
    ],
)
def test_each_refusal_is_named_with_what_to_do(codes, advice):
    for code in codes.split():
        error = explain(refused(code), "job night-run")
        assert type(error) is TraplineError
        assert str(error).startswith("job night-run: ")
        assert advice in str(error)
        assert "\n" not in str(error)


def test_what_aws_says_is_kept_where_it_tells_more():
    said = "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances"
    assert f"(ResourceLimitExceeded: {said})" in str(explain(refused("ResourceLimitExceeded", said), "job"))


def test_an_http_status_is_not_repeated_as_if_it_were_an_explanation():
    assert "Not Found" not in str(explain(refused("404", "Not Found", "HeadObject"), "s3://b/k"))


def test_a_bucket_that_is_missing_is_not_called_an_object():
    assert "no such bucket" in str(explain(refused("404", "Not Found", "HeadBucket"), "s3://b"))


def test_an_invalid_request_shows_the_message_and_a_missing_job_is_told_apart():
    invalid = explain(refused("ValidationException", "1 error detected: bad instance type"), "job x")
    assert str(invalid) == "job x: AWS calls the request invalid: 1 error detected: bad instance type"
    missing = explain(refused("ValidationException", "Requested resource not found."), "job x")
    assert "no such thing; check the name" in str(missing)


def test_an_unknown_refusal_keeps_its_code_and_its_message():
    error = explain(refused("TeapotException", "short and stout"), "job x")
    assert str(error) == "job x: AWS refused DescribeTrainingJob (TeapotException: short and stout)"


def test_a_long_message_of_many_lines_becomes_one_short_line():
    text = str(explain(refused("Teapot", "line\n" * 500), "job x"))
    assert "\n" not in text
    assert len(text) < 600


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (exceptions.NoCredentialsError(), "no AWS credentials found; run `aws configure`"),
        (exceptions.CredentialRetrievalError(provider="x", error_msg="died"), "check AWS_PROFILE"),
        (exceptions.NoRegionError(), "set AWS_DEFAULT_REGION"),
        (exceptions.EndpointConnectionError(endpoint_url="http://s3"), "check the network"),
        (exceptions.ConnectTimeoutError(endpoint_url="http://s3"), "check the network"),
        (exceptions.ReadTimeoutError(endpoint_url="http://s3"), "check the network"),
        (exceptions.ConnectionClosedError(endpoint_url="http://s3"), "check the network"),
        (exceptions.UnauthorizedSSOTokenError(), "run `aws sso login`"),
        (exceptions.SSOTokenLoadError(error_msg="gone"), "run `aws sso login`"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "together"),
        (
            exceptions.ProfileNotFound(profile="night"),
            "(night) could not be found; check AWS_PROFILE",
        ),
    ],
)
def test_what_fails_before_the_request_names_the_setting_and_the_way_without_aws(error, advice):
    understood = explain(error, "s3://bucket/key", HINT)
    assert advice in str(understood)
    assert str(understood).startswith("s3://bucket/key: ")
    assert str(understood).endswith(HINT)
    assert HINT not in str(explain(error, "s3://bucket/key"))


def test_the_way_without_aws_is_not_offered_where_aws_has_answered():
    assert HINT not in str(explain(refused("AccessDenied"), "job x", HINT))


def test_a_request_that_botocore_itself_refuses_is_wrong_usage():
    client = boto3.client("sagemaker")
    with pytest.raises(UsageError, match="job x: Parameter validation failed"), explained("job x"):
        client.describe_training_job(TrainingJobName=7)


def test_an_error_of_ours_or_of_python_is_not_touched():
    assert explain(ValueError("x"), "job") is None
    assert explain(TraplineError("x"), "job") is None
    with pytest.raises(ZeroDivisionError), explained("job"):
        _ = 1 / 0


def test_the_cause_inside_an_error_of_a_transfer_is_found():
    wrapped = S3UploadFailedError("Failed to upload")
    wrapped.__context__ = refused("AccessDenied", operation="PutObject")  # as boto3 leaves it
    assert "access denied" in str(explain(wrapped, "s3://b/k"))


def test_a_real_client_without_an_answer_is_explained():
    quick = Config(retries={"total_max_attempts": 1}, connect_timeout=1)
    client = boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=quick)
    with pytest.raises(TraplineError, match="list: AWS cannot be reached"), explained("list"):
        client.list_buckets()


@mock_aws
def test_missing_buckets_keys_and_jobs_are_recognised_in_real_answers(tmp_path):
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    with pytest.raises(TraplineError, match="no such bucket"), explained("s3://absent/k"):
        s3.get_object(Bucket="absent", Key="k")
    s3.create_bucket(Bucket="here", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with pytest.raises(TraplineError, match="no such object"), explained("s3://here/k"):
        s3.download_file("here", "k", str(tmp_path / "k"))
    with pytest.raises(TraplineError, match="no such thing; check the name"), explained("job x"):
        sagemaker.describe_training_job(TrainingJobName="x")


def test_without_any_credentials_the_hint_is_given(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    client = boto3.session.Session().client("s3")
    with pytest.raises(TraplineError, match=f"no AWS credentials found.*{HINT}"), explained("list", HINT):
        client.list_buckets()


# What waiting asks of an error


@pytest.mark.parametrize(
    "error",
    [
        *(
            refused(code)
            for code in ("ThrottlingException", "SlowDown", "ServiceUnavailable", "RequestTimeout")
        ),
        ClientError(
            {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": 502}}, "DescribeTrainingJob"
        ),
        exceptions.EndpointConnectionError(endpoint_url="http://api"),
        exceptions.ReadTimeoutError(endpoint_url="http://api"),
        exceptions.ProxyConnectionError(proxy_url="http://proxy"),
        exceptions.SSLError(endpoint_url="http://api", error="x"),
        exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        ResponseParserError("<html>"),
    ],
)
def test_what_passes_by_itself_is_told_apart(error):
    assert will_pass(error)
    assert not is_signed_out(error)
    assert explain(error, "job x") is not None


@pytest.mark.parametrize(
    "error",
    [
        refused("AccessDeniedException"),
        refused("ExpiredTokenException"),
        exceptions.NoCredentialsError(),
        OSError(),
    ],
)
def test_what_does_not_pass_is_no_hiccup(error):
    assert not will_pass(error)


@pytest.mark.parametrize(
    "error",
    [refused("ExpiredToken"), refused("UnrecognizedClientException"), exceptions.NoCredentialsError()],
)
def test_a_sign_in_that_ended_is_told_from_a_refusal(error):
    assert is_signed_out(error)
    assert not is_signed_out(refused("AccessDeniedException"))


def test_absence_is_told_from_an_invalid_request():
    assert is_absent(refused("ValidationException", "Could not find job"))
    assert is_absent(refused("ResourceNotFoundException"))
    assert not is_absent(refused("ValidationException", "1 error detected"))
    assert not is_absent(OSError())


SIGNED = "https://b.s3.amazonaws.com/k?X-Amz-Credential=ASIA2/2026&X-Amz-Signature=ab12&X-Amz-Expires=60"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key AKIA2AAAABBBBCCCCDDD", "key <an AWS access key id>"),
        (f"token IQoJ{'x' * 80}== expired", f"token {HIDDEN} expired"),
        (SIGNED, SIGNED.replace("ASIA2/2026", HIDDEN).replace("ab12", HIDDEN)),
        ("x-amz-security-token: abc, then", f"x-amz-security-token: {HIDDEN}, then"),
        (
            "step 3 of s3://bucket/checkpoints/abcdef0123456789",
            "step 3 of s3://bucket/checkpoints/abcdef0123456789",
        ),
    ],
)
def test_credentials_are_hidden_and_the_rest_stays(text, shown):
    assert without_credentials(text) == shown


def test_the_credentials_of_this_process_are_hidden_whatever_their_form(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "no-special-form-but-secret")
    assert without_credentials("it is no-special-form-but-secret.") == f"it is {HIDDEN}."


def test_a_short_value_of_a_test_does_not_black_out_words(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    assert without_credentials("testing goes on") == "testing goes on"
