"""Every command that README.md shows is one that the real parsers take."""

import importlib
import importlib.util
import re
import shlex

import botocore.session
import pytest
from botocore import xform_name

from common.hyperparameters import hyphenated
from launch.experiments import experiment_names, find_experiment
from launch.flags import read_plan
from launch.multilabel_sweep import read_sweep
from launch.policies import read_values
from launch.tuning.search import read_search
from pipelines.command_line import read_command
from tests.conftest import ENTRY_POINTS, ROOT

PYTHON = re.compile(r"^(?:\.venv/bin/)?python3? ((?:launch|pipelines|entry_points)/\w+)\.py\b(.*)$")
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(text):
    """The commands of the text's blocks of bash, each as one line without its comment."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"\s&&\s*", re.sub(r"\s+#.*", "", line)):
                if command.strip():
                    yield " ".join(command.removesuffix("&&").split())


def of_python(text):
    return [(found[1], found[2]) for found in map(PYTHON.match, commands(text)) if found]


def script(path):
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def parse(path, words):
    """Let the script's own parser read the words; SystemExit or UsageError where it refuses them."""
    folder, _, name = path.partition("/")
    if path == "pipelines/camera_trap":
        read_command(words)
    elif folder == "entry_points":
        script(ENTRY_POINTS / f"{name}.py").parser().parse_args(hyphenated(words))
    elif name in experiment_names():
        read_plan(find_experiment(name), words)
    elif name == "tune":
        read_search(find_experiment(words[0]), words[1:])
    elif name == "multilabel_sweep":
        read_sweep(words)
    elif name == "policies":
        read_values(vars(importlib.import_module("launch.policies").parser().parse_args(words)))
    else:
        flags = importlib.import_module(f"launch.{name}").parser().parse_args(words)
        if name == "check" and flags.name:
            parse("pipelines/camera_trap" if flags.name == "pipeline" else f"launch/{flags.name}",
                  ["definition", *flags.flags] if flags.name == "pipeline" else flags.flags)  # fmt: skip


def test_there_are_commands_to_check():
    assert len(of_python(TEXT)) > 20


@pytest.mark.parametrize(("path", "rest"), of_python(TEXT), ids=lambda text: text.strip()[:60])
def test_a_command_of_the_readme_is_taken(path, rest, monkeypatch):
    monkeypatch.delenv("SAGEMAKER_ROLE", raising=False)
    words = shlex.split(rest)
    parse(path, [word for word in words if word != "..."])


def test_flags_of_the_build_script_are_its_own():
    usage = (ROOT / "docker" / "build.sh").read_text()
    for command in commands(TEXT):
        if command.startswith("docker/build.sh"):
            for flag in re.findall(r"--[a-z-]+", command):
                assert f"  {flag} " in usage


def of_aws(text):
    """The commands of AWS's own command line, in blocks and in sentences; `aws s3` is no service's."""
    named = [*commands(text), *re.findall(r"`(aws [^`]+)`", text)]
    return sorted({name for name in named if name.startswith("aws ") and not name.startswith("aws s3 ")})


@pytest.mark.parametrize("command", of_aws(TEXT))
def test_a_command_of_aws_is_one_that_the_service_has_with_these_parameters(command):
    _, service, verb, *words = shlex.split(command)
    model = botocore.session.get_session().get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    members = model.operation_model(operations[verb]).input_shape.members
    flags = {word.removeprefix("--") for word in words if word.startswith("--")}
    assert flags <= {xform_name(name, "-") for name in members}
