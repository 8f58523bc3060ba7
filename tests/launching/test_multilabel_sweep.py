"""The sweep: six architectures by three optimizers, ranked on validation, held against what was asked for."""

import csv
import json
from functools import partial
from pathlib import Path

import cv2
import pytest

from tests.support import leavings
from tests.support.account import BUCKET, ROLE, call_here
from tests.support.leavings import stand_in, train_in
from tests.support.permissions import Recorder, allows, policies
from trapline.errors import TraplineError
from trapline.launching.commands import multilabel_sweep
from trapline.launching.commands.multilabel_sweep import ARCHS, OPTIMIZERS, read_sweep
from trapline.launching.local import running as process_backend

pytestmark = pytest.mark.slow

HERE = ["--backend", "process", "--prepared", "set"]
SMALL = [*HERE, "--archs", "googlenet,resnet50", "--optimizers", "adam,sgd"]
F1 = {
    ("googlenet", "adam"): 0.9,
    ("googlenet", "sgd"): 0.7,
    ("resnet50", "adam"): 0.8,
    ("resnet50", "sgd"): 0.95,
}


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command in this process, in a folder of its own."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return partial(call_here, monkeypatch, capsys, multilabel_sweep)


@pytest.fixture
def trained(monkeypatch):
    """The plans that were run; `trained.f1` may be changed."""

    class Plans(dict):
        run = ()

    plans = Plans(F1)
    plans.run = stand_in(monkeypatch, process_backend, lambda config: plans[config.arch, config.optimizer])
    return plans


def rows(folder="runs/multilabel-sweep"):
    with (Path(folder) / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_there_is_a_job_for_each_pair_and_one_for_each_architecture_in_fp32():
    sweep = read_sweep(HERE)
    jobs = {job.label: job.plan.config for job in sweep.many.jobs}
    assert len(jobs) == len(ARCHS) * len(OPTIMIZERS) + len(ARCHS) == 24
    assert {(config.arch, config.optimizer) for config in jobs.values()} == {
        (arch, optimizer) for arch in ARCHS for optimizer in OPTIMIZERS
    }
    fp32 = [config for label, config in jobs.items() if label.endswith("-fp32")]
    assert {(config.precision, config.epochs, config.score_test) for config in fp32} == {("fp32", 1, False)}
    assert [config.arch for config in fp32] == list(ARCHS)
    assert all(config.score_test for label, config in jobs.items() if not label.endswith("-fp32"))
    assert jobs["googlenet-adam"].aux_weight == 0.3
    assert jobs["googlenet-adam"].lr != jobs["googlenet-sgd"].lr
    assert len(read_sweep([*HERE, "--no-fp32"]).many.jobs) == 18


def test_what_is_set_by_hand_wins_over_the_tables():
    sweep = read_sweep([*HERE, "--set", "lr=0.5", "aux_weight=0", "epochs=3"])
    assert {job.plan.config.lr for job in sweep.many.jobs} == {0.5}
    assert {job.plan.config.aux_weight for job in sweep.many.jobs} == {0}
    scratch = read_sweep([*HERE, "--set", "weights=none"]).many.jobs
    assert all(
        one.plan.config.lr > other.plan.config.lr
        for one, other in zip(scratch, read_sweep(HERE).many.jobs, strict=True)
    )


def test_the_best_on_validation_that_meets_the_limits_wins(call, trained):
    ended = call(*SMALL, "--max-size-mb", "50")
    assert ended.code == 0, ended.err
    table = rows()
    assert [(row["arch"], row["optimizer"]) for row in table] == [
        ("resnet50", "sgd"), ("googlenet", "adam"), ("resnet50", "adam"), ("googlenet", "sgd"),
    ]  # fmt: skip
    assert table[0]["meets"] == "no: size_mb 94.4, not at most 50"
    assert table[1]["meets"] == "yes"
    assert table[2]["meets"] == "no: size_mb 94.4, not at most 50; val_micro_f1 0.8, not at least 0.85"
    assert "winner: googlenet-adam (validation macro-F1 0.9)" in ended.out
    best = table[0]
    assert (best["val_macro_f1"], best["val_micro_f1"]) == ("0.95", "0.95")
    assert (best["test_micro_f1"], best["best_epoch"]) == ("0.97", "1")
    assert (best["parameters"], best["size_mb"]) == ("23600000", "94.4")
    assert (best["s_per_epoch"], best["gpu_hours"], best["cost_usd"]) == ("36", "0", "")
    assert float(best["device_hours"]) == pytest.approx(30 * 36 / 3600)
    assert float(best["speed_over_fp32"]) == pytest.approx(101 / 50)


def test_the_test_part_never_ranks(call, trained):
    call(*SMALL, "--min-val-f1", "0.01")
    assert [float(row["val_macro_f1"]) for row in rows()] == sorted(F1.values(), reverse=True)


@pytest.mark.parametrize("test_f1", [0.01, 0.99, None])
def test_the_winner_is_the_same_whatever_the_test_part_says(call, trained, monkeypatch, test_f1):
    files_of = leavings.files_of

    def with_another_test(config, f1, gpu_mb=0.0):
        files = files_of(config, f1, gpu_mb)
        if "test.json" in files and f1 == 0.95:
            del files["test.json"]
            if test_f1 is not None:
                files["test.json"] = json.dumps({"test_micro_f1": test_f1, "images": 9})
        return files

    monkeypatch.setattr(leavings, "files_of", with_another_test)
    ended = call(*SMALL)
    assert "winner: resnet50-sgd (validation macro-F1 0.95)" in ended.out
    assert (rows()[0]["meets"], rows()[0]["test_micro_f1"]) == (
        "yes",
        "" if test_f1 is None else str(test_f1),
    )


def test_where_no_model_meets_the_limits_that_is_said_and_is_no_failure(call, trained):
    ended = call(*SMALL, "--min-val-f1", "0.99")
    assert ended.code == 0
    assert "winner: none; no model keeps to all limits" in ended.out
    assert all(row["meets"].startswith("no: ") for row in rows())


def test_the_picture_shows_what_there_is(call, trained):
    call(*SMALL)
    picture = cv2.imread("runs/multilabel-sweep/sweep.png")
    assert picture.shape[1] > 1000
    assert len({tuple(pixel) for pixel in picture.reshape(-1, 3)[::7]}) > 20


def test_an_interrupted_sweep_goes_on_by_the_same_command_and_shows_what_it_has(call, trained):
    trained["resnet50", "adam"] = KeyboardInterrupt()
    ended = call(*SMALL)
    assert ended.code == 130
    assert "go on: the same command" in ended.out
    assert [row["status"] for row in rows()] == ["Completed", "Completed", "NotRun", "NotRun"]
    assert Path("runs/multilabel-sweep/sweep.png").stat().st_size
    trained["resnet50", "adam"] = 0.8
    ended = call(*SMALL)
    assert ended.code == 0, ended.err
    assert "going on with it" in ended.out
    assert [plan.job_name for plan in trained.run] == [
        "googlenet-adam", "googlenet-sgd", "resnet50-adam", "resnet50-sgd", "googlenet-fp32", "resnet50-fp32",
    ]  # fmt: skip
    assert {row["status"] for row in rows()} == {"Completed"}


def test_a_job_that_fails_leaves_the_rest_alone_and_is_the_exit_code(call, trained):
    trained["googlenet", "sgd"] = TraplineError("it diverged")
    ended = call(*SMALL)
    assert ended.code == 1
    assert (
        "1 of 6 jobs of the sweep in runs/multilabel-sweep have failed (googlenet-sgd: it diverged)"
        in ended.err
    )
    assert "winner: resnet50-sgd" in ended.out
    assert [row["status"] for row in rows()] == ["Completed"] * 3 + ["Failed"]


def test_another_sweep_of_the_same_name_is_refused(call, trained):
    call(*SMALL)
    ended = call(*SMALL, "--set", "epochs=3")
    assert ended.code == 2
    assert "the sweep in runs/multilabel-sweep has other hyperparameters (epochs)" in ended.err
    ended = call(*SMALL, "--no-fp32")
    assert "has other jobs (googlenet-fp32, resnet50-fp32)" in ended.err
    ended = call(*SMALL, "--fresh")
    assert ended.code == 2
    assert "--fresh: runs/multilabel-sweep is there already" in ended.err
    assert call(*SMALL, "--set", "epochs=3", "--job-name", "longer", "--fresh").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--optimizers", "lion"], "--optimizers lion: must be of adadelta, adam, adamw, sgd"),
        (["--archs", "resnet50,resnet50"], "must be different names"),
        (["--set", "arch=resnet50"], "--set arch: is what the sweep varies; use --archs"),
        (["--set", "lr=-1"], "hyperparameter lr"),
        (["--folds", "5"], "--folds: a sweep has one split"),
        (["--parallel", "2"], "--parallel: only with --backend aws"),
        (["--min-val-f1", "0"], "argument --min-val-f1: '0' is not a number above 0"),
        (["--min-test-f1", "0.85"], "--min-test-f1: the test part chooses no winner; use --min-val-f1"),
        (["--min-test-f1=0.85"], "use --min-val-f1, of validation"),
        (["--set", "batch=3"], "hyperparameter batch: unknown"),
    ],
)
def test_wrong_usage_is_named_before_anything_starts(call, words, message):
    ended = call(*HERE, *words)
    assert ended.code == 2
    assert message in ended.err
    assert not Path("runs").exists()


AWS = [
    "--output",
    f"s3://{BUCKET}/out",
    "--role",
    ROLE,
    "--archs",
    "googlenet,resnet50",
    "--optimizers",
    "adam",
]
RAW = ["--data", f"s3://{BUCKET}/raw", *AWS]


def f1_in_cloud(config):
    return 0.9 if config["arch"] == "googlenet" else 0.8


def test_on_aws_the_data_are_prepared_once_and_hours_and_cost_are_known_and_nothing_is_sent_again(
    account, call, tmp_path, monkeypatch
):
    recorder = Recorder()
    train_in(account, tmp_path, f1_in_cloud)
    recorder.listen(monkeypatch)
    words = [*RAW, "--instance-type", "ml.g5.12xlarge", "--instance-count", "2", "--parallel", "2"]
    ended = call(*words)
    assert ended.code == 0, ended.err
    assert [name for job in account.jobs() for name in job] == [
        "CreateProcessingJob",
        *["CreateTrainingJob"] * 4,
    ]
    sets = {
        job["CreateTrainingJob"]["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]
        for job in account.jobs()[1:]
    }
    assert len(sets) == 1
    assert sets.pop().startswith(f"s3://{BUCKET}/out/multilabel-sweep-")
    checkpoints = {job["CreateTrainingJob"]["CheckpointConfig"]["S3Uri"] for job in account.jobs()[1:]}
    assert len(checkpoints) == 4
    first = rows()[0]
    assert (first["arch"], first["meets"], first["test_micro_f1"]) == ("googlenet", "yes", "0.92")
    assert (first["gpu_hours"], first["device_hours"]) == ("2", "0.5")  # 900 s, 2 machines of 4 GPUs
    assert float(first["cost_usd"]) == pytest.approx(0.5 * 7.09)
    assert float(first["speed_over_fp32"]) == pytest.approx(101 / 50)
    assert [need for need in recorder.needs() if not allows(policies("user"), need)] == []
    sent = len(account.jobs())
    ended = call(*words)
    assert ended.code == 0, ended.err
    assert len(account.jobs()) == sent
    assert "winner: googlenet-adam" in ended.out


def test_on_aws_a_prepare_job_of_an_earlier_call_is_used(account, call, tmp_path):
    train_in(account, tmp_path, f1_in_cloud)
    account.refuse("CreateTrainingJob", "AccessDeniedException", "not you", times=1)
    ended = call(*RAW)
    assert ended.code == 1
    assert "access denied" in ended.err
    assert "no job runs; the same command goes on" in ended.err
    assert "--prepared" not in ended.err
    assert call(*RAW).code == 0
    names = [name for job in account.jobs() for name in job]
    assert names.count("CreateProcessingJob") == 1


def test_a_dry_run_prints_every_request_and_starts_nothing(account, call):
    ended = call(*RAW, "--dry-run")
    assert ended.code == 0, ended.err
    requests = json.loads(ended.out)["requests"]
    assert [name for request in requests for name in request] == [
        "CreateProcessingJob", *["CreateTrainingJob"] * 4,
    ]  # fmt: skip
    assert account.jobs() == []
    assert not Path("runs").exists()


def test_a_dry_run_here_prints_every_request(call, class_folders):
    words = [word if word != "--prepared" else "--data" for word in SMALL]
    words[words.index("set")] = str(class_folders)
    shown = json.loads(call(*words, "--dry-run").out)["requests"]
    assert [name for request in shown for name in request] == [
        "CreateProcessingJob", *["CreateTrainingJob"] * 6,
    ]  # fmt: skip
    assert not Path("runs").exists()
