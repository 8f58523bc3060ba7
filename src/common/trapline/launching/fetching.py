"""Where a run lies and what it left: on this machine, in S3, or behind the name of a SageMaker job."""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from trapline.console import ArgumentParser
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.errors import explained
from trapline.s3 import is_s3, split_uri
from trapline.storage import parse_json

MODEL, OUTPUT, METRICS = "model.tar.gz", "output.tar.gz", "metrics.csv"
DESCRIPTION, RECORD = "model.json", "job.json"
COMPLETED = "Completed"
JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
# Where a model and a history lie in the folders that launchers, train.py and SageMaker leave.
MODELS = (MODEL, f"output/{MODEL}", f"model/{DESCRIPTION}", DESCRIPTION)
HISTORIES = (METRICS, f"output/data/{METRICS}", f"output/{OUTPUT}", OUTPUT)
HINT = "a run on this machine is named by its folder"


@dataclass(frozen=True)
class FoundRun:
    """A run and the places of what it left. A place is a path or an s3:// URI."""

    name: str
    model: Path | str | None  # a model.tar.gz, or a folder with a model.json
    history: Path | str | None = None  # a metrics.csv, or an output.tar.gz with one in it
    status: str = COMPLETED  # as SageMaker words it: Completed, Failed, Stopped, InProgress
    reason: str = ""  # why it failed or stopped
    code: str = ""  # where the code of its job lies
    metrics: Mapping[str, float] = field(default_factory=dict)  # the last that SageMaker read from its log


def add_runs_argument(parser: ArgumentParser) -> None:
    """Add `--runs`, the folder of the runs on this machine."""
    parser.add_argument(
        "--runs",
        metavar="DIR",
        type=Path,
        default=Path("runs"),
        help="where runs on this machine lie (default: %(default)s)",
    )


def find_run(name: str, runs: Path) -> FoundRun:
    """The run that `name` names: a path, an s3:// URI, a folder in `runs`, or a SageMaker job, in this order.

    Raises UsageError for what cannot be any of them, TraplineError where there is no such run or AWS cannot
    be asked. A run that failed or goes on is returned with its status.
    """
    if is_s3(name):
        return _run_in_s3(name)
    for path in (Path(name), runs / name):
        if path.exists():
            return local_run(path)
    if not JOB_NAME.fullmatch(name):
        raise UsageError(f"{name}: no such file or folder, no run in {runs}, and no possible name of a job")
    return _sagemaker_run(name, runs)


def require_finished(run: FoundRun) -> FoundRun:
    """Return `run` if its job ended well. Raises TraplineError that says how it stands."""
    if run.status == COMPLETED:
        return run
    reason = f": {run.reason}" if run.reason else ""
    advice = {
        "Failed": "; its log says more",
        "InProgress": "; wait for its end, or start it again if it was killed",
    }
    what = {"Failed": "has failed", "InProgress": "has not ended", "Stopped": "was stopped before its end"}
    raise TraplineError(
        f"{run.name}: the job {what.get(run.status, f'is {run.status}')}{reason}{advice.get(run.status, '')}"
    )


def local_run(path: Path) -> FoundRun:
    """The run at a path: a model.tar.gz, or a folder that a launcher, train.py or SageMaker's layout left."""
    folder = path if path.is_dir() else path.parent
    record = _record(folder / RECORD)
    model = _first(folder, MODELS) if path.is_dir() else path
    if model is not None and model.name == DESCRIPTION:
        model = model.parent
    status = str(record.get("status") or COMPLETED)
    if model is None and status == COMPLETED:
        raise TraplineError(
            f"{path}: holds neither {' nor '.join(MODELS[:3])}; it is no run, or has not ended"
        )
    top = folder.parent if folder.name in ("model", "output") else folder
    return FoundRun(
        name=str(record.get("job_name") or top.resolve().name),
        model=model,
        history=_first(top, HISTORIES),
        status=status,
        reason=str(record.get("failure_reason") or ""),
    )


def local_runs(runs: Path) -> list[Path]:
    """The folders in `runs` that hold a run, finished or not, by name."""
    if not runs.is_dir():
        raise TraplineError(
            f"{runs}: no such folder of runs; name the runs, or give their folder with --runs"
        )
    folders = sorted(path for path in runs.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [folder for folder in folders if _first(folder, (RECORD, *MODELS))]


def _record(path: Path) -> dict[str, Any]:
    """The launcher's record of a run; {} where there is none. A damaged one says nothing about the model."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _run_in_s3(uri: str) -> FoundRun:
    bucket, key = split_uri(uri)
    if not key.endswith(".tar.gz"):
        prefix = key.rstrip("/") + "/" if key else ""
        key = _existing(uri, bucket, [f"{prefix}output/{MODEL}", f"{prefix}{MODEL}"])
    folder = key.rpartition("/")[0]
    job = folder.removesuffix("/output").rpartition("/")[2]
    return FoundRun(
        name=job or bucket,
        model=f"s3://{bucket}/{key}",
        history=f"s3://{bucket}/{f'{folder}/' if folder else ''}{OUTPUT}",
    )


def _existing(uri: str, bucket: str, keys: list[str]) -> str:
    """The first of `keys` that is an object."""
    import boto3
    from botocore.exceptions import ClientError

    denied = None
    with explained(uri, HINT):
        client = boto3.client("s3")
        for key in keys:
            try:
                client.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code not in ("403", "404", "NoSuchKey", "NotFound"):
                    raise
                # Who may not list a bucket is told of a missing object that access is denied.
                denied = error if code == "403" else denied
            else:
                return key
        if denied:
            raise denied
        client.head_bucket(Bucket=bucket)  # a missing bucket looks like a missing object until here
    raise TraplineError(f"{uri}: neither {' nor '.join(keys)} is there; give the URI of a {MODEL}")


def _sagemaker_run(name: str, runs: Path) -> FoundRun:
    import boto3

    with explained(f"{name} (no file, no run in {runs}; as a SageMaker job)", HINT):
        return run_of_job(boto3.client("sagemaker").describe_training_job(TrainingJobName=name))


def run_of_job(job: Mapping[str, Any]) -> FoundRun:
    """The run of a training job, as AWS describes it."""
    name = job["TrainingJobName"]
    status = job["TrainingJobStatus"]
    outputs = job.get("OutputDataConfig", {}).get("S3OutputPath", "").rstrip("/")
    return FoundRun(
        name=name,
        model=job.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        history=f"{outputs}/{name}/output/{OUTPUT}" if outputs else None,
        status="InProgress" if status == "Stopping" else status,
        reason=job.get("FailureReason", ""),
        code=_submitted_code(job.get("HyperParameters", {})),
        metrics={metric["MetricName"]: metric["Value"] for metric in job.get("FinalMetricDataList", [])},
    )


def _submitted_code(hyperparameters: Mapping[str, str]) -> str:
    """Where the SDK put the code of a job; it writes hyperparameters as JSON."""
    value = hyperparameters.get("sagemaker_submit_directory", "")
    with contextlib.suppress(ValueError):
        value = parse_json(value)
    return str(value)


@contextlib.contextmanager
def opened(place: Path | str) -> Iterator[IO[bytes]]:
    """The bytes of a file or an object in S3 as a stream; no more of it is transferred than is read."""
    if isinstance(place, Path):
        with place.open("rb") as file:
            yield file
        return
    import boto3

    bucket, key = split_uri(place)
    with explained(place, HINT):
        body = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
        with contextlib.closing(body):
            yield body


@contextlib.contextmanager
def downloaded(place: Path | str, folder: Path) -> Iterator[IO[bytes]]:
    """The same as a local file; an object in S3 comes first into a nameless file in `folder`.

    Raises TraplineError when the disk is full or AWS refuses.
    """
    if isinstance(place, Path):
        with opened(place) as file:
            yield file
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        _download(place, file)
        file.seek(0)
        yield file


def _download(uri: str, file: IO[bytes]) -> None:
    import boto3

    bucket, key = split_uri(uri)
    with explained(uri, HINT):
        boto3.client("s3").download_fileobj(bucket, key, file)
