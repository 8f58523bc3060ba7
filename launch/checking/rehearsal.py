"""A launch rehearsed: its requests are made and recorded, nothing is sent, and what is wrong is said."""

import dataclasses
from typing import TYPE_CHECKING, Any

from launch.checking.soundness import require_sound
from launch.dry_run import AwsRecorder, chatter_to_stderr
from launch.flags import Plan

if TYPE_CHECKING:
    import boto3

    from launch.aws.backend import Account, Start


def rehearsing_session(session: "boto3.Session") -> tuple["boto3.Session", AwsRecorder]:
    """A second session with the settings of `session`, which sends nothing, and what it records."""
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    own = session._session
    # The long descriptions of the services are read once for both.
    core.register_component("data_loader", own.get_component("data_loader"))
    found = own.get_credentials()
    if found is not None:
        core._credentials = found
    second = boto3.Session(botocore_session=core, region_name=session.region_name)
    return second, AwsRecorder(second)


def requests_of(plan: Plan, account: "Account", start: "Start | None" = None) -> list[dict[str, Any]]:
    """The requests that a launch would send; `start` as for `aws_backend.launch`."""
    from launch.aws import backend as aws_backend
    from launch.sdk import objects as sdk

    session, recorder = rehearsing_session(account.session.boto_session)
    silent = dataclasses.replace(account, session=sdk.open_session(session))
    silent.session.upload_data = _copy_nothing  # a hundred files would be read and hashed to no end
    with chatter_to_stderr():
        aws_backend.send(dataclasses.replace(plan, dry_run=True), silent, start)
    return recorder.requests


def _copy_nothing(*_: object, **__: object) -> None:
    """In the place of the SDK's copying to S3."""


def require_sound_launch(plan: Plan, account: "Account", start: "Start | None" = None) -> None:
    """Raise UsageError listing what AWS, a shell or the training would refuse of a launch; sends nothing."""
    region = str(account.session.boto_region_name)
    require_sound(requests_of(plan, account, start), region, of_aws=account.image.of_aws)
