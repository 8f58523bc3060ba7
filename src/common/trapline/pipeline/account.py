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
from trapline.launching.aws.account import account_of, own_image, signed_in
from trapline.launching.aws.errors import explained
from trapline.launching.aws.jobs import NEW_FOR, ask_until_known, list_steps, make_clients
from trapline.launching.aws.registry import MODELS, describe, ensure_group, find_package, write_card
from trapline.launching.aws.waiting import follow_command, outcome_of, step_row, wait_for_execution
from trapline.launching.checking.soundness import require_sound
from trapline.launching.checkout import stage_code
from trapline.launching.given_options import PIPELINE_FILES
from trapline.pipeline.check import creation, require_sound_start
from trapline.pipeline.command_line import Command
from trapline.pipeline.design import (
    DATA_VERSION,
    NOTHING_NEW,
    OUTPUT_PREFIX,
    Design,
    Value,
    require_all,
    with_default,
)
from trapline.pipeline.starting import (
    ACTION,
    HINT,
    IMAGE,
    by_digest,
    check_places,
    description,
    ensure_record,
    find_schedule,
    put_schedule,
    require_same_names,
    shown,
    with_image,
    with_places,
    with_version,
)
from trapline.s3 import split_uri


@dataclass(frozen=True)
class Client:
    """An account, and the SageMaker client of it."""

    session: Any
    sagemaker: Any


def act(command: Command) -> None:
    """Do what the command says. Raises TraplineError, one message, where AWS refuses."""
    with explained(f"{command.verb} {command.design.name}", HINT):
        session = signed_in()
        VERBS[command.verb](command, Client(session, session.client("sagemaker")))


def _run(command: Command, client: Client) -> None:
    """Send the pipeline, run it to its end, and complete what it registered."""
    _upsert(command, client)
    arn = _start(command, client)
    wait_for_execution(make_clients(client.session), arn)
    try:  # the model that the execution registered gets its model card
        described = describe(client.session, find_package(client.sagemaker, arn))
        write_card(client.session, described)
    except TraplineError as error:
        raise TraplineError(
            f"{error}\nall else is done; only the model card is missing: python launch/model_card.py {arn}"
        ) from error
    print(f"model: {described.arn}, with its card", flush=True)


def _upsert(command: Command, client: Client) -> None:
    """Put the code where the definition says it lies, then create or update the pipeline."""
    if not command.output or not command.role:
        raise UsageError(
            "upsert: give --output s3://BUCKET/PREFIX and --role, the pipeline's execution role (and "
            "--job-role, that of its jobs)"
        )
    from trapline.launching.sdk.pipeline_internals import DefinitionSession
    from trapline.pipeline.definition import make_pipeline, quiet_sdk

    role = _role_arn(client, command.role)
    job_role = _role_arn(client, command.job_role, "--job-role") if command.job_role else role
    design, image = _settled(command, job_role, client.session)
    pipeline = make_pipeline(design, DefinitionSession(design.region, client.sagemaker))
    require_sound([creation(pipeline, design, role)], design.region)
    ensure_group(client.sagemaker, MODELS, design.tags)
    given = design.options.code_output if design.options else None
    code = upload_code(client, given or command.output, design.code)
    ensure_record(client.session.client("s3"), command.output, design.name)
    with quiet_sdk():
        answer = pipeline.upsert(role, description(image), design.tags)
    print(f"code: {code}\npipeline: {answer['PipelineArn']}")
    print(
        f"roles: {role} of the pipeline, {job_role} of its jobs"
        if job_role != role  # else who decodes strangers' images may do what the pipeline may
        else f"role: {role} of the pipeline and of its jobs, which may thus start others; with --job-role "
        "they have one of their own (launch/policies.py prints what it needs)",
        flush=True,
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
    image = next(item.default for item in parameters if item.name == IMAGE)
    if image is not None:
        parameters = with_default(parameters, IMAGE, by_digest(session, str(image)))
    return replace(command.design, parameters=parameters, region=region), str(image) if image else None


def _role_arn(client: Client, role: str, flag: str = "--role") -> str:
    if role.startswith("arn:"):
        return role
    with explained(f"{flag} {role}", HINT):
        return str(client.session.client("iam").get_role(RoleName=role)["Role"]["Arn"])


def upload_code(client: Client, output: str, digest: str) -> str:
    """Copy the sources below `output`/code/`digest`, for processing and training. Returns the URI."""
    from trapline.pipeline.frame import ARCHIVE, SOURCE

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
    text, region = described["PipelineDefinition"], str(client.session.region_name)
    definition = json.loads(text)
    values = _given(command)
    declared = {item["Name"]: item.get("DefaultValue") for item in definition["Parameters"]}
    known = {name: default for name, default in declared.items() if default is not None} | values
    # Only the defaults of the pipeline in the account count for a start.
    own = [replace(item, default=None) for item in command.design.parameters if item.name in declared]
    require_all(own, known)
    values = with_image(client.session, described, values, str(known[IMAGE]), scheduled=scheduled)
    values = with_places(values, known)
    known |= values
    require_same_names(known, declared)
    require_sound_start(name, text, known, region)
    if not scheduled and DATA_VERSION not in values:  # with one, a start asks S3 nothing
        check_places(client.session, known)
    values = with_version(client.session, definition, values, known, scheduled=scheduled)
    if DATA_VERSION in values:
        ensure_record(client.session.client("s3"), str(known[OUTPUT_PREFIX]), name)
    return str(described["PipelineArn"]), values


def _schedule(command: Command, client: Client) -> None:
    """Let the service start the pipeline again and again."""
    if not command.role or not command.when:
        raise UsageError("schedule: give --role, a role that the scheduler may take to start the pipeline")
    pipeline, values = _checked_start(command, client)
    role = _role_arn(client, command.role)
    arn = put_schedule(
        client.session.client("scheduler"), command.design.name, command.when, pipeline, role, values
    )
    print(f"the role must allow {ACTION} on {pipeline}")
    print(f"schedule: {arn}\n{command.when} UTC; `unschedule` ends it", flush=True)


def _unschedule(command: Command, client: Client) -> None:
    name, scheduler = command.design.name, client.session.client("scheduler")
    with explained(f"schedule {name}"):
        if find_schedule(scheduler, name) is None:
            raise TraplineError(f"pipeline {name}: has no schedule")
        scheduler.delete_schedule(Name=name)
    print(f"schedule of {name}: removed", flush=True)


def _given(command: Command) -> dict[str, Value]:
    """The values that the command line names: of --param, and of flags that are defaults of parameters."""
    flags = {"InputData": command.data, "OutputPrefix": command.output}
    flags |= {PIPELINE_FILES[name].parameter: uri for name, uri in command.files.items()}
    flags |= {"ImageUri": command.image, "WeightsUri": command.weights}
    known = {parameter.name for parameter in command.design.parameters}
    return {key: value for key, value in flags.items() if value and key in known} | command.values


def _status(command: Command, client: Client) -> None:
    arn = _execution(command, client)
    described = client.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    steps = list_steps(client.sagemaker, arn)
    print(f"execution: {arn}\nstatus: {described['PipelineExecutionStatus']}\n")
    print(table(["step", "state", "time", "reason"], [step_row(step) for step in steps]))
    if any(step["StepName"] == NOTHING_NEW and outcome_of(step) == "True" for step in steps):
        print("\nnothing new: data, code, image and settings are those of the last completed execution")
    print(f"\n{shown(client.session.client('scheduler'), command.design.name)}", flush=True)


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
