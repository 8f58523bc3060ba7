"""The commands in the texts of the scripts, docstrings and examples of --help, are ones that they take."""

import ast
import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.support.commands import parse
from trapline.launching.checkout import experiment_names, find_experiment
from trapline.launching.commands import multilabel_sweep
from trapline.launching.flags import read_plan

COMMAND = re.compile(r"^ *python ((?:launch|pipelines|entry_points)/\w+)\.py(.*)$", re.MULTILINE)
LIBRARY = "src/common/trapline"
SCRIPTS = [path for folder in ("launch", "pipelines", "entry_points", LIBRARY)
           for path in sorted((ROOT / folder).rglob("*.py"))
           if "python " in path.read_text(encoding="utf-8")]  # fmt: skip


def texts(path):
    """The texts in a script that are written out in full, its docstrings among them."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    pieces = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            yield node.value


def commands(text):
    """Script and words of each command that stands on a line of its own.

    A backslash joins lines, several spaces come before an explanation, and `...` stands for what is left out.
    """
    found = COMMAND.findall(re.sub(r"\\\n *", "", text))
    return [
        (path, shlex.split(re.split(r" {2,}", rest)[0])) for path, rest in found if "..." not in rest.split()
    ]


FOUND = [(path.stem, *command) for path in SCRIPTS for text in texts(path) for command in commands(text)]


@pytest.mark.parametrize(("owner", "path", "words"), FOUND, ids=lambda value: str(value)[:70])
def test_a_command_in_a_scripts_text_is_taken(owner, path, words, monkeypatch):
    monkeypatch.delenv("SAGEMAKER_ROLE", raising=False)
    parse(path, words)


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_states_a_command_for_aws_and_one_for_here(name):
    given = [words for path, words in commands(find_experiment(name).description) if path == f"launch/{name}"]
    assert any("--role" in words for words in given)
    assert any("process" in words for words in given)


def test_the_multilabel_sweeps_own_settings_are_a_command_of_its_docstring():
    own = commands(multilabel_sweep.__doc__)[-1][1]
    jobs = [job for job in multilabel_sweep.read_sweep(own).many.jobs if "fp32" not in job.label]
    assert len(jobs) == 18
    for config in (job.plan.config for job in jobs):
        assert (config.epochs, config.batch_size, config.validate_every) == (60, 32, 2)
        assert (config.patience, config.min_delta) == (6, 0.001)


def test_tiny_imagenets_published_run_is_a_command_of_its_docstring():
    experiment = find_experiment("tiny_imagenet_resnet50")
    config = read_plan(experiment, commands(experiment.description)[-1][1]).config
    assert (config.epochs, config.batch_size, config.lr, config.schedule) == (2, 8, 0.01, "onecycle")
    assert "ln 200" in experiment.description


def test_the_camera_trap_systems_first_chain_is_a_command_of_its_docstring():
    experiment = find_experiment("resnet18_crops")
    config = read_plan(experiment, commands(experiment.description)[-1][1]).config
    assert config.augment == "grey"
