"""The curves of runs are found wherever they lie, and written as table, file and picture."""

import csv
import sys
from functools import partial

import pytest
from moto import mock_aws
from PIL import Image

from tests.support.account import call_here
from tests.support.cloud import NAME, Cloud, metric_line
from tests.support.runs import aws_test_settings, history, make_bucket, pack, write_history
from trapline.launching.commands import curves
from trapline.launching.results import log_lines, read_curves
from trapline.metrics import BatchPoint, format_batch, format_line

ROWS = history([1.5, 0.5, 0.75])


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the script: (*arguments) -> (exit code, output, errors)."""
    return partial(call_here, monkeypatch, capsys, curves)


@pytest.fixture
def s3(monkeypatch):
    aws_test_settings(monkeypatch)
    with mock_aws():
        yield make_bucket()


def batch(epoch, number):
    return format_batch(BatchPoint(epoch, number, 2.0, 0.25, 40, 0.001))


def best(found):
    return [min(row["val_loss"] for row in one.epochs) for one in found]


def test_two_runs_and_a_saved_log_become_a_table_a_file_and_a_picture(call, tmp_path):
    write_history(tmp_path / "runs" / "one" / "metrics.csv", ROWS)
    write_history(tmp_path / "two" / "output" / "data" / "metrics.csv", history([0.25]))
    (tmp_path / "imagenet.log").write_text(
        "Loss=4.5 Batch_id=0 Accuracy=1.0\rLoss=4.0 Batch_id=1 Accuracy=2.0"
    )
    code, output, errors = call(
        "one",
        tmp_path / "two",
        tmp_path / "imagenet.log",
        "--runs",
        tmp_path / "runs",
        "--to",
        tmp_path / "to",
    )
    assert (code, errors) == (0, "")
    summary = {line.split()[0]: line.split()[1:4] for line in output.splitlines() if line}
    assert summary["two"] == ["1", "1", "0.2500"]
    assert summary["imagenet.log"] == ["1", "1", "-"]
    assert ["one", "3", "2", "0.5000"] in [line.split()[:4] for line in output.splitlines()]
    with (tmp_path / "to" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {"one", "two", "imagenet.log"}
    assert len([row for row in rows if row["metric"] == "batch_loss"]) == 2
    with Image.open(tmp_path / "to" / "curves.png") as picture:
        assert picture.width >= 1000


def test_a_run_has_its_epochs_from_metrics_csv_and_its_batches_from_the_log(tmp_path):
    write_history(tmp_path / "night" / "metrics.csv", ROWS)
    (tmp_path / "night" / "log.txt").write_text(
        "\n".join([batch(1, 20), format_line({"epoch": 9}), batch(1, 40)])
    )
    (found,) = read_curves(str(tmp_path / "night"), tmp_path)
    assert len(found.epochs) == 3
    assert [point.batch for point in found.batches] == [20, 40]


def test_a_run_under_way_is_read_from_its_log(tmp_path):
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "log.txt").write_text(f"starting\n{format_line(ROWS[0])}\n")
    assert best(read_curves("night", tmp_path)) == [1.5]


def test_a_pipelines_run_gives_the_curves_of_its_trainings(tmp_path):
    write_history(tmp_path / "trapline" / "TrainPhase1" / "metrics.csv", ROWS)
    write_history(tmp_path / "trapline" / "TrainPhase2" / "metrics.csv", history([0.25]))
    (tmp_path / "trapline" / "Prepare").mkdir()
    found = read_curves(str(tmp_path / "trapline"), tmp_path)
    assert [one.name for one in found] == ["trapline/TrainPhase1", "trapline/TrainPhase2"]
    assert best(found) == [0.5, 0.25]


def test_runs_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        write_history(tmp_path / folder / "night" / "metrics.csv", ROWS)
    found, _ = curves.collect([str(tmp_path / "a" / "night"), str(tmp_path / "b" / "night")], tmp_path)
    assert [one.name for one in found] == ["night", str(tmp_path / "b" / "night")]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("empty", 1, "holds neither metrics.csv nor a log.txt with metrics"),
        ("words.log", 1, "no line with metrics or a batch's loss and accuracy"),
        ("no/such", 1, "no such file or folder, no run in"),
    ],
)
def test_what_has_no_curves_is_listed_with_the_reason(call, tmp_path, name, code, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.log").write_text("nothing here")
    found = call(tmp_path / name, "--to", tmp_path / "to")
    assert found[0] == code
    assert message in found[1]
    assert "none of the 1 runs has curves" in found[2]
    assert not (tmp_path / "to").exists()


def test_one_run_without_curves_does_not_keep_back_the_others(call, tmp_path):
    write_history(tmp_path / "one" / "metrics.csv", ROWS)
    code, output, _ = call("one", tmp_path / "none.log", "--runs", tmp_path)
    assert code == 0
    assert "no curves: " in output
    assert (tmp_path / "curves" / "curves.png").is_file()


def test_metrics_are_read_from_s3_in_the_layout_of_a_job(s3, tmp_path):
    write_history(tmp_path / "output" / "metrics.csv", ROWS)
    archive = pack(tmp_path / "output.tar.gz", tmp_path / "output")
    s3.upload_file(str(archive), "bucket", "jobs/night/output/output.tar.gz")
    s3.put_object(Bucket="bucket", Key="logs/night.log", Body=format_line(ROWS[0]).encode())
    for uri, name, lowest in (
        ("s3://bucket/jobs/night", "night", 0.5),
        ("s3://bucket/jobs/night/output/output.tar.gz", "night", 0.5),
        ("s3://bucket/logs/night.log", "night.log", 1.5),
    ):
        (found,) = read_curves(uri, tmp_path)
        assert (found.name, best([found])) == (name, [lowest])
    found, problems = curves.collect(["s3://bucket/other"], tmp_path)
    assert found == []
    assert "s3://bucket/other: neither output/output.tar.gz nor" in problems[0]


def test_a_job_of_sagemaker_is_read_from_cloudwatch_page_by_page_and_torn_lines_whole():
    cloud = Cloud(page_size=2)
    line = metric_line(3)
    cloud.write("starting", metric_line(1), batch(2, 20), metric_line(2), line[:40], line[40:])
    lines = list(log_lines(cloud.clients.logs, NAME))
    assert lines == ["starting", metric_line(1), batch(2, 20), metric_line(2), line]


@pytest.fixture
def aws(monkeypatch, s3):
    """A cloud in the place of boto3's clients for SageMaker and its logs; S3 stays moto's."""
    import boto3

    cloud, real = Cloud(), boto3.client
    fakes = {"sagemaker": cloud.clients.sagemaker, "logs": cloud.clients.logs}
    monkeypatch.setattr(boto3, "client", lambda name: fakes.get(name) or real(name))
    return cloud


def described(status):
    return {"TrainingJobStatus": status, "OutputDataConfig": {"S3OutputPath": "s3://bucket/jobs"}}


def test_a_job_is_named_alone_and_may_still_run(aws, tmp_path):
    aws.descriptions = [described("InProgress")]
    aws.write(metric_line(1), metric_line(2))
    assert best(read_curves(NAME, tmp_path)) == [0.75]


def test_a_job_whose_log_is_gone_is_read_from_what_it_left_in_s3(aws, s3, tmp_path):
    aws.descriptions = [described("Completed")]
    write_history(tmp_path / "output" / "metrics.csv", ROWS)
    archive = pack(tmp_path / "output.tar.gz", tmp_path / "output")
    s3.upload_file(str(archive), "bucket", f"jobs/{NAME}/output/output.tar.gz")
    assert best(read_curves(NAME, tmp_path)) == [0.5]


def test_a_job_without_metrics_says_how_it_stands(aws, tmp_path):
    aws.descriptions = [described("InProgress")]
    found, problems = curves.collect([NAME], tmp_path)
    assert found == []
    assert problems == [f"{NAME}: the job is InProgress, and its log holds no metrics (yet)"]


def test_the_module_loads_neither_torch_nor_the_sdk():
    import subprocess

    code = "import sys; import trapline.launching.commands.curves; print([m for m in ('torch', 'boto3', 'sagemaker', 'matplotlib') if m in sys.modules])"  # noqa: E501
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
