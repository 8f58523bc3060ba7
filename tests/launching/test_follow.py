"""`follow.py` takes up any job by its name or ARN, shows it to its end and ends as the job did."""

import datetime
import signal
import sys

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from moto.sagemaker.models import FakeTrainingJob

from tests.support.account import ROLE, Ended, refused, serve, sign_in, start
from tests.support.cloud import ARN, NAME, START, Cloud, metric_line, own_clock
from trapline.console import run
from trapline.launching.aws import waiting as aws_waiting
from trapline.launching.aws.jobs import Clients
from trapline.launching.aws.waiting import make_display
from trapline.launching.commands import follow

pytestmark = pytest.mark.usefixtures("clock")
MISSING = "Could not find job"
SEARCH = "night-search"
EXECUTION = f"{ARN}:pipeline/trapline/execution/abcdefghijkl"


@pytest.fixture
def clock(monkeypatch):
    """Signed in, with a clock that only pauses move."""
    sign_in(monkeypatch)
    return own_clock(monkeypatch)


@pytest.fixture
def follows(monkeypatch, capsys):
    """Run the script in this process."""

    def do(*words):
        monkeypatch.setattr(sys, "argv", ["follow.py", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(follow.main)
        said = capsys.readouterr()
        return Ended(ended.value.code, said.out, said.err)

    return do


@pytest.fixture
def stub(monkeypatch):
    """SageMaker with answers of the test's own, checked against its service model; no log group yet."""
    clients = Clients(boto3.client("sagemaker"), boto3.client("logs"))
    monkeypatch.setattr(follow, "make_clients", lambda session, region: clients)
    with Stubber(clients.sagemaker) as answers, Stubber(clients.logs) as logs:
        for _ in range(5):
            logs.add_client_error("describe_log_streams", "ResourceNotFoundException", "no such group")
        yield answers


def absent(stub, *kinds):
    for kind in kinds:
        stub.add_client_error(f"describe_{kind}_job", "ValidationException", MISSING)


def training(status, **more):
    return {
        "TrainingJobName": NAME,
        "TrainingJobArn": f"{ARN}:training-job/{NAME}",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/night-run/output/model.tar.gz"},
        "TrainingJobStatus": status,
        "SecondaryStatus": "Completed" if status == "Completed" else "Training",
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "CreationTime": START,
        **more,
    }


def processing(status, **more):
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 1}
    return {
        "ProcessingJobName": NAME,
        "ProcessingJobArn": f"{ARN}:processing-job/{NAME}",
        "ProcessingJobStatus": status,
        "ProcessingResources": {"ClusterConfig": cluster},
        "AppSpecification": {"ImageUri": "own:1"},
        "CreationTime": START,
        **more,
    }


def transform(status, **more):
    return {
        "TransformJobName": NAME,
        "TransformJobArn": f"{ARN}:transform-job/{NAME}",
        "TransformJobStatus": status,
        "ModelName": "m",
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}},
        "TransformOutput": {"S3OutputPath": "s3://b/out"},
        "TransformResources": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        "CreationTime": START,
        **more,
    }


def search(status, completed, running, best=None):
    return {
        "HyperParameterTuningJobName": SEARCH,
        "HyperParameterTuningJobArn": f"{ARN}:hyper-parameter-tuning-job/{SEARCH}",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
        },
        "HyperParameterTuningJobStatus": status,
        "CreationTime": START,
        "TrainingJobStatusCounters": {"Completed": completed, "InProgress": running},
        "ObjectiveStatusCounters": {},
        **({"BestTrainingJob": best} if best else {}),
    }


def child(number, status, value=None, **more):
    objective = {"MetricName": "val_loss", "Value": value}
    return {
        "TrainingJobName": f"{SEARCH}-{number}",
        "TrainingJobArn": f"{ARN}:training-job/{SEARCH}-{number}",
        "CreationTime": START,
        "TrainingJobStatus": status,
        "TunedHyperParameters": {"lr": f"0.{number}"},
        **({"FinalHyperParameterTuningJobObjectiveMetric": objective} if value else {}),
        **more,
    }


# Each kind of job


def test_a_training_job_ends_with_its_model_and_the_way_to_fetch_it(stub, follows):
    for status in ("InProgress", "InProgress", "Completed"):
        stub.add_response("describe_training_job", training(status), {"TrainingJobName": NAME})
    ended = follows(NAME)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"training job: {NAME}",
        "model: s3://b/night-run/output/model.tar.gz",
        f"fetch it: python launch/artifacts.py {NAME} --to DIR",
    ]


def test_a_processing_job_is_found_by_its_name_and_ends_with_its_outputs(stub, follows):
    output = {
        "OutputName": "prepared",
        "S3Output": {"S3Uri": "s3://b/set", "LocalPath": "/x", "S3UploadMode": "EndOfJob"},
    }
    absent(stub, "training")
    for _ in range(2):
        described = processing("Completed", ProcessingOutputConfig={"Outputs": [output]})
        stub.add_response("describe_processing_job", described, {"ProcessingJobName": NAME})
    ended = follows(NAME)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [f"processing job: {NAME}", "prepared: s3://b/set"]


def test_a_transform_job_is_found_by_its_name(stub, follows):
    absent(stub, "training", "processing")
    for status in ("InProgress", "Completed"):
        stub.add_response("describe_transform_job", transform(status), {"TransformJobName": NAME})
    ended = follows(NAME)
    assert ended.code == 0
    assert ended.out.splitlines() == [f"transform job: {NAME}", "output: s3://b/out"]


def test_a_search_shows_what_becomes_of_each_job_and_the_best(stub, follows):
    absent(stub, "training", "processing", "transform")
    first, best = child(1, "Completed", 0.75), child(2, "Completed", 0.5)
    failed = child(3, "Failed", FailureReason="AlgorithmError:\n out of memory")
    seen = [
        (search("InProgress", 0, 2), [child(1, "InProgress"), child(2, "InProgress")]),
        (search("InProgress", 1, 1, first), [first, child(2, "InProgress")]),
        (search("Completed", 2, 0, best), [first, best, failed]),
    ]
    stub.add_response("describe_hyper_parameter_tuning_job", seen[0][0])
    for described, children in seen:
        stub.add_response("describe_hyper_parameter_tuning_job", described)
        stub.add_response(
            "list_training_jobs_for_hyper_parameter_tuning_job", {"TrainingJobSummaries": children}
        )
    ended = follows(SEARCH)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"tuning job: {SEARCH}",
        f"== {SEARCH}-1 InProgress (lr 0.1)",
        f"== {SEARCH}-2 InProgress (lr 0.2)",
        "progress: 0 of 3 jobs ended, 2 running",
        f"== {SEARCH}-1 Completed (lr 0.1): val_loss 0.75",
        f"progress: 1 of 3 jobs ended, 1 running, best val_loss 0.75 ({SEARCH}-1)",
        f"== {SEARCH}-2 Completed (lr 0.2): val_loss 0.5",
        f"== {SEARCH}-3 Failed (lr 0.3): AlgorithmError: out of memory",
        f"progress: 2 of 3 jobs ended, 0 running, best val_loss 0.5 ({SEARCH}-2)",
        f"best: {SEARCH}-2 Completed (lr 0.2): val_loss 0.5",
        f"fetch the best model: python launch/artifacts.py {SEARCH}-2 --to DIR",
    ]


@pytest.mark.parametrize(("status", "code"), [("Succeeded", 0), ("Failed", 1), ("Stopped", 1)])
def test_an_execution_of_a_pipeline_is_followed_by_its_arn(stub, follows, status, code):
    ends = {"StartTime": START, "EndTime": START + datetime.timedelta(seconds=90)}
    steps = [{"StepName": "Prepare", "StepStatus": "Succeeded", **ends}]
    for state in ("Executing", status):
        stub.add_response("describe_pipeline_execution", {"PipelineExecutionStatus": state})
        stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": steps})
    ended = follows(EXECUTION)
    assert ended.code == code
    assert ended.out == "== Prepare Succeeded 1:30\n"
    assert ended.err.startswith(f"error: execution {EXECUTION}: {status} (" if code else "")


def test_the_logs_of_the_steps_jobs_are_shown_with_the_steps_names(stub, follows, monkeypatch):
    cloud = Cloud()
    cloud.write("hello", metric_line(1), at=5)
    monkeypatch.setattr(aws_waiting, "make_display", with_logs(cloud))
    trains = {"StepName": "Train", "Metadata": {"TrainingJob": {"Arn": f"{ARN}:training-job/{NAME}"}}}
    cached = {
        "StepName": "Prepare",
        "StepStatus": "Succeeded",
        "CacheHitResult": {"SourcePipelineExecutionArn": ARN},
    }
    cached["Metadata"] = {"ProcessingJob": {"Arn": f"{ARN}:processing-job/x"}}
    gate = {"StepName": "Gate", "StepStatus": "Succeeded", "Metadata": {"Condition": {"Outcome": "True"}}}
    for state, status in [("Executing", "InProgress"), ("Succeeded", "Completed")]:
        steps = [cached, gate, {**trains, "StepStatus": state}]
        stub.add_response("describe_pipeline_execution", {"PipelineExecutionStatus": state})
        stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": steps})
        described = training(status, HyperParameters={"epochs": "3"})
        stub.add_response("describe_training_job", described, {"TrainingJobName": NAME})
    ended = follows(EXECUTION)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "== Prepare Succeeded",
        "== Gate Succeeded",
        f"Train | == training job {NAME}",
        "Train | hello",
        f"Train | {metric_line(1)}",
        "Train | progress: epoch 1 of 3, log loss 1.500, accuracy 0.250, at most 1:00 left",
        "== Train Succeeded",
    ]


def test_a_step_that_is_tried_again_shows_the_log_of_its_new_job(stub, follows, monkeypatch):
    cloud, jobs = Cloud(), [NAME, f"{NAME}-again"]
    for number, name in enumerate(jobs):
        cloud.write(f"log of {name}", stream=f"{name}/algo-1-1767225600")
        made = {"TrainingJob": {"Arn": f"{ARN}:training-job/{name}"}}
        state = "Succeeded" if number else "Executing"
        steps = [{"StepName": "Train", "StepStatus": state, "Metadata": made}]
        stub.add_response("describe_pipeline_execution", {"PipelineExecutionStatus": state})
        stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": steps})
        stub.add_response("describe_training_job", training("Completed"), {"TrainingJobName": name})
    monkeypatch.setattr(aws_waiting, "make_display", with_logs(cloud))
    shown = follows(EXECUTION).out.splitlines()
    assert [line for line in shown if "log of" in line] == [f"Train | log of {name}" for name in jobs]


def test_an_execution_whose_jobs_may_not_be_looked_at_is_followed_all_the_same(stub, follows):
    job = {"TrainingJob": {"Arn": f"{ARN}:training-job/{NAME}"}}
    for number, state in enumerate(["Executing", "Executing", "Succeeded"]):
        steps = [{"StepName": "Train", "StepStatus": state, "Metadata": job}]
        stub.add_response("describe_pipeline_execution", {"PipelineExecutionStatus": state})
        stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": steps})
        if number == 0:
            stub.add_client_error("describe_training_job", "AccessDeniedException", "not authorized")
    ended = follows(EXECUTION)
    assert ended.code == 0
    assert ended.out.count("access denied") == 1
    assert ended.out.endswith("; waiting without its log\n== Train Succeeded\n")


def with_logs(cloud):
    """A display of a job whose log is `cloud`'s."""
    return lambda clients, *rest: make_display(Clients(clients.sagemaker, cloud.clients.logs), *rest)


def test_a_hiccup_does_not_end_following_an_execution(stub, follows):
    stub.add_client_error("describe_pipeline_execution", "ThrottlingException", "Rate exceeded")
    stub.add_response("describe_pipeline_execution", {"PipelineExecutionStatus": "Succeeded"})
    stub.add_client_error("list_pipeline_execution_steps", "InternalFailure", "", 500)
    stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": []})
    ended = follows(EXECUTION)
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 4


def test_credentials_that_expire_say_how_to_take_up_an_execution(stub, follows):
    stub.add_client_error("describe_pipeline_execution", "ExpiredTokenException", "expired")
    ended = follows(EXECUTION)
    refused(ended, f"the execution goes on; take it up again with: python launch/follow.py {EXECUTION}\n")


def test_ctrl_c_leaves_the_execution_running(stub, follows, clock):
    stub.add_response("describe_pipeline_execution", {"PipelineExecutionStatus": "Executing"})
    stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": []})
    clock.then = control_c
    ended = follows(EXECUTION)
    refused(
        ended, f"the execution goes on; take it up again with: python launch/follow.py {EXECUTION}; ", 130
    )
    assert ended.err.endswith(f"stop-pipeline-execution --pipeline-execution-arn {EXECUTION}\n")


def control_c():
    raise KeyboardInterrupt


# Names and ARNs


@pytest.mark.parametrize(
    ("arn", "operation", "described"),
    [
        (f"{ARN}:training-job/{NAME}", "describe_training_job", training("Completed")),
        (f"{ARN}:processing-job/{NAME}", "describe_processing_job", processing("Completed")),
        (f"{ARN}:transform-job/{NAME}", "describe_transform_job", transform("Completed")),
    ],
)
def test_an_arn_asks_for_its_own_kind_alone(stub, follows, arn, operation, described):
    for _ in range(2):
        stub.add_response(operation, described)
    assert follows(arn).code == 0


def test_an_arn_says_the_region(monkeypatch, follows):
    asked = []
    monkeypatch.setattr(follow, "make_clients", lambda session, region: asked.append(region))
    follows(f"{ARN.replace('eu-west-1', 'eu-north-1')}:training-job/{NAME}")
    assert asked == ["eu-north-1"]


def test_an_unknown_name_says_what_it_may_be_and_lists_names_like_it(stub, follows):
    absent(stub, "training", "processing", "transform", "hyper_parameter_tuning")
    summary = {"TrainingJobArn": ARN, "CreationTime": START, "TrainingJobStatus": "Completed"}
    names = [{"TrainingJobName": name, **summary} for name in (NAME, "other")]
    stub.add_response("list_training_jobs", {"TrainingJobSummaries": names})
    stub.add_client_error("list_processing_jobs", "AccessDeniedException", "not authorized")
    ended = follows("night-rum")
    refused(
        ended,
        "night-rum: there is no training, processing, transform, tuning job of that name in eu-west-1; "
        "names like it: night-run; ",
    )
    assert "an execution of a pipeline is named by its ARN" in ended.err


def test_a_refusal_on_the_way_to_the_job_is_the_refusal(stub, follows):
    stub.add_client_error("describe_training_job", "AccessDeniedException", "not authorized")
    refused(follows(NAME), f"{NAME}: access denied; the role or user needs the permission")


@pytest.mark.parametrize(
    "word", ["runs/night-run", f"{ARN}:endpoint/x", f"{ARN}:pipeline/trapline", "-x-", "a b"]
)
def test_what_can_be_no_job_is_wrong_usage(follows, word):
    ended = follows("--tail", "3", "--", word)
    assert ended.code == 2
    assert "neither the name of a job nor an ARN" in ended.err


@pytest.mark.parametrize("number", ["-1", "many", ""])
def test_a_tail_is_a_number_of_lines(follows, number):
    assert "is not a number of lines" in follows(NAME, f"--tail={number}").err


def test_without_credentials_there_is_one_message(follows, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    refused(follows(NAME), "no AWS credentials: set AWS_PROFILE", code=2)


# Ends


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (training("Failed", FailureReason="AlgorithmError: x"), "Failed (AlgorithmError: x)"),
        (training("Stopped"), "Stopped (on request, before its end)"),
        (
            {**training("Stopped"), "SecondaryStatus": "MaxRuntimeExceeded"},
            "Stopped (the longest run is over, 1:00:00",
        ),
    ],
)
def test_a_job_that_did_not_complete_is_exit_code_1_with_its_reason(stub, follows, described, message):
    for _ in range(2):
        stub.add_response("describe_training_job", described)
    ended = follows(NAME)
    refused(ended, f"error: training job {NAME}: {message}")
    assert "model:" not in ended.out


def test_ctrl_c_leaves_the_job_running(stub, follows, clock):
    for _ in range(2):
        stub.add_response("describe_training_job", training("InProgress"))
    clock.then = control_c
    refused(follows(NAME), f"the training job {NAME} goes on; take it up again with: python", code=130)


SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYzzzzzzzzzzzz"
TOKEN = "IQoJb3JpZ2luX2VjEJr" + "x9" * 60
PLANTED = [
    f"AWS4-HMAC-SHA256 Credential=... x-amz-security-token:{TOKEN}",
    f"Could not connect to https://api/?X-Amz-Signature={SECRET}&X-Amz-Security-Token={TOKEN}",
    f"the secret {SECRET} of AKIA2AAAABBBBCCCCDDD",
    f"proxy http://user:{SECRET}@proxy:3128",
    f"aws_secret_access_key = {SECRET}",
]


@pytest.mark.parametrize("text", PLANTED)
@pytest.mark.parametrize("where", ["refusal", "trouble", "reason"])
def test_credentials_in_a_text_of_awss_are_not_shown(stub, follows, monkeypatch, text, where):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    if where == "refusal":
        stub.add_client_error("describe_training_job", "SignatureDoesNotMatch", text)
    else:
        stub.add_response("describe_training_job", training("Failed"))
    if where == "trouble":
        stub.add_client_error("describe_training_job", "ThrottlingException", text)
    stub.add_response("describe_training_job", training("Failed", FailureReason=text))
    ended = follows(NAME)
    assert ended.code == 1
    for secret in (SECRET, TOKEN, "AKIA2AAAABBBBCCCCDDD"):
        assert secret not in ended.out + ended.err


# The whole road, with moto's answers


JOB = {
    "TrainingJobName": NAME,
    "AlgorithmSpecification": {"TrainingImage": "own:1", "TrainingInputMode": "File"},
    "RoleArn": ROLE,
    "OutputDataConfig": {"S3OutputPath": "s3://b"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    "HyperParameters": {"epochs": "2"},
}


@pytest.fixture
def account():
    """An account with a training job that has ended, and its log in two streams."""
    with mock_aws():
        boto3.client("sagemaker").create_training_job(**JOB)
        logs, group = boto3.client("logs"), "/aws/sagemaker/TrainingJobs"
        logs.create_log_group(logGroupName=group)
        now = int(datetime.datetime.now().timestamp() * 1000)
        for machine, texts in {"algo-1": ["hello", metric_line(1)], "algo-2": ["world"]}.items():
            stream = f"{NAME}/{machine}-1767225600"
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
            events = [{"timestamp": now + number, "message": text} for number, text in enumerate(texts)]
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
        yield


def test_the_whole_log_of_a_job_that_has_ended_is_shown(account, follows):
    ended = follows(NAME)
    assert (ended.code, ended.err) == (0, "")
    said = [line for line in ended.out.splitlines() if not line.startswith("== ")]
    assert said[:5] == [
        f"training job: {NAME}",
        "algo-1 | hello",
        "algo-2 | world",
        f"algo-1 | {metric_line(1)}",
        "progress: epoch 1 of 2, log loss 1.500, accuracy 0.250, at most 0:30 left",
    ]
    assert said[-1] == f"fetch it: python launch/artifacts.py {NAME} --to DIR"


def test_a_tail_shows_the_last_lines_of_each_machine(account, follows):
    ended = follows(NAME, "--tail", "1")
    assert "hello" not in ended.out
    assert "algo-2 | world" in ended.out
    assert metric_line(1) in ended.out


# A process of its own


@pytest.fixture
def endpoint(monkeypatch):
    with serve(monkeypatch) as address:
        yield address


@pytest.mark.slow  # a server, and a process that loads the AWS library
def test_the_script_follows_a_running_job_until_ctrl_c(endpoint, monkeypatch):
    original = FakeTrainingJob.response_object.fget
    running = {"TrainingJobStatus": "InProgress", "SecondaryStatus": "Training"}
    described = property(lambda job: {**original(job), **running})
    monkeypatch.setattr(FakeTrainingJob, "response_object", described)
    boto3.client("sagemaker", endpoint_url=endpoint).create_training_job(**JOB)
    script = start(endpoint, "follow", NAME)
    assert script.stdout.readline() == f"training job: {NAME}\n"
    script.send_signal(signal.SIGINT)
    _, err = script.communicate(timeout=60)
    assert script.returncode == 130
    assert err.startswith(f"error: interrupted; the training job {NAME} goes on; take it up again with: ")
