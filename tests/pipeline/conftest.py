"""An account to send pipelines to, and the lack of one."""

import boto3
import botocore.session
import pytest
from moto import mock_aws

from tests.support.account import SERVICE_MODELS, furnish, name_no_account, ship_little, sign_in


@pytest.fixture
def sagemaker(monkeypatch, tmp_path):
    """A signed-in account with a bucket, a role and images; the code that is copied is little."""
    sign_in(monkeypatch)
    monkeypatch.setattr(botocore.session, "create_loader", SERVICE_MODELS)
    ship_little(monkeypatch, tmp_path)
    with mock_aws():
        furnish()
        yield boto3.client("sagemaker")


@pytest.fixture(scope="module")
def without_account():
    """Nothing in the environment says whose account, or which region, is meant."""
    with pytest.MonkeyPatch.context() as patch:
        name_no_account(patch)
        yield
