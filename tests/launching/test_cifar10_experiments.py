"""The two experiments on CIFAR-10: what the launchers say, and what they train with."""

import pytest

from launch import cifar10_fast, cifar10_resnet18
from trapline.config import make_config
from trapline.launching.flags import read_plan

EXPERIMENTS = [cifar10_fast.EXPERIMENT, cifar10_resnet18.EXPERIMENT]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_the_docstrings_state_command_and_data(experiment):
    script = f"python launch/{experiment.name.replace('-', '_')}.py"
    assert f"{script} --data s3://" in experiment.description
    assert f"{script} --backend process --data " in experiment.description
    assert "Data: CIFAR-10's batches" in experiment.description


def test_the_fast_one_has_the_records_rate_and_decay():
    config = make_config(cifar10_fast.EXPERIMENT.hyperparameters)
    per_step = 1 + 1 / (1 - config.momentum)
    assert config.lr == pytest.approx(11.5 / per_step, rel=0.001)
    assert config.lr * config.weight_decay == pytest.approx(0.0153 / per_step, rel=0.005)
    assert (config.arch, config.batch_size) == ("cifar_fast", 1024)
    assert (config.lookahead, config.in_memory, config.test_views) == (True, True, "shifts")


def test_the_originals_settings_of_the_docstring_are_possible():
    said = cifar10_resnet18.EXPERIMENT.description.replace("\\\n", "")
    line = next(line for line in said.splitlines() if "--set" in line)
    given = ["--backend", "process", "--data", "demo", *line[line.index("--set") :].split()]
    config = read_plan(cifar10_resnet18.EXPERIMENT, given).config
    assert (config.arch, config.normalisation) == ("resnet18", "cifar10_half")
    assert config.batch_size == "cuda:128,cpu:16"
    assert (config.l1, config.epochs, config.target_accuracy) == (1e-5, 12, 0.85)


def test_the_better_settings_are_the_default():
    config = make_config(cifar10_resnet18.EXPERIMENT.hyperparameters)
    assert (config.arch, config.normalisation, config.l1) == ("resnet18_32px", "cifar10", 0)
    assert (config.optimizer, config.nesterov, config.schedule) == ("sgd", True, "onecycle")
