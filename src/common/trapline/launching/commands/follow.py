"""Follow a job on AWS to its end: its log, how far it is, and how it ends. Ctrl-C leaves it running."""

import contextlib
import difflib
import math
from collections.abc import Iterator
from typing import Any

from trapline.console import ArgumentParser
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.account import signed_in
from trapline.launching.aws.errors import explained, suppressed, without_credentials
from trapline.launching.aws.jobs import (
    ARN,
    JOB_KINDS,
    PROCESSING,
    TRAINING,
    JobKind,
    make_clients,
    require_completed,
)
from trapline.launching.aws.waiting import follow_job, interruptible, wait_for_execution
from trapline.launching.fetching import JOB_NAME
from trapline.launching.given_options import whole
from trapline.launching.settings import use_region

RECENT = 50  # jobs of each kind that a mistyped name is compared with
EXAMPLES = """examples:
  python launch/follow.py resnet18-baseline-2026-05-01-20-15-00-123
  python launch/follow.py resnet18-baseline-2026-05-01-20-15-00-123 --tail 20
  python launch/follow.py arn:aws:sagemaker:eu-west-1:123456789012:pipeline/trapline/execution/abc123

Exit code 0: the job has completed; 1: it failed, or was stopped; 130: Ctrl-C, and the job goes on."""


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__, epilog=EXAMPLES)
    arguments.add_argument(
        "job",
        metavar="JOB",
        help="name or ARN of a training, processing, transform or tuning job; ARN of a pipeline's execution",
    )
    arguments.add_argument(
        "--tail",
        metavar="N",
        type=whole(0, math.inf, "number of lines"),
        help="begin with the last N lines of each stream of the log (default: the whole log)",
    )
    return arguments


def main() -> None:
    """Find the job, show it to its end, say what it left. Raises TraplineError unless it has completed."""
    flags = parser().parse_args()
    use_region()
    region, resource, name = _parts(flags.job)
    with explained(flags.job):
        clients = make_clients(signed_in(hint=""), region)
        if resource == "pipeline":
            wait_for_execution(clients, flags.job, flags.tail)
            return
        kind = find_kind(clients.sagemaker, name, resource)
        with interruptible(kind.name, name) as sent:
            sent.set()
            print(f"{kind.name} job: {name}", flush=True)
            described = follow_job(clients, kind.name, name, flags.tail)
    require_completed(kind, name, described)
    for line in results(kind, name, described):
        print(line, flush=True)


def _parts(job: str) -> tuple[str | None, str | None, str]:
    """Region, kind of thing and name, of an ARN; of a name, the name alone. Raises UsageError."""
    arn = ARN.fullmatch(job)
    kinds = ["pipeline", *(kind.resource for kind in JOB_KINDS.values())]
    if arn and arn["resource"] in kinds and (arn["resource"] != "pipeline" or "/execution/" in job):
        return arn["region"], arn["resource"], arn["name"]
    if JOB_NAME.fullmatch(job):
        return None, None, job
    raise UsageError(
        f"{without_credentials(job)}: neither the name of a job nor an ARN of a {', '.join(kinds[1:])}, or "
        "of an execution of a pipeline (arn:...:pipeline/NAME/execution/ID)"
    )


def find_kind(client: Any, name: str, resource: str | None = None) -> JobKind:
    """The kind of the job `name`, from AWS; `resource` is known from an ARN.

    Raises TraplineError where there is none, with names that are like it.
    """
    for kind in JOB_KINDS.values():
        if resource in (None, kind.resource):
            with suppressed(absent=True):
                kind.describe(client, name)
                return kind
    like = difflib.get_close_matches(name, _recent(client), n=3)
    known = f"; names like it: {', '.join(like)}" if like else ""
    raise TraplineError(
        f"{name}: there is no {', '.join(JOB_KINDS)} job of that name in {client.meta.region_name}{known}; "
        "aws sagemaker list-training-jobs lists them; an execution of a pipeline is named by its ARN"
    )


def _recent(client: Any) -> list[str]:
    """Names of recent jobs, as far as AWS lets them be listed."""
    from botocore.exceptions import ClientError

    names = []
    for kind in (TRAINING, PROCESSING):
        with contextlib.suppress(ClientError):  # they only make the message better
            listed = getattr(client, f"list_{kind.name}_jobs")(
                MaxResults=RECENT, SortBy="CreationTime", SortOrder="Descending"
            )
            names += [job[f"{kind.title}Name"] for job in listed[f"{kind.title}Summaries"]]
    return names


def results(kind: JobKind, name: str, described: dict[str, Any]) -> Iterator[str]:
    """What a completed job left, a line each."""
    if kind is TRAINING:
        yield f"model: {described['ModelArtifacts']['S3ModelArtifacts']}"
        yield f"fetch it: python launch/artifacts.py {name} --to DIR"
    for output in (described.get("ProcessingOutputConfig") or {}).get("Outputs", []):
        if output.get("S3Output"):
            yield f"{output['OutputName']}: {output['S3Output']['S3Uri']}"
    if output := described.get("TransformOutput"):
        yield f"output: {output['S3OutputPath']}"
    if best := described.get("BestTrainingJob"):
        yield f"fetch the best model: python launch/artifacts.py {best['TrainingJobName']} --to DIR"
