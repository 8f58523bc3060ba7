"""The command line of a pipeline, checked before anything is loaded or costs money."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from trapline.console import ArgumentParser
from trapline.errors import UsageError
from trapline.launching.aws.image import account_of, own_image
from trapline.launching.aws.options import FLAGS as AWS_FLAGS
from trapline.launching.aws.options import AwsOptions, add_arguments, check_isolation, read_options
from trapline.launching.job_requests import check_job_name, job_name
from trapline.launching.local.docker_engine import IMAGE
from trapline.launching.local.first_weights import with_absolute_weights
from trapline.launching.local.trial_s3 import URI as TRIAL_URI
from trapline.launching.local.trial_s3 import trial_folder
from trapline.launching.pairs import require_text
from trapline.launching.prepare_options import (
    LABEL_NAMES,
    SITE_CSV,
    check_prepare_options,
    follows_links,
    label_names_here,
    read_prepare_options,
    refuse_for_s3,
)
from trapline.launching.pricing.prices import REGION
from trapline.launching.settings import NOT_GIVEN, complete, use_region
from trapline.launching.shared_flags import (
    add_backend,
    add_machine,
    add_prepare,
    add_trial_s3,
    check_here,
    check_places,
)
from trapline.launching.staging import model_code_digest
from trapline.pipeline.definition import Design
from trapline.pipeline.parameters import (
    DEMO,
    INPUT_DATA,
    WEIGHTS_URI,
    Defaults,
    Value,
    declare,
    in_s3,
    read_values,
    settled,
)
from trapline.pipeline.recipes import DEFAULT, SMALL, Recipe, read_recipe, with_schedule
from trapline.pipeline.schedule import expression
from trapline.s3 import is_s3
from trapline.storage import read_json

COMMANDS = {
    "run": "run it to its end and say where the results lie",
    "definition": "print the definition as JSON; starts nothing, asks nobody",
    "cost": "aws: print what an execution can cost at most, as JSON; starts nothing, asks nobody",
    "upsert": "aws: create the pipeline, or update it",
    "start": "aws: start an execution of it and return",
    "status": "aws: the steps of an execution, the latest by default",
    "stop": "aws: stop an execution",
    "schedule": "aws: let Amazon EventBridge start it, --every so often or at times of --cron",
    "unschedule": "aws: end that",
}
DEFINE = ("run", "definition", "cost", "upsert")  # the commands that make a definition
DIGEST_LENGTH = 16
STATE = "pipeline.json"
AWS_ALONE = ("role", "job_role", "region", "execution", *AWS_FLAGS)
# Options of prepare.py that are not to be given, and why.
DECIDED = {
    **dict.fromkeys(("input", "output", "source-name"), "the pipeline decides it; use --data and --output"),
    **dict.fromkeys(("data-version", "completed"), "the pipeline decides it"),
    "weights": "the pipeline decides it; use --weights",
}


@dataclass(frozen=True)
class Command:
    """What to do, with what, checked.

    data, sites, output: as given. values: of --param. run_name: of a run here. said: the command lines of
    the run, and of those that went on with it.
    """

    verb: str
    backend: Literal["process", "local", "aws"]
    design: Design
    values: dict[str, Value]
    data: str | None
    sites: str | None
    labels: Path | None  # a file of this machine that names the labels
    weights: str | None  # where staged ImageNet weights lie
    output: str | None
    image: str | None
    role: str | None
    job_role: str | None  # None: that of the pipeline
    run_name: str
    execution: str | None
    resume: Path | None
    when: str | None  # as the scheduler takes it
    trial_s3: Path | None  # a folder that is served as S3, where `data` says so
    said: list[list[str]]


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(
        description="The camera-trap pipeline: prepare, train, pseudo-label, train again, evaluate, and "
        "predict if the model is good enough.",
        epilog="\n".join([*(f"{name:<12}{text}" for name, text in COMMANDS.items()), "", NOT_GIVEN]),
    )
    add = arguments.add_argument
    add("command", nargs="?", default="run", choices=COMMANDS, help="default: run")
    add_backend(arguments)
    add("--data", metavar="URI|DIR|demo", help="raw images")
    add(
        "--recipe", metavar="EXPERIMENT", help=f"of launch/, or {SMALL}; default: {SMALL} for the demo, "
        f"else {DEFAULT}")  # fmt: skip
    add("--param", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
        help="parameters of the pipeline; `definition` lists them")  # fmt: skip
    add("--output", metavar="URI|DIR", help="gets a folder for each execution; default: runs")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="hyperparameters of both phases")  # fmt: skip
    add("--set-phase2", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="hyperparameters of phase 2 alone, as in weights=imagenet")  # fmt: skip
    add_prepare(arguments)
    add("--weights", metavar="URI|DIR",
        help="ImageNet weights for jobs without internet, of launch/stage_weights.py")  # fmt: skip
    add("--gate-part", choices=["test", "validation"], help="what the quality gate looks at; default: test, "
        "but validation with --prepare split=random, which leaves no test part")  # fmt: skip
    add("--name", help="process, local: name of the run; default: trapline-RECIPE-YYYY-MM-DD-HH-MM-SS-mmm")
    add_trial_s3(arguments)
    add("--resume", type=Path, metavar="RUN", help="process, local: go on with a run, by its folder")
    add_machine(arguments)
    add("--role", help="aws: role of the pipeline (of schedule: of the scheduler), ARN or name; default: "
        "$SAGEMAKER_ROLE")  # fmt: skip
    add("--job-role", help="aws: role of its jobs, which need less, ARN or name; default: "
        "$SAGEMAKER_JOB_ROLE, else that of the pipeline: a subverted job may then start others")  # fmt: skip
    add("--execution", metavar="ARN", help="aws: of status and stop; default: the latest")
    add("--every", metavar="N(h|d)", help="schedule: hours or days between two starts, as in 7d")
    add("--cron", metavar="FIELDS", help="schedule: as in '0 3 ? * MON *', Mondays at 03:00 UTC")
    add_arguments(arguments)
    return arguments


def read_command(words: Sequence[str]) -> Command:
    """The command of a command line. Raises UsageError naming the flag, the key or the parameter."""
    flags, said = _read_flags(words)
    _check_flags(flags)
    recipe = read_recipe(
        flags.recipe or (SMALL if flags.data == DEMO else DEFAULT),
        _latest(flags.set),
        _latest(flags.set_phase2),
    )
    if flags.backend != "aws":
        recipe = _with_own_files(recipe)
    options, files = _prepare_options(flags, recipe)
    folder = trial_folder(flags.data, flags.backend, follows_links(options)) if flags.trial_s3 else None
    if folder:
        flags.data = TRIAL_URI
    flags.data = in_s3(INPUT_DATA, flags.data, "--data") if flags.data else None
    design = _design(flags, recipe, options, files)
    values = read_values(design.parameters, _latest(flags.param))
    _check_schedule(recipe, settled(design.parameters, values))
    return Command(
        verb=flags.command,
        backend=flags.backend,
        design=design,
        values=values,
        data=flags.data,
        sites=files.get(SITE_CSV),
        labels=Path(files[LABEL_NAMES]) if LABEL_NAMES in files else None,
        weights=_weights(flags, recipe),
        output=flags.output.rstrip("/") if flags.output else None,
        image=_image(flags),
        role=_role(flags),
        job_role=_job_role(flags),
        run_name=_run_name(flags, recipe),
        execution=flags.execution,
        resume=flags.resume,
        when=_when(flags),
        trial_s3=folder,
        said=said,
    )


def _with_own_files(recipe: Recipe) -> Recipe:
    """The recipe with whole paths of the files of this machine that its phases begin with."""
    return replace(
        recipe,
        phase1=with_absolute_weights(recipe.phase1),
        phase2=with_absolute_weights(recipe.phase2, "--set-phase2"),
    )


def _read_flags(words: Sequence[str]) -> tuple[argparse.Namespace, list[list[str]]]:
    """The flags, and the command lines that they come from: of a run that is continued, the earlier ones."""
    require_text(words)
    flags, said = parser().parse_args(words), [list(words)]
    if flags.resume:
        said = [*_earlier_commands(flags.resume), *said]
        flags = argparse.Namespace()
        for command in said:
            flags = parser().parse_args(command, flags)  # the last word on a flag counts
    settled = complete(flags, places=flags.command in DEFINE, needs_data=_needs_data(flags))
    said[-1] += settled  # a run that is continued has the same, whatever the settings say by then
    flags = parser().parse_args([flags.command, *settled], flags)
    use_region(flags.region)
    return flags, said


def _needs_data(flags: argparse.Namespace) -> bool:
    named = any(text.startswith(f"{INPUT_DATA}=") for text in flags.param)
    return flags.command == "run" and not (named and flags.backend in (None, "aws"))


def _prepare_options(flags: argparse.Namespace, recipe: Recipe) -> tuple[dict[str, str], dict[str, str]]:
    """The options of prepare.py, and apart from them those that are files which a parameter stands for."""
    options = recipe.prepare | read_prepare_options(_latest(flags.prepare))
    check_prepare_options(options, DECIDED)
    if flags.backend == "aws":
        refuse_for_s3(options)
    here = flags.backend != "aws" and label_names_here(options)
    names = [SITE_CSV, *([LABEL_NAMES] if here else [])]
    return options, {name: options.pop(name) for name in names if name in options}


def _design(
    flags: argparse.Namespace, recipe: Recipe, options: dict[str, str], files: Mapping[str, str]
) -> Design:
    aws, sites, labels = flags.backend == "aws", files.get(SITE_CSV), files.get(LABEL_NAMES)
    defaults = Defaults(
        data=flags.data if flags.data and (flags.data == DEMO or is_s3(flags.data)) else None,
        site_csv=sites if sites and is_s3(sites) else None,
        weights=_weights(flags, recipe) if aws else None,
        output=flags.output.rstrip("/") if aws and flags.output else None,
        role=_job_role(flags) or _role(flags),
        image=_default_image(flags),
    )
    return Design(
        recipe=recipe,
        parameters=declare(
            recipe, defaults, sites=bool(sites), weights=bool(flags.weights), labels=bool(labels)
        ),
        code=model_code_digest()[:DIGEST_LENGTH],
        region=_region() or REGION,
        drawn=_prepare_finds_it(flags),
        sites=sites.rpartition("/")[2] if sites else None,
        labels=Path(labels).name if labels else None,
        registers=aws,
        part=_gate_part(flags.gate_part, options),
        prepare=options,
        options=_aws_options(flags, recipe) if aws else None,
    )


def _when(flags: argparse.Namespace) -> str | None:
    if flags.command == "schedule":
        return expression(flags.every, flags.cron)
    if flags.every or flags.cron:
        raise UsageError(f"{'--every' if flags.every else '--cron'}: only with schedule")
    return None


def _role(flags: argparse.Namespace) -> str | None:
    return flags.role or os.environ.get("SAGEMAKER_ROLE") or None if flags.backend == "aws" else None


def _job_role(flags: argparse.Namespace) -> str | None:
    """The role of the jobs, where a definition is made. Raises UsageError for a command that makes none."""
    if flags.command in DEFINE and flags.backend == "aws":
        return flags.job_role or os.environ.get("SAGEMAKER_JOB_ROLE") or None
    if flags.job_role and flags.backend == "aws":
        raise UsageError(
            f"--job-role: not with {flags.command}; upsert says which role the jobs have (of one start: "
            "--param RoleArn=ARN)"
        )
    return None


def _image(flags: argparse.Namespace) -> str | None:
    return flags.image_uri or (IMAGE if flags.backend == "local" else None)


def _default_image(flags: argparse.Namespace) -> str | None:
    """The image of a definition: of the role's account where the environment says in which region."""
    account, region = account_of(_role(flags)), _region()
    own = own_image(account, region) if account and region and flags.backend == "aws" else None
    return _image(flags) or own


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _aws_options(flags: argparse.Namespace, recipe: Recipe) -> AwsOptions:
    options = read_options(flags)
    for config in (recipe.phase1, recipe.phase2):
        if options.network_isolation:
            check_isolation(config.weights, staged=bool(flags.weights))
    return options


def _weights(flags: argparse.Namespace, recipe: Recipe) -> str | None:
    wanted = [config.weights for config in (recipe.phase1, recipe.phase2)]
    if flags.weights and "imagenet" not in wanted:
        raise UsageError(f"--weights: has no effect with weights={wanted[0]}, only with imagenet")
    return in_s3(WEIGHTS_URI, flags.weights, "--weights") if flags.weights else None


def _run_name(flags: argparse.Namespace, recipe: Recipe) -> str:
    if flags.resume:
        return str(flags.resume.resolve().name)
    if not flags.name:
        return job_name(f"trapline-{recipe.name.replace('_', '-')}")
    try:
        return check_job_name(flags.name)
    except UsageError as error:
        raise UsageError(str(error).replace("--job-name", "--name")) from None


def _prepare_finds_it(flags: argparse.Namespace) -> bool:
    """The demo is drawn; in S3 prepare.py reads for itself where no platform would copy the images."""
    return flags.data == DEMO or (flags.backend != "aws" and bool(flags.data) and is_s3(flags.data))


def _gate_part(given: str | None, options: Mapping[str, str]) -> Literal["test", "validation"]:
    without_test = options.get("split") == "random" and "shares" not in options
    return cast(Literal["test", "validation"], given or ("validation" if without_test else "test"))


def _check_flags(flags: argparse.Namespace) -> None:
    check_places(flags, ("data", "output", "weights"))
    if flags.backend != "aws":
        _check_local(flags)
        return
    for name in ("resume", "name"):
        if getattr(flags, name):
            raise UsageError(f"--{name}: only with --backend process or local")


def _check_local(flags: argparse.Namespace) -> None:
    if flags.command not in ("run", "definition"):
        raise UsageError(
            f"{flags.command}: only with --backend aws; a run here ends with its command, and {STATE} "
            "in its folder says how far it came"
        )
    if flags.name and flags.resume and flags.name != flags.resume.resolve().name:
        raise UsageError("--name: a run that is continued keeps its name")
    check_here(flags, AWS_ALONE)


def _earlier_commands(folder: Path) -> list[list[str]]:
    path = folder / STATE
    if not path.is_file():
        raise UsageError(f"--resume {folder}: holds no {STATE}; give the folder of a run, as in runs/NAME")
    return list(read_json(path)["commands"])


def _latest(texts: Sequence[str]) -> list[str]:
    """KEY=VALUE texts of which the last counts where a key comes twice."""
    return list({re.split("=", text, maxsplit=1)[0]: text for text in texts}.values())


def _check_schedule(recipe: Recipe, values: Mapping[str, Value]) -> None:
    """Raise UsageError for epochs or rates that the training would refuse."""
    epochs = (int(values["EpochsPhase1"]), int(values["EpochsPhase2"]))
    with_schedule(recipe, epochs, (float(values["LearningRatePhase1"]), float(values["LearningRatePhase2"])))
