"""The command line that all launchers share, checked before anything is loaded or costs money."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trapline.config import TrainingConfig, check_pseudo_share, make_config, parse_value
from trapline.console import ArgumentParser
from trapline.errors import UsageError, refuse_any
from trapline.launching.aws.account import PUSH
from trapline.launching.aws.options import FLAGS as AWS_FLAGS
from trapline.launching.aws.options import (
    AwsOptions,
    add_arguments,
    add_flags,
    check_isolation,
    read_options,
    refuse,
)
from trapline.launching.checkout import Experiment
from trapline.launching.given_options import (
    check_prepare_options,
    follows_links,
    own_prepare_options,
    read_pairs,
    read_script_options,
    refuse_flags_as_values,
    refuse_for_s3,
    require_text,
    whole,
)
from trapline.launching.local.docker_engine import IMAGE
from trapline.launching.local.sources import with_absolute_weights
from trapline.launching.local.trial_s3 import URI as TRIAL_URI
from trapline.launching.local.trial_s3 import trial_folder
from trapline.launching.plan import PHASE1, PSEUDO, WEIGHTS, Image, Plan, check_job_name, job_name
from trapline.launching.settings import (
    NOT_GIVEN,
    SHARED,
    check_here,
    check_places,
    complete,
    use_region,
)
from trapline.preparation.archives import READ_ARCHIVES, raw_place
from trapline.s3 import is_s3

FRAMEWORK_VERSION, PY_VERSION = "2.8.0", "py312"  # the newest training image that the SDK knows
PREPARE_INSTANCE = "ml.m5.2xlarge"
AWS_ALONE = (
    "instance_type", "prepare_instance_type", "role", "region", "dlc", "framework_version", "py_version",
    "checkpoints", "parallel", *AWS_FLAGS,
)  # fmt: skip
MAX_FOLDS = 100
NOT_WITH_MANY = {
    "no_wait": "not with many jobs; jobs are started as others end; Ctrl-C leaves those that run, and the "
    "same command goes on",
    "checkpoints": "not with many jobs; each of the jobs has a place of its own; leave it out",
}
DECIDED = dict.fromkeys(("input", "output"), "the launcher decides it; use --data and --output")
PACKED_SIDE = 256  # prepare.py's default short side, px
CHANNEL_HELP = {
    PSEUDO: "pseudo-labels; entry_points/pseudo_label.py makes them",
    PHASE1: "model that weights=phase1 starts from: a folder, a run or model.tar.gz; its code never runs",
    WEIGHTS: "ImageNet weights for jobs without internet; launch/stage_weights.py puts them there",
}
PLACES = ("data", "prepared", "output", *CHANNEL_HELP)


positive = whole(1, math.inf, "number above 0")


FOLDS: dict[str, dict[str, Any]] = {
    "folds": {
        "type": whole(2, MAX_FOLDS, f"number from 2 to {MAX_FOLDS}"),
        "default": 0,
        "metavar": "K",
        "help": "a job for each of K folds of train and val, without the test part; the same command goes on "
        "where it was left",
    },
    "ensemble": {
        "action": "store_true",
        "help": "with --folds: also the average of their models as a model",
    },
    "parallel": {
        "type": positive,
        "metavar": "N",
        "help": "with --folds on aws: jobs at a time; default: 4",
    },
}


SOURCE: dict[str, dict[str, Any]] = {
    "data": {
        "metavar": "URI|DIR|FILE|demo",
        "help": f"raw images, in a folder or as {READ_ARCHIVES}: a prepare job runs first",
    },
    "prepared": {"metavar": "URI|DIR", "help": "a data set prepared earlier"},
}


def parser(experiment: Experiment) -> ArgumentParser:
    """The command line of `experiment`."""
    settings = ", ".join(f"{name}={value}" for name, value in experiment.hyperparameters.items())
    arguments = ArgumentParser(
        description=experiment.description,
        epilog=f"Hyperparameters of this experiment: {settings}. entry_points/train.py --help explains them "
        f"and lists the others. {NOT_GIVEN}",
    )
    add_flags(arguments, {"backend": SHARED["backend"]})
    add_flags(arguments.add_mutually_exclusive_group(), SOURCE)
    add_flags(arguments, _of_run(experiment))
    add_flags(arguments.add_argument_group("cross-validation"), FOLDS)
    add_flags(arguments.add_argument_group("machines"), _of_machines(experiment))
    add_arguments(arguments)
    return arguments


def _of_run(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """The flags that say what a job does, what it reads and where its results go."""
    return {
        "set": {
            "nargs": "+",
            "action": "extend",
            "default": [],
            "metavar": "KEY=VALUE",
            "help": "hyperparameters",
        },
        "prepare": SHARED["prepare"],
        **{name: {"metavar": "URI|DIR", "help": text} for name, text in CHANNEL_HELP.items()},
        "output": {"metavar": "URI|DIR", "help": "default: runs/, on aws the SDK's default bucket"},
        "job-name": {"help": f"default: {experiment.name}-YYYY-MM-DD-HH-MM-SS-mmm"},
        "dry-run": {
            "action": "store_true",
            "help": "print the requests that would be sent, as JSON; start nothing",
        },
        "fresh": {"action": "store_true", "help": "do not go on from an interrupted run"},
        "trial-s3": SHARED["trial-s3"],
    }


def _of_machines(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """The flags that say where a job runs, and in which image."""
    return {
        "instance-type": {"help": f"aws: default: {experiment.instance_type}"},
        "instance-count": {"type": positive, "default": 1, "metavar": "N", "help": "above 1: torchrun"},
        "prepare-instance-type": {"help": f"aws: default: {PREPARE_INSTANCE}"},
        "role": {
            "help": "aws: execution role of the jobs, name or ARN; default: $SAGEMAKER_JOB_ROLE, "
            "$SAGEMAKER_ROLE, the SDK's defaults file"
        },
        "region": SHARED["region"],
        "image-uri": SHARED["image-uri"],
        "dlc": {
            "action": "store_true",
            "help": "aws: AWS's deep-learning image, in which each job installs the missing packages",
        },
        "framework-version": {"help": f"with --dlc: its PyTorch; default: {FRAMEWORK_VERSION}"},
        "py-version": {"help": f"with --dlc: its Python; default: {PY_VERSION}"},
        "checkpoints": {
            "metavar": "URI",
            "help": "aws: default: a folder below --output for each code, configuration and data, so "
            "that the same command goes on",
        },
        "no-wait": {"action": "store_true", "help": "aws: return once the training job has started"},
    }


def read_beside(
    experiment: Experiment,
    add: Callable[[argparse.ArgumentParser], None],
    words: Sequence[str],
    usage: str,
    description: str | None = None,
) -> tuple[argparse.Namespace, list[str]]:
    """Flags of a command that takes an experiment's and those that `add` adds; and the words for `read_plan`.

    Those are the words of the command line but for the command's own flags.
    """
    both = parser(experiment)  # for --help, and what neither of the two would know
    both.usage, both.description = usage, description or experiment.description
    both.conflict_handler = "resolve"  # the launcher's --parallel is that of --folds
    add(both)
    flags = both.parse_args(words)
    own = ArgumentParser(add_help=False)
    add(own)
    return flags, own.parse_known_args(words)[1]


def read_plan(experiment: Experiment, command_line: Sequence[str]) -> Plan:
    """The plan from the command line. Raises UsageError naming the flag or the key."""
    require_text(command_line)
    arguments = parser(experiment)
    flags = arguments.parse_args(command_line)
    flags = arguments.parse_args([*command_line, *complete(flags)])
    use_region(flags.region)
    _check_places(flags)
    _check_folds(flags)
    changes = {name: parse_value(name, text) for name, text in read_pairs("--set", flags.set).items()}
    config = make_config(experiment.hyperparameters | changes)
    refuse_flags_as_values(config.record())
    if flags.backend != "aws":
        config = with_absolute_weights(config)
    channels = _channels(experiment, config, flags)
    options = _prepare_options(experiment, config, flags)
    folder = trial_folder(flags.data, flags.backend, follows_links(options)) if flags.trial_s3 else None
    return Plan(
        experiment=experiment,
        config=config,
        backend=flags.backend,
        data=TRIAL_URI if folder else flags.data,
        prepared=flags.prepared,
        prepare_options=options,
        output=flags.output,
        job_name=_job_name(experiment, flags),
        instance_type=flags.instance_type or experiment.instance_type,
        instance_count=flags.instance_count,
        prepare_instance_type=flags.prepare_instance_type or PREPARE_INSTANCE,
        role=flags.role,
        image=_image(flags),
        aws=_aws_options(flags, config, channels),
        checkpoints=_checkpoints(flags),
        wait=not flags.no_wait,
        dry_run=flags.dry_run,
        fresh=flags.fresh,
        trial_s3=folder,
        channels=channels,
        folds=flags.folds,
        ensemble=flags.ensemble,
        parallel=flags.parallel,
    )


def _job_name(experiment: Experiment, flags: argparse.Namespace) -> str:
    """The name given, or one with the time; of a cross-validation always the same, for it goes on."""
    if flags.job_name:
        return check_job_name(flags.job_name)
    return f"{experiment.name}-{flags.folds}-folds" if flags.folds else job_name(experiment.name)


def _check_folds(flags: argparse.Namespace) -> None:
    """Raise UsageError for what does not go with --folds, or not without."""
    if not flags.folds:
        refuse(
            flags,
            dict.fromkeys(("ensemble", "parallel"), "is for the jobs of a cross-validation; give --folds K"),
        )
        return
    refuse(
        flags,
        {
            "pseudo": "not with --folds, for the teacher of the pseudo-labels has seen images of every fold",
            "phase1": "not with --folds, for that model has seen images of every fold",
            **NOT_WITH_MANY,
        },
    )
    if {"fold", "folds"} & read_pairs("--set", flags.set).keys():
        raise UsageError(f"--set: leave out fold and folds, --folds {flags.folds} sets them for each job")


def _check_places(flags: argparse.Namespace) -> None:
    """Raise UsageError for a place without a name or that jobs cannot read, and a flag without an effect.

    An empty path would be the folder one stands in.
    """
    refuse_any(
        (getattr(flags, name) == "", f"--{name}: is empty; name a place, or leave the flag out")
        for name in PLACES
    )
    if flags.data and is_s3(flags.data):
        raw_place(flags.data, "--data")
    check_places(flags, PLACES)
    if flags.backend != "aws":
        refuse(
            flags,
            {"no_wait": f"a {flags.backend} backend's job ends with its launcher; leave the flag out"},
        )
        check_here(flags, AWS_ALONE)


def _image(flags: argparse.Namespace) -> Image:
    if flags.image_uri and flags.dlc:
        raise UsageError("--dlc: is AWS's own image; leave out --image-uri, or --dlc")
    if flags.dlc:
        return Image(None, flags.framework_version or FRAMEWORK_VERSION, flags.py_version or PY_VERSION)
    refuse(
        flags,
        dict.fromkeys(("framework_version", "py_version"), "only with --dlc, AWS's deep-learning image"),
    )
    return Image(flags.image_uri or (IMAGE if flags.backend == "local" else None))


def _checkpoints(flags: argparse.Namespace) -> str | None:
    if flags.checkpoints is None:
        return None
    refuse_any(
        [
            (not is_s3(flags.checkpoints), f"--checkpoints {flags.checkpoints}: must be an s3:// URI"),
            (flags.fresh, "--checkpoints: has no effect with --fresh; leave one of them out"),
        ]
    )
    return str(flags.checkpoints.rstrip("/"))


def _aws_options(
    flags: argparse.Namespace, config: TrainingConfig, channels: Mapping[str, str]
) -> AwsOptions:
    options = read_options(flags)
    if options.network_isolation and flags.dlc:
        raise UsageError(
            "--network-isolation: jobs in --dlc install packages from the network; leave out --dlc: the "
            f"project's own image has them ({PUSH})"
        )
    if options.network_isolation:
        check_isolation(config.weights, staged=WEIGHTS in channels)
    return options


def _channels(experiment: Experiment, config: TrainingConfig, flags: argparse.Namespace) -> dict[str, str]:
    """The channels that are given, checked against the experiment and its hyperparameters."""
    given = {name: getattr(flags, name) for name in CHANNEL_HELP if getattr(flags, name)}
    required = [*experiment.channels, *([PHASE1] if config.weights == PHASE1 else [])]
    refuse_any(
        [
            *(
                (name in required and name not in given, f"--{name}: {experiment.name} needs it ({text})")
                for name, text in CHANNEL_HELP.items()
            ),
            (
                PHASE1 in given and config.weights != PHASE1,
                f"--phase1: has no effect with weights={config.weights}; --set weights=phase1 uses it",
            ),
            (
                WEIGHTS in given and config.weights != "imagenet",
                f"--weights: has no effect with weights={config.weights}, only with imagenet",
            ),
        ]
    )
    if PSEUDO in given:
        check_pseudo_share(config, flags.instance_count)
    return given


def _prepare_options(
    experiment: Experiment, config: TrainingConfig, flags: argparse.Namespace
) -> dict[str, str]:
    given = read_script_options(flags.prepare)
    if flags.prepared:
        if given:
            raise UsageError("--prepare: has no effect with --prepared; the set is what it is")
        return {}
    options = own_prepare_options(experiment.prepare) | given
    if config.image_size > PACKED_SIDE:
        options.setdefault("short-side", str(config.image_size))
    check_prepare_options(options, DECIDED)
    if flags.backend == "aws":
        refuse_for_s3(options)
    return options
