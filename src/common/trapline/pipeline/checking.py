"""The pipeline before it is sent or started: checked as AWS would, and as its steps would when they run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trapline.errors import UsageError
from trapline.launching.checking.findings import refuse
from trapline.launching.checking.pipeline_definition import check_definition
from trapline.launching.checking.soundness import check_requests, require_sound, with_values
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import Design, definition_text, make_pipeline
from trapline.pipeline.parameters import Value

if TYPE_CHECKING:
    from trapline.launching.sdk.workflow import Pipeline

ASSUMED_ROLE = "arn:aws:iam::000000000000:role/assumed-role"


def rehearse(words: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """The request that a command line's flags would make, and the region; sends nothing, asks nobody."""
    backend = [] if any(word.startswith("--backend") for word in words) else ["--backend", "aws"]
    command = read_command(["definition", *words, *backend])
    if command.backend != "aws":
        raise UsageError(f"--backend {command.backend}: what is checked is what goes to AWS; leave it out")
    role = command.role if command.role and command.role.startswith("arn:") else ASSUMED_ROLE
    request = creation(make_pipeline(command.design), command.design, role)
    text = with_values(request["CreatePipeline"]["PipelineDefinition"], command.values)
    request["CreatePipeline"]["PipelineDefinition"] = text
    return [request], command.design.region


def creation(pipeline: "Pipeline", design: Design, role: str) -> dict[str, Any]:
    """The request that creates a pipeline, as a dry run would record it."""
    return {
        "CreatePipeline": {
            "PipelineName": design.name,
            "PipelineDefinition": definition_text(pipeline),
            "ClientRequestToken": "x" * 32,  # boto3 makes one
            "RoleArn": role,
            "Tags": design.tags,
        }
    }


def require_sound_pipeline(pipeline: "Pipeline", design: Design, role: str) -> None:
    """Raise UsageError listing what is wrong with a pipeline or with the code of its jobs."""
    require_sound([creation(pipeline, design, role)], design.region)


def require_sound_start(name: str, definition: str, values: Mapping[str, Value], region: str) -> None:
    """Raise UsageError where the values of a start make requests that AWS would refuse.

    `definition`: of the pipeline that is there, which may be older than the code here.
    """
    given = [{"Name": key, "Value": str(value)} for key, value in values.items()]
    start = {
        "PipelineName": name,
        "ClientRequestToken": "x" * 32,
        "PipelineParameters": given,
    }
    findings, _ = check_definition(with_values(definition, values), region, current=False)
    refuse([*check_requests([{"StartPipelineExecution": start}], region).findings, *findings])
