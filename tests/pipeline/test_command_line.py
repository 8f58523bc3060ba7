"""The command line: what is refused, and in which words, before anything is loaded."""

import subprocess
import sys

import pytest

from tests.support.pipeline_runs import REAL, clean_environment
from trapline.errors import TraplineError, UsageError
from trapline.pipeline.command_line import read_command

PROCESS = ["run", "--backend", "process", "--data", "demo"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--backend", "local"], "no data: neither --data nor trapline.toml"),
        (["status", "--backend", "process"], "status: only with --backend aws"),
        (["run", "--backend", "process"], "no data: neither --data nor trapline.toml"),
        ([*PROCESS, "--output", "s3://b/x"], "--output s3://b/x: the process backend writes to a folder"),
        ([*PROCESS, "--role", "x"], "--role: only with --backend aws"),
        ([*PROCESS, "--job-role", "x"], "--job-role: only with --backend aws"),
        (["start", "--job-role", "x"], "--job-role: not with start; upsert says which role the jobs have"),
        (["schedule", "--every", "7d", "--job-role", "x"], "--job-role: not with schedule"),
        (["upsert", "--data", "raw"], "--data raw: jobs on AWS read and write S3 alone"),
        (["start", "--resume", "x"], "--resume x: holds no pipeline.json"),
        (["start", "--name", "x"], "--name: only with --backend process"),
        ([*PROCESS, "--recipe", "nothing"], "--recipe nothing: no such experiment; known: small, "),
        ([*PROCESS, "--recipe", "swin_stage2"], "--recipe swin_stage2: goes on from an earlier phase"),
        ([*PROCESS, "--set", "epoch=3"], "hyperparameter epoch: unknown; did you mean epochs?"),
        ([*PROCESS, "--set-phase2", "arch=resnet50"], "--set-phase2 arch=resnet50: Phase 2 goes on from"),
        ([*PROCESS, "--prepare", "output=x"], "--prepare output: the pipeline decides it"),
        ([*PROCESS, "--param", "Nothing=1"], "--param Nothing: no such parameter; known: InputData,"),
        ([*PROCESS, "--param", "EpochsPhase1=many"], "--param EpochsPhase1=many: is not a whole number"),
        ([*PROCESS, "--param", "EpochsPhase1=0"], "--param EpochsPhase1=0: must be a number from 1"),
        ([*PROCESS, "--param", "LearningRatePhase2=-1"], "hyperparameter lr: "),
        ([*PROCESS, "--param", "ConfidenceThreshold=2"], "--param ConfidenceThreshold=2: must be a number"),
        ([*PROCESS, "--param", "QualityGate=nan"], "--param QualityGate=nan: must be a number from 0"),
        ([*PROCESS, "--param", "ApprovalStatus=Yes"], "--param ApprovalStatus=Yes: must be one of Pending"),
        ([*PROCESS, "--param", "Views=sideways"], "views: 'sideways' is neither a set"),
        ([*PROCESS, "--param", "InputData=-x"], "--param InputData=-x: must not begin with a dash"),
        ([*PROCESS, "--param", "EpochsPhase1=-1"], "--param EpochsPhase1=-1: must be a number from 1"),
        ([*PROCESS, "--set", "lr=-1"], "hyperparameter lr: "),
        ([*PROCESS, "--name", "a_b"], "--name a_b: must be 1 to 63 letters"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_refused_by_its_name(words, message):
    with pytest.raises(TraplineError) as refused:
        read_command(words)
    assert isinstance(refused.value, UsageError)
    assert str(refused.value).startswith(message)


def test_the_demo_has_the_small_recipe_and_other_data_the_baseline():
    assert read_command(PROCESS).design.recipe.name == "small"
    assert read_command(["definition", "--data", "s3://b/raw"]).design.recipe.name == "resnet18_baseline"


def test_phase_2_goes_on_from_phase_1_at_a_lower_rate_for_fewer_epochs():
    for words in (PROCESS, ["definition"], ["definition", "--recipe", "swin_stage1"]):
        first, second = read_command(words).design.recipe.phases
        assert second.weights == "phase1"
        assert second.arch == first.arch
        assert second.lr < first.lr
        assert second.epochs < first.epochs


def test_settings_of_both_phases_leave_what_phase_2_has_of_its_own():
    command = read_command([*PROCESS, "--set", "image_size=64", "lr=0.1", "--set-phase2", "pseudo_share=0.5"])
    first, second = command.design.recipe.phases
    assert (first.image_size, second.image_size) == (64, 64)
    assert (first.lr, second.lr) == (0.1, 4e-4)
    assert (first.pseudo_share, second.pseudo_share) == (0.25, 0.5)


def test_images_that_are_trained_larger_than_packed_are_packed_larger():
    assert read_command(
        [*PROCESS, "--recipe", "resnet18_crops", "--set", "image_size=384"]
    ).design.recipe.prepare


def test_the_gate_looks_at_validation_where_a_random_split_leaves_no_test_part():
    assert read_command(PROCESS).design.part == "test"
    assert read_command([*PROCESS, "--prepare", "split=random"]).design.part == "validation"
    with_test = [*PROCESS, "--prepare", "split=random", "shares=0.6,0.2,0.2"]
    assert read_command(with_test).design.part == "test"
    assert read_command([*with_test, "--gate-part", "validation"]).design.part == "validation"


def test_options_of_prepare_py_may_be_written_with_underscores():
    command = read_command([*PROCESS, "--prepare", "crop_bottom=0.1"])
    assert command.design.prepare["crop-bottom"] == "0.1"


def test_help_and_a_typing_error_load_no_sdk():
    code = (
        "import sys; from trapline.pipeline.command_line import read_command, parser; parser().format_help();"
        f"read_command({PROCESS}); assert not {{'sagemaker', 'boto3', 'torch'}} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr


def test_an_error_is_one_line_and_exit_code_2():
    done = subprocess.run([*REAL, "run", "--backend", "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
