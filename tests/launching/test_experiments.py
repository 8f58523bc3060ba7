"""The experiments: short files that say what the camera-trap system did, and answer quickly."""

import importlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from trapline.config import make_config
from trapline.launching.checkout import Experiment
from trapline.launching.plan import (
    NAME_LENGTH,
    NAME_PATTERN,
    check_job_name,
    job_name,
    prepare_job_name,
)

NAMES = [
    "swin_stage1",
    "swin_stage2",
    "resnet18_baseline",
    "resnet50_baseline",
    "resnet18_mixup",
    "resnet18_crops",
    "enhanced_resnet18",
    "enhanced_resnet18_phase2",
]
HEAVY = {"sagemaker", "boto3", "botocore", "torch", "pandas", "numpy", "albumentations", "cv2", "sklearn"}
ANSWER = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    print("LOADED", end.code, *{name.split(".")[0] for name in sys.modules})
"""


def experiment(name):
    return importlib.import_module(f"launch.{name}").EXPERIMENT


@pytest.mark.parametrize("name", NAMES)
def test_every_hyperparameter_is_known_and_possible(name):
    assert make_config(experiment(name).hyperparameters).record()


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_states_command_and_data(name):
    said = experiment(name).description
    data = (
        ("--prepared s3://", "--prepared runs/")
        if experiment(name).channels
        else ("--data s3://", "--data demo")
    )
    assert f"python launch/{name}.py {data[0]}" in said
    assert f"python launch/{name}.py --backend process {data[1]}" in said
    assert "competition" in said


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [("resnet18_baseline", "0.86"), ("resnet50_baseline", "0.82"), ("swin_stage1", "0.89")],
)
def test_the_original_result_stands_beside_the_split_that_it_comes_from(name, accuracy):
    said = " ".join(experiment(name).description.split())
    assert f"a validation accuracy of {accuracy} with --prepare split=random" in said


@pytest.mark.parametrize(
    ("name", "arch"), [("resnet18_baseline", "resnet18"), ("resnet50_baseline", "resnet50")]
)
def test_the_baselines_are_those_of_the_camera_trap_system(name, arch):
    config = make_config(experiment(name).hyperparameters)
    assert (config.arch, config.epochs, config.batch_size, config.lr) == (arch, 5, 64, 1e-3)
    assert (config.optimizer, config.image_size, config.augment) == ("adamw", 224, "none")
    assert config.best_metric == "val_acc"


def test_swin_stage_1_is_that_of_the_camera_trap_system():
    swin = experiment("swin_stage1")
    config = make_config(swin.hyperparameters)
    assert (config.arch, config.epochs, config.batch_size, config.lr) == ("swin_t", 30, 64, 1e-5)
    assert (config.weight_decay, config.stochastic_depth, config.num_workers) == (1e-8, 0.2, 4)
    assert (config.precision, swin.instance_type, swin.name) == ("auto", "ml.g4dn.xlarge", "swin-stage1")


def test_the_variations_differ_from_the_baseline_in_one_thing():
    baseline = make_config(experiment("resnet18_baseline").hyperparameters).record().items()
    mixup = make_config(experiment("resnet18_mixup").hyperparameters).record().items()
    crops = make_config(experiment("resnet18_crops").hyperparameters).record().items()
    assert {key for key, _ in set(mixup) - set(baseline)} == {"mixup"}
    assert {key for key, _ in set(crops) - set(baseline)} == {"augment"}


@pytest.mark.parametrize("name", NAMES)
def test_no_experiment_asks_for_the_random_split(name):
    assert "split" not in experiment(name).prepare


@pytest.mark.parametrize("arguments", [["--help"], ["--data", "demo", "--sett", "lr=1"]])
def test_help_and_typing_errors_load_nothing_heavy(arguments):
    script = ROOT / "launch" / "swin_stage1.py"
    command = [sys.executable, "-c", ANSWER, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    _, code, *loaded = done.stdout.splitlines()[-1].split()
    assert code == ("0" if arguments == ["--help"] else "2"), done.stderr
    assert not HEAVY & set(loaded)


def test_job_names_carry_the_moment_to_the_millisecond():
    assert job_name("swin-stage1", 1_700_000_000.25) == "swin-stage1-2023-11-14-22-13-20-250"


def test_job_names_fit():
    for name in (job_name("x" * 80), prepare_job_name(job_name("x" * 80)), prepare_job_name("a" * 63)):
        assert len(name) <= NAME_LENGTH
        assert NAME_PATTERN.fullmatch(name)
        assert check_job_name(name) == name


def test_an_experiment_is_complete_with_three_fields():
    assert Experiment("name", "text", {}).instance_type == "ml.g4dn.xlarge"
