"""What AWS refuses, in words that a person can act on: one message for each cause, without a traceback.

Text from AWS and from jobs is shown without credentials.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trapline.errors import TraplineError, UsageError
from trapline.launching.checking.findings import redacted

WITHOUT_ACCOUNT = "--backend process runs the same job here, without an account"
WHO_AM_I = "`aws sts get-caller-identity` shows which identity is in use"
EXPIRED = "the AWS session has expired; sign in again (`aws sso login`, or new temporary keys)"
UNKNOWN_KEYS = f"AWS does not know these credentials; check AWS_PROFILE or the access key ({WHO_AM_I})"
SLOW_DOWN = "AWS asks to slow down; try again in a minute"
NOT_FOUND = "AWS finds no such thing; check the name, the region and the account"
AWS_FAULT = "AWS has a fault of its own; try again in a few minutes"
NO_BUCKET = "no such bucket; check its name, and whether this account has it (`aws s3 ls`)"

# Codes differ between services for the same cause, and S3's HEAD requests give the bare HTTP status.
REFUSALS: Mapping[str, str] = {
    "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired": EXPIRED,
    "AccessDenied AccessDeniedException AllAccessDisabled UnauthorizedOperation 403": (
        f"access denied; the role or user needs the permission for it ({WHO_AM_I})"
    ),
    "InvalidClientTokenId UnrecognizedClientException InvalidAccessKeyId": UNKNOWN_KEYS,
    "InvalidToken AuthFailure": UNKNOWN_KEYS,
    "SignatureDoesNotMatch InvalidSignatureException": (
        "the signature is wrong; check the secret access key for a copying error, and this machine's clock"
    ),
    "RequestTimeTooSkewed": "this machine's clock is wrong, so AWS refuses the request; set the clock",
    "Throttling ThrottlingException ThrottledException TooManyRequestsException": SLOW_DOWN,
    "RequestLimitExceeded SlowDown 503": SLOW_DOWN,
    "NoSuchBucket": NO_BUCKET,
    "NoSuchKey NotFound 404": (
        "no such object in S3; check the URI (`aws s3 ls` with its folder shows what is there)"
    ),
    "PermanentRedirect AuthorizationHeaderMalformed 301": (
        "it lies in another region; set AWS_DEFAULT_REGION to that one"
    ),
    "ResourceLimitExceeded LimitExceededException ServiceQuotaExceededException": (
        "the account's quota does not allow it; ask for more under Service Quotas, choose another instance"
        " type, or wait until other jobs have ended"
    ),
    "ResourceNotFound ResourceNotFoundException": NOT_FOUND,
    "ResourceInUse ConflictException": "the name is taken or in use; choose another, or wait",
    "InternalError InternalFailure ServiceUnavailable ServiceUnavailableException 500 502 504": AWS_FAULT,
}
BY_CODE = {code: remedy for codes, remedy in REFUSALS.items() for code in codes.split()}
# A request that AWS meets with one of these, or with HTTP's 500s, may be met otherwise a minute later.
PASSING = frozenset(code for code, remedy in BY_CODE.items() if remedy in (SLOW_DOWN, AWS_FAULT)) | {
    "RequestTimeout",
    "RequestTimeoutException",
    "PriorRequestNotComplete",
}
NO_CONNECTION = ("ConnectionError", "HTTPClientError", "IncompleteReadError", "ResponseParserError")
# Their message repeats what the remedy says, or is the bare name of an HTTP status.
SELF_EVIDENT = frozenset(
    {"301", "403", "404", "500", "502", "503", "504", "NotFound", "NoSuchKey", "NoSuchBucket"}
)
# SageMaker calls a job that does not exist a validation error.
ABSENT = re.compile(r"not found|could not find|not exist", re.IGNORECASE)

UNREACHABLE = "AWS cannot be reached ({said}); check the network, the region and AWS_ENDPOINT_URL"
SIGNED_OUT = "the AWS sign-in has ended ({said}); run `aws sso login`"
# What botocore raises before any service has answered; a subclass has its parent's entry.
LOCAL_FAILURES: Mapping[str, str] = {
    "NoCredentialsError": "no AWS credentials found; run `aws configure` or set AWS_PROFILE",
    "CredentialRetrievalError": "no AWS credentials could be had ({said}); check AWS_PROFILE",
    "PartialCredentialsError": (
        "the AWS credentials are incomplete ({said}); set the access key and the secret key together"
    ),
    "TokenRetrievalError": SIGNED_OUT,
    "SSOError": SIGNED_OUT,
    "LoginError": SIGNED_OUT,
    "NoRegionError": "no AWS region is set; set AWS_DEFAULT_REGION or run `aws configure`",
    "InvalidRegionError": "{said}; check AWS_DEFAULT_REGION",
    "ProfileNotFound": "{said}; check AWS_PROFILE and ~/.aws/config",
    "ConnectionError": UNREACHABLE,
    "HTTPClientError": UNREACHABLE,
    "IncompleteReadError": UNREACHABLE,
    "ResponseParserError": (
        "the answer is not one of AWS's ({said}); check the network, its proxy and sign-in page"
    ),
}

OWN_CREDENTIALS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECURITY_TOKEN")
HIDDEN = "<hidden>"
# A signed request, as it stands in the messages of connections and of refused signatures.
SIGNED = re.compile(
    r"(?i)((?:X-Amz-(?:Credential|Signature|Security-Token)|AWSAccessKeyId|\bSignature)\s*[=:]\s*)[^\s&,;\"']+"
)
# Session tokens of AWS's sign-in service, wherever they stand.
TOKEN = re.compile(r"\b(?:FwoG|IQoJ|FQoG|AQoD)[A-Za-z0-9+/=]{60,}")


def explain(error: Exception, doing: str, hint: str = "") -> TraplineError | None:
    """The error to raise in place of one that boto3 or botocore raised; None where it is not one of theirs.

    `doing` opens the message: the job, URI or other thing that was asked for. `hint` is what the caller
    offers that works without AWS; it is added where AWS cannot be asked: no credentials, region or
    connection. A request that botocore's own checks refuse becomes a UsageError.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError

    origin = _origin(error)
    if isinstance(origin, ClientError):
        return TraplineError(f"{doing}: {_refusal(origin)}")
    if isinstance(origin, ParamValidationError):
        return UsageError(f"{doing}: {_shortened(origin)}")
    if isinstance(origin, (BotoCoreError, ResponseParserError)):
        return TraplineError(f"{doing}: {_local_failure(origin)}{f'; {hint}' if hint else ''}")
    return None


@contextlib.contextmanager
def explained(doing: str, hint: str = "") -> Iterator[None]:
    """Raise what `explain` makes of an error in the block; errors that are not from AWS pass as they are."""
    try:
        yield
    except Exception as error:
        understood = explain(error, doing, hint)
        if understood is None:
            raise
        raise understood from error


@contextlib.contextmanager
def suppressed(*codes: str, absent: bool = False) -> Iterator[None]:
    """End the block without an error where AWS refuses with one of these codes.

    `absent`: also where AWS says that there is no such thing.
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in codes and not (absent and is_absent(error)):
            raise


def will_pass(error: Exception) -> bool:
    """Whether the same question may be answered later: no connection, throttling, a fault of AWS's own."""
    from botocore.exceptions import ClientError

    origin = _origin(error)
    if isinstance(origin, ClientError):
        status = origin.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or origin.response.get("Error", {}).get("Code") in PASSING
    return any(
        kind.__name__ in NO_CONNECTION and kind.__module__.startswith("botocore.")
        for kind in type(origin).__mro__
    )


def is_absent(error: Exception) -> bool:
    """Whether AWS says that there is no such thing."""
    details = getattr(error, "response", {}).get("Error", {})
    if details.get("Code") in ("ValidationException", "ValidationError"):
        return bool(ABSENT.search(details.get("Message") or ""))
    return BY_CODE.get(details.get("Code")) == NOT_FOUND


def is_signed_out(error: Exception) -> bool:
    """Whether AWS no longer takes the credentials, or there are none."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return BY_CODE.get(error.response.get("Error", {}).get("Code", "")) in (EXPIRED, UNKNOWN_KEYS)
    return isinstance(error, BotoCoreError) and not will_pass(error)


def _origin(error: Exception) -> BaseException:
    """The error inside: boto3's transfers wrap what the service said in errors of their own."""
    if type(error).__module__.startswith("boto3."):
        return error.__cause__ or error.__context__ or error
    return error


def _refusal(error: Any) -> str:
    """What a service answered; `error` is a ClientError."""
    details = error.response.get("Error", {})
    code, said = str(details.get("Code", "unknown")), _shortened(details.get("Message") or "")
    if code in ("404", "NotFound") and error.operation_name == "HeadBucket":
        return NO_BUCKET
    if code in ("ValidationException", "ValidationError"):
        return f"{NOT_FOUND} ({said})" if ABSENT.search(said) else f"AWS calls the request invalid: {said}"
    if code in BY_CODE:
        return BY_CODE[code] if code in SELF_EVIDENT or not said else f"{BY_CODE[code]} ({code}: {said})"
    return f"AWS refused {error.operation_name} ({code}: {said})"


def _local_failure(error: BaseException) -> str:
    """Why nothing could be asked; `error` is a BotoCoreError."""
    for kind in type(error).__mro__:
        if kind.__name__ in LOCAL_FAILURES:
            return LOCAL_FAILURES[kind.__name__].format(said=_shortened(error))
    return f"the AWS library cannot go on ({type(error).__name__}: {_shortened(error)})"


def _shortened(text: object) -> str:
    return without_credentials(" ".join(str(text).split()))[:400].rstrip(".")


def without_credentials(text: str) -> str:
    """`text` with this process's own AWS credentials, and what looks like others', replaced."""
    for name in OWN_CREDENTIALS:
        value = os.environ.get(name, "")
        if len(value) >= 16:  # a shorter one is a test's, or a placeholder
            text = text.replace(value, HIDDEN)
    return redacted(TOKEN.sub(HIDDEN, SIGNED.sub(rf"\1{HIDDEN}", text)))
