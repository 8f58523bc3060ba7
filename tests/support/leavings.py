"""What jobs that have been trained leave, without the training: here, and in the bucket of an account."""

import csv
import io
import json
from pathlib import Path

import boto3

from tests.support.account import BUCKET
from tests.support.runs import archive_of
from trapline.errors import TraplineError
from trapline.metrics import format_value

SIZES = {"googlenet": 22_517_000, "resnet50": 94_400_000, "efficientnet_v2_s": 120_500_000}  # bytes


def history(f1, precision="auto", epochs=2, gpu_mb=0.0):
    """Rows of metrics.csv: validation is best in the first epoch; fp32 is half as fast."""
    return [
        {
            "epoch": epoch, "train_loss": 0.5, "val_loss": 0.2 * epoch, "val_acc": f1 / 2 / epoch,
            "val_macro_f1": f1 / epoch, "val_micro_f1": f1 / epoch, "lr": 0.001,
            "images_per_s": 50.0 if precision == "fp32" else 100.0 + epoch, "epoch_s": 36.0, "gpu_mb": gpu_mb,
        }
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip


def description(config):
    """model.json, as far as it is read without torch."""
    size = SIZES.get(config["arch"], 44_700_000)
    return {
        "architecture": config["arch"], "best_epoch": 1, "epochs": config["epochs"], "parameters": size // 4,
        "size": size, "configuration": config,
    }  # fmt: skip


def files_of(config, f1, gpu_mb=0.0):
    """Name -> text of what a job leaves beside its model: metrics.csv, and test.json where it is to."""
    stream = io.StringIO()
    rows = history(f1, config["precision"], config["epochs"], gpu_mb)
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    files = {"metrics.csv": stream.getvalue()}
    if config["score_test"]:
        files["test.json"] = json.dumps({"test_micro_f1": float(format_value(f1 + 0.02)), "images": 9})
    return files


def stand_in(monkeypatch, process_backend, f1_of):
    """The process backend without its jobs. `f1_of`: config -> validation macro-F1, or an exception to raise.

    Returns the list of the plans that were run.
    """
    plans = []

    def launch(plan):
        config = plan.config.record()
        folder = Path(plan.output or "runs") / plan.job_name
        folder.mkdir(parents=True)
        found = f1_of(plan.config)
        if isinstance(found, KeyboardInterrupt):
            raise found
        plans.append(plan)
        record = {"status": "Completed", "prepared": plan.prepared or "set", "backend": plan.backend}
        if isinstance(found, TraplineError):
            (folder / "job.json").write_text(
                json.dumps({**record, "status": "Failed", "failure_reason": str(found)})
            )
            raise found
        archive_of(folder / "model.tar.gz", ("model.json", json.dumps(description(config)).encode()))
        for name, text in files_of(config, found).items():
            (folder / name).write_text(text)
        (folder / "job.json").write_text(json.dumps(record))

    monkeypatch.setattr(process_backend, "launch", launch)
    return plans


def train_in(account, folder, f1_of):
    """Let every job that the account takes leave in the bucket at once what it would."""
    s3 = boto3.client("s3")

    def leave():
        operation, request = account.asked[-1]
        if operation != "CreateTrainingJob":
            return  # it was rehearsed, and did not leave this machine
        given = request["HyperParameters"]
        config = {
            name: json.loads(given[name]) for name in ("arch", "epochs", "precision", "score_test", "fold")
        }
        place = request["OutputDataConfig"]["S3OutputPath"].removeprefix(f"s3://{BUCKET}/").rstrip("/")
        where = f"{place}/{request['TrainingJobName']}/output"
        members = [(name, text.encode()) for name, text in files_of(config, f1_of(config)).items()]
        model = ("model.json", json.dumps(description(config)).encode())
        for name, content in (("model.tar.gz", [model]), ("output.tar.gz", members)):
            s3.upload_file(str(archive_of(folder / name, *content)), BUCKET, f"{where}/{name}")

    def prepare():
        operation, request = account.asked[-1]
        if operation == "CreateProcessingJob":
            (output,) = request["ProcessingOutputConfig"]["Outputs"]
            key = output["S3Output"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
            s3.put_object(Bucket=BUCKET, Key=f"{key.rstrip('/')}/dataset.json", Body=b"{}")

    account.after("CreateTrainingJob", leave)
    account.after("CreateProcessingJob", prepare)
    account.answers["DescribeTrainingJob"] = {"BillableTimeInSeconds": 900, "TrainingTimeInSeconds": 1800}
