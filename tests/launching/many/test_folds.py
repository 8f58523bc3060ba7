"""--folds: a job for each fold, the mean and spread of their metrics, and what is checked before."""

import csv
import json
import math
import statistics
from functools import partial
from pathlib import Path

import pytest

from launch import resnet18_baseline, swin_stage2
from tests.support.account import BUCKET, OUTPUT, ROLE, call_here
from tests.support.leavings import stand_in, train_in
from trapline.errors import TraplineError, UsageError
from trapline.launching.dispatch import run_experiment
from trapline.launching.flags import read_plan
from trapline.launching.local import running as process_backend
from trapline.launching.many.studies import fold_jobs
from trapline.pipeline import check

HERE = ["--backend", "process", "--prepared", "set", "--folds", "3"]
AWS = ["--data", f"s3://{BUCKET}/raw", *OUTPUT, "--role", ROLE, "--folds", "3"]


class Launcher:
    """A launcher as a module with a `main`."""

    __name__ = "launch.resnet18_baseline"

    @staticmethod
    def main():
        run_experiment(resnet18_baseline.EXPERIMENT)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the launcher in this process, in a folder of its own."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return partial(call_here, monkeypatch, capsys, Launcher)


def rows():
    with Path("runs/resnet18-baseline-3-folds/folds.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_fold_validates_once_and_none_reads_the_test_part():
    plan = read_plan(resnet18_baseline.EXPERIMENT, [*HERE, "--set", "score_test=true", "lr=0.5"])
    jobs = {job.label: job.plan.config for job in fold_jobs(plan).jobs}
    assert {label: (config.folds, config.fold) for label, config in jobs.items()} == {
        f"fold-{fold}": (3, fold) for fold in (1, 2, 3)
    }
    assert not any(config.score_test for config in jobs.values())
    assert {config.lr for config in jobs.values()} == {0.5}


def test_the_table_has_a_row_for_each_fold_their_mean_and_their_spread(call, monkeypatch):
    f1 = {1: 0.5, 2: 0.6, 3: 0.9}
    plans = stand_in(monkeypatch, process_backend, lambda config: f1[config.fold])
    ended = call(*HERE)
    assert ended.code == 0, ended.err
    assert [plan.job_name for plan in plans] == ["fold-1", "fold-2", "fold-3"]
    table = rows()
    assert [row["fold"] for row in table] == ["fold-1", "fold-2", "fold-3", "mean", "std"]
    assert [float(row["val_macro_f1"]) for row in table[:3]] == list(f1.values())
    assert float(table[3]["val_macro_f1"]) == pytest.approx(statistics.mean(f1.values()), abs=1e-5)
    assert float(table[4]["val_macro_f1"]) == pytest.approx(statistics.stdev(f1.values()), abs=1e-5)
    assert table[0]["best_epoch"] == "1"
    assert "table: runs/resnet18-baseline-3-folds/folds.csv" in ended.out


@pytest.mark.parametrize("undefined", [1, 3])
def test_a_fold_without_a_finite_value_leaves_no_mean_that_would_hide_it(call, monkeypatch, undefined):
    stand_in(monkeypatch, process_backend, lambda config: math.nan if config.fold == undefined else 0.5)
    ended = call(*HERE)
    assert ended.code == 0, ended.err
    table = rows()
    assert table[undefined - 1]["val_macro_f1"] == "nan"
    assert [row["val_macro_f1"] for row in table[3:]] == ["", ""]
    assert float(table[3]["val_loss"]) == 0.2


def test_a_fold_that_fails_is_the_exit_code_and_the_same_command_tries_it_again(call, monkeypatch):
    failing = {2}

    def f1_of(config):
        return TraplineError("it diverged") if config.fold in failing else 0.5

    plans = stand_in(monkeypatch, process_backend, f1_of)
    ended = call(*HERE)
    assert ended.code == 1
    assert "fold-2: it diverged" in ended.err
    assert [(row["fold"], row["status"]) for row in rows()][-2:] == [("mean", "2 of 3"), ("std", "2 of 3")]
    failing.clear()
    assert call(*HERE).code == 0
    assert [plan.job_name for plan in plans] == ["fold-1", "fold-2", "fold-3", "fold-2"]


def test_on_aws_the_folds_run_so_many_at_a_time_and_leave_the_same_table(account, call, tmp_path):
    train_in(account, tmp_path, lambda config: 0.1 * config["fold"])
    ended = call(*AWS, "--parallel", "2")
    assert ended.code == 0, ended.err
    assert [name for job in account.jobs() for name in job] == [
        "CreateProcessingJob",
        *["CreateTrainingJob"] * 3,
    ]
    given = [job["CreateTrainingJob"]["HyperParameters"] for job in account.jobs()[1:]]
    assert [(one["folds"], one["fold"]) for one in given] == [("3", "1"), ("3", "2"), ("3", "3")]
    assert [float(row["val_macro_f1"]) for row in rows()[:4]] == pytest.approx([0.1, 0.2, 0.3, 0.2])
    assert json.loads(Path("runs/resnet18-baseline-3-folds/fold-1/job.json").read_text())["billable_s"] == 900


def test_a_dry_run_prints_the_requests_of_all_folds(account, call):
    ended = call(*AWS, "--dry-run")
    requests = json.loads(ended.out)["requests"]
    assert [name for request in requests for name in request] == [
        "CreateProcessingJob", *["CreateTrainingJob"] * 3,
    ]  # fmt: skip
    assert account.jobs() == []


def test_the_checker_looks_at_the_requests_of_all_folds(account, monkeypatch, capsys):
    ended = call_here(monkeypatch, capsys, check, "resnet18_baseline", "--folds", "3")
    assert ended.code == 0, ended.err
    assert "resnet18_baseline --folds 3: sound: 4 requests" in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1"], "not a number from 2 to 100"),
        (["--set", "fold=2"], "--folds 3 sets them for each job"),
        (["--parallel", "2"], "--parallel: only with --backend aws"),
        (["--set", "weights=phase1", "--phase1", "set"], "--phase1: not with --folds"),
        (["--pseudo", "set"], "--pseudo: not with --folds, for the teacher of the pseudo-labels has seen"),
    ],
)
def test_what_does_not_go_with_folds_is_named(call, words, message):
    ended = call(*HERE, *words)
    assert ended.code == 2
    assert message in ended.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--no-wait"], "--no-wait: not with many jobs; jobs are started as others end"),
        (["--checkpoints", "s3://b/c"], "--checkpoints: not with many jobs; each of the jobs has a place"),
    ],
)
def test_flags_of_a_single_job_on_aws_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        read_plan(resnet18_baseline.EXPERIMENT, [*AWS, *words])


def test_without_folds_there_is_nothing_to_average():
    with pytest.raises(UsageError, match="--ensemble: is for the jobs of a cross-validation; give --folds K"):
        read_plan(resnet18_baseline.EXPERIMENT, ["--data", f"s3://{BUCKET}/raw", "--ensemble"])


def test_phase_2_says_why_it_has_no_folds():
    words = ["--prepared", "s3://b/s", "--phase1", "s3://b/m", "--pseudo", "s3://b/p", "--folds", "3"]
    with pytest.raises(UsageError, match="has seen images of every fold"):
        read_plan(swin_stage2.EXPERIMENT, words)
