"""`--backend aws`: the pipeline in an account: sent, started, watched, stopped."""

import gzip
import io
import json
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trapline.console import table
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.account import signed_in
from trapline.launching.aws.contact import NEW_FOR, ask_until_known, make_clients
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained
from trapline.launching.aws.executions import list_steps, outcome_of, step_row, wait_for_execution
from trapline.launching.aws.image import account_of, own_image
from trapline.launching.aws.registry import MODELS, describe, ensure_group, find_package, write_card
from trapline.launching.aws.waiting import follow_command
from trapline.launching.staging import stage_code
from trapline.pipeline import schedule
from trapline.pipeline.checking import require_sound_pipeline, require_sound_start
from trapline.pipeline.command_line import Command
from trapline.pipeline.data_version import with_version
from trapline.pipeline.definition import Design, make_pipeline, quiet_sdk
from trapline.pipeline.image import IMAGE, by_digest, description, with_image
from trapline.pipeline.parameters import (
    DATA_VERSION,
    NOTHING_NEW,
    OUTPUT_PREFIX,
    Parameter,
    Value,
    require_all,
    settled,
    with_default,
)
from trapline.pipeline.places import check_places, with_places
from trapline.pipeline.record import ensure_record
from trapline.s3 import split_uri

ENDED_EARLY = "nothing new: data, code, image and settings are those of the last completed execution"
HINT = f"{WITHOUT_ACCOUNT} (run --backend process)"


@dataclass(frozen=True)
class Client:
    """An account, and the SageMaker client of it."""

    session: Any
    sagemaker: Any


def act(command: Command) -> None:
    """Do what the command says. Raises TraplineError, one message, where AWS refuses."""
    with explained(f"{command.verb} {command.design.name}", HINT):
        session = signed_in()
        client = Client(session, session.client("sagemaker"))
        VERBS[command.verb](command, client)


def _run(command: Command, client: Client) -> None:
    _upsert(command, client)
    arn = _start(command, client)
    wait_for_execution(make_clients(client.session), arn)
    _write_card(client, arn)


def _write_card(client: Client, execution: str) -> None:
    """Give the model that an execution registered its model card."""
    try:
        described = describe(client.session, find_package(client.sagemaker, execution))
        write_card(client.session, described)
    except TraplineError as error:
        missing = f"only the model card is missing: python launch/model_card.py {execution}"
        raise TraplineError(f"{error}\nall else is done; {missing}") from error
    print(f"model: {described.arn}, with its card", flush=True)


def _upsert(command: Command, client: Client) -> None:
    """Put the code where the definition says it lies, then create or update the pipeline."""
    if not command.output or not command.role:
        raise UsageError(
            "upsert: give --output s3://BUCKET/PREFIX and --role, the pipeline's execution role (and "
            "--job-role, that of its jobs)"
        )
    from trapline.launching.sdk.pipeline_internals import DefinitionSession

    role = _role_arn(client, command.role)
    job_role = _role_arn(client, command.job_role, "--job-role") if command.job_role else role
    design, image = _settled(command, job_role, client.session)
    pipeline = make_pipeline(design, DefinitionSession(design.region, client.sagemaker))
    require_sound_pipeline(pipeline, design, role)
    ensure_group(client.sagemaker, MODELS, design.tags)
    given = design.options.code_output if design.options else None
    copied = upload_code(client, given or command.output, design.code)
    ensure_record(client.session.client("s3"), command.output, design.name)
    with quiet_sdk():
        answer = pipeline.upsert(role, description(image), design.tags)
    print(f"code: {copied}\npipeline: {answer['PipelineArn']}\n{_said_of_roles(role, job_role)}", flush=True)


def _said_of_roles(role: str, job_role: str) -> str:
    """What the choice of roles means for who decodes strangers' images."""
    if job_role != role:
        return f"roles: {role} of the pipeline, {job_role} of its jobs"
    return (
        f"role: {role} of the pipeline and of its jobs, which may thus start others; with --job-role they "
        "have one of their own (launch/policies.py prints what it needs)"
    )


def _settled(command: Command, job_role: str, session: Any) -> tuple[Design, str | None]:
    """The design with what the account decides, and its image as it was given.

    That is the ARN of the jobs' role, the region, and the image, the account's own unless another is given,
    by digest.
    """
    region = str(session.region_name)
    parameters = with_default(command.design.parameters, "RoleArn", job_role)
    account = account_of(job_role)
    if account and not command.image:
        parameters = with_default(parameters, IMAGE, own_image(account, region))
    image = settled(parameters, {}).get(IMAGE)
    if image is not None:
        parameters = with_default(parameters, IMAGE, by_digest(session, str(image), HINT))
    return replace(command.design, parameters=parameters, region=region), str(image) if image else None


def _role_arn(client: Client, role: str, flag: str = "--role") -> str:
    if role.startswith("arn:"):
        return role
    with explained(f"{flag} {role}", HINT):
        return str(client.session.client("iam").get_role(RoleName=role)["Role"]["Arn"])


def upload_code(client: Client, output: str, digest: str) -> str:
    """Copy the sources below `output`/code/`digest`, for processing and training. Returns the URI."""
    from trapline.pipeline.steps import ARCHIVE, SOURCE

    uri = f"{output}/code/{digest}"
    bucket, prefix = split_uri(uri)
    s3 = client.session.client("s3")
    with explained(f"copying the code to {uri}", HINT), tempfile.TemporaryDirectory() as folder:
        code = stage_code(Path(folder) / "code")
        for path in sorted(path for path in code.rglob("*") if path.is_file()):
            key = f"{prefix}/{SOURCE}/{path.relative_to(code).as_posix()}"
            s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        s3.put_object(Bucket=bucket, Key=f"{prefix}/{ARCHIVE}", Body=archive_of(code))
    return uri


def archive_of(folder: Path) -> bytes:
    """The folder's files as a tar.gz, the same bytes for the same files."""
    content = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=content, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, path.relative_to(folder).as_posix())
    return content.getvalue()


def _start(command: Command, client: Client) -> str:
    """Start an execution of the pipeline that is there. Returns its ARN."""
    _, values = _checked_start(command, client)
    answer = client.sagemaker.start_pipeline_execution(
        PipelineName=command.design.name,
        PipelineParameters=[{"Name": key, "Value": str(value)} for key, value in values.items()],
    )
    arn = str(answer["PipelineExecutionArn"])
    print(f"execution: {arn}\nlook at it: status --execution {arn}")
    print(f"follow it: {follow_command(arn)}", flush=True)
    return arn


def _checked_start(command: Command, client: Client) -> tuple[str, dict[str, Value]]:
    """The ARN of the pipeline that is there, and the values of a start, which lack nothing."""
    name, scheduled = command.design.name, command.verb == "schedule"
    with explained(f"pipeline {name}; upsert makes it", HINT):
        described = ask_until_known(
            lambda: client.sagemaker.describe_pipeline(PipelineName=name),
            f"pipeline {name}",
            patience=NEW_FOR if command.verb == "run" else 0.0,  # which has made it just now
        )
    values = _given(command)
    known = {**_defaults_of(described), **values}
    require_all(_of_the_pipeline(command, described), known)
    values = with_image(client.session, described, values, str(known[IMAGE]), HINT, scheduled=scheduled)
    values = with_places(values, known)
    known |= values
    text, region = described["PipelineDefinition"], str(client.session.region_name)
    require_sound_start(name, text, known, region)
    if not scheduled and DATA_VERSION not in values:  # with one, a start asks S3 nothing
        check_places(client.session, known)
    values = with_version(client.session, json.loads(text), values, known, scheduled=scheduled)
    if DATA_VERSION in values:
        ensure_record(client.session.client("s3"), str(known[OUTPUT_PREFIX]), name)
    return str(described["PipelineArn"]), values


def _of_the_pipeline(command: Command, described: dict[str, Any]) -> list[Parameter]:
    """The parameters that the pipeline in the account has; only its own defaults count for a start."""
    declared = {item["Name"] for item in json.loads(described["PipelineDefinition"])["Parameters"]}
    return [replace(item, default=None) for item in command.design.parameters if item.name in declared]


def _schedule(command: Command, client: Client) -> None:
    """Let the service start the pipeline again and again."""
    if not command.role or not command.when:
        raise UsageError("schedule: give --role, a role that the scheduler may take to start the pipeline")
    pipeline, values = _checked_start(command, client)
    role = _role_arn(client, command.role)
    scheduler = client.session.client("scheduler")
    arn = schedule.put_schedule(scheduler, command.design.name, command.when, pipeline, role, values)
    print(f"the role must allow {schedule.ACTION} on {pipeline}")
    print(f"schedule: {arn}\n{command.when} UTC; `unschedule` ends it", flush=True)


def _unschedule(command: Command, client: Client) -> None:
    name = command.design.name
    if not schedule.remove_schedule(client.session.client("scheduler"), name):
        raise TraplineError(f"pipeline {name}: has no schedule")
    print(f"schedule of {name}: removed", flush=True)


def _given(command: Command) -> dict[str, Value]:
    """The values that the command line names: of --param, and of flags that are defaults of parameters."""
    flags = {"InputData": command.data, "SiteCsv": command.sites, "OutputPrefix": command.output}
    flags |= {"ImageUri": command.image, "WeightsUri": command.weights}
    known = {parameter.name for parameter in command.design.parameters}
    named: dict[str, Value] = {key: value for key, value in flags.items() if value and key in known}
    return {**named, **command.values}


def _defaults_of(described: dict[str, Any]) -> dict[str, Value]:
    declared = json.loads(described["PipelineDefinition"])["Parameters"]
    return {item["Name"]: item["DefaultValue"] for item in declared if "DefaultValue" in item}


def _status(command: Command, client: Client) -> None:
    arn = _execution(command, client)
    described = client.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    steps = list_steps(client.sagemaker, arn)
    print(f"execution: {arn}\nstatus: {described['PipelineExecutionStatus']}\n")
    print(table(["step", "state", "time", "reason"], [step_row(step) for step in steps]))
    if any(step["StepName"] == NOTHING_NEW and outcome_of(step) == "True" for step in steps):
        print(f"\n{ENDED_EARLY}")
    print(f"\n{schedule.shown(client.session.client('scheduler'), command.design.name)}", flush=True)


def _execution(command: Command, client: Client) -> str:
    if command.execution:
        return command.execution
    name = command.design.name
    found = client.sagemaker.list_pipeline_executions(
        PipelineName=name, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
    )["PipelineExecutionSummaries"]
    if not found:
        raise TraplineError(f"pipeline {name}: no execution yet; start makes one")
    return str(found[0]["PipelineExecutionArn"])


def _stop(command: Command, client: Client) -> None:
    arn = _execution(command, client)
    client.sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)
    print(f"stopping: {arn}", flush=True)


VERBS = {
    "run": _run,
    "upsert": _upsert,
    "start": _start,
    "status": _status,
    "stop": _stop,
    "schedule": _schedule,
    "unschedule": _unschedule,
}
