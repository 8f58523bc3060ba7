"""Check an experiment or the pipeline before it costs anything: every request, every step, the code.

    python launch/check.py swin_stage1 --data s3://BUCKET/PREFIX --spot
    python launch/check.py pipeline --recipe swin_stage1
    python launch/check.py --all

The flags are those of the launcher, or of pipelines/camera_trap.py. No account is asked, and none is needed:
what is not given (data, bucket, role) is assumed. The same checks run before each paid start.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from trapline.console import ArgumentParser
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.account import open_account
from trapline.launching.aws.backend import check_plan, planned_jobs, requests_of
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained
from trapline.launching.aws.options import role_of_environment
from trapline.launching.checking.field_rules import partition_of
from trapline.launching.checking.findings import refuse
from trapline.launching.checking.pipeline_definition import check_definition
from trapline.launching.checking.soundness import CheckResult, check_code, check_requests, with_values
from trapline.launching.checkout import Experiment, experiment_names, find_experiment, recipe_names
from trapline.launching.flags import read_plan
from trapline.launching.many.fleet import InParallel, training_jobs
from trapline.launching.many.studies import fold_jobs
from trapline.launching.pricing.prices import REGION
from trapline.launching.settings import in_s3
from trapline.pipeline.command_line import read_command
from trapline.pipeline.design import Design, Value

if TYPE_CHECKING:
    from trapline.launching.sdk.objects import Pipeline

PIPELINE = "pipeline"
BUCKET = "s3://assumed-bucket"
ASSUMED = {"data": f"{BUCKET}/images", "prepared": f"{BUCKET}/prepared", "output": f"{BUCKET}/trapline"}
CHANNELS = {"pseudo": f"{BUCKET}/pseudo", "phase1": f"{BUCKET}/job/output/model.tar.gz"}
ACCOUNT = "000000000000"
ROLE = "assumed-role"
ASSUMED_ROLE = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
ELSEWHERE = "what is checked is what goes to AWS; leave it out"


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__)
    add = arguments.add_argument
    add("name", nargs="?", metavar="EXPERIMENT|pipeline", help="a script of launch/, or pipeline")
    add("flags", nargs=argparse.REMAINDER, metavar="FLAGS", help="of the launcher, or of the pipeline")
    add("--all", action="store_true", help="every experiment, and the pipeline with each recipe")
    return arguments


def main() -> None:
    """Check what is asked for. Raises TraplineError where something is found."""
    flags = parser().parse_args(sys.argv[1:])
    if flags.all == bool(flags.name):
        raise UsageError("give an EXPERIMENT, or pipeline, or --all")
    number = check_all(all_subjects() if flags.all else [(flags.name, flags.flags)])
    if number:
        raise TraplineError(f"{number} finding{'s' if number > 1 else ''}")


def check_all(subjects: Sequence[tuple[str, Sequence[str]]]) -> int:
    """Check names with their flags, and the code once, and say what is found. Returns how much."""
    number, images = 0, set()
    for name, words in subjects:
        result, of_aws = check_subject(name, words)
        images.add(of_aws)
        number += _report(
            " ".join([name, *words]),
            result,
            f"{_count(result.requests, 'request')}, {_count(result.values, 'field')} checked",
        )
    for of_aws in sorted(images):
        result = check_code(of_aws=of_aws)
        number += _report(
            "code for AWS's image" if of_aws else "code",
            result,
            f"{_count(result.files, 'file')} checked",
        )
    return number


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _report(title: str, result: CheckResult, looked: str) -> int:
    for finding in result.findings:
        print(f"{title}: {finding}")
    if not result.findings:
        print(f"{title}: sound: {looked}", flush=True)
    return len(result.findings)


def all_subjects() -> list[tuple[str, list[str]]]:
    """Every experiment, and the pipeline with each experiment that can be its recipe, and with its own."""
    return [
        *((name, []) for name in experiment_names()),
        (PIPELINE, ["--data", "demo"]),
        *((PIPELINE, ["--recipe", name]) for name in recipe_names()),
    ]


def check_subject(name: str, words: Sequence[str]) -> tuple[CheckResult, bool]:
    """What is found in the requests of an experiment or the pipeline; whether AWS's image runs the jobs."""
    if name == PIPELINE:
        return check_requests(*rehearse(words)), False
    try:
        experiment = find_experiment(name)
    except UsageError as error:
        raise UsageError(f"{error}, {PIPELINE}") from None
    return _check_launch(experiment, words)


def _check_launch(experiment: Experiment, words: Sequence[str]) -> tuple[CheckResult, bool]:
    plan = read_plan(experiment, [*words, *assumed(experiment, words)])
    if plan.backend != "aws":
        raise UsageError(f"--backend {plan.backend}: {ELSEWHERE}")
    check_plan(plan)
    variation = None
    if plan.folds:  # what is sent in the place of one job
        many = fold_jobs(plan)
        InParallel().check(many)
        variation = partial(training_jobs, many)
    with explained(f"checking {experiment.name}", WITHOUT_ACCOUNT):
        import boto3

        region = os.environ.get("AWS_REGION") or boto3.Session().region_name or REGION
        role = plan.role or role_of_environment() or ROLE
        if not role.startswith("arn:"):
            role = f"arn:{partition_of(region)}:iam::{ACCOUNT}:role/{role}"
        account = open_account(boto3.Session(region_name=region), replace(plan, role=role))
        with planned_jobs(plan, account, variation) as jobs:
            requests = requests_of(jobs, account)
    of_aws = account.image.of_aws
    return check_requests(requests, region, of_aws=of_aws), of_aws


def assumed(experiment: Experiment, words: Sequence[str]) -> list[str]:
    """The flags that a launch on AWS must have, and that neither words nor settings give."""
    given = {word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")}
    needed = {} if "backend" in given else {"backend": "aws"}
    named = given | in_s3()
    if needed and "output" not in named:
        needed["output"] = ASSUMED["output"]
    if not named & {"data", "prepared"}:
        source = "prepared" if experiment.channels else "data"
        needed[source] = ASSUMED[source]
    needed |= {name: CHANNELS[name] for name in experiment.channels}
    return [word for name, uri in needed.items() if name not in given for word in (f"--{name}", uri)]


def rehearse(words: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """The request that a command line's flags would make, and the region; sends nothing, asks nobody."""
    backend = [] if any(word.startswith("--backend") for word in words) else ["--backend", "aws"]
    command = read_command(["definition", *words, *backend])
    if command.backend != "aws":
        raise UsageError(f"--backend {command.backend}: {ELSEWHERE}")
    role = command.role if command.role and command.role.startswith("arn:") else ASSUMED_ROLE
    from trapline.pipeline.definition import make_pipeline

    design = command.design
    return [creation(make_pipeline(design), design, role, command.values)], design.region


def creation(
    pipeline: "Pipeline", design: Design, role: str, values: Mapping[str, Value] | None = None
) -> dict[str, Any]:
    """The request that creates a pipeline, as a dry run would record it; `values` in place of defaults."""
    from trapline.pipeline.definition import definition_text

    return {
        "CreatePipeline": {
            "PipelineName": design.name,
            "PipelineDefinition": with_values(definition_text(pipeline), values or {}),
            "ClientRequestToken": "x" * 32,  # boto3 makes one
            "RoleArn": role,
            "Tags": design.tags,
        }
    }


def require_sound_start(name: str, definition: str, values: Mapping[str, Value], region: str) -> None:
    """Raise UsageError where the values of a start make requests that AWS would refuse.

    `definition`: of the pipeline that is there, which may be older than the code here.
    """
    start = {
        "PipelineName": name,
        "ClientRequestToken": "x" * 32,
        "PipelineParameters": [{"Name": key, "Value": str(value)} for key, value in values.items()],
    }
    findings, _ = check_definition(with_values(definition, values), region, current=False)
    refuse([*check_requests([{"StartPipelineExecution": start}], region).findings, *findings])
