"""An AWS account for launches in this process: moto's, with a bucket and a role, that can also refuse.

Refusals are put where AWS would answer, below botocore's own checks and retries.
"""

import contextlib
import functools
import importlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import boto3
import botocore.handlers
import botocore.loaders
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws
from moto.sagemaker.models import FakeProcessingJob
from moto.server import ThreadedMotoServer

from tests.conftest import ROOT
from tests.support.golden import Golden
from trapline import job_contract
from trapline.config import TrainingConfig
from trapline.console import run
from trapline.launching import checkout
from trapline.launching.checkout import experiment_names
from trapline.launching.dispatch import run_plan
from trapline.launching.flags import read_plan
from trapline.metrics import definitions

REGION = "eu-west-1"
BUCKET = "traps"
ROLE = "arn:aws:iam::123456789012:role/service-role/Trapline"
JOB_ROLE = f"{ROLE}Jobs"
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
OUTPUT = ["--output", f"s3://{BUCKET}/out"]
COMMON_FLAGS = [*OUTPUT, "--role", ROLE, "--job-name", "night-run"]
RAW = ["resnet18_baseline", "--data", f"s3://{BUCKET}/raw", *COMMON_FLAGS]
PREPARED = ["resnet18_baseline", "--prepared", f"s3://{BUCKET}/sets/v1", *COMMON_FLAGS]
KEPT = (
    f"  the prepared set is kept: give --prepared s3://{BUCKET}/out/night-run-prepare/prepared/ "
    f"--checkpoints s3://{BUCKET}/out/checkpoints/KEY in place of --data s3://{BUCKET}/raw\n"
)
CHECKPOINT_KEY = re.compile("/checkpoints/[0-9a-f]{16}\\b")  # other with each change of the code
FOLDER = ROOT / "tests" / "launching" / "golden"
GOLDEN = Golden(FOLDER, "resnet18_baseline")
TUNING_GOLDEN = Golden(FOLDER / "tuning", "bayesian")
DEFAULTS = FOLDER / "defaults.json"
WAYS = sorted({*GOLDEN.cases} - {*experiment_names()})
CASES = [*experiment_names(), *WAYS]  # an experiment without a file fails
MACHINES = {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.2xlarge", "VolumeSizeInGB": 100}}

# Every launch has a session of its own, and each would read the services' long models again.
SERVICE_MODELS = functools.cache(botocore.loaders.create_loader)


@functools.cache
def _client(service, **where):
    """A client of the tests' own, which are signed in alike each time: it takes long to make."""
    return boto3.Session(
        SETTINGS["AWS_ACCESS_KEY_ID"], SETTINGS["AWS_SECRET_ACCESS_KEY"], None, REGION
    ).client(service, **where)


class Ended(NamedTuple):
    """What a script's process would have left: its exit code and its output."""

    code: int
    out: str
    err: str


def call_here(monkeypatch, capsys, script, *words):
    """Run a script, a module of launch/, in this process as its command line would."""
    name = script.__name__.rpartition(".")[2]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(script.main)
    return Ended(ended.value.code, *capsys.readouterr())


@dataclass
class Account:
    """What was asked of AWS, and what it shall answer in place of moto."""

    capture: pytest.CaptureFixture[str]
    asked: list[tuple[str, dict]] = field(default_factory=list)  # operation and JSON body, as they left
    refusals: dict[str, list] = field(default_factory=lambda: defaultdict(list))
    answers: dict[str, dict] = field(default_factory=dict)  # operation -> fields of its answer
    consequences: dict[str, Callable[[], object]] = field(default_factory=dict)

    def refuse(self, operation, code, message="as AWS words it", status=400, times=100):
        """Answer the operation with an error; each try counts."""
        self.refusals[operation] += [lambda url: _error(url, status, code, message)] * times

    def interrupt(self, operation):
        """Let Ctrl-C come while the operation is asked."""
        self.refusals[operation].append(_control_c)

    def after(self, operation, happens):
        """Call `happens` each time when the operation has been answered."""
        self.consequences[operation] = happens

    def operations(self):
        """The names of what was asked, in order."""
        return [operation for operation, _ in self.asked]

    def jobs(self):
        """The requests that start jobs, as AWS gets them."""
        return [{name: body} for name, body in self.asked if name in STARTING]

    def answer(self, request, event_name, **_):
        """AWS's answer where it is not moto's to give: a handler of botocore's event before-send."""
        operation = event_name.split(".")[2]
        body = request.body.decode() if operation in STARTING else "{}"
        self.asked.append((operation, json.loads(body)))
        waiting = self.refusals[operation]
        return waiting.pop()(request.url) if waiting else None

    def change(self, parsed, model, **_):
        """Change what moto answered: a handler of botocore's event after-call."""
        parsed.update(self.answers.get(model.name, {}))
        self.consequences.get(model.name, bool)()

    def launch(self, launcher, *arguments):
        """Run a launcher's command line in this process."""
        experiment = importlib.import_module(f"launch.{launcher}").EXPERIMENT
        self.capture.readouterr()

        def main():
            run_plan(read_plan(experiment, [str(word) for word in arguments]))

        with pytest.raises(SystemExit) as ended:
            run(main)
        said = self.capture.readouterr()
        return Ended(ended.value.code, said.out, CHECKPOINT_KEY.sub("/checkpoints/KEY", said.err))


OBJECTS = (
    "raw/a.jpg", "raw-old/b.jpg", "sites.csv", "sets/v1/dataset.json", "sets/v10/dataset.json",
    "pseudo/v1/pseudo_labels.csv", "earlier/model.tar.gz", "weights/weights.json",
)  # fmt: skip
STARTING = ("CreateProcessingJob", "CreateTrainingJob", "CreateHyperParameterTuningJob")


class _Body:
    def __init__(self, content):
        self.content = content

    def stream(self, *_, **__):
        yield self.content


def _control_c(url):
    raise KeyboardInterrupt


def _error(url, status, code, message):
    service = url.split("/")[2].split(".")
    content = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if {"sagemaker", "logs", "ecr"} & set(service):
        content = json.dumps({"__type": code, "message": message})
    elif "s3" not in service:
        content = f"<ErrorResponse>{content}</ErrorResponse>"
    return AWSResponse(url, status, {}, _Body(content.encode()))


def name_no_account(monkeypatch):
    """Nothing in the environment says whose account, or which region, is meant."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "SAGEMAKER_ROLE", "SAGEMAKER_JOB_ROLE"):
        monkeypatch.delenv(name, raising=False)


def sign_in(monkeypatch):
    """Settings of a signed-in user, without the machine's own."""
    for name in (
        "AWS_REGION",
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
        "SAGEMAKER_ROLE",
        "SAGEMAKER_JOB_ROLE",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


def describe_machines(monkeypatch):
    """Put into moto's description of a processing job what AWS's has."""
    original: Callable = FakeProcessingJob.response_object.fget
    described = property(lambda job: {**original(job), "ProcessingResources": MACHINES})
    monkeypatch.setattr(FakeProcessingJob, "response_object", described)


@contextlib.contextmanager
def open_account(monkeypatch, capture, folder):
    """An account with a bucket and a role; the code that is shipped is little."""
    sign_in(monkeypatch)
    describe_machines(monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the SDK's, between looks at a job
    monkeypatch.setattr(botocore.session, "create_loader", SERVICE_MODELS)
    ship_little(monkeypatch, folder)
    account = Account(capture)
    with mock_aws():
        furnish()
        handlers = [("before-send", account.answer), ("after-call", account.change)]
        monkeypatch.setattr(
            botocore.handlers, "BUILTIN_HANDLERS", [*handlers, *botocore.handlers.BUILTIN_HANDLERS]
        )
        yield account


def ship_little(monkeypatch, folder):
    """Let the code that is shipped be as many scripts as there are, all of them empty."""
    scripts = [path.name for path in checkout.entry_points().glob("*.py")]
    for name, files in {"trapline": ["__init__.py"], "entry_points": scripts}.items():
        (folder / name).mkdir()
        for file in files:
            (folder / name / file).touch()
    monkeypatch.setattr(job_contract, "LIBRARY", folder / "trapline")
    monkeypatch.setattr(checkout, "entry_points", lambda: folder / "entry_points")


@contextlib.contextmanager
def serve(monkeypatch):
    """The same account behind an endpoint, for launchers in processes of their own."""
    sign_in(monkeypatch)
    describe_machines(monkeypatch)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        reset = urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()  # moto keeps its state for the whole process
        furnish(endpoint_url=endpoint)
        yield endpoint
    finally:
        server.stop()


def start(endpoint, launcher, *arguments):
    """A launcher in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch" / f"{launcher}.py"), *arguments],
        env={**SETTINGS, "AWS_ENDPOINT_URL": endpoint, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def furnish(**where):
    """Make the bucket, some objects, the role and the image; `where` may name an endpoint."""
    region = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    s3 = _client("s3", **where)
    s3.create_bucket(Bucket=BUCKET, **region)
    for key in OBJECTS:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    _client("iam", **where).create_role(
        RoleName="Trapline", AssumeRolePolicyDocument="{}", Path="/service-role/"
    )
    push_images("trapline", ("latest", "1.0"), **where)


def push_images(repository, tags, **where):
    """Images in the account's registry."""
    _client("ecr", **where).create_repository(repositoryName=repository)
    for tag in tags:
        _push(repository, tag, tag, **where)


def push_again(tag, repository="trapline", content="another"):
    """Let a tag of the account's registry stand for another image than before."""
    _push(repository, tag, f"{tag}, {content}")


def _push(repository, tag, content, **where):
    manifest = json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json", "of": content})
    _client("ecr", **where).put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)


def digests(repository="trapline"):
    """The digest of each tag in the account's registry."""
    details = _client("ecr").describe_images(repositoryName=repository)["imageDetails"]
    return {tag: item["imageDigest"] for item in details for tag in item.get("imageTags", [])}


def by_digest(content):
    """JSON content in which the account's own images, which have tags, are named by their digests."""
    text = json.dumps(content)
    for tag, digest in digests().items():
        text = text.replace(f'/trapline:{tag}"', f'/trapline@{digest}"')
    return json.loads(text)


def keys(bucket=BUCKET, **where):
    """The keys of a bucket."""
    listed = _client("s3", **where).list_objects_v2(Bucket=bucket)
    return [item["Key"] for item in listed.get("Contents", [])]


def golden(case):
    """A golden case: the command line, and the requests that come of it."""
    if case not in GOLDEN.cases:
        GOLDEN.write(case, _first_command(case), [])
    return GOLDEN.read(case)


def _first_command(experiment):
    """A command line of an experiment, with what it needs beside data."""
    given = {"phase1": f"s3://{BUCKET}/earlier/model.tar.gz", "pseudo": f"s3://{BUCKET}/pseudo/v1"}
    needed = importlib.import_module(f"launch.{experiment}").EXPERIMENT.channels
    words = [word for name in needed for word in (f"--{name}", given[name])]
    return [experiment, *(PREPARED if needed else RAW)[1:], *words]


def essence(requests):
    """The requests without what one golden file or the metric registry says for all of them."""
    defaults = hyperparameters_by_default()
    for request in requests:
        training = request.get("CreateTrainingJob")
        if training:
            assert training["AlgorithmSpecification"].pop("MetricDefinitions") == definitions()
            place = training["CheckpointConfig"]
            place["S3Uri"] = CHECKPOINT_KEY.sub("/checkpoints/KEY", place["S3Uri"])
            given = training["HyperParameters"]
            assert given.keys() >= defaults.keys()
            training["HyperParameters"] = {
                name: value for name, value in given.items() if defaults.get(name) != value
            }
    return requests


def whole(requests):
    """The reverse of `essence`."""
    for request in requests:
        training = request.get("CreateTrainingJob")
        if training:
            training["AlgorithmSpecification"]["MetricDefinitions"] = definitions()
            training["HyperParameters"] = hyperparameters_by_default() | training["HyperParameters"]
    return requests


def hyperparameters_by_default():
    """The fields of TrainingConfig as SageMaker gets them."""
    return {name: json.dumps(value) for name, value in TrainingConfig().record().items()}


def without(command, flag):
    """The command line without a flag and its value."""
    place = command.index(flag)
    return command[:place] + command[place + 2 :]


def refused(ended, message, code=1):
    """Check that the launch failed with one message."""
    assert ended.code == code, ended
    assert ended.err.startswith("error: ")
    assert ended.err.count("error: ") == 1
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) <= 2
