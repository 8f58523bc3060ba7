"""Check an experiment or the pipeline before it costs anything: every request, every step, the code.

    python launch/check.py swin_stage1 --data s3://BUCKET/PREFIX --spot
    python launch/check.py pipeline --recipe swin_stage1
    python launch/check.py --all

The flags are those of the launcher, or of pipelines/camera_trap.py. No account is asked, and none is needed:
what is not given (data, bucket, role) is assumed. The same checks run before each paid start.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from trapline.console import ArgumentParser
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.options import role_of_environment
from trapline.launching.experiment import Experiment
from trapline.launching.experiments import experiment_names, find_experiment, recipe_names
from trapline.launching.pricing.prices import REGION
from trapline.launching.settings import in_s3

if TYPE_CHECKING:
    import boto3

    from trapline.launching.aws.backend import Variation
    from trapline.launching.checking.soundness import CheckResult
    from trapline.launching.plan import Plan

PIPELINE = "pipeline"
BUCKET = "s3://assumed-bucket"
ASSUMED = {"data": f"{BUCKET}/images", "prepared": f"{BUCKET}/prepared", "output": f"{BUCKET}/trapline"}
CHANNELS = {"pseudo": f"{BUCKET}/pseudo", "phase1": f"{BUCKET}/job/output/model.tar.gz"}
ACCOUNT = "000000000000"


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
    from trapline.launching.checking.soundness import check_code

    number, images = 0, set()
    for name, words in subjects:
        result, of_aws = check_subject(name, words)
        images.add(of_aws)
        looked = f"{_count(result.requests, 'request')}, {_count(result.values, 'field')} checked"
        number += _report(" ".join([name, *words]), result, looked)
    for of_aws in sorted(images):
        result = check_code(of_aws=of_aws)
        title = "code for AWS's image" if of_aws else "code"
        number += _report(title, result, f"{_count(result.files, 'file')} checked")
    return number


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _report(title: str, result: "CheckResult", looked: str) -> int:
    for finding in result.findings:
        print(f"{title}: {finding}")
    if not result.findings:
        print(f"{title}: sound: {looked}", flush=True)
    return len(result.findings)


def all_subjects() -> list[tuple[str, list[str]]]:
    """Every experiment, and the pipeline with each experiment that can be its recipe, and with its own."""
    names = experiment_names()
    return [
        *((name, []) for name in names),
        (PIPELINE, ["--data", "demo"]),
        *((PIPELINE, ["--recipe", name]) for name in recipe_names()),
    ]


def check_subject(name: str, words: Sequence[str]) -> tuple["CheckResult", bool]:
    """What is found in the requests of an experiment or the pipeline; whether AWS's image runs the jobs."""
    from trapline.launching.checking.soundness import check_requests

    if name == PIPELINE:
        from trapline.pipeline.checking import rehearse

        requests, region = rehearse(words)
        return check_requests(requests, region), False
    try:
        experiment = find_experiment(name)
    except UsageError as error:
        raise UsageError(f"{error}, {PIPELINE}") from None
    return _check_launch(experiment, words)


def _check_launch(experiment: Experiment, words: Sequence[str]) -> tuple["CheckResult", bool]:
    from trapline.launching.aws.account import open_account
    from trapline.launching.aws.backend import check_plan, planned_jobs
    from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained
    from trapline.launching.aws.recording import requests_of
    from trapline.launching.checking.soundness import check_requests
    from trapline.launching.flags import read_plan

    plan = read_plan(experiment, [*words, *assumed(experiment, words)])
    if plan.backend != "aws":
        raise UsageError(f"--backend {plan.backend}: what is checked is what goes to AWS; leave it out")
    check_plan(plan)
    with explained(f"checking {experiment.name}", WITHOUT_ACCOUNT):
        session = _session()
        region = str(session.region_name)
        account = open_account(session, dataclasses.replace(plan, role=_role_arn(plan.role, region)))
        with planned_jobs(plan, account, _variation(plan)) as jobs:
            requests = requests_of(jobs, account)
    of_aws = account.image.of_aws
    return check_requests(requests, region, of_aws=of_aws), of_aws


def _variation(plan: "Plan") -> "Variation | None":
    """What a launch with many jobs sends in the place of one."""
    if not plan.folds:
        return None
    from trapline.launching.many.fleet import InParallel, training_jobs
    from trapline.launching.many.folds import fold_jobs

    many = fold_jobs(plan)
    InParallel().check(many)
    return partial(training_jobs, many)


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


def _session() -> "boto3.Session":
    import boto3

    own = boto3.Session()
    region = os.environ.get("AWS_REGION") or own.region_name or REGION
    return boto3.Session(region_name=region)


def _role_arn(role: str | None, region: str) -> str:
    """A role's ARN; where only a name is given, of an assumed account."""
    from trapline.launching.checking.field_rules import partition_of

    role = role or role_of_environment() or "assumed-role"
    if role.startswith("arn:"):
        return role
    return f"arn:{partition_of(region)}:iam::{ACCOUNT}:role/{role}"
