"""Accounts of moto's for the tests of launch/."""

import pytest

from tests.support.account import open_account


@pytest.fixture
def account(monkeypatch, capsys, tmp_path):
    """An account of a test's own."""
    with open_account(monkeypatch, capsys, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def opened_once(tmp_path_factory):
    with (
        pytest.MonkeyPatch.context() as patch,
        open_account(patch, None, tmp_path_factory.mktemp("account")) as opened,
    ):
        yield opened


@pytest.fixture
def shared_account(opened_once, capsys):
    """One account for all tests of a module, for those that leave it as it was."""
    opened_once.capture = capsys
    return opened_once
