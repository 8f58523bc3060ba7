"""The command line of the launchers: what is wrong is found before anything is loaded, and named."""

import pytest

from trapline.errors import UsageError
from trapline.launching.checkout import Experiment
from trapline.launching.flags import read_plan

EXPERIMENT = Experiment("trial", "a trial", {"arch": "resnet18", "lr": 1e-3, "image_size": 96})
PROCESS = ["--backend", "process", "--data", "demo"]
LOCAL = ["--backend", "local", "--data", "demo"]
AWS = ["--data", "s3://bucket/raw"]


def plan(*arguments):
    return read_plan(EXPERIMENT, [str(word) for word in arguments])


def test_aws_is_the_default():
    assert plan(*AWS).backend == "aws"


def test_local_jobs_run_in_the_projects_own_image_unless_another_is_named():
    assert plan(*LOCAL).image.uri == "trapline:latest"
    assert plan(*LOCAL, "--image-uri", "mine:2").image.uri == "mine:2"
    assert plan(*PROCESS).image.uri is None


def test_on_aws_the_image_is_the_accounts_own_unless_awss_is_asked_for():
    own, dlc = plan(*AWS).image, plan(*AWS, "--dlc", "--py-version", "py311").image
    assert (own.uri, own.of_aws) == (None, False)
    assert (dlc.of_aws, dlc.framework_version, dlc.py_version) == (True, "2.8.0", "py311")


def test_set_changes_hyperparameters_in_both_ways_of_writing():
    changed = plan(*PROCESS, "--set", "lr=1e-4", "epochs=7", "--set", "clip_norm=None", "deterministic=true")
    assert (changed.config.lr, changed.config.epochs) == (1e-4, 7)
    assert (changed.config.clip_norm, changed.config.deterministic) == (None, True)
    assert changed.config.image_size == 96


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*PROCESS, "--set", "learning_rate=1"], "hyperparameter learning_rate: unknown"),
        ([*PROCESS, "--set", "lr=-1"], "hyperparameter lr: input should be greater than 0"),
        ([*PROCESS, "--set", "lr"], "--set lr: must be KEY=VALUE"),
        ([*PROCESS, "--set", "lr=1", "lr=2"], "--set lr: given twice"),
        ([*PROCESS, "--set", "arch=resnet18;rm"], "hyperparameter arch: only letters"),
        ([*PROCESS, "--prepare", "input=/x"], "--prepare input: the launcher decides it"),
        ([*PROCESS, "--prepare", "zoom=2"], "--prepare zoom: unknown; entry_points/prepare.py --help"),
        ([*PROCESS, "--prepare", "split=sideways"], "--prepare split: input should be 'site', 'random' or"),
        (PROCESS[:2], "no data: neither --data nor trapline.toml nor TRAPLINE_DATA says where they lie"),
        ([*PROCESS, "--no-wait"], "--no-wait: a process backend's job ends with its launcher"),
        ([*PROCESS, "--output", "s3://bucket/x"], "the process backend writes to a folder"),
        ([*PROCESS, "--job-name", "a_b"], "--job-name a_b: must be 1 to 63"),
        ([*PROCESS, "--image-uri", "x:1"], "--image-uri: has no effect with --backend process"),
        ([*LOCAL, "--no-wait"], "--no-wait: a local backend's job ends with its launcher"),
        ([*LOCAL, "--output", "s3://bucket/x"], "the local backend writes to a folder"),
        (["--data", "/images"], "--data /images: jobs on AWS read and write S3 alone"),
        ([*AWS, "--output", "runs"], "--output runs: jobs on AWS"),
        (["--prepared", "s3://b/p", "--prepare", "seed=1"], "--prepare: has no effect with --prepared"),
    ],
)
def test_a_wrong_flag_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        plan(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*PROCESS, "--prepared", "x"], "not allowed with"),
        ([*PROCESS, "--instance-count", "0"], "'0' is not a number above 0"),
        ([*PROCESS, "--bakcend", "aws"], "--bakcend"),
    ],
)
def test_what_argparse_refuses_takes_two_lines_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        plan(*arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert message in said
    assert len(said.splitlines()) == 2


def test_prepare_options_become_the_command_line_of_prepare_py():
    made = plan(*PROCESS, "--prepare", "split=random", "crop_bottom=0.07", "site-csv=/x/sites.csv")
    assert made.prepare_arguments() == ("--crop-bottom", "0.07", "--split", "random")
    assert made.prepare_options["site-csv"] == "/x/sites.csv"


def test_large_images_are_packed_large_enough():
    assert plan(*PROCESS, "--set", "image_size=384").prepare_arguments() == ("--short-side", "384")
    kept = plan(*PROCESS, "--set", "image_size=384", "--prepare", "short-side=440")
    assert kept.prepare_arguments() == ("--short-side", "440")
