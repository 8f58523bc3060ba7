"""Runs are compared at their best epochs, and those that cannot be are listed with the reason."""

import csv
import json
import tarfile

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from tests.support import runs
from tests.support.account import call_here
from tests.support.runs import archive_of, history, pack, write_history, write_model, write_run
from trapline.launching.commands import compare
from trapline.launching.fetching import FoundRun
from trapline.launching.results import read_result


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """Two finished runs, one that failed, one in progress, and a folder that is none. Read it only."""
    folder = tmp_path_factory.mktemp("two") / "runs"
    good, poor = history([1.2, 0.8, 0.9], train_acc=0.95), history([1.6, 1.5], train_acc=0.7, gpu_mb=2048.0)
    write_run(folder / "good", write_model(folder.parent / "a" / "model", good, split="site"), good)
    write_run(folder / "poor", write_model(folder.parent / "b" / "model", poor), poor)
    for name, record in {
        "broken": {"status": "Failed", "failure_reason": "AlgorithmError: out of memory"},
        "young": {"status": "InProgress", "job_name": "young"},
    }.items():
        (folder / name).mkdir()
        (folder / name / "job.json").write_text(json.dumps(record))
    (folder / "prepared").mkdir()
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the script: (*arguments) -> (exit code, lines of output, errors)."""

    def run(*arguments):
        code, output, errors = call_here(monkeypatch, capsys, compare, *arguments)
        return code, output.splitlines(), errors

    return run


def records(lines):
    """The rows of the printed table by run."""
    header = lines[0].replace("train acc", "train_acc").replace("val acc", "val_acc")
    for title in ("log loss", "macro f1", "best epoch", "s per epoch", "rss mb", "gpu mb"):
        header = header.replace(title, title.replace(" ", "_"))
    names = header.split()
    rows = [dict(zip(names, line.split(), strict=True)) for line in lines[2:] if "not compared" not in line]
    return {row["run"]: row for row in rows}


def test_all_runs_of_a_folder_are_compared_at_their_best_epochs(call, two_runs):
    code, lines, errors = call("--runs", two_runs)
    assert (code, errors) == (0, "")
    assert records(lines) == {
        "good": {
            "run": "good", "model": "shufflenet_v2_x0_5", "parameters": "344,867", "train_acc": "0.950",
            "val_acc": "0.800", "gap": "+0.150", "log_loss": "0.8000", "macro_f1": "0.500", "best_epoch": "2",
            "epochs": "3", "s_per_epoch": "4.0", "rss_mb": "700", "gpu_mb": "-", "split": "site",
        },
        "poor": {
            "run": "poor", "model": "shufflenet_v2_x0_5", "parameters": "344,867", "train_acc": "0.700",
            "val_acc": "0.625", "gap": "+0.075", "log_loss": "1.5000", "macro_f1": "0.500", "best_epoch": "2",
            "epochs": "2", "s_per_epoch": "3.0", "rss_mb": "700", "gpu_mb": "2,048", "split": "-",
        },
    }  # fmt: skip


def test_a_run_that_has_scored_the_test_part_adds_its_columns(call, two_runs, tmp_path):
    model = write_model(tmp_path / "tested" / "model", history([0.5]))
    description = json.loads((model / "model.json").read_text())
    description["metrics"]["test"] = {"test_loss": 0.5, "test_acc": 0.75, "test_micro_f1": 0.875}
    (model / "model.json").write_text(json.dumps(description))
    _, lines, _ = call(model, two_runs / "poor", "--runs", two_runs)
    assert "test macro f1" not in lines[0]
    assert [line.split()[-3:] for line in lines[2:4]] == [["0.5000", "0.750", "0.875"], ["-", "-", "-"]]


def test_runs_that_failed_or_go_on_are_listed_with_the_reason(call, two_runs):
    _, lines, _ = call("--runs", two_runs)
    below = [line for line in lines if line.startswith("not compared: ")]
    assert below == [
        "not compared: broken: the job has failed: AlgorithmError: out of memory; its log says more",
        "not compared: young: the job has not ended; wait for its end, or start it again if it was killed",
    ]


@pytest.mark.parametrize(
    ("column", "first"),
    [("log_loss", "good"), ("val_acc", "good"), ("gap", "poor"), ("s_per_epoch", "poor"), ("gpu_mb", "poor")],
)
def test_the_best_by_the_chosen_column_comes_first_and_unknown_values_last(call, two_runs, column, first):
    _, lines, _ = call("--runs", two_runs, "--sort", column)
    assert next(iter(records(lines))) == first


def test_an_unknown_column_is_wrong_usage_and_names_those_there_are(call):
    code, _, errors = call("--sort", "speed")
    assert code == 2
    assert "log_loss" in errors


def test_the_csv_file_holds_all_columns_and_plain_numbers(call, two_runs, tmp_path):
    call("good", "--runs", two_runs, "--csv", tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert list(row) == [column.title for column in compare.COLUMNS]
    assert (row["parameters"], row["gap"], row["gpu_mb"], row["split"]) == ("344867", "0.15", "", "site")


def test_named_runs_are_found_by_folder_name_and_archive(call, two_runs):
    code, lines, _ = call("good", two_runs / "poor", two_runs / "good" / "model.tar.gz", "--runs", two_runs)
    assert code == 0
    assert list(records(lines)) == ["good", str(two_runs / "good" / "model.tar.gz"), "poor"]


def test_a_folder_of_train_py_is_a_run_too(call, tmp_path):
    rows = history([1.0, 0.5])
    write_model(tmp_path / "demo" / "model", rows)
    write_history(tmp_path / "demo" / "output" / "data" / "metrics.csv", rows)
    _, lines, _ = call(tmp_path / "demo")
    assert records(lines)["demo"]["log_loss"] == "0.5000"
    _, all_lines, _ = call("--runs", tmp_path)
    assert all_lines == lines


def test_without_a_history_the_model_itself_says_what_it_reached(call, tmp_path):
    pack(tmp_path / "bare.tar.gz", write_model(tmp_path / "m" / "model", history([0.75, 1.0])))
    code, lines, _ = call(tmp_path / "bare.tar.gz")
    assert code == 0
    assert [row["log_loss"] for row in records(lines).values()] == ["0.7500"]


def test_a_damaged_history_is_noted_and_costs_only_what_it_held(call, two_runs, tmp_path):
    rows = history([0.5])
    folder = write_run(tmp_path / "odd", write_model(tmp_path / "m" / "model", rows), rows)
    (folder / "metrics.csv").write_text("epoch,val_loss\n1,zero\n")
    code, lines, _ = call(folder)
    assert code == 0
    assert lines[2].split()[6] == "0.5000"
    assert lines[3].startswith("odd: history not read (")
    assert "line 2: val_loss is 'zero', not a number" in lines[3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"architecture": ', "model.json: not valid JSON"),
        (b"[]", "model.json: names no architecture"),
        (None, "holds no model.json; it is no model of Trapline"),
    ],
)
def test_what_is_no_model_is_listed_and_alone_it_ends_with_code_1(call, tmp_path, content, reason):
    members = [("model.json", content)] if content else [("weights", b"x")]
    archive_of(tmp_path / "x.tar.gz", *members)
    code, lines, errors = call(tmp_path / "x.tar.gz")
    assert code == 1
    assert reason in lines[0]
    assert errors == "error: none of the 1 runs can be compared\n"


def test_a_hostile_archive_does_not_stop_the_comparison(call, two_runs, tmp_path):
    bad = archive_of(tmp_path / "bad.tar.gz", runs.special("way", tarfile.SYMTYPE, "/etc"))
    code, lines, _ = call("good", bad, "--runs", two_runs)
    assert code == 0
    assert "bad.tar.gz: holds 'way', a symbolic link" in lines[-1]


def test_values_of_the_wrong_kind_are_unknown_not_a_crash(call, tmp_path):
    odd = {
        "architecture": "x",
        "parameters": "many",
        "best_epoch": None,
        "metrics": {"best": {"val_loss": None}},
    }
    archive_of(tmp_path / "x.tar.gz", ("model.json", json.dumps(odd).encode()))
    code, lines, _ = call(tmp_path / "x.tar.gz")
    assert code == 0
    assert set(lines[2].split()[2:]) == {"-"}


def test_no_runs_and_no_folder_of_runs_are_told_apart(call, tmp_path):
    code, _, errors = call("--runs", tmp_path)
    assert code == 1
    assert "no run in it yet" in errors
    code, _, errors = call("--runs", tmp_path / "none")
    assert code == 1
    assert "no such folder of runs" in errors


@pytest.fixture
def aws(monkeypatch):
    runs.aws_test_settings(monkeypatch)
    with mock_aws():
        yield runs.make_bucket()


def upload(client, tmp_path, job, rows, *, member="metrics.csv", with_output=True):
    model = write_model(tmp_path / job / "model", rows)
    client.upload_file(str(pack(tmp_path / "m.tar.gz", model)), "bucket", f"{job}/output/model.tar.gz")
    if with_output:
        write_history(tmp_path / job / "out" / member, rows)
        archive = pack(tmp_path / "o.tar.gz", tmp_path / job / "out")
        client.upload_file(str(archive), "bucket", f"{job}/output/output.tar.gz")


@pytest.mark.parametrize("member", ["metrics.csv", "data/metrics.csv"])
def test_a_run_in_s3_is_read_from_both_its_archives(aws, call, tmp_path, member):
    upload(aws, tmp_path, "cloud", history([0.7, 0.6, 0.9]), member=member)
    code, lines, _ = call("s3://bucket/cloud/")
    assert code == 0
    row = records(lines)["cloud"]
    assert (row["log_loss"], row["s_per_epoch"]) == ("0.6000", "4.0")


def test_a_sagemaker_job_without_output_is_still_compared(aws, call, tmp_path, monkeypatch):
    upload(aws, tmp_path, "night", history([0.7, 0.6]), with_output=False)
    client = boto3.client("sagemaker")
    monkeypatch.setattr(boto3, "client", lambda name: client if name == "sagemaker" else aws)
    answer = {
        "TrainingJobName": "night",
        "TrainingJobArn": f"arn:aws:sagemaker:{runs.REGION}:123456789012:training-job/night",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/night/output/model.tar.gz"},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/"},
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {},
        "CreationTime": 0,
        "FinalMetricDataList": [{"MetricName": "val_loss", "Value": 0.65, "Timestamp": 0}],
    }
    with Stubber(client) as stub:
        stub.add_response("describe_training_job", answer)
        code, lines, _ = call("night")
    assert code == 0
    assert records(lines[:3])["night"]["log_loss"] == "0.6000"
    assert "night: history not read (s3://bucket/night/output/output.tar.gz: no such object" in lines[3]


def test_the_last_metrics_that_sagemaker_read_serve_where_the_model_records_none(aws, tmp_path):
    archive = archive_of(tmp_path / "m.tar.gz", ("model.json", b'{"architecture": "resnet18"}'))
    source = FoundRun(name="old", model=archive, metrics={"val_loss": 0.65})
    result = read_result(source)
    assert result.log_loss == 0.65
    assert result.notes == ("its metrics are those of its last epoch",)


def test_a_run_that_aws_does_not_have_is_listed(aws, call, two_runs):
    code, lines, _ = call("good", "gone", "--runs", two_runs)
    assert code == 0
    assert "AWS finds no such thing" in lines[-1]


@pytest.mark.parametrize(("column", "said"), [("test_acc", True), ("test_loss", True), ("log_loss", False)])
def test_who_ranks_by_the_test_part_is_told_that_it_is_a_choice(call, two_runs, column, said):
    code, lines, _ = call("--runs", two_runs, "--sort", column)
    assert code == 0
    assert any(line.startswith(f"sorted by {column}: whoever takes the first") for line in lines) is said
