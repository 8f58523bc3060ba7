"""`--backend aws`: the pipeline in an account: sent, started, watched, stopped."""

import gzip
import io
import json
import tarfile
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.console import table
from common.errors import TraplineError, UsageError
from common.s3 import split_uri
from launch.aws_backend import WITHOUT_ACCOUNT, make_session
from launch.aws_errors import explained
from launch.aws_waiting import Interrupted
from launch.staging import stage_code
from launch.terminal import duration
from pipelines.command_line import Command
from pipelines.definition import make_pipeline, quiet_sdk
from pipelines.parameters import Value, require_all, with_default

POLL = 30.0  # seconds between looks at an execution
RUNNING = ("Executing", "Stopping")
HINT = f"{WITHOUT_ACCOUNT} (run --backend process)"


@dataclass(frozen=True)
class Client:
    """An account, and the SageMaker client of it."""

    session: Any
    sagemaker: Any


def act(command: Command) -> None:
    """Do what the command says. Raises TraplineError, one message, where AWS refuses."""
    with explained(f"{command.verb} {command.design.name}", HINT):
        session = make_session()
        if session.get_credentials() is None:
            raise UsageError(f"no AWS credentials: set AWS_PROFILE or the access keys;\n{WITHOUT_ACCOUNT}")
        client = Client(session, session.client("sagemaker"))
        {"run": _run, "upsert": _upsert, "start": _start, "status": _status, "stop": _stop}[command.verb](
            command, client
        )


def _run(command: Command, client: Client) -> None:
    _upsert(command, client)
    arn = _start(command, client)
    try:
        wait_for(client.sagemaker, arn)
    except KeyboardInterrupt:
        said = f"interrupted; the execution goes on; stop it with: stop --execution {arn}"
        raise Interrupted(said) from None


def _upsert(command: Command, client: Client) -> None:
    """Put the code where the definition says it lies, then create or update the pipeline."""
    if not command.output or not command.role:
        raise UsageError("upsert: give --output s3://BUCKET/PREFIX and --role, the jobs' execution role")
    from launch import sdk

    sdk.import_sdk()
    from launch.sdk_pipeline_internals import DefinitionSession

    role = _role_arn(client, command.role)
    design = replace(command.design, parameters=with_default(command.design.parameters, "RoleArn", role))
    copied = upload_code(client, command.output, design.code)
    pipeline = make_pipeline(design, DefinitionSession(design.region, client.sagemaker))
    with quiet_sdk():
        answer = pipeline.upsert(role, "From raw images to a submission, in two phases", design.tags)
    print(f"code: {copied}\npipeline: {answer['PipelineArn']}", flush=True)


def _role_arn(client: Client, role: str) -> str:
    if role.startswith("arn:"):
        return role
    with explained(f"--role {role}", HINT):
        return str(client.session.client("iam").get_role(RoleName=role)["Role"]["Arn"])


def upload_code(client: Client, output: str, digest: str) -> str:
    """Copy the sources below `output`/code/`digest`, for processing and training. Returns the URI."""
    from pipelines.steps import ARCHIVE, SOURCE

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
    name = command.design.name
    with explained(f"pipeline {name}; upsert makes it", HINT):
        described = client.sagemaker.describe_pipeline(PipelineName=name)
    values = _given(command)
    require_all(command.design.parameters, {**_defaults_of(described), **values})
    answer = client.sagemaker.start_pipeline_execution(
        PipelineName=name,
        PipelineParameters=[{"Name": key, "Value": str(value)} for key, value in values.items()],
    )
    arn = str(answer["PipelineExecutionArn"])
    print(f"execution: {arn}\nlook at it: status --execution {arn}", flush=True)
    return arn


def _given(command: Command) -> dict[str, Value]:
    """The values that the command line names: of --param, and of flags that are defaults of parameters."""
    flags = {"InputData": command.data, "SiteCsv": command.sites, "OutputPrefix": command.output}
    flags |= {"ImageUri": command.image}
    known = {parameter.name for parameter in command.design.parameters}
    named: dict[str, Value] = {key: value for key, value in flags.items() if value and key in known}
    return {**named, **command.values}


def _defaults_of(described: dict[str, Any]) -> dict[str, Value]:
    declared = json.loads(described["PipelineDefinition"])["Parameters"]
    return {item["Name"]: item["DefaultValue"] for item in declared if "DefaultValue" in item}


def _status(command: Command, client: Client) -> None:
    arn = _execution(command, client)
    described = client.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    rows = [_row(step) for step in _steps(client.sagemaker, arn)]
    print(f"execution: {arn}\nstatus: {described['PipelineExecutionStatus']}\n")
    print(table(["step", "state", "time", "reason"], rows), flush=True)


def _steps(sagemaker: Any, arn: str) -> list[dict[str, Any]]:
    pages = sagemaker.get_paginator("list_pipeline_execution_steps")
    found = pages.paginate(PipelineExecutionArn=arn, SortOrder="Ascending")
    return [step for page in found for step in page["PipelineExecutionSteps"]]


def _row(step: dict[str, Any]) -> list[str]:
    start, end = step.get("StartTime"), step.get("EndTime")
    seconds = duration((end - start).total_seconds()) if start and end else ""
    reason = " ".join(step.get("FailureReason", "").split())
    return [step["StepName"], step["StepStatus"], seconds, reason]


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


def wait_for(sagemaker: Any, arn: str) -> None:
    """Say a line for each step that ends, until the execution ends.

    Raises TraplineError in the words of the step that failed; Stopped is a failure.
    """
    said: set[str] = set()
    while True:
        described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        steps = _steps(sagemaker, arn)
        for step in steps:
            name, state = step["StepName"], step["StepStatus"]
            if state not in ("Starting", *RUNNING) and name not in said:
                said.add(name)
                print(f"== {' '.join(part for part in _row(step) if part)}", flush=True)
        status = described["PipelineExecutionStatus"]
        if status not in RUNNING:
            break
        time.sleep(POLL)
    if status != "Succeeded":
        reasons = [f"step {step['StepName']}: {_row(step)[3]}" for step in steps if step.get("FailureReason")]
        reason = "; ".join(reasons) or described.get("FailureReason", "no reason given")
        raise TraplineError(f"execution {arn}: {status} ({reason})")
