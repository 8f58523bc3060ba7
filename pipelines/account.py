"""`--backend aws`: the pipeline in an account: sent, started, watched, stopped."""

import gzip
import io
import json
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.console import table
from common.errors import TraplineError, UsageError
from common.s3 import split_uri
from launch.aws.backend import WITHOUT_ACCOUNT, make_session
from launch.aws.contact import make_clients
from launch.aws.errors import explained
from launch.aws.executions import list_steps, step_row, wait_for_execution
from launch.aws.image import account_of, own_image, require_image
from launch.aws.registry import MODELS, describe, ensure_group, find_package, write_card
from launch.aws.waiting import follow_command
from launch.staging import stage_code
from pipelines import schedule
from pipelines.checking import require_sound_pipeline, require_sound_start
from pipelines.command_line import Command
from pipelines.definition import Design, make_pipeline, quiet_sdk
from pipelines.parameters import Parameter, Value, require_all, with_default

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
        raise UsageError("upsert: give --output s3://BUCKET/PREFIX and --role, the jobs' execution role")
    from launch.sdk import objects as sdk

    sdk.import_sdk()
    from launch.sdk.pipeline_internals import DefinitionSession

    role = _role_arn(client, command.role)
    design = _settled(command, role, str(client.session.region_name))
    pipeline = make_pipeline(design, DefinitionSession(design.region, client.sagemaker))
    require_sound_pipeline(pipeline, design, role)
    ensure_group(client.sagemaker, MODELS, design.tags)
    given = design.options.code_output if design.options else None
    copied = upload_code(client, given or command.output, design.code)
    with quiet_sdk():
        answer = pipeline.upsert(role, "From raw images to a submission, in two phases", design.tags)
    print(f"code: {copied}\npipeline: {answer['PipelineArn']}", flush=True)


def _settled(command: Command, role: str, region: str) -> Design:
    """The design with what the account decides: the role's ARN, the region, and the account's own image."""
    parameters = with_default(command.design.parameters, "RoleArn", role)
    account = account_of(role)
    if account and not command.image:
        parameters = with_default(parameters, "ImageUri", own_image(account, region))
    return replace(command.design, parameters=parameters, region=region)


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
    name = command.design.name
    with explained(f"pipeline {name}; upsert makes it", HINT):
        described = client.sagemaker.describe_pipeline(PipelineName=name)
    values = _given(command)
    known = {**_defaults_of(described), **values}
    require_all(_of_the_pipeline(command, described), known)
    with explained(f"looking for the image {known['ImageUri']}", HINT):
        require_image(client.session, str(known["ImageUri"]))
    region = str(client.session.region_name)
    require_sound_start(name, described["PipelineDefinition"], known, region)
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
    rows = [step_row(step) for step in list_steps(client.sagemaker, arn)]
    print(f"execution: {arn}\nstatus: {described['PipelineExecutionStatus']}\n")
    print(table(["step", "state", "time", "reason"], rows))
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
