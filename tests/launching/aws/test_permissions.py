"""What the code asks of AWS is what the policies allow: no less, and no more without a reason."""

import datetime
import json
import re
import sys
import tempfile
from pathlib import Path

import boto3
import pytest

from tests.conftest import ROOT
from tests.support.account import BUCKET, JOB_ROLE, OUTPUT, REGION, ROLE, golden, open_account
from tests.support.permissions import (
    ACCOUNT,
    SAGEMAKER,
    Need,
    Recorder,
    actions,
    allows,
    matches,
    needs_of,
    policies,
)
from trapline.console import run
from trapline.errors import TraplineError
from trapline.launching import fetching
from trapline.launching.aws.registry import MODELS, ensure_group
from trapline.launching.commands import follow, model_card, stage_weights, tune

pytest.importorskip("sagemaker")

from trapline.pipeline.account import act
from trapline.pipeline.command_line import read_command

USER = ("user", "user-schedule")
OF_JOB, OF_PIPELINE = "execution-role", "execution-role-pipeline"  # the policies of the two roles
EXECUTION = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/trapline-resnet18-baseline/execution/abcdefghijkl"
STARTED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SAID = {  # actions of a user's policy that no call of these tests needs, and why they stand there
    "s3:AbortMultipartUpload": "boto3 gives up an upload in pieces that fails",
    "sagemaker:StopHyperParameterTuningJob": "the command that Ctrl-C shows",
    "sagemaker:StopProcessingJob": "the command that Ctrl-C shows",
    "sagemaker:StopTrainingJob": "the command that Ctrl-C shows",
    "sagemaker:StopTransformJob": "the command that Ctrl-C shows",
}
OF_JOBS = {  # actions of the execution role, which SageMaker takes on behalf of a job
    "s3:GetObject": "channels, code and weights",
    "s3:ListBucket": "channels are prefixes",
    "s3:PutObject": "results and checkpoints",
    "s3:AbortMultipartUpload": "an upload in pieces that fails is given up",
    "ecr:BatchCheckLayerAvailability": "the image is pulled",
    "ecr:BatchGetImage": "the image is pulled",
    "ecr:GetDownloadUrlForLayer": "the image is pulled",
    "ecr:GetAuthorizationToken": "the image is pulled",
    "logs:CreateLogGroup": "the log",
    "logs:CreateLogStream": "the log",
    "logs:DescribeLogStreams": "the log",
    "logs:PutLogEvents": "the log",
    "cloudwatch:PutMetricData": "metrics of the machines and of the registry's regexes",
}
OF_PUSHES = {  # what docker itself asks of the registry
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
}  # fmt: skip
WITH_A_FLAG = {  # policy -> its actions and why, for jobs and users that give a certain flag
    "execution-role-vpc": {
        "ec2:CreateNetworkInterface": "the machine joins the subnets",
        "ec2:CreateNetworkInterfacePermission": "SageMaker attaches the interface to the machine",
        "ec2:DeleteNetworkInterface": "the machine leaves them",
        "ec2:DeleteNetworkInterfacePermission": "the machine leaves them",
        "ec2:DescribeDhcpOptions": "the network's name servers",
        "ec2:DescribeNetworkInterfaces": "whether the interface is there",
        "ec2:DescribeSecurityGroups": "whether they belong to the network",
        "ec2:DescribeSubnets": "whether they belong to the network",
        "ec2:DescribeVpcs": "the network of the subnets",
    },
    "execution-role-kms": {
        "kms:CreateGrant": "the machines' disks",
        "kms:Decrypt": "objects, and uploads in pieces",
        "kms:DescribeKey": "whether the key can be used",
        "kms:Encrypt": "results",
        "kms:GenerateDataKey": "results",
    },
    "user-kms": {
        "kms:CreateGrant": "jobs whose disks are encrypted are started",
        "kms:Decrypt": "models are fetched",
        "kms:DescribeKey": "whether the key can be used",
        "kms:GenerateDataKey": "code and weights are uploaded",
    },
    "execution-role-dlc": {
        "ecr:BatchCheckLayerAvailability": "the image is pulled",
        "ecr:BatchGetImage": "the image is pulled",
        "ecr:GetDownloadUrlForLayer": "the image is pulled",
    },
}
BY_TYPE = {"Processing": "ProcessingJob", "Training": "TrainingJob", "Transform": "TransformJob"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """What all commands ask, each having been run once in an account that answers."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("account")
        with open_account(patch, _Silent(), folder) as account:
            recorder.listen(patch)
            for scenario in (_launch, _tune, _follow, _fetch, _pipeline, _registry, _weights):
                scenario(account, recorder, patch)
    return recorder


class _Silent:
    """In the place of capsys, which a fixture of a module cannot have."""

    def readouterr(self):
        return type("Said", (), {"out": "", "err": ""})


def _call(patch, module, *words):
    patch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        run(module.main)
    return ended.value.code


def _launch(account, recorder, patch):
    recorder.answers = {
        "DescribeLogStreams": {"logStreams": [{"logStreamName": "night-run/algo-1-1767225600"}]},
        "GetLogEvents": {"events": [], "nextForwardToken": "f/1"},
    }
    tagged = ["--role", "Trapline", "--job-name", "night-run", "--tags", "team=hare", "--spot"]
    assert account.launch("resnet18_baseline", "--data", f"s3://{BUCKET}/raw", *OUTPUT, *tagged).code == 0
    recorder.answers = {}


def _tune(account, recorder, patch):
    search = ["--range", "lr=1e-4:1e-2:log", "--max-jobs", "2", "--tags", "team=hare", "--no-wait"]
    flags = ["--prepared", f"s3://{BUCKET}/sets/v1", *OUTPUT, "--role", ROLE, "--job-name", "search"]
    assert _call(patch, tune, "resnet18_baseline", *search, *flags) == 0


def _follow(account, recorder, patch):
    ended = {
        "HyperParameterTuningJobName": "search", "HyperParameterTuningJobStatus": "Completed",
        "TrainingJobStatusCounters": {}, "CreationTime": STARTED, "HyperParameterTuningEndTime": STARTED,
        "HyperParameterTuningJobConfig": {"ResourceLimits": {"MaxParallelTrainingJobs": 1}},
    }  # fmt: skip
    recorder.answers = {
        "DescribeHyperParameterTuningJob": ended,
        "ListTrainingJobsForHyperParameterTuningJob": {"TrainingJobSummaries": []},
        "DescribeTransformJob": {"TransformJobStatus": "Completed", "CreationTime": STARTED},
    }
    _call(patch, follow, f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:hyper-parameter-tuning-job/search")
    _call(patch, follow, f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:transform-job/night")
    recorder.answers = {}
    assert _call(patch, follow, "night-run") == 0
    for kind in ("TrainingJob", "ProcessingJob", "TransformJob", "HyperParameterTuningJob"):
        account.refuse(f"Describe{kind}", "ValidationException", "Could not find it", times=1)
    assert _call(patch, follow, "nigth-run") == 1


def _fetch(account, recorder, patch):
    found = fetching.find_run("night-run", ROOT / "nothing")
    boto3.Session().client("s3").put_object(Bucket=BUCKET, Key="out/night-run/output/model.tar.gz", Body=b"x")
    for name in (found.model, f"s3://{BUCKET}/out/night-run"):
        model = fetching.find_run(name, ROOT / "nothing").model
        with fetching.downloaded(model, Path(tempfile.gettempdir())):
            pass
    with pytest.raises(TraplineError):
        fetching.find_run(f"s3://{BUCKET}/nothing", ROOT / "nothing")


def _pipeline(account, recorder, patch):
    places = ["--data", f"s3://{BUCKET}/raw", "--output", f"s3://{BUCKET}/out", "--role", "Trapline"]
    places += ["--job-role", "TraplineJobs"]
    recorder.answers = {
        "DescribePipelineExecution": {"PipelineExecutionStatus": "Succeeded"},
        "ListPipelineExecutionSteps": {"PipelineExecutionSteps": []},
        "StopPipelineExecution": {"PipelineExecutionArn": EXECUTION},
    }
    for name, path in (("Scheduler", "/"), ("TraplineJobs", "/service-role/")):
        boto3.client("iam").create_role(RoleName=name, Path=path, AssumeRolePolicyDocument="{}")
        del recorder.asked[-1]  # made by the administrator
    image = ["--image-uri", f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/trapline:latest"]
    for words in (
        ["upsert", *places, *image],
        ["upsert", *places, *image],
        ["start"],
        ["status"],
        ["stop", "--execution", EXECUTION],
        ["schedule", "--every", "7d", "--role", "Scheduler"],
        ["schedule", "--every", "1d", "--role", "Scheduler"],
        ["unschedule"],
    ):
        act(read_command(words))
    _call(patch, follow, EXECUTION)
    recorder.answers = {}


def _registry(account, recorder, patch):
    sagemaker = boto3.client("sagemaker")
    ensure_group(sagemaker, MODELS, [])
    asked = len(recorder.asked)
    _register(sagemaker)
    del recorder.asked[asked:]  # asked by the pipeline, in its role
    assert _call(patch, model_card) == 0


def _register(sagemaker):
    section = {
        "available": False, "sites": None, "images": 0, "log_loss": None, "accuracy": None,
    }  # fmt: skip
    evaluation = {
        "classes": ["hog"], "bootstrap": {"confidence": 0.95},
        "claimed": [], "not_claimed": [], "test": section, "validation": section,
        "data": {"fingerprint": "f", "split": "site", "unseen_sites": True},
        "champion": {"phase": "phase1", "reason": "", "architecture": "resnet18", "training_job": None},
    }  # fmt: skip
    key = "out/abcdefghijkl/Evaluate/evaluation.json"
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(evaluation).encode())
    report = {"ContentType": "application/json", "S3Uri": f"s3://{BUCKET}/{key}"}
    sagemaker.create_model_package(
        ModelPackageGroupName=MODELS, ModelMetrics={"ModelQuality": {"Statistics": report}}
    )


def _weights(account, recorder, patch):
    bucket = stage_weights.Bucket(f"s3://{BUCKET}/staged")
    assert bucket.manifest() is None
    bucket.put(ROOT / "LICENSE", "weights.json")
    assert bucket.manifest()


def test_every_command_has_been_asked_something(recorded):
    operations = {operation for _, operation, _ in recorded.asked}
    assert operations >= {
        "CreateProcessingJob", "CreateTrainingJob", "DescribeTrainingJob", "DescribeImages", "GetRole",
        "CreateHyperParameterTuningJob", "ListTrainingJobsForHyperParameterTuningJob", "DescribeTransformJob",
        "CreatePipeline", "UpdatePipeline", "StartPipelineExecution", "StopPipelineExecution",
        "ListPipelineExecutionSteps", "CreateSchedule", "UpdateSchedule", "DeleteSchedule",
        "CreateModelPackageGroup", "UpdateModelPackage", "HeadBucket", "HeadObject", "GetObject", "PutObject",
    }  # fmt: skip


def test_the_users_policies_allow_everything_that_the_code_asks(recorded):
    statements = policies(*USER)
    missing = {need for need in recorded.needs() if not allows(statements, need)}
    assert not missing


def test_the_users_policies_allow_nothing_that_is_not_asked(recorded):
    asked = {need.action for need in recorded.needs()}
    assert actions(*USER) - asked == SAID.keys()


def test_the_user_is_kept_from_everything_else():
    statements = policies(*USER)
    for action, resource in [
        ("s3:GetObject", "arn:aws:s3:::other/x"),
        ("s3:DeleteObject", f"arn:aws:s3:::{BUCKET}/x"),
        ("sagemaker:UpdatePipeline", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/other"),
        ("sagemaker:CreateTrainingJob", f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:training-job/x"),
    ]:
        assert not allows(statements, Need(action, resource))
    assert not allows(statements, Need("iam:PassRole", ROLE, "lambda.amazonaws.com"))
    assert not allows(
        statements, Need("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/Admin", "sagemaker.amazonaws.com")
    )


def _places(value, name=""):
    """The S3 URIs in a request, with the names of their fields."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _places(item, name)
    elif isinstance(value, str) and value.startswith("s3://"):
        yield name, value


def test_jobs_may_write_where_their_requests_say_and_read_the_rest(recorded):
    statements = policies(OF_JOB)
    requests = [
        *recorded.requests("CreateTrainingJob"),
        *recorded.requests("CreateProcessingJob"),
        *recorded.requests("CreateHyperParameterTuningJob"),
    ]
    assert len(requests) >= 3
    for request in requests:
        inputs = {
            uri for _, uri in _places({**request, "ProcessingOutputConfig": None, "OutputDataConfig": None})
        }
        outputs = {uri for name, uri in _places(request) if name == "S3OutputPath"}
        outputs |= {uri for _, uri in _places(request.get("ProcessingOutputConfig", {}))}
        outputs |= {uri for _, uri in _places(request.get("CheckpointConfig", {}))}
        assert outputs
        for action, uris in (("s3:GetObject", inputs), ("s3:PutObject", outputs)):
            for uri in uris:
                place = uri.removeprefix("s3://").rstrip("/")
                assert allows(statements, Need(action, f"arn:aws:s3:::{place}/x")), (action, uri)
    assert not allows(statements, Need("s3:PutObject", f"arn:aws:s3:::{BUCKET}/raw/x"))


def test_the_execution_role_has_a_reason_for_each_action():
    assert actions(OF_JOB) == OF_JOBS.keys()


def test_jobs_read_the_code_of_later_jobs_and_never_write_it(recorded):
    statements, code = policies(OF_JOB), re.compile("/code(/|$)|/source/")
    written = {params["Key"] for params in recorded.requests("PutObject") if code.search(params["Key"])}
    read = {uri for request in _all_requests(recorded) for _, uri in _places(request) if code.search(uri)}
    assert any("/files/" in key for key in written)  # of the pipeline
    assert any(key.endswith("/source/sourcedir.tar.gz") for key in written)
    assert read
    for key in {*written, *(f"{uri.removeprefix(f's3://{BUCKET}/')}/x" for uri in read)}:
        assert allows(statements, Need("s3:GetObject", f"arn:aws:s3:::{BUCKET}/{key}")), key
        assert not allows(statements, Need("s3:PutObject", f"arn:aws:s3:::{BUCKET}/{key}")), key


def test_jobs_may_not_start_jobs_nor_give_roles_away():
    assert not {name for name in actions(OF_JOB) if name.startswith(("sagemaker:", "iam:"))}


@pytest.mark.parametrize("name", WITH_A_FLAG)
def test_what_a_flag_needs_has_a_reason_for_each_action(name):
    assert actions(name) == WITH_A_FLAG[name].keys()


def test_awss_image_lies_where_its_policy_says():
    (job,) = [item["CreateTrainingJob"] for item in golden("dlc")["requests"] if "CreateTrainingJob" in item]
    registry, _, repository = job["AlgorithmSpecification"]["TrainingImage"].partition("/")
    arn = f"arn:aws:ecr:{REGION}:{registry.partition('.')[0]}:repository/{repository.partition(':')[0]}"
    assert allows(policies("execution-role-dlc"), Need("ecr:BatchGetImage", arn))


def _all_requests(recorded):
    return [params for _, name, params in recorded.asked if name.startswith("Create") and "RoleArn" in params]


def _steps(steps):
    for step in steps:
        yield step
        inner = step["Arguments"] if step["Type"] == "Condition" else {}
        yield from _steps([*inner.get("IfSteps", []), *inner.get("ElseSteps", [])])


def _asked_by_a_step(step):
    """What the pipeline service asks for a step, in the pipeline's role."""
    kind = {"Model": "Model", "RegisterModel": "ModelPackage", **BY_TYPE}.get(step["Type"])
    if kind is None:
        return
    if kind == "ModelPackage":
        created = {"ModelPackageGroupName": step["Arguments"]["ModelPackageGroupName"]}
        seen = {"ModelPackageName": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/{MODELS}/3"}
    else:
        seen = {f"{kind}Name": "pipelines-abc-x"}
        roles = {name: JOB_ROLE for name in ("RoleArn", "ExecutionRoleArn") if name in step["Arguments"]}
        created = {**step["Arguments"], **roles, **seen}
    yield from needs_of("api.sagemaker", f"Create{kind}", created)
    for verb in ("Describe", "Stop") if step["Type"] in BY_TYPE else ("Describe",):
        yield from needs_of("api.sagemaker", f"{verb}{kind}", seen)


def test_the_pipelines_role_allows_its_steps_and_nothing_else(recorded):
    definition = json.loads(recorded.requests("CreatePipeline")[0]["PipelineDefinition"])
    needs = {need for step in _steps(definition["Steps"]) for need in _asked_by_a_step(step)}
    place = f"arn:aws:s3:::{BUCKET}/out/abcdefghijkl/Evaluate/evaluation.json"
    needs.add(Need("s3:GetObject", place))  # its conditions read property files
    statements = policies(OF_PIPELINE)
    assert not {need for need in needs if not allows(statements, need)}
    assert actions("execution-role-pipeline") == {need.action for need in needs}


def test_a_schedules_role_may_start_the_scheduled_pipeline_and_nothing_else(recorded):
    (first, *_) = recorded.requests("CreateSchedule")
    assert first["Target"]["Arn"].endswith(":aws-sdk:sagemaker:startPipelineExecution")
    arn = f"{SAGEMAKER}pipeline/{json.loads(first['Target']['Input'])['PipelineName']}"
    assert allows(policies("schedule-role"), Need("sagemaker:StartPipelineExecution", arn))
    assert actions("schedule-role") == {"sagemaker:StartPipelineExecution"}


def test_a_push_may_do_what_build_sh_and_docker_do():
    text = (ROOT / "docker" / "build.sh").read_text()
    words = set(re.findall(r"\baws ecr ([a-z-]+)", text))
    assert words >= {"describe-repositories", "create-repository", "get-login-password"}
    named = {"get-login-password": "GetAuthorizationToken"}
    called = {
        f"ecr:{named.get(word, ''.join(part.capitalize() for part in word.split('-')))}" for word in words
    }
    assert actions("image-push") == called | OF_PUSHES


def test_a_wildcard_covers_what_it_says():
    assert matches("arn:aws:s3:::b/out/*", "arn:aws:s3:::b/out/x/y")
    assert not matches("arn:aws:s3:::b/out/*", "arn:aws:s3:::b/other")
    assert not matches("arn:aws:s3:::b", "arn:aws:s3:::bb")
