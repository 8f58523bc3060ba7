"""The aws backend: a plan as SageMaker's jobs in an account, recorded as requests, or sent and waited for."""

import contextlib
import dataclasses
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.account import Account, check_sources, make_session, open_account, signed_in
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained
from trapline.launching.aws.jobs import JOB_KINDS, make_clients, require_completed
from trapline.launching.aws.options import role_of_environment
from trapline.launching.aws.waiting import Interrupted, follow_command, follow_job, interruptible
from trapline.launching.checking.soundness import require_sound
from trapline.launching.checkout import missing_from_aws_image, stage_code
from trapline.launching.given_options import FILE_OPTIONS
from trapline.launching.plan import (
    PHASE1,
    PREPARED,
    InputFile,
    Job,
    Machines,
    Plan,
    PrepareJob,
    TrainingJob,
    TuningJob,
    prepare_job_name,
)
from trapline.launching.pricing.cost import estimate, print_requests
from trapline.launching.pricing.prices import REGION
from trapline.preparation.archives import raw_place
from trapline.s3 import as_folder, is_s3, place_of
from trapline.storage import json_digest, source_files
from trapline.trusted_code import digest_of

if TYPE_CHECKING:
    import boto3

MODEL = "model.tar.gz"  # what a training job leaves, and Phase 2 looks for in its channel
# What is sent in the place of a plan's one training job.
Variation = Callable[[Plan, Account, TrainingJob], Sequence[Job]]
Send = Callable[[Plan, Account, Sequence[Job]], None]


def check_plan(plan: Plan) -> None:
    """Raise UsageError for what jobs on AWS cannot read, without asking AWS."""
    phase1 = plan.channels.get(PHASE1)
    if phase1 and place_of(phase1).kind == "object" and place_of(phase1).name != MODEL:
        raise UsageError(f"--{PHASE1} {phase1}: jobs look for {MODEL}; give one, or the folder that holds it")


@contextlib.contextmanager
def planned_jobs(plan: Plan, account: Account, vary: Variation | None = None) -> Iterator[list[Job]]:
    """The jobs of a plan in their order; their code lies in a temporary folder while the block runs."""
    requirements = missing_from_aws_image() if account.image.of_aws else None
    with tempfile.TemporaryDirectory(prefix="trapline-code-") as folder:
        code = stage_code(Path(folder) / "code", requirements)
        training = training_job(plan, account, code)
        first = [] if plan.prepared else [_prepare_job(plan, account, code, installs=bool(requirements))]
        yield [*first, *(vary(plan, account, training) if vary else [training])]


def _prepare_job(plan: Plan, account: Account, code: Path, *, installs: bool) -> PrepareJob:
    name = prepare_job_name(plan.job_name)
    return PrepareJob(
        name=name,
        code=f"{plan.aws.code_output or account.output}/{name}/input/code",
        staged=code,
        installs=installs,
        arguments=plan.prepare_arguments(),
        source_name=plan.data or "",
        input=None if plan.data == "demo" else raw_place(plan.data or "", "--data").uri,
        files=tuple(
            InputFile(name, uri, FILE_OPTIONS[name].file_name(uri)) for name, uri in plan.files.items()
        ),
        output=_output_of_prepare(plan, account),
        machines=Machines(plan.prepare_instance_type, volume_gb=plan.aws.volume_gb),
        image=account.image,
        role=account.role,
        options=plan.aws,
    )


def _output_of_prepare(plan: Plan, account: Account) -> str:
    return f"{account.output}/{prepare_job_name(plan.job_name)}/{PREPARED}"


def training_job(plan: Plan, account: Account, code: Path) -> TrainingJob:
    """The training job of a plan, with the staged `code`.

    It keeps checkpoints, spot or not: a job that failed or ran out of time goes on where it was. train.py
    itself looks for the key of its code, data and configuration below their place, so that other images that
    came to lie under the same URI are never mixed with the old checkpoint.
    """
    return TrainingJob(
        name=plan.job_name,
        code=code,
        hyperparameters=plan.config.record(),
        prepared=as_folder(plan.prepared or _output_of_prepare(plan, account)),
        output=account.output,
        machines=Machines(plan.instance_type, plan.instance_count, plan.aws.volume_gb),
        image=account.image,
        role=account.role,
        options=plan.aws,
        checkpoints=plan.checkpoints or f"{account.output}/checkpoints/{_checkpoint_key(plan, code)}",
        channels={
            name: place_of(uri).uri if name == PHASE1 else as_folder(uri)
            for name, uri in plan.channels.items()
        },
    )


def _checkpoint_key(plan: Plan, code: Path) -> str:
    """A hash of what decides the weights that a job ends with: the same command finds its checkpoint.

    A prepare job's output has a name of each launch; it is where the data come from that counts.
    """
    return json_digest(
        {
            "code": digest_of((path.relative_to(code).as_posix(), path) for path in source_files(code)),
            "config": plan.config.digest(),
            "data": {
                "prepared": _plain(plan.prepared),
                "data": _plain(plan.data),
                **{name: _plain(value) for name, value in plan.prepare_options.items()},
            },
            "channels": {name: _plain(uri) for name, uri in plan.channels.items()},
            "only_for": plan.job_name if plan.fresh else None,
        }
    )[:16]


def _plain(value: str | None) -> str | None:
    """A value as it counts: of a URI what it names, however many slashes it ends with."""
    return place_of(value).uri if value and is_s3(value) else value


# --- the requests of jobs, recorded before they would leave this machine ------------------------------------


class AwsRecorder:
    """Answers what a boto session would change in SageMaker and S3 itself; questions do reach AWS."""

    def __init__(self, session: "boto3.Session") -> None:
        self.requests: list[dict[str, Any]] = []
        self.uploads: Counter[str] = Counter()  # by the folder of each copied file
        for event, handler in (
            ("provide-client-params.sagemaker.*", self._record),
            ("provide-client-params.s3.CreateBucket", self._record),
            ("provide-client-params.s3.*", self._record_upload),
            ("before-call.sagemaker.*", self._answer),
            ("before-call.s3.*", self._answer),
        ):
            session.events.register(event, handler)

    def _record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.requests.append({model.name: params})

    def _record_upload(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name in ("PutObject", "CreateMultipartUpload"):
            self.uploads[f"s3://{params['Bucket']}/{params['Key'].rpartition('/')[0]}/"] += 1

    def _answer(self, model: Any, **_: Any) -> Any:
        """Answered here, after botocore's checks and before signing, a request does not leave the machine."""
        from botocore.awsrequest import AWSResponse

        if model.name.startswith(("Get", "Head", "List")):  # whether the SDK's default bucket is there
            return None
        return AWSResponse("", 200, {}, None), dict.fromkeys(
            ("TrainingJobArn", "ProcessingJobArn", "HyperParameterTuningJobArn", "ETag", "UploadId"),
            "dry-run",
        )


def requests_of(jobs: Sequence[Job], account: Account) -> list[dict[str, Any]]:
    """The requests that the jobs would be; nothing is sent, and no code copied."""
    import boto3
    import botocore.session

    from trapline.launching.sdk.objects import open_session

    core, own = botocore.session.get_session(), account.session.boto_session._session
    # The long descriptions of the services are read once for both sessions.
    core.register_component("data_loader", own.get_component("data_loader"))
    core._credentials = own.get_credentials()
    silent = boto3.Session(botocore_session=core, region_name=account.session.boto_session.region_name)
    recorder, session = AwsRecorder(silent), open_session(silent)
    session.upload_data = lambda *_, **__: None  # a hundred files would be read and hashed to no end
    _record_jobs(jobs, dataclasses.replace(account, session=session))
    return recorder.requests


def _record_jobs(jobs: Sequence[Job], account: Account) -> None:
    with contextlib.redirect_stdout(sys.stderr):  # the SDK talks, and standard output is for the JSON
        for job in jobs:
            account.start(job)


def show_requests(plan: Plan, vary: Variation | None = None) -> None:
    """The dry run; without an account: given a region, --output, and --role as ARN.

    `vary`: as of `trapline.launching.aws.backend.planned_jobs`.
    """
    with explained(f"launching {plan.job_name}", WITHOUT_ACCOUNT):
        check_plan(plan)
        session = make_session(REGION)
        role = plan.role or role_of_environment() or ""
        if session.get_credentials() is None and (plan.output is None or not role.startswith("arn:")):
            raise UsageError(
                "--dry-run without AWS credentials: give --output s3://BUCKET/PREFIX and --role as an ARN, "
                "which would be looked up in the account"
            )
        recorder = AwsRecorder(session)
        with contextlib.redirect_stdout(sys.stderr):
            account = open_account(session, plan)
        with planned_jobs(plan, account, vary) as jobs:
            _record_jobs(jobs, account)
        print_requests(recorder.requests, recorder.uploads, estimate(recorder.requests))


# --- jobs sent, one after the other, each waited for --------------------------------------------------------


def launch(plan: Plan, vary: Variation | None = None, send: Send | None = None) -> None:
    """Check the plan's jobs as AWS would, then send them and wait. Raises TraplineError where one fails.

    `send`: what sends them, where that is not one after the other.
    """
    with explained(f"launching {plan.job_name}", WITHOUT_ACCOUNT):
        check_plan(plan)
        session = signed_in()
        check_sources(session, plan)
        account = open_account(session, plan, by_digest=True)
        with planned_jobs(plan, account, vary) as jobs:
            require_sound(requests_of(jobs, account), str(session.region_name), of_aws=account.image.of_aws)
            (send or _one_after_another)(plan, account, jobs)


def _one_after_another(plan: Plan, account: Account, jobs: Sequence[Job]) -> None:
    *first, last = jobs
    for job in first:
        run_job(job, account)
    with _keeping(plan, last) if first else contextlib.nullcontext():
        run_job(last, account, wait=plan.wait)


@contextlib.contextmanager
def _keeping(plan: Plan, job: Job) -> Iterator[None]:
    """Say in every error of the block that the data set is there: nothing need be paid twice."""
    training = job.training if isinstance(job, TuningJob) else job
    assert isinstance(training, TrainingJob)
    further = f" --checkpoints {training.checkpoints}" if training.checkpoints else ""
    hint = (
        f"the prepared set is kept: give --prepared {training.prepared}{further} in place of "
        f"--data {plan.data}"
    )
    try:
        yield
    except TraplineError as error:
        raise type(error)(f"{error}\n{hint}") from error
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted\n{hint}") from None


def run_job(job: Job, account: Account, *, wait: bool = True) -> None:
    """Send a job, wait for its end, and say what it leaves. Raises TraplineError unless it has completed."""
    search = job.search if isinstance(job, TuningJob) else None
    size = f" ({search.max_jobs} jobs, {search.parallel} at a time)" if search else ""
    with interruptible(job.kind, job.name) as sent:
        account.start(job)
        sent.set()
        print(f"{job.kind} job: {job.name}{size}", flush=True)
        if wait:
            ended = follow_job(make_clients(account.session.boto_session), job.kind, job.name)
            require_completed(JOB_KINDS[job.kind], job.name, ended)
        else:
            print(f"follow it: {follow_command(job.name)}", flush=True)
    if isinstance(job, PrepareJob):
        print(f"prepared data: {job.output} (--prepared takes it)", flush=True)
    elif isinstance(job, TrainingJob):
        print(f"model: {account.output}/{job.name}/output/{MODEL}")
        print(f"fetch it: python launch/artifacts.py {job.name} --to DIR", flush=True)
    elif wait:
        _say_best(job, account)


def _say_best(job: TuningJob, account: Account) -> None:
    with explained(f"tuning job {job.name}", WITHOUT_ACCOUNT):
        client: Any = account.session.boto_session.client("sagemaker")
        answer = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=job.name)
    best = answer.get("BestTrainingJob", {}).get("TrainingJobName")
    if not best:
        raise TraplineError(
            f"tuning job {job.name}: no job has reported {job.search.objective}; look at their logs"
        )
    print(f"best job: {best}\nfetch it: python launch/artifacts.py {best} --to DIR", flush=True)
