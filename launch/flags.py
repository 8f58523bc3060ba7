"""The command line that all launchers share, checked before anything is loaded or costs money."""

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from common.config import TrainingConfig, make_config, pseudo_rows
from common.console import ArgumentParser
from common.errors import UsageError
from common.hyperparameters import parse_value
from common.s3 import is_s3
from launch.docker_engine import IMAGE
from launch.experiment import Experiment
from launch.jobs import PHASE1, PSEUDO, Image, check_job_name, job_name
from launch.staging import ENTRY_POINTS

FRAMEWORK_VERSION, PY_VERSION = "2.8.0", "py312"  # the newest training image that the SDK knows
PACKED_SIDE = 256  # prepare.py's default short side, px
CHANNEL_HELP = {
    PSEUDO: "pseudo-labels; entry_points/pseudo_label.py makes them",
    PHASE1: "the model that weights=phase1 starts from: a folder, a run, or a model.tar.gz",
}


@dataclass(frozen=True)
class Plan:
    """A launch, checked: what to run, on what, with which settings."""

    experiment: Experiment
    config: TrainingConfig
    backend: str
    data: str | None  # URI, path, "demo", or None where `prepared` is given
    prepared: str | None
    prepare_options: dict[str, str]
    output: str | None
    job_name: str
    instance_type: str
    instance_count: int
    prepare_instance_type: str
    role: str | None
    image: Image
    input_mode: str
    wait: bool
    dry_run: bool
    fresh: bool
    channels: dict[str, str]  # what is given beside the data: pseudo, phase1 -> URI or path

    def prepare_arguments(self) -> tuple[str, ...]:
        """The options of prepare.py as its command line, in fixed order; the CSV of sites is an input."""
        options = {name: value for name, value in sorted(self.prepare_options.items()) if name != "site-csv"}
        return tuple(word for name, value in options.items() for word in (f"--{name}", value))


def parser(experiment: Experiment) -> ArgumentParser:
    """The command line of `experiment`."""
    settings = ", ".join(f"{name}={value}" for name, value in experiment.hyperparameters.items())
    arguments = ArgumentParser(
        description=experiment.description,
        epilog=f"Hyperparameters of this experiment: {settings}. entry_points/train.py --help explains them "
        "and lists the others.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = arguments.add_argument
    add("--backend", choices=["process", "local", "aws"], default="aws",
        help="aws: SageMaker (default); process: here, without Docker or account; local: Docker")  # fmt: skip
    data = arguments.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", metavar="URI|DIR|demo", help="raw images: a prepare job runs first")
    data.add_argument("--prepared", metavar="URI|DIR", help="a data set prepared earlier")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="hyperparameters")
    add("--prepare", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="options of entry_points/prepare.py, as in split=random crop-bottom=0.07")  # fmt: skip
    for name, text in CHANNEL_HELP.items():
        add(f"--{name}", metavar="URI|DIR", help=text)
    add("--output", metavar="URI|DIR", help="default: runs/, on aws the SDK's default bucket")
    add("--job-name", help=f"default: {experiment.name}-YYYY-MM-DD-HH-MM-SS-mmm")
    add(
        "--dry-run", action="store_true", help="print the requests that would be sent, as JSON; start nothing"
    )
    add("--fresh", action="store_true", help="process, local: do not go on from an interrupted run")
    aws = arguments.add_argument_group("machines")
    aws.add_argument("--instance-type", default=experiment.instance_type, help="default: %(default)s")
    aws.add_argument("--instance-count", type=_positive, default=1, metavar="N", help="above 1: torchrun")
    aws.add_argument("--prepare-instance-type", default="ml.m5.2xlarge", help="default: %(default)s")
    aws.add_argument(
        "--role", help="execution role, name or ARN; default: $SAGEMAKER_ROLE, the SDK's defaults file"
    )
    aws.add_argument(
        "--image-uri",
        help=f"container image; default: local: {IMAGE}, aws: AWS's PyTorch image of the versions below",
    )
    aws.add_argument("--framework-version", default=FRAMEWORK_VERSION, help="default: %(default)s")
    aws.add_argument("--py-version", default=PY_VERSION, help="default: %(default)s")
    aws.add_argument("--input-mode", choices=["File", "FastFile"], default="File", help="default: File")
    aws.add_argument("--no-wait", action="store_true", help="aws: return once the training job has started")
    return arguments


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def read_plan(experiment: Experiment, command_line: Sequence[str]) -> Plan:
    """The plan from the command line. Raises UsageError naming the flag or the key."""
    flags = parser(experiment).parse_args(command_line)
    _check_backend(flags)
    changes = {name: parse_value(name, text) for name, text in read_pairs("--set", flags.set).items()}
    config = make_config({**experiment.hyperparameters, **changes})
    return Plan(
        experiment=experiment,
        config=config,
        backend=flags.backend,
        data=flags.data,
        prepared=flags.prepared,
        prepare_options=_prepare_options(experiment, config, flags),
        output=flags.output,
        job_name=check_job_name(flags.job_name) if flags.job_name else job_name(experiment.name),
        instance_type=flags.instance_type,
        instance_count=flags.instance_count,
        prepare_instance_type=flags.prepare_instance_type,
        role=flags.role,
        image=Image(_image_uri(flags), flags.framework_version, flags.py_version),
        input_mode=flags.input_mode,
        wait=not flags.no_wait,
        dry_run=flags.dry_run,
        fresh=flags.fresh,
        channels=_channels(experiment, config, flags),
    )


def read_pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary. Raises UsageError for one without `=`, or a key that comes twice."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {text}: must be KEY=VALUE")
        if name in pairs:
            raise UsageError(f"{flag} {name}: given twice")
        pairs[name] = value
    return pairs


def _check_backend(flags: argparse.Namespace) -> None:
    if flags.backend != "aws":
        kind = flags.backend
        if flags.no_wait:
            raise UsageError(f"--no-wait: a {kind} backend's job ends with its launcher; leave the flag out")
        if flags.output and is_s3(flags.output):
            raise UsageError(f"--output {flags.output}: the {kind} backend writes to a folder, as in runs")
        if kind == "process" and flags.image_uri:
            raise UsageError("--image-uri: has no effect with --backend process; local and aws use it")
        return
    if flags.fresh:
        raise UsageError("--fresh: only with --backend process or local")
    for name in ("data", "prepared", "output", *CHANNEL_HELP):
        value = getattr(flags, name)
        if value and value != "demo" and not is_s3(value):
            raise UsageError(
                f"--{name} {value}: jobs on AWS read and write S3 alone; copy it there "
                "(aws s3 cp --recursive DIR s3://BUCKET/PREFIX) or use --backend process"
            )


def _image_uri(flags: argparse.Namespace) -> str | None:
    return flags.image_uri or (IMAGE if flags.backend == "local" else None)


def _channels(experiment: Experiment, config: TrainingConfig, flags: argparse.Namespace) -> dict[str, str]:
    """The channels that are given, checked against the experiment and its hyperparameters."""
    given = {name: getattr(flags, name) for name in CHANNEL_HELP if getattr(flags, name)}
    required = [*experiment.channels, *([PHASE1] if config.weights == PHASE1 else [])]
    for name, text in CHANNEL_HELP.items():
        if name in required and name not in given:
            raise UsageError(f"--{name}: {experiment.name} needs it ({text})")
    if PHASE1 in given and config.weights != PHASE1:
        raise UsageError(
            f"--phase1: has no effect with weights={config.weights}; --set weights=phase1 uses it"
        )
    if PSEUDO in given:
        pseudo_rows(config.pseudo_share, config.batch_size * flags.instance_count)
    return given


def _prepare_options(
    experiment: Experiment, config: TrainingConfig, flags: argparse.Namespace
) -> dict[str, str]:
    given = {name.replace("_", "-"): text for name, text in read_pairs("--prepare", flags.prepare).items()}
    if flags.prepared:
        if given:
            raise UsageError("--prepare: has no effect with --prepared; the set is what it is")
        return {}
    own: Mapping[str, object] = experiment.prepare
    options = {name.replace("_", "-"): str(value) for name, value in own.items()} | given
    if config.image_size > PACKED_SIDE:
        options.setdefault("short-side", str(config.image_size))
    _check_with_script(options)
    return options


def _check_with_script(options: Mapping[str, str]) -> None:
    """Let prepare.py's own parser judge, so that there is one list of its options."""
    for name in ("input", "output"):
        if name in options:
            raise UsageError(f"--prepare {name}: the launcher decides it; use --data and --output")
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    script = _load_script("prepare")
    script.parser().parse_args(["--input", "x", "--output", "x", *words])


def _load_script(name: str) -> ModuleType:
    path = Path(ENTRY_POINTS) / f"{name}.py"
    specification = importlib.util.spec_from_file_location(f"entry_point_{name}", path)
    if specification is None or specification.loader is None or not path.exists():
        raise UsageError(f"{path}: no such file; run the launcher from a checkout of Trapline")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
