"""The command line of a pipeline, checked before anything is loaded or costs money."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trapline.console import ArgumentParser
from trapline.errors import UsageError, refuse_any
from trapline.launching.aws.account import account_of, own_image
from trapline.launching.aws.options import FLAGS as AWS_FLAGS
from trapline.launching.aws.options import add_arguments, add_flags, check_isolation, read_options, refuse
from trapline.launching.checkout import model_code_digest
from trapline.launching.given_options import (
    COLLECT,
    PIPELINE_FILES,
    check_collect_options,
    check_prepare_options,
    follows_links,
    job_files,
    read_script_options,
    refuse_for_s3,
    require_text,
)
from trapline.launching.local.docker_engine import IMAGE
from trapline.launching.local.sources import with_absolute_weights
from trapline.launching.local.trial_s3 import URI as TRIAL_URI
from trapline.launching.local.trial_s3 import trial_folder
from trapline.launching.plan import check_job_name, job_name
from trapline.launching.pricing.prices import REGION
from trapline.launching.settings import (
    DEMO,
    NOT_GIVEN,
    SHARED,
    check_here,
    check_places,
    complete,
    use_region,
)
from trapline.option_values import FORMATS
from trapline.pipeline.design import (
    DEFAULT,
    DIGEST_LENGTH,
    INPUT_DATA,
    OUTPUT_PREFIX,
    SMALL,
    WEIGHTS_URI,
    Design,
    Recipe,
    Value,
    declare,
    in_s3,
    read_recipe,
    read_values,
    settled,
    with_schedule,
)
from trapline.pipeline.starting import expression
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
STATE = "pipeline.json"
AWS_ALONE = ("role", "job_role", "region", "execution", *AWS_FLAGS)
PAIRS: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "KEY=VALUE"}
FLAGS: dict[str, dict[str, Any]] = {
    "backend": SHARED["backend"],
    "data": {"metavar": "URI|DIR|demo", "help": "raw images"},
    "recipe": {
        "metavar": "EXPERIMENT",
        "help": f"of launch/, or {SMALL}; default: {SMALL} for the demo, else {DEFAULT}",
    },
    "param": {
        **PAIRS,
        "metavar": "NAME=VALUE",
        "help": "parameters of the pipeline; `definition` lists them",
    },
    "output": {"metavar": "URI|DIR", "help": "gets a folder for each execution; default: runs"},
    "set": {**PAIRS, "help": "hyperparameters of both phases"},
    "set-phase2": {**PAIRS, "help": "hyperparameters of phase 2 alone, as in weights=imagenet"},
    "prepare": SHARED["prepare"],
    "formats": {
        "nargs": "+",
        "choices": FORMATS,
        "help": "what Collect writes of the answers; default: csv",
    },
    "collect": {**PAIRS, "help": "further options of entry_points/collect.py, as in taxonomy=taxonomy.csv"},
    "weights": {
        "metavar": "URI|DIR",
        "help": "ImageNet weights for jobs without internet, of launch/stage_weights.py",
    },
    "gate-part": {
        "choices": ["test", "validation"],
        "help": "what the quality gate looks at; default: test, but validation with --prepare split=random, "
        "which leaves no test part",
    },
    "name": {"help": "process, local: name of the run; default: trapline-RECIPE-YYYY-MM-DD-HH-MM-SS-mmm"},
    "trial-s3": SHARED["trial-s3"],
    "resume": {"type": Path, "metavar": "RUN", "help": "process, local: go on with a run, by its folder"},
    "region": SHARED["region"],
    "image-uri": SHARED["image-uri"],
    "role": {
        "help": "aws: role of the pipeline (of schedule: of the scheduler), ARN or name; default: "
        "$SAGEMAKER_ROLE"
    },
    "job-role": {
        "help": "aws: role of its jobs, which need less, ARN or name; default: $SAGEMAKER_JOB_ROLE, else "
        "that of the pipeline: a subverted job may then start others"
    },
    "execution": {"metavar": "ARN", "help": "aws: of status and stop; default: the latest"},
    "every": {"metavar": "N(h|d)", "help": "schedule: hours or days between two starts, as in 7d"},
    "cron": {"metavar": "FIELDS", "help": "schedule: as in '0 3 ? * MON *', Mondays at 03:00 UTC"},
}
# Options of prepare.py that are not to be given, and why.
DECIDED = {
    **dict.fromkeys(("input", "output", "source-name"), "the pipeline decides it; use --data and --output"),
    **dict.fromkeys(("data-version", "completed"), "the pipeline decides it"),
    "weights": "the pipeline decides it; use --weights",
}


@dataclass(frozen=True)
class Command:
    """What to do, with what, checked.

    data, output: as given. files: what options of prepare.py name, where that is an input of its job. values:
    of --param. run_name: of a run here. said: the command lines of the run, and of those that went on with
    it.
    """

    verb: str
    backend: Literal["process", "local", "aws"]
    design: Design
    values: dict[str, Value]
    data: str | None
    files: dict[str, str]
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
    arguments.add_argument("command", nargs="?", default="run", choices=COMMANDS, help="default: run")
    add_flags(arguments, FLAGS)
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
    if flags.backend != "aws":  # the jobs run in another folder than the user
        recipe = replace(
            recipe,
            phase1=with_absolute_weights(recipe.phase1),
            phase2=with_absolute_weights(recipe.phase2, "--set-phase2"),
        )
    options, files = _prepare_options(flags, recipe)
    folder = trial_folder(flags.data, flags.backend, follows_links(options)) if flags.trial_s3 else None
    if folder:
        flags.data = TRIAL_URI
    _settle(flags, recipe)
    collect, of_answers = _collect_options(flags)
    design = _design(flags, recipe, options, files | of_answers, collect)
    values = read_values(design.parameters, _latest(flags.param))
    chosen = settled(design.parameters, values)
    # Raises for epochs or rates that the training would refuse.
    with_schedule(
        recipe,
        (int(chosen["EpochsPhase1"]), int(chosen["EpochsPhase2"])),
        (float(chosen["LearningRatePhase1"]), float(chosen["LearningRatePhase2"])),
    )
    return Command(
        verb=flags.command,
        backend=flags.backend,
        design=design,
        values=values,
        data=flags.data,
        files=files | of_answers,
        weights=flags.weights,
        output=flags.output,
        image=flags.image_uri,
        role=flags.role,
        job_role=flags.job_role,
        run_name=_run_name(flags, recipe),
        execution=flags.execution,
        resume=flags.resume,
        when=expression(flags.every, flags.cron) if flags.command == "schedule" else None,
        trial_s3=folder,
        said=said,
    )


def _read_flags(words: Sequence[str]) -> tuple[argparse.Namespace, list[list[str]]]:
    """The flags, and the command lines that they come from: of a run that is continued, the earlier ones."""
    require_text(words)
    flags, said = parser().parse_args(words), [list(words)]
    if flags.resume:
        state = flags.resume / STATE
        if not state.is_file():
            raise UsageError(
                f"--resume {flags.resume}: holds no {STATE}; give the folder of a run, as in runs/NAME"
            )
        said = [*read_json(state)["commands"], *said]
        flags = argparse.Namespace()
        for command in said:
            flags = parser().parse_args(command, flags)  # the last word on a flag counts
    data_given = any(text.startswith(f"{INPUT_DATA}=") for text in flags.param)
    needs_data = flags.command == "run" and not (data_given and flags.backend in (None, "aws"))
    added = complete(flags, places=flags.command in DEFINE, needs_data=needs_data)
    said[-1] += added  # a run that is continued has the same, whatever the settings say by then
    flags = parser().parse_args([flags.command, *added], flags)
    use_region(flags.region)
    return flags, said


def _prepare_options(flags: argparse.Namespace, recipe: Recipe) -> tuple[dict[str, str], dict[str, str]]:
    """The options of prepare.py, and apart from them those whose file or folder a parameter stands for."""
    options = recipe.prepare | read_script_options(_latest(flags.prepare))
    check_prepare_options(options, DECIDED)
    aws = flags.backend == "aws"
    if aws:
        refuse_for_s3(options)
    files = job_files(options, aws=aws)
    return {name: value for name, value in options.items() if name not in files}, files


def _collect_options(flags: argparse.Namespace) -> tuple[dict[str, str], dict[str, str]]:
    """The options of collect.py, and apart from them those whose file a parameter stands for."""
    options = read_script_options(_latest(flags.collect), COLLECT)
    if flags.formats:
        refuse_any(
            [("formats" in options, "--collect formats: not with --formats; give one of them")], UsageError
        )
        options["formats"] = " ".join(flags.formats)
    check_collect_options(options)
    aws = flags.backend == "aws"
    if aws:
        refuse_for_s3(options, COLLECT)
    files = job_files(options, aws=aws, script=COLLECT)
    return {name: value for name, value in options.items() if name not in files}, files


def _settle(flags: argparse.Namespace, recipe: Recipe) -> None:
    """Let the flags say what the environment adds to them, and places as jobs are given them.

    Raises UsageError for --weights that nothing begins with, and --job-role where no definition is made.
    """
    if flags.data:
        flags.data = in_s3(INPUT_DATA, flags.data, "--data")
    if flags.output:
        flags.output = flags.output.rstrip("/")
    if flags.weights:
        if "imagenet" not in [config.weights for config in recipe.phases]:
            raise UsageError(
                f"--weights: has no effect with weights={recipe.phase1.weights}, only with imagenet"
            )
        flags.weights = in_s3(WEIGHTS_URI, flags.weights, "--weights")
    if flags.backend == "local":
        flags.image_uri = flags.image_uri or IMAGE
    elif flags.backend == "aws":
        flags.role = flags.role or os.environ.get("SAGEMAKER_ROLE") or None
        if flags.command in DEFINE:
            flags.job_role = flags.job_role or os.environ.get("SAGEMAKER_JOB_ROLE") or None
        elif flags.job_role:
            raise UsageError(
                f"--job-role: not with {flags.command}; upsert says which role the jobs have (of one start: "
                "--param RoleArn=ARN)"
            )


def _design(
    flags: argparse.Namespace,
    recipe: Recipe,
    options: dict[str, str],
    files: Mapping[str, str],
    collect: dict[str, str],
) -> Design:
    aws = flags.backend == "aws"
    aws_options = read_options(flags) if aws else None
    if aws_options and aws_options.network_isolation:
        for config in recipe.phases:
            check_isolation(config.weights, staged=bool(flags.weights))
    # The image is of the role's account, where the environment says in which region.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    account = account_of(flags.role)
    own = own_image(account, region) if account and region and aws else None
    drawn, in_cloud = flags.data == DEMO, bool(flags.data) and is_s3(flags.data)
    without_test = options.get("split") == "random" and "shares" not in options
    defaults = {
        INPUT_DATA: flags.data if drawn or in_cloud else None,
        OUTPUT_PREFIX: flags.output if aws else None,
        "RoleArn": flags.job_role or flags.role,
        "ImageUri": flags.image_uri or own,
    }
    for name, value in files.items():
        defaults[PIPELINE_FILES[name].parameter] = value if aws else None
    if flags.weights:
        defaults[WEIGHTS_URI] = flags.weights if aws else None
    return Design(
        recipe=recipe,
        parameters=declare(recipe, defaults),
        code=model_code_digest()[:DIGEST_LENGTH],
        region=region or REGION,
        drawn=drawn or (in_cloud and not aws),  # in S3, prepare.py reads where no platform copies the images
        files={name: PIPELINE_FILES[name].file_name(value) for name, value in files.items()},
        registers=aws,
        part=flags.gate_part or ("validation" if without_test else "test"),
        prepare=options,
        collect=collect,
        options=aws_options,
    )


def _run_name(flags: argparse.Namespace, recipe: Recipe) -> str:
    if flags.resume:
        return str(flags.resume.resolve().name)
    if not flags.name:
        return job_name(f"trapline-{recipe.name.replace('_', '-')}")
    return check_job_name(flags.name, "--name")


def _check_flags(flags: argparse.Namespace) -> None:
    check_places(flags, ("data", "output", "weights"))
    if flags.command != "schedule":
        refuse(flags, dict.fromkeys(("every", "cron"), "only with schedule"))
    if flags.backend == "aws":
        refuse(flags, dict.fromkeys(("resume", "name"), "only with --backend process or local"))
        return
    renamed = flags.name and flags.resume and flags.name != flags.resume.resolve().name
    refuse_any(
        [
            (
                flags.command not in ("run", "definition"),
                f"{flags.command}: only with --backend aws; a run here ends with its command, and {STATE} "
                "in its folder says how far it came",
            ),
            (renamed, "--name: a run that is continued keeps its name"),
        ]
    )
    check_here(flags, AWS_ALONE)


def _latest(texts: Sequence[str]) -> list[str]:
    """KEY=VALUE texts of which the last counts where a key comes twice."""
    return list({text.partition("=")[0]: text for text in texts}.values())
