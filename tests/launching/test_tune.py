"""A search is SageMaker's tuning job on AWS, and one run after another here, taken up where it was left."""

import csv
import itertools
import json
from functools import partial
from pathlib import Path

import pytest
from moto.sagemaker.responses import SageMakerResponse

from tests.support.account import (
    BUCKET,
    ROLE,
    TUNING_GOLDEN,
    call_here,
    hyperparameters_by_default,
    open_account,
)
from tests.support.launching import Place, tiny
from trapline.errors import TraplineError
from trapline.launching.checking.soundness import check_requests
from trapline.launching.checkout import experiment_names, find_experiment
from trapline.launching.commands import tune
from trapline.launching.local import running as process_backend
from trapline.launching.many.studies import read_search
from trapline.metrics import definitions

SET = f"s3://{BUCKET}/sets/v1"
COMMAND = [
    "swin_stage1", "--range", "lr=1e-5:1e-3:log", "batch_size=16,32,64", "label_smoothing=0:0.2",
    "epochs=5:20", "--prepared", SET, "--output", f"s3://{BUCKET}/out", "--role", ROLE,
    "--job-name", "night-search", "--max-jobs", "20", "--parallel", "2",
]  # fmt: skip
CASES = {
    "bayesian": [*COMMAND, "--early-stopping", "--tags", "project=traps"],
    "grid": [
        "resnet18_baseline", "--range", "lr=1e-4,1e-3", "optimizer=adamw,sgd", "--strategy", "Grid",
        "--spot", "--objective", "val_loss", *COMMAND[6:14],
    ],
    "hyperband": [
        "resnet18_baseline", "--range", "lr=1e-4:1e-3:log", "--strategy", "Hyperband", "--search-seed", "7",
        "--set", "epochs=27", *COMMAND[6:],
    ],
}  # fmt: skip


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command in this process."""
    return partial(call_here, monkeypatch, capsys, tune)


@pytest.fixture
def account(monkeypatch, capsys, tmp_path):
    question = "list_training_jobs_for_hyper_parameter_tuning_job"  # moto does not know it
    monkeypatch.setattr(SageMakerResponse, question, lambda _: '{"TrainingJobSummaries": []}', raising=False)
    with open_account(monkeypatch, capsys, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("case", CASES)
def test_a_dry_run_prints_the_request_of_the_golden_file(account, call, case):
    ended = call(*CASES[case], "--dry-run")
    assert ended.code == 0, ended.err
    (request,) = json.loads(ended.out)["requests"]
    assert check_requests([request]).findings == ()
    definition = request["CreateHyperParameterTuningJob"]["TrainingJobDefinition"]
    assert definition["AlgorithmSpecification"].pop("MetricDefinitions") == definitions()
    static, defaults = definition["StaticHyperParameters"], hyperparameters_by_default()
    assert static.keys() > defaults.keys() - searched_by(request)
    definition["StaticHyperParameters"] = {
        name: value for name, value in static.items() if defaults.get(name) != value
    }
    TUNING_GOLDEN.write(case, CASES[case], [request])
    assert TUNING_GOLDEN.read(case) == {"command": CASES[case], "requests": [request]}
    assert account.jobs() == []


def searched_by(request):
    """The names of the hyperparameters that a tuning job's request searches."""
    configuration = request["CreateHyperParameterTuningJob"]["HyperParameterTuningJobConfig"]
    return {item["Name"] for kind in configuration["ParameterRanges"].values() for item in kind}


@pytest.mark.parametrize("case", CASES)
def test_what_is_searched_is_not_given_twice(account, call, case):
    (request,) = json.loads(call(*CASES[case], "--dry-run").out)["requests"]
    definition = request["CreateHyperParameterTuningJob"]["TrainingJobDefinition"]
    assert searched_by(request)
    assert not searched_by(request) & definition["StaticHyperParameters"].keys()


def test_raw_images_are_prepared_once_before_the_search(account, call):
    words = [word if word != "--prepared" else "--data" for word in COMMAND]
    words[words.index(SET)] = f"s3://{BUCKET}/raw"
    ended = call(*words, "--dry-run")
    requests = json.loads(ended.out)["requests"]
    assert [name for request in requests for name in request] == [
        "CreateProcessingJob",
        "CreateHyperParameterTuningJob",
    ]
    (channel,) = requests[1]["CreateHyperParameterTuningJob"]["TrainingJobDefinition"]["InputDataConfig"]
    source = channel["DataSource"]["S3DataSource"]["S3Uri"]
    assert source == f"s3://{BUCKET}/out/night-search-prepare/prepared/"


def test_a_search_that_is_started_and_left_says_its_name(account, call):
    ended = call(*COMMAND, "--no-wait")
    assert ended.code == 0, ended.err
    assert "tuning job: night-search (20 jobs, 2 at a time)" in ended.out
    (sent,) = account.jobs()
    assert sent["CreateHyperParameterTuningJob"]["HyperParameterTuningJobName"] == "night-search"


def test_the_best_job_is_named_at_the_end(account, call):
    ended_search = {
        "HyperParameterTuningJobStatus": "Completed",
        "BestTrainingJob": {
            "TrainingJobName": "night-search-007-abc",
            "TrainingJobStatus": "Completed",
            "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "val_acc", "Value": 0.5},
        },
    }
    account.answers["DescribeHyperParameterTuningJob"] = ended_search
    ended = call(*COMMAND)
    assert ended.code == 0, ended.err
    assert "python launch/artifacts.py night-search-007-abc --to DIR" in ended.out


def test_a_search_that_fails_says_why(account, call):
    account.answers["DescribeHyperParameterTuningJob"] = {
        "HyperParameterTuningJobStatus": "Failed",
        "FailureReason": "All training jobs failed.",
    }
    ended = call(*COMMAND)
    assert ended.code == 1
    assert "tuning job night-search: Failed (All training jobs failed.)" in ended.err


def test_a_refusal_is_one_message(account, call):
    account.refuse("CreateHyperParameterTuningJob", "ResourceLimitExceeded", "the limit is 0 Instances")
    ended = call(*COMMAND)
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    assert "tuning job night-search" in ended.err
    assert "Traceback" not in ended.err


def test_control_c_while_the_search_is_sent_says_what_may_run(account, call):
    account.interrupt("CreateHyperParameterTuningJob")
    ended = call(*COMMAND)
    assert ended.code == 130
    assert "night-search" in ended.err


HERE = ["resnet18_baseline", "--backend", "process", "--prepared", "set", "--range"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [*HERE, "lr=1e-4:1e-2:log", "--strategy", "Bayesian"],
            "only with --backend aws; here Random or Grid",
        ),
        ([*HERE, "lr=1e-4:1e-2:log", "--parallel", "2"], "--parallel: only with --backend aws"),
        ([*HERE, "lr=1e-4:1e-2:log", "--early-stopping"], "here --set patience=N ends a job early"),
        ([*HERE, "lr=1e-4:1e-2", "--strategy", "Grid"], "lr is a range without end; list its values"),
        ([*HERE, "lr=1,2", "epochs=1,2", "--strategy", "Grid", "--max-jobs", "3"], "the grid has 4 combinat"),
        ([*HERE, "lr=1:2", "--job-name", "x" * 33], "at most 32 letters"),
        ([*HERE, "lr=1:2", "--objective", "epoch"], "--objective"),
        ([*HERE, "lr=1:2", "--max-jobs", "0"], "--max-jobs"),
        ([*HERE[:-1]], "--range"),
        (["resnet19_baseline", "--range", "lr=1:2"], "no such experiment; did you mean resnet18_baseline"),
        ([], "EXPERIMENT"),
        ([*CASES["hyperband"], "--range", "epochs=2:9"], "Hyperband decides it"),
        ([*CASES["hyperband"], "--early-stopping"], "Hyperband stops jobs itself"),
        ([*COMMAND, "--parallel", "30"], "--parallel 30: is more than --max-jobs 20"),
        ([*COMMAND, "--set", "lrr=1"], "lrr: unknown"),
        ([*COMMAND, "--keep-alive", "30m"], "--keep-alive: a tuner's jobs have no warm pool"),
    ],
)
def test_wrong_usage_is_named_before_anything_starts(call, words, message):
    ended = call(*words)
    assert ended.code == 2
    assert message in ended.err


def test_help_lists_the_searchs_flags_and_the_launchers(call):
    ended = call("swin_stage1", "--help")
    assert ended.code == 0
    assert all(flag in ended.out for flag in ("--range", "--spot", "--search-seed"))
    assert "--range lr=" in call("--help").out


def test_every_experiment_can_be_searched():
    for name in experiment_names():
        experiment = find_experiment(name)
        channels = [word for key in experiment.channels for word in (f"--{key}", "s3://b/x")]
        search, plan = read_search(experiment, ["--range", "lr=1e-6:1e-3:log", "--prepared", SET, *channels])
        assert len(plan.job_name) <= 32
        assert search.objective == plan.config.best_metric
        assert search.maximise == (search.objective != "val_loss")


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    """The process backend without its jobs: validation loss is the distance of lr from 0.01.

    Returns the plans that were run; `jobs.failing` names runs that fail.
    """
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text("{}")
    monkeypatch.chdir(tmp_path)

    class Plans(list):
        failing = ()
        interrupted = None

    plans = Plans()

    def launch(plan):
        folder = Path(plan.output) / plan.job_name
        folder.mkdir(parents=True)
        if plan.job_name == plans.interrupted:
            raise KeyboardInterrupt
        plans.append(plan)
        failed = plan.job_name in plans.failing
        record = {"status": "Failed" if failed else "Completed", "prepared": plan.prepared or "set"}
        (folder / "job.json").write_text(json.dumps(record))
        if failed:
            raise TraplineError("it diverged")
        loss = abs(plan.config.lr - 0.01)
        (folder / "metrics.csv").write_text(
            f"epoch,val_loss,val_acc\n1,,\n2,{loss},{1 - loss}\n3,{loss + 2},0.1\n"
        )

    monkeypatch.setattr(process_backend, "launch", launch)
    return plans


SEARCH = [
    *HERE, "lr=1e-4:1e-1:log", "batch_size=16,32", "--objective", "val_loss", "--job-name", "night",
    "--max-jobs",
]  # fmt: skip


def rows():
    with Path("runs/night/tuning.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_search_here_runs_each_point_and_ranks_them_by_the_best_epoch(call, jobs):
    ended = call(*SEARCH, 5)
    assert ended.code == 0, ended.err
    assert [plan.job_name for plan in jobs] == [f"trial-{number:03d}" for number in range(1, 6)]
    assert len({plan.config.lr for plan in jobs}) == 5
    table = rows()
    losses = [float(row["val_loss"]) for row in table]
    assert losses == sorted(losses)
    assert {row["best_epoch"] for row in table} == {"2"}
    best = min(jobs, key=lambda plan: abs(plan.config.lr - 0.01)).job_name
    assert table[0]["run"] == best
    assert f"python launch/artifacts.py runs/night/{best} --to DIR" in ended.out


def leave(monkeypatch, text, described=None):
    """Let each job here leave these epochs, and a model.json where it is given."""

    def launch(plan):
        folder = Path(plan.output) / plan.job_name
        (folder / "model").mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps({"status": "Completed", "prepared": "set"}))
        (folder / "metrics.csv").write_text(text)
        if described is not None:
            (folder / "model" / "model.json").write_text(
                json.dumps({"architecture": "resnet18", **described})
            )

    monkeypatch.setattr(process_backend, "launch", launch)


CREEPING = "epoch,val_loss,val_acc\n1,0.50,0.1\n2,0.49,0.2\n3,0.48,0.3\n4,0.9,0.4\n"
RECORDED = "epoch,val_loss,val_acc,best_epoch\n1,0.50,0.1,1\n2,0.40,0.2,1\n"
NAN_FIRST = "epoch,val_loss,val_acc\n1,nan,nan\n2,0.7,0.2\n3,0.6,0.3\n"


@pytest.mark.parametrize(
    ("text", "described", "expected"),
    [
        (CREEPING, None, ("3", "0.48")),  # min_delta is for patience, not for the choice of the epoch
        (CREEPING, {"best_epoch": 3}, ("3", "0.48")),
        (CREEPING, {"best_epoch": 2}, ("2", "0.49")),  # whatever training kept
        (RECORDED, None, ("1", "0.5")),
        (NAN_FIRST, None, ("3", "0.6")),
        (NAN_FIRST, {"best_epoch": 3}, ("3", "0.6")),
        ("epoch,val_loss\n1,\n2,0.5\n", None, ("2", "0.5")),
    ],
)
def test_a_run_counts_by_the_epoch_that_training_has_kept(call, jobs, monkeypatch, text, described, expected):
    leave(monkeypatch, text, described)
    ended = call(*SEARCH, 2, "--set", "best_metric=val_loss", "patience=5", "min_delta=0.05")
    assert ended.code == 0, ended.err
    assert {(row["best_epoch"], row["val_loss"]) for row in rows()} == {expected}
    assert {row["epochs_run"] for row in rows()} == {text.strip().rpartition("\n")[2][0]}


@pytest.mark.parametrize("objective", ["val_loss", "val_acc"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_run_whose_objective_is_no_number_comes_last(call, jobs, monkeypatch, objective, first):
    values, calls = ["nan", "0.5"][:: 1 if first == 0 else -1], itertools.count()

    def launch(plan):
        folder = Path(plan.output) / plan.job_name
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps({"status": "Completed"}))
        value = values[next(calls)]
        (folder / "metrics.csv").write_text(f"epoch,val_loss,val_acc,val_macro_f1\n1,{value},{value},0.5\n")

    monkeypatch.setattr(process_backend, "launch", launch)
    ended = call(*SEARCH, 2, "--objective", objective, "--set", "best_metric=val_macro_f1")
    assert ended.code == 0, ended.err
    assert [row[objective] for row in rows()] == ["0.5", ""]
    assert f"best: runs/night/trial-00{2 - first} ({objective} 0.5)" in ended.out


def test_where_no_run_has_a_finite_objective_the_search_has_failed(call, jobs, monkeypatch):
    leave(monkeypatch, "epoch,val_loss\n1,nan\n")
    ended = call(*SEARCH, 2)
    assert ended.code == 1
    assert "every run of the search failed, or has no finite val_loss" in ended.err
    assert [(row["best_epoch"], row["val_loss"], row["status"]) for row in rows()] == [
        ("", "", "Completed")
    ] * 2


def test_a_greater_objective_is_better_where_the_metric_says_so(call, jobs):
    call(*SEARCH, 4, "--objective", "val_acc")
    values = [float(row["val_acc"]) for row in rows()]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("objective", ["test_acc", "val_map"])
def test_what_is_no_objective_of_these_jobs_is_refused(call, jobs, objective):
    ended = call(*SEARCH, 4, "--objective", objective)
    assert (ended.code, jobs) == (2, [])
    assert "--objective" in ended.err


def test_an_interrupted_search_goes_on_where_it_was_left(call, jobs):
    jobs.interrupted = "trial-003"
    ended = call(*SEARCH, 4)
    assert ended.code == 130
    assert "go on: the same command with --job-name night" in ended.out
    assert len(rows()) == 2
    jobs.interrupted = None
    ended = call(*SEARCH, 4)
    assert ended.code == 0, ended.err
    assert [plan.job_name for plan in jobs] == [f"trial-{number:03d}" for number in range(1, 5)]
    assert len(rows()) == 4


def test_a_longer_search_begins_with_the_runs_of_the_shorter(call, jobs):
    call(*SEARCH, 2)
    call(*SEARCH, 3)
    assert [plan.job_name for plan in jobs] == ["trial-001", "trial-002", "trial-003"]


def test_another_search_of_the_same_name_is_refused(call, jobs):
    call(*SEARCH, 2)
    ended = call(*SEARCH, 2, "--search-seed", 1, "--set", "epochs=9")
    assert ended.code == 2
    assert "the search in runs/night has other seed, hyperparameters" in ended.err
    assert len(jobs) == 2


def test_a_run_that_fails_does_not_end_the_search_and_is_tried_again_later(call, jobs):
    jobs.failing = ("trial-002",)
    ended = call(*SEARCH, 3)
    assert ended.code == 0, ended.err
    assert [row["status"] for row in rows()] == ["Completed", "Completed", "Failed"]
    assert rows()[-1]["val_loss"] == ""
    assert "trial-002 failed: it diverged" in ended.out
    jobs.failing = ()
    call(*SEARCH, 3)
    assert [plan.job_name for plan in jobs][3:] == ["trial-002"]
    assert {row["status"] for row in rows()} == {"Completed"}


def test_where_every_run_fails_the_search_has_failed(call, jobs):
    jobs.failing = ("trial-001", "trial-002")
    ended = call(*SEARCH, 2)
    assert ended.code == 1
    assert "every run of the search failed" in ended.err


def test_raw_images_are_prepared_by_the_first_run_alone(call, jobs):
    words = ["--data" if word == "--prepared" else word for word in SEARCH]
    words[words.index("set")] = "demo"
    ended = call(*words, 3)
    assert ended.code == 0, ended.err
    assert [(plan.data, plan.prepared) for plan in jobs] == [("demo", None), (None, "set"), (None, "set")]


def test_a_dry_run_here_prints_the_points(call, jobs):
    ended = call(*SEARCH, 3, "--dry-run")
    shown = json.loads(ended.out)
    assert len(shown["jobs"]) == 3
    assert "lr" not in shown["shared"]
    assert shown["shared"]["optimizer"]
    assert jobs == []
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_real_search_on_a_small_set(tmp_path, small_demo):
    place = Place(tmp_path)
    words = ["resnet18_baseline", "--backend", "process", "--prepared", small_demo, "--job-name", "small"]
    words += ["--range", "lr=1e-4:1e-3:log", "--max-jobs", 1, *tiny()]
    done = place.run("tune", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "runs" / "small" / "tuning.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["Completed"]
    assert (tmp_path / "runs" / "small" / "trial-001" / "model.tar.gz").is_file()
    assert place.leftovers() == []
