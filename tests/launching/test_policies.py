"""The IAM policies as files: their grammar, their wildcards, and the script that fills them in."""

import json
import re

import pytest

from tests.support.account import call_here
from trapline.errors import UsageError
from trapline.launching.commands import policies
from trapline.launching.commands.policies import FOLDER, filled, read_values

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
TRUST = [name for name in NAMES if name.endswith("-trust")]
LONGEST = 6144  # characters of a managed policy, white space apart
VALUES = {"account": "123456789012", "region": "eu-west-1", "bucket": "traps", "role": "Trapline"}
WORDS = ["--account", "123456789012", "--region", "eu-west-1", "--bucket", "traps", "--role", "Trapline"]
WITHOUT_RESOURCE = {  # actions whose resource can only be *, as AWS's service authorisation reference has it
    "ecr:GetAuthorizationToken",
    "cloudwatch:PutMetricData",  # limited by its namespace instead
    "sagemaker:ListProcessingJobs",
    "sagemaker:ListTrainingJobs",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
}
ARN = re.compile(r"arn:aws:[a-z0-9]+:[A-Za-z0-9-]*:(ACCOUNT|[0-9]{12})?:[A-Za-z0-9/*:_.-]+")


def content(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def statements(name):
    return content(name)["Statement"]


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_follows_the_grammar(name):
    policy = content(name)
    assert policy.keys() == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    sids = [statement["Sid"] for statement in policy["Statement"]]
    assert len(sids) == len(set(sids))
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)
    for statement in policy["Statement"]:
        subject = {"Principal"} if name in TRUST else {"Resource"}
        assert statement.keys() - {"Condition"} == {"Sid", "Effect", "Action"} | subject
        assert statement["Effect"] == "Allow" or statement["Sid"] == "NeverChangeCode"
    assert len(json.dumps(policy, separators=(",", ":"))) <= LONGEST


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(TRUST)))
def test_a_policy_names_single_actions_and_resources_that_are_the_projects(name):
    for statement in statements(name):
        actions, resources = statement["Action"], statement["Resource"]
        assert actions == sorted(set(actions))
        assert all(re.fullmatch("[a-z0-9]+:[A-Za-z]+", action) for action in actions)
        if resources == ["*"]:
            assert set(actions) <= WITHOUT_RESOURCE
        else:
            assert all(ARN.fullmatch(resource) for resource in resources), resources
            assert not set(actions) & WITHOUT_RESOURCE


def test_metrics_are_written_in_sagemakers_namespaces_alone():
    (statement,) = [
        item for item in statements("execution-role") if "cloudwatch:PutMetricData" in item["Action"]
    ]
    assert statement["Condition"] == {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}


def test_a_role_is_passed_to_one_service_and_taken_by_one_for_this_account():
    for name in NAMES:
        for statement in statements(name):
            if "iam:PassRole" in statement["Action"]:
                assert statement["Action"] == ["iam:PassRole"]
                assert len(statement["Resource"]) == 1
                assert statement["Resource"][0].startswith("arn:aws:iam::ACCOUNT:role/")
                assert statement["Condition"]["StringEquals"]["iam:PassedToService"].endswith(
                    ".amazonaws.com"
                )
    for name in TRUST:
        (statement,) = statements(name)
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "ACCOUNT"}}


def test_with_one_role_a_policy_names_it_once_and_with_two_each_where_it_belongs():
    def roles(**more):
        values = read_values({**VALUES, "prefix": "runs", "repository": "trapline", **more})
        return {
            (name, statement["Sid"]): [arn.rpartition("/")[2] for arn in statement["Resource"]]
            for name, policy in filled(values).items()
            for statement in policy["Statement"]
            if any("role/Trapline" in arn for arn in statement.get("Resource", []))
        }

    assert roles()["user", "LookAtTheRoles"] == ["Trapline"]
    two = roles(job_role="TraplineJobs")
    assert two["user", "LookAtTheRoles"] == ["TraplineJobs", "Trapline"]
    assert two["user", "GivePipelinesTheirRole"] == ["Trapline"]
    assert two["execution-role-pipeline", "GiveTheJobsTheirRole"] == ["TraplineJobs"]


def test_nothing_is_left_to_be_filled_in():
    text = json.dumps(
        filled(read_values({**VALUES, "prefix": "runs", "repository": "trapline", "key": "1a"}))
    )
    assert not re.findall(r"\b[A-Z]{3,}(?:_[A-Z]+)?\b", text)
    assert "arn:aws:s3:::traps/runs/*" in text
    assert "arn:aws:iam::123456789012:role/Trapline-schedule" in text


@pytest.mark.parametrize(
    ("region", "arn"), [("cn-north-1", "arn:aws-cn:"), ("us-gov-west-1", "arn:aws-us-gov:")]
)
def test_other_partitions_have_arns_of_their_own(region, arn):
    text = json.dumps(filled(read_values({**VALUES, "region": region, "prefix": "r", "repository": "t"})))
    assert arn in text
    assert "arn:aws:" not in text


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*words):
        ended = call_here(monkeypatch, capsys, policies, *words)
        return ended.code, ended

    return call


def test_the_script_prints_them_and_leaves_out_those_for_a_key_that_nobody_named(call):
    code, said = call(*WORDS)
    assert code == 0
    assert json.loads(said.out).keys() == {name for name in NAMES if not name.endswith("-kms")}
    code, said = call(*WORDS, "--key", "0a1b-2c3d")
    assert json.loads(said.out).keys() == set(NAMES)
    assert "arn:aws:kms:eu-west-1:123456789012:key/0a1b-2c3d" in said.out


def test_the_script_writes_a_file_for_each(call, tmp_path):
    code, said = call(*WORDS, "--to", tmp_path / "iam")
    written = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "iam").glob("*.json")}
    assert code == 0
    assert written["user"]["Statement"][1]["Resource"] == ["arn:aws:s3:::traps"]
    assert len(said.out.splitlines()) == len(written)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("account", "12345", "--account 12345: must be the 12 digits of an account"),
        ("region", "Ireland", "--region Ireland: must be a region, as in eu-west-1"),
        ("bucket", "s3://traps", "--bucket s3://traps: must be the name of a bucket"),
        ("bucket", "*", r"--bucket \*: must be"),
        ("prefix", "/runs", "--prefix /runs: must be a prefix without slashes at its ends"),
        ("prefix", "*", r"--prefix \*: must be"),
        ("role", "arn:aws:iam::1:role/x", "--role arn:aws:iam::1:role/x: must be the name of a role"),
        ("schedule_role", "a b", "--schedule-role a b: must be the name of a role"),
        ("repository", "A", "--repository A: must be the name of an ECR repository"),
        ("key", "alias/traps", "--key alias/traps: must be the id of a KMS key"),
    ],
)
def test_a_value_that_would_widen_or_break_a_policy_is_refused(name, value, message):
    with pytest.raises(UsageError, match=message):
        read_values({**VALUES, name: value})
