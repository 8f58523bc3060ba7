"""Where a run lies, and what it left: on this machine, in S3, or behind the name of a SageMaker job."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from trapline.console import ArgumentParser
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import versions
from trapline.launching.aws.errors import explained
from trapline.launching.checkout import sources
from trapline.launching.local.user_files import printable, walk
from trapline.s3 import is_s3, split_uri
from trapline.storage import parse_json
from trapline.unpacking import FILE_MODE, unpack

if TYPE_CHECKING:  # needs torch, which takes seconds
    from trapline.models.artefact import ModelDescription

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
    path = path_of(name, runs)
    return local_run(path) if path else run_of_job(describe_job(name, runs))


def path_of(name: str, runs: Path) -> Path | None:
    """The path that `name` names, here or in `runs`; None where it may be the name of a SageMaker job.

    Raises UsageError for what cannot be that either.
    """
    for path in (Path(name), runs / name):
        if path.exists():
            return path
    if not JOB_NAME.fullmatch(name):
        raise UsageError(f"{name}: no such file or folder, no run in {runs}, and no possible name of a job")
    return None


def require_finished(run: FoundRun) -> FoundRun:
    """Return `run` if its job ended well. Raises TraplineError that says how it stands."""
    if run.status == COMPLETED:
        return run
    known = {
        "Failed": ("has failed", "; its log says more"),
        "InProgress": ("has not ended", "; wait for its end, or start it again if it was killed"),
        "Stopped": ("was stopped before its end", ""),
    }
    what, advice = known.get(run.status, (f"is {run.status}", ""))
    raise TraplineError(f"{run.name}: the job {what}{f': {run.reason}' if run.reason else ''}{advice}")


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
    return [
        path
        for path in sorted(runs.iterdir())
        if path.is_dir() and not path.name.startswith(".") and _first(path, (RECORD, *MODELS))
    ]


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
    return FoundRun(
        name=folder.removesuffix("/output").rpartition("/")[2] or bucket,
        model=f"s3://{bucket}/{key}",
        history=f"s3://{bucket}/{f'{folder}/' if folder else ''}{OUTPUT}",
    )


def _existing(uri: str, bucket: str, keys: list[str]) -> str:
    """The first of `keys` that is an object."""
    from botocore.exceptions import ClientError

    denied = None
    with explained(uri, HINT):
        client = aws_client("s3")
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


def aws_client(service: str) -> Any:
    """A client of AWS's own library, which takes a while to load: not for runs on this machine."""
    import boto3

    return boto3.client(service)


def describe_job(name: str, runs: Path) -> dict[str, Any]:
    """What AWS says of the training job `name`. Raises TraplineError where there is none."""
    with explained(f"{name} (no file, no run in {runs}; as a SageMaker job)", HINT):
        return dict(aws_client("sagemaker").describe_training_job(TrainingJobName=name))


def run_of_job(job: Mapping[str, Any]) -> FoundRun:
    """The run of a training job, as AWS describes it."""
    name, status = job["TrainingJobName"], job["TrainingJobStatus"]
    outputs = job.get("OutputDataConfig", {}).get("S3OutputPath", "").rstrip("/")
    code = job.get("HyperParameters", {}).get("sagemaker_submit_directory", "")
    with contextlib.suppress(ValueError):  # the SDK writes hyperparameters as JSON
        code = parse_json(code)
    return FoundRun(
        name=name,
        model=job.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        history=f"{outputs}/{name}/output/{OUTPUT}" if outputs else None,
        status="InProgress" if status == "Stopping" else status,
        reason=job.get("FailureReason", ""),
        code=str(code),
        metrics={metric["MetricName"]: metric["Value"] for metric in job.get("FinalMetricDataList", [])},
    )


@contextlib.contextmanager
def opened(place: Path | str) -> Iterator[IO[bytes]]:
    """The bytes of a file or an object in S3 as a stream; no more of it is transferred than is read."""
    if isinstance(place, Path):
        with place.open("rb") as file:
            yield file
        return
    bucket, key = split_uri(place)
    with explained(place, HINT):
        body = aws_client("s3").get_object(Bucket=bucket, Key=key)["Body"]
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
    bucket, key = split_uri(place)
    with tempfile.TemporaryFile(dir=folder) as file:
        with explained(place, HINT):
            aws_client("s3").download_fileobj(bucket, key, file)
        file.seek(0)
        yield file


# --- models, fetched whole and checked, one alone or the average of several ---------------------------------


def fetch_model(source: FoundRun, target: Path) -> "tuple[int, ModelDescription]":
    """Put the model of a finished run into `target`; return the number of files, and what model.json says.

    `target` must not exist, or be empty; it gets the whole, checked model or stays as it is. Raises
    TraplineError when the archive is damaged, hostile or no model of this project, or cannot be had.
    """
    if source.model is None:
        raise TraplineError(f"{source.name}: the job has left no model; its log may say why")
    with staging_folder(target) as folder:
        if isinstance(source.model, Path) and source.model.is_dir():
            files = _copy_folder(source.model, folder)
        else:
            with downloaded(source.model, folder.parent) as stream:
                files = unpack(stream, str(source.model), folder)
        return files, _checked_model(folder, str(source.model))


def _copy_folder(source: Path, target: Path) -> int:
    """Copy the files of a model folder; links are refused as they are in an archive."""
    entries = list(walk(source, skips=lambda name: False))
    for found in entries:
        if found.link or found.kind != "file":
            raise TraplineError(f"{printable(found.path)}: is no plain file; a model has nothing else")
        copy = target / found.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.path, copy)
        os.chmod(copy, FILE_MODE)  # noqa: PTH101
    return len(entries)


def _checked_model(folder: Path, shown_as: str) -> "ModelDescription":
    """Load all weights as serving would."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trapline.models.artefact import load_model

    try:
        description = load_model(folder, which="best")[1]
        if not description.members:  # an ensemble has no last epoch
            load_model(folder, which="last")
        return description
    except TraplineError as error:
        # The folder is gone when the message is read; what was given is not.
        raise TraplineError(str(error).replace(str(folder), shown_as)) from None


def average(names: Sequence[str], runs: Path, target: Path) -> str:
    """Write the ensemble of the runs that `names` name to the folder `target`, and return what it is.

    Raises UsageError where they do not go together or one is named twice, TraplineError where one cannot be
    had.
    """
    if len(set(names)) < len(names):
        raise UsageError("a model is named twice, which would give it two votes; name each once")
    found = {name: require_finished(find_run(name, runs)) for name in names}
    with tempfile.TemporaryDirectory(prefix="trapline-members-") as folder, staging_folder(target) as made:
        members = {name: Path(folder) / str(number) for number, name in enumerate(found)}
        for name, source in found.items():
            fetch_model(source, members[name])
        from trapline.models.ensemble import write_ensemble  # late: --help and a typing error need no torch

        described = write_ensemble(members, made, sources(), versions("torch", "torchvision", "safetensors"))
    kinds = ", ".join(member.architecture for member in described.members)
    return f"model: {target} ({len(members)} members: {kinds}; {described.parameters:,} parameters)"


@contextlib.contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its place when the block ends without an error.

    `target` must not exist, or be an empty folder. After an error or a kill there is nothing under it.
    Raises TraplineError when something is in the way or the folder around it cannot be written.
    """
    target = target.resolve()
    ensure_free(target)
    staging = target.with_name(f".{target.name}.{os.getpid()}.unpacking")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # What killed processes left; the name says which process made it.
        for path in target.parent.iterdir():
            made_by = re.fullmatch(rf"\.{re.escape(target.name)}\.(\d+)\.unpacking", path.name)
            if made_by and (int(made_by[1]) == os.getpid() or not psutil.pid_exists(int(made_by[1]))):
                shutil.rmtree(path, ignore_errors=True)
        staging.mkdir()
    except OSError as error:
        raise TraplineError(f"{target}: cannot be made ({error.strerror}); choose another --to") from None
    try:
        yield staging
        staging.chmod(0o755)
        try:
            staging.rename(target)  # also onto an empty folder, never onto one that has been filled meanwhile
        except OSError as error:
            raise TraplineError(
                f"{target}: cannot be put in its place ({error.strerror}); choose another --to"
            ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def ensure_free(target: Path) -> None:
    """Raise TraplineError where `target` is a file or holds something."""
    if target.is_dir():
        if any(target.iterdir()):
            raise TraplineError(f"{target}: is not empty, and left as it is; choose another folder with --to")
    elif target.exists() or target.is_symlink():
        raise TraplineError(f"{target}: is a file, and left as it is; choose another folder with --to")
