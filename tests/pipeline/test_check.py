"""check.py: every experiment and the pipeline are sound, without an account; what is not is named."""

import re
import socket

import botocore.session
import pytest

from tests.support.account import REGION, SERVICE_MODELS, call_here, sign_in
from trapline.launching.checkout import experiment_names, find_experiment
from trapline.pipeline import check
from trapline.pipeline.check import all_subjects, check_subject

pytest.importorskip("sagemaker")


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    """Neither credentials nor network."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    sign_in(monkeypatch)
    monkeypatch.setattr(botocore.session, "create_loader", SERVICE_MODELS)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def call(monkeypatch, capsys, *words):
    """Exit code and output of a command line."""
    return call_here(monkeypatch, capsys, check, *words)


def test_all_experiments_and_the_pipeline_with_each_recipe_are_looked_at():
    names = [name for name, _ in all_subjects()]
    assert set(names) == {*experiment_names(), "pipeline"}
    assert {"resnet18_baseline", "swin_stage1", "swin_stage2"} <= set(experiment_names())
    recipes = [words[1] for name, words in all_subjects() if name == "pipeline" and "--recipe" in words]
    without = {name for name in experiment_names() if find_experiment(name).channels}
    assert set(recipes) == set(experiment_names()) - without - {"multilabel_transfer"}
    assert len(recipes) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("subject", all_subjects(), ids=lambda subject: " ".join([subject[0], *subject[1]]))
def test_every_experiment_and_every_recipe_is_sound(subject):
    result, _ = check_subject(*subject)
    assert [str(finding) for finding in result.findings] == []
    assert result.values > 50


@pytest.mark.parametrize(
    "flags",
    [
        ["--spot", "--max-run", "2h"],
        ["--keep-alive", "30m"],
        ["--subnets", "subnet-0a", "--security-groups", "sg-0a", "--kms-key", "alias/traps", "--tags", "a=b"],
        ["--dlc", "--instance-count", "2", "--instance-type", "ml.g4dn.xlarge"],
        ["--prepared", "s3://traps/set", "--network-isolation", "--set", "weights=none"],
        ["--role", "Trapline", "--job-name", "night-run", "--data", "demo"],
    ],
    ids=lambda flags: flags[0],
)
def test_the_flags_are_the_launchers_own(flags):
    result, of_aws = check_subject("resnet18_baseline", flags)
    assert result.findings == ()
    assert of_aws == ("--dlc" in flags)


def test_what_is_sound_is_said_with_the_number_of_requests_and_fields(monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "swin_stage2", "--spot")
    assert (code, err) == (0, "")
    assert re.search(r"^swin_stage2 --spot: sound: 1 request, \d\d+ fields checked$", out, re.MULTILINE)
    assert re.search(r"^code: sound: \d\d+ files checked$", out, re.MULTILINE)


def test_a_finding_names_step_field_and_rule_and_the_exit_code_is_1(monkeypatch, capsys):
    code, out, err = call(
        monkeypatch, capsys, "resnet18_baseline", "--instance-type", "ml.g4dn.xlarg", "--job-name", "n1"
    )
    assert code == 1
    assert err == "error: 1 finding\n"
    assert "resnet18_baseline" in out
    assert "CreateTrainingJob n1: ResourceConfig.InstanceType: 'ml.g4dn.xlarg'" in out
    assert "(enum)" in out


def test_of_the_pipeline_step_and_parameter_are_checked_together(monkeypatch, capsys):
    image = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/trapline:1"
    code, out, _ = call(
        monkeypatch, capsys, "pipeline", "--image-uri", image, "--param", "TransformInstanceType=ml.no"
    )
    assert code == 1
    lines = [line for line in out.splitlines() if "code:" not in line]
    assert all("(enum)" in line for line in lines)
    assert "step Transform: Arguments.TransformResources.InstanceType: 'ml.no'" in lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give an EXPERIMENT, or pipeline, or --all"),
        (["swin_stage"], "swin_stage: no such experiment; did you mean"),
        (["swin_stage1", "--backend", "process"], "--backend process: what is checked is what goes to AWS"),
        (["pipeline", "--backend", "local"], "--backend local: what is checked is what goes to AWS"),
        (["swin_stage1", "--set", "lr=-1"], "hyperparameter lr"),
    ],
)
def test_wrong_usage_is_said(monkeypatch, capsys, words, message):
    code, _, err = call(monkeypatch, capsys, *words)
    assert code == 2
    assert message in err
