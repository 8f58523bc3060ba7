"""The command line of a pipeline, checked before anything is loaded or costs money."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from common.console import ArgumentParser
from common.errors import UsageError
from common.s3 import is_s3
from common.storage import folder_digest, read_json
from launch.aws.image import REPOSITORY, TAG, account_of, own_image
from launch.aws.options import AwsOptions, add_arguments, check_isolation, read_options, refuse_flags
from launch.jobs import check_job_name, job_name
from launch.local.docker_engine import IMAGE
from launch.local.trial_s3 import URI as TRIAL_URI
from launch.local.trial_s3 import trial_folder
from launch.pairs import require_text
from launch.prepare_options import (
    LABEL_NAMES,
    SITE_CSV,
    check_prepare_options,
    follows_links,
    label_names_here,
    read_prepare_options,
    refuse_for_s3,
)
from launch.staging import COMMON, ENTRY_POINTS
from pipelines.definition import Design
from pipelines.parameters import DEMO, Defaults, Value, declare, read_values, settled
from pipelines.recipes import DEFAULT, SMALL, Recipe, read_recipe, with_schedule
from pipelines.schedule import expression

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
REGION = "us-east-1"  # of a definition where the environment names none
DIGEST_LENGTH = 16
STATE = "pipeline.json"
# Options of prepare.py that are not to be given, and why.
DECIDED = dict.fromkeys(
    ("input", "output", "source-name"), "the pipeline decides it; use --data and --output"
)


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
        epilog="\n".join(f"{name:<12}{text}" for name, text in COMMANDS.items()),
    )
    add = arguments.add_argument
    add("command", choices=COMMANDS)
    add("--backend", choices=["process", "local", "aws"], default="aws",
        help="aws: SageMaker (default); process: here, without Docker or account; local: Docker")  # fmt: skip
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
    add("--prepare", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="options of entry_points/prepare.py, as in split=random crop-bottom=0.07")  # fmt: skip
    add("--weights", metavar="URI|DIR",
        help="ImageNet weights for jobs without internet, of launch/stage_weights.py")  # fmt: skip
    add("--gate-part", choices=["test", "validation"], help="what the quality gate looks at; default: test, "
        "but validation with --prepare split=random, which leaves no test part")  # fmt: skip
    add("--name", help="process, local: name of the run; default: trapline-RECIPE-YYYY-MM-DD-HH-MM-SS-mmm")
    add("--trial-s3", action="store_true",
        help="process, local: let the steps read --data DIR from an S3 that this command serves")  # fmt: skip
    add("--resume", type=Path, metavar="RUN", help="process, local: go on with a run, by its folder")
    add("--role", help="aws: execution role, ARN or name; default: $SAGEMAKER_ROLE")
    add("--image-uri", help=f"local, aws: container image of all jobs; default: local: {IMAGE}, aws: the "
        f"account's own {REPOSITORY}:{TAG}")  # fmt: skip
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
    options, files = _prepare_options(flags, recipe)
    folder = trial_folder(flags.data, flags.backend, follows_links(options)) if flags.trial_s3 else None
    if folder:
        flags.data = TRIAL_URI
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
        run_name=_run_name(flags, recipe),
        execution=flags.execution,
        resume=flags.resume,
        when=_when(flags),
        trial_s3=folder,
        said=said,
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
    return flags, said


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
        role=_role(flags),
        image=_default_image(flags),
    )
    return Design(
        recipe=recipe,
        parameters=declare(
            recipe, defaults, sites=bool(sites), weights=bool(flags.weights), labels=bool(labels)
        ),
        code=folder_digest([ENTRY_POINTS, COMMON])[:DIGEST_LENGTH],
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
    return f"{flags.weights.rstrip('/')}/" if flags.weights and is_s3(flags.weights) else flags.weights


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
    if flags.backend != "aws":
        _check_local(flags)
        return
    for name in ("resume", "name"):
        if getattr(flags, name):
            raise UsageError(f"--{name}: only with --backend process or local")
    for name in ("data", "output", "weights"):
        value = getattr(flags, name)
        if value and value != DEMO and not is_s3(value):
            raise UsageError(
                f"--{name} {value}: jobs on AWS read and write S3 alone; copy it there "
                "(aws s3 cp --recursive DIR s3://BUCKET/PREFIX) or use --backend process"
            )


def _check_local(flags: argparse.Namespace) -> None:
    if flags.command not in ("run", "definition"):
        raise UsageError(
            f"{flags.command}: only with --backend aws; a run here ends with its command, and {STATE} "
            "in its folder says how far it came"
        )
    if flags.output and is_s3(flags.output):
        raise UsageError(
            f"--output {flags.output}: the {flags.backend} backend writes to a folder, as in runs"
        )
    if flags.command == "run" and not flags.data:
        raise UsageError("--data: give raw images, a folder or an s3:// URI, or demo")
    if flags.name and flags.resume and flags.name != flags.resume.resolve().name:
        raise UsageError("--name: a run that is continued keeps its name")
    if flags.image_uri and flags.backend == "process":
        raise UsageError("--image-uri: only with --backend local or aws")
    for name in ("role", "execution"):
        if getattr(flags, name):
            raise UsageError(f"--{name}: only with --backend aws")
    refuse_flags(flags)


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
