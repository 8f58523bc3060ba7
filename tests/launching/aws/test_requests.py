"""Before a paid start the launch is rehearsed and checked; what is found stops it before anything is sent."""

import pytest

from tests.support.account import PREPARED, RAW, keys, refused
from trapline.errors import UsageError
from trapline.launching import checkout
from trapline.launching.aws import backend
from trapline.launching.checkout import find_experiment
from trapline.launching.dispatch import run_search
from trapline.launching.many.studies import read_search


def nothing_was_sent(account, before):
    assert not [
        name for name in account.operations() if name.startswith(("Create", "Put", "Upload", "Start"))
    ]
    assert keys() == before


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (["--instance-type", "ml.g4dn.xlarg"], "ResourceConfig.InstanceType"),
        (["--prepare-instance-type", "ml.m5.huge"], "ProcessingResources.ClusterConfig.InstanceType"),
        (
            ["--image-uri", "111122223333.dkr.ecr.us-east-2.amazonaws.com/traps:1"],
            "AppSpecification.ImageUri",
        ),
    ],
)
def test_a_finding_stops_the_launch_before_anything_is_sent(account, flags, field):
    before = keys()
    account.refuse("DescribeImages", "AccessDeniedException")
    ended = account.launch(*RAW, *flags)
    assert ended.code == 2
    assert ended.err.startswith("error: not started, nothing was sent: ")
    assert f" night-run: {field}: " in ended.err or f" night-run-prepare: {field}: " in ended.err
    nothing_was_sent(account, before)


def test_an_import_that_the_code_misses_stops_the_launch(account):
    before = keys()
    (checkout.entry_points() / "train.py").write_text("import os\nfrom trapline import data\nimport moto\n")
    ended = account.launch(*PREPARED)
    refused(ended, "source: train.py:3: moto: in neither folder nor image", code=2)
    nothing_was_sent(account, before)


def test_a_secret_in_the_code_stops_the_launch_and_is_not_shown(account):
    secret = "AKIA" + "Q3EGTC5YZLKMJ2WX"
    (checkout.entry_points() / "train.py").write_text(f"KEY = '{secret}'\n")
    ended = account.launch(*PREPARED)
    refused(ended, "source: train.py:1: looks like an AWS access key id", code=2)
    assert secret not in ended.out + ended.err


def test_a_search_is_rehearsed_too(account, monkeypatch):
    before = keys()
    search, plan = read_search(
        find_experiment("resnet18_baseline"),
        [*PREPARED[1:], "--range", "lr=1e-4:1e-2", "--instance-type", "ml.g4dn.xlarg"],
    )
    with pytest.raises(UsageError, match=r"HyperParameterTuning.*InstanceType: 'ml\.g4dn\.xlarg'"):
        run_search(search, plan)
    nothing_was_sent(account, before)


def test_the_rehearsal_makes_the_requests_of_the_launch_and_sends_none(account, monkeypatch):
    rehearsed = []
    original = backend.requests_of

    def remembered(*arguments):
        rehearsed.extend(original(*arguments))
        assert account.jobs() == []
        return rehearsed

    monkeypatch.setattr(backend, "requests_of", remembered)
    account.launch(*PREPARED)
    assert rehearsed == account.jobs()
