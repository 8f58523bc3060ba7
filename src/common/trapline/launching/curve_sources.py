"""Where the curves of a run come from: its folder, a log, S3, or a SageMaker job's log in CloudWatch."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.errors import explained
from trapline.launching.aws.job_kinds import TRAINING
from trapline.launching.aws.logs import JobLog
from trapline.launching.fetching import HINT, HISTORIES, JOB_NAME, METRICS, OUTPUT, opened
from trapline.launching.results import HISTORY_MEMBERS
from trapline.reports.history import parse_history
from trapline.reports.run_logs import Curves, parse_log
from trapline.s3 import is_s3, split_uri
from trapline.unpacking import MAX_TEXT_BYTES, read_text

LOG = "log.txt"
MAX_LOG_BYTES = 1 << 30  # bytes
IN_S3 = (f"output/{OUTPUT}", OUTPUT, METRICS, f"output/data/{METRICS}")  # below a job's folder
FORMATS = "trapline/reports/run_logs.py describes the lines that are understood"


def read_curves(name: str, runs: Path) -> list[Curves]:
    """The curves of what `name` names: a path, an s3:// URI, a folder in `runs`, or a SageMaker job.

    A folder with no curves of its own gives those of the folders in it, as a pipeline's run does. Raises
    UsageError for what cannot be any of them, TraplineError where there are no curves or AWS refuses.
    """
    if is_s3(name):
        return [_in_s3(name)]
    for path in (Path(name), runs / name):
        if path.is_dir():
            return _of_folder(path)
        if path.exists():
            return [_of_file(path, path.name)]
    if not JOB_NAME.fullmatch(name):
        raise UsageError(f"{name}: no such file or folder, no run in {runs}, and no possible name of a job")
    return [_of_job(name, runs)]


def _of_folder(folder: Path) -> list[Curves]:
    found = _own_curves(folder, folder.resolve().name)
    if found:
        return [found]
    inner = [
        (path, f"{folder.resolve().name}/{path.name}") for path in sorted(folder.iterdir()) if path.is_dir()
    ]
    curves = [found for path, name in inner if (found := _own_curves(path, name))]
    if not curves:
        raise TraplineError(
            f"{folder}: holds neither {METRICS} nor a {LOG} with metrics; it is no training run, or its "
            "first epoch has not ended"
        )
    return curves


def _own_curves(folder: Path, name: str) -> Curves:
    """The epochs of metrics.csv, which are exact, and the batches of the log."""
    logged = _of_file(folder / LOG, name, required=False) if (folder / LOG).is_file() else Curves(name)
    for history in HISTORIES:
        if (folder / history).is_file():
            with contextlib.suppress(TraplineError):  # an archive of a job that ended early may hold none
                written = _of_file(folder / history, name)
                return Curves(name, written.epochs, logged.batches or written.batches)
    return logged


def _of_file(path: Path | str, name: str, *, required: bool = True) -> Curves:
    """The curves in a metrics.csv, an output.tar.gz or a log, here or in S3."""
    shown = str(path)
    if shown.endswith((".tar.gz", ".tgz")):
        with opened(path) as stream:
            text = read_text(stream, shown, HISTORY_MEMBERS)
        if text is None:
            raise TraplineError(f"{shown}: holds no {METRICS}; give the {OUTPUT} of a training job")
        return Curves(name, tuple(parse_history(text, f"{shown}: {METRICS}")))
    with opened(path) as stream:
        content = stream.read(MAX_LOG_BYTES + 1)
    if len(content) > (MAX_TEXT_BYTES if shown.endswith(".csv") else MAX_LOG_BYTES):
        raise TraplineError(f"{shown}: too large for a log of one training; give the part of it that matters")
    text = content.decode("utf-8", errors="replace")  # a log may be cut anywhere
    if shown.endswith(".csv"):
        return Curves(name, tuple(parse_history(text, shown)))
    curves = parse_log(text, name)
    if required and not curves:
        raise TraplineError(f"{shown}: no line with metrics or a batch's loss and accuracy in it; {FORMATS}")
    return curves


def _in_s3(uri: str) -> Curves:
    bucket, key = split_uri(uri)
    if key.endswith((".tar.gz", ".csv", ".txt", ".log")):
        folder = key.rpartition("/")[0].removesuffix("/data").removesuffix("/output")
        name = folder.rpartition("/")[2] if key.endswith((OUTPUT, METRICS)) else key.rpartition("/")[2]
        return _of_file(uri, name or bucket)
    prefix = key.rstrip("/") + "/" if key else ""
    for place in IN_S3:
        if _is_object(bucket, prefix + place, uri):
            return _of_file(f"s3://{bucket}/{prefix}{place}", prefix.rstrip("/").rpartition("/")[2] or bucket)
    raise TraplineError(
        f"{uri}: neither {' nor '.join(IN_S3)} is there, or they may not be seen; give the URI of one, or of "
        "a log (.txt, .log)"
    )


def _is_object(bucket: str, key: str, shown_as: str) -> bool:
    import boto3
    from botocore.exceptions import ClientError

    with explained(shown_as, HINT):
        try:
            boto3.client("s3").head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            # Who may not list a bucket is told of a missing object that access is denied.
            if error.response["Error"]["Code"] not in ("403", "404", "NoSuchKey", "NotFound"):
                raise
            return False
    return True


def _of_job(name: str, runs: Path) -> Curves:
    """From the job's log in CloudWatch, also while it runs; else from what it left in S3."""
    import boto3

    with explained(f"{name} (no file, no run in {runs}; as a SageMaker job)", HINT):
        job = boto3.client("sagemaker").describe_training_job(TrainingJobName=name)
        lines = list(log_lines(boto3.client("logs"), name))
    logged = parse_log("\n".join(lines), name)
    if logged:
        return logged
    outputs = job.get("OutputDataConfig", {}).get("S3OutputPath", "").rstrip("/")
    status = job["TrainingJobStatus"]
    if outputs and status in ("Completed", "Stopped", "Failed"):  # CloudWatch forgets, S3 does not
        bucket, prefix = split_uri(outputs)
        key = f"{prefix}/{name}/output/{OUTPUT}".lstrip("/")
        if _is_object(bucket, key, name):
            return _of_file(f"s3://{bucket}/{key}", name)
    raise TraplineError(f"{name}: the job is {status}, and its log holds no metrics (yet)")


def log_lines(client: Any, name: str) -> Iterator[str]:
    """The lines of a training job's log that are there now, by time; none where there is no log."""
    log = JobLog(client, TRAINING.log_group or "", name)
    log.look()
    while lines := log.read():
        yield from (line.text for line in lines)
    yield from (line.text for line in log.rest())
