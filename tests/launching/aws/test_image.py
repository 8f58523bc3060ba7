"""The image of jobs on AWS: the account's own, and found out before a paid start when it is not there."""

import boto3
import pytest

from tests.support.account import PREPARED, RAW, REGION, digests, push_again, refused, without
from trapline.launching.aws.account import account_of, own_image, require_image

OWN = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/trapline"


def images(account):
    """The images of the jobs that were started."""
    for request in account.jobs():
        for body in request.values():
            place = body.get("AppSpecification") or body["AlgorithmSpecification"]
            yield place.get("ImageUri") or place["TrainingImage"]


def test_the_address_is_that_which_the_build_script_pushes_to():
    assert own_image("123456789012", "eu-west-1") == f"{OWN}:latest"
    chinese = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/trapline:latest"
    assert own_image("123456789012", "cn-north-1") == chinese


@pytest.mark.parametrize(
    ("role", "account"),
    [
        ("arn:aws:iam::123456789012:role/service-role/Trapline", "123456789012"),
        ("arn:aws-cn:iam::210987654321:role/Trapline", "210987654321"),
        ("Trapline", None),
        (None, None),
    ],
)
def test_the_account_is_the_roles(role, account):
    assert account_of(role) == account


def test_by_default_all_jobs_run_in_the_accounts_own_image(account):
    assert account.launch(*RAW).code == 0
    assert set(images(account)) == {f"{OWN}@{digests()['latest']}"}
    assert "GetCallerIdentity" not in account.operations()


def test_with_a_role_of_the_defaults_file_the_account_is_asked_for(account, monkeypatch, tmp_path):
    role = "arn:aws:iam::123456789012:role/Trapline"
    text = f"SchemaVersion: '1.0'\nSageMaker:\n  TrainingJob:\n    RoleArn: {role}\n"
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", str(tmp_path / "config.yaml"))
    assert account.launch(*without(PREPARED, "--role")).code == 0
    assert set(images(account)) == {f"{OWN}@{digests()['latest']}"}
    assert "GetCallerIdentity" in account.operations()


@pytest.mark.parametrize("image", [f"{OWN}:2.0", f"{OWN}-old", f"{OWN}@sha256:{'0' * 64}"])
def test_an_image_that_is_not_there_is_found_out_before_anything_is_sent(account, image):
    ended = account.launch(*RAW, "--image-uri", image)
    refused(ended, f"--image-uri {image}: no such image in the registry; make it and send it there ", code=2)
    assert "docker/build.sh --push trapline" in ended.err
    assert not {"PutObject", "CreateProcessingJob"} & set(account.operations())


def test_an_image_in_another_region_is_looked_for_there(account):
    image = OWN.replace(REGION, "eu-north-1")
    ended = account.launch(*RAW, "--image-uri", image)
    refused(ended, f"no such image in the registry (in eu-north-1, the jobs run in {REGION})", code=2)


def test_who_may_not_look_is_told_and_goes_on(account):
    account.refuse("DescribeImages", "AccessDeniedException")
    ended = account.launch(*PREPARED)
    assert ended.code == 0
    assert set(images(account)) == {f"{OWN}:latest"}
    assert f"image: {OWN}:latest is not looked up (ecr:DescribeImages: access denied)" in ended.out


@pytest.mark.parametrize("given", [":1.0", "", "@DIGEST", ":1.0@DIGEST"])
def test_whatever_names_the_image_the_jobs_are_given_its_digest_alone(account, given):
    tag = "1.0" if given else "latest"
    given = f"{OWN}{given.replace('DIGEST', digests()['1.0'])}"
    assert account.launch(*RAW, "--image-uri", given).code == 0
    assert set(images(account)) == {f"{OWN}@{digests()[tag]}"}


def test_a_tag_that_is_pushed_anew_is_another_image_for_the_next_launch(account):
    account.launch(*PREPARED)
    earlier = digests()["latest"]
    push_again("latest")
    account.launch(*without(PREPARED, "--job-name"), "--job-name", "next-night")
    assert digests()["latest"] != earlier
    assert list(images(account)) == [f"{OWN}@{earlier}", f"{OWN}@{digests()['latest']}"]


@pytest.mark.parametrize("words", [["--dlc"], ["--image-uri", "public.ecr.aws/owls/trapline:1"]])
def test_other_registries_are_not_asked(account, words):
    require_image(boto3.Session(), words[-1])
    assert account.operations() == []
