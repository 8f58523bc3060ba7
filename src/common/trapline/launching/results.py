"""What a run has reached: its values at the best epoch, and its curves, read without unpacking its archives.

Curves are also those of a log, and of a SageMaker job's log in CloudWatch.
"""

import contextlib
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError
from trapline.launching.aws.errors import explained, suppressed
from trapline.launching.aws.jobs import TRAINING
from trapline.launching.aws.logs import JobLog
from trapline.launching.fetching import (
    DESCRIPTION,
    HINT,
    HISTORIES,
    METRICS,
    OUTPUT,
    FoundRun,
    aws_client,
    describe_job,
    opened,
    path_of,
    run_of_job,
)
from trapline.metrics import format_value
from trapline.reports.run_logs import Curves, parse_history, parse_log, read_history
from trapline.s3 import is_s3, split_uri
from trapline.storage import parse_json
from trapline.unpacking import MAX_TEXT_BYTES, read_text

TESTED = ("test_loss", "test_acc", "test_macro_f1", "test_micro_f1")
HISTORY_MEMBERS = (METRICS, f"data/{METRICS}")
LOG = "log.txt"
MAX_LOG_BYTES = 1 << 30  # bytes
IN_S3 = (f"output/{OUTPUT}", OUTPUT, METRICS, f"output/data/{METRICS}")  # below a job's folder
LINE_LENGTH = 8  # characters of a digest that are shown


@dataclass(frozen=True)
class Result:
    """One run; None where a value is not known. Metrics are those of `metrics`, at the best epoch."""

    run: str
    model: str  # the architecture
    parameters: int | None
    train_acc: float | None
    val_acc: float | None
    log_loss: float | None
    macro_f1: float | None
    best_epoch: int | None
    epochs: int | None
    s_per_epoch: float | None  # median, s
    rss_mb: float | None  # peak, MiB
    gpu_mb: float | None  # peak, MiB; None without a GPU
    split: str | None  # "site" or "random"
    line: str | None = None  # of the division of cameras; runs of two lines are not comparable
    test_loss: float | None = None  # of the test part, where the job has scored it
    test_acc: float | None = None
    test_macro_f1: float | None = None
    test_micro_f1: float | None = None  # where an image may have several labels
    notes: tuple[str, ...] = ()  # what a reader of these values has to know

    @property
    def gap(self) -> float | None:
        """Training accuracy less validation accuracy."""
        known = self.train_acc is not None and self.val_acc is not None
        return self.train_acc - self.val_acc if known else None  # type: ignore[operator]


def read_result(source: FoundRun) -> Result:
    """Read model.json and the history of a finished run.

    Values come from metrics.csv; without it from model.json, which has those of the best epoch; for a model
    that records none, from what SageMaker read from the job's last log line. Raises TraplineError when the
    model cannot be read, OSError when a file cannot.
    """
    description = description_of(source)
    history, notes = history_of(source)
    best = at_best_epoch(description, history)
    if not best and source.metrics:
        best, notes = dict(source.metrics), [*notes, "its metrics are those of its last epoch"]
    last = history[-1] if history else best
    split, line, test = description.get("split"), description.get("line"), _metrics(description, "test")
    seconds = [row["epoch_s"] for row in history or [best] if finite(row.get("epoch_s")) is not None]
    return Result(
        run=source.name,
        model=str(description["architecture"]),
        parameters=_whole(description.get("parameters")),
        train_acc=finite(best.get("train_acc")),
        val_acc=finite(best.get("val_acc")),
        log_loss=finite(best.get("val_loss")),
        macro_f1=finite(best.get("val_macro_f1")),
        best_epoch=_whole(description.get("best_epoch")),
        epochs=_whole(description.get("epochs")),
        s_per_epoch=statistics.median(seconds) if seconds else None,
        rss_mb=finite(last.get("rss_mb")),
        gpu_mb=finite(last.get("gpu_mb")) or None,
        split=split if isinstance(split, str) else None,
        line=line[:LINE_LENGTH] if isinstance(line, str) else None,
        **{name: finite(test.get(name)) for name in TESTED},
        notes=tuple(notes),
    )


def _metrics(description: Mapping[str, Any], part: str) -> dict[str, Any]:
    metrics = description.get("metrics")
    found = metrics.get(part) if isinstance(metrics, dict) else None
    return found if isinstance(found, dict) else {}


def description_of(source: FoundRun) -> dict[str, Any]:
    """The content of model.json. Raises TraplineError where there is none.

    Not by `read_description`: torch would take seconds to load.
    """
    model = source.model
    if model is None:
        raise TraplineError(f"{source.name}: the job has left no model; its log may say why")
    if isinstance(model, Path) and model.is_dir():
        text: str | None = (model / DESCRIPTION).read_text(encoding="utf-8")
    else:
        text = _text_in_archive(model, (DESCRIPTION,))
    if text is None:
        raise TraplineError(f"{model}: holds no {DESCRIPTION}; it is no model of Trapline")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise TraplineError(f"{model}: {DESCRIPTION}: not valid JSON ({error})") from None
    if not isinstance(content, dict) or "architecture" not in content:
        raise TraplineError(f"{model}: {DESCRIPTION}: names no architecture; it is no model of Trapline")
    return content


def _text_in_archive(place: Path | str, members: Sequence[str]) -> str | None:
    with opened(place) as stream:
        return read_text(stream, str(place), members)


def history_of(source: FoundRun) -> tuple[list[dict[str, float]], list[str]]:
    """The rows of metrics.csv, or none and why: a run without a history still has its model."""
    if source.history is None:
        return [], []
    try:
        if isinstance(source.history, Path) and source.history.name == METRICS:
            return read_history(source.history), []
        text = _text_in_archive(source.history, HISTORY_MEMBERS)
        return (parse_history(text, f"{source.history}: {METRICS}") if text else []), []
    except TraplineError as error:
        return [], [f"history not read ({error})"]


def at_best_epoch(description: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The metrics of the epoch whose weights are kept, which model.json names: nobody chooses it again."""
    kept = description.get("best_epoch")
    matching = [row for row in history if kept is not None and row.get("epoch") == kept]
    return dict(matching[-1]) if matching else _metrics(description, "best")


def cell(value: Any) -> str:
    """A value as a cell of a table; nothing where it is not known."""
    if value is None:
        return ""
    return format_value(value) if isinstance(value, float) else str(value)


def finite(value: Any) -> float | None:
    """`value` where it is a finite number: NaN cannot be ranked."""
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# --- curves -------------------------------------------------------------------------------------------------


def read_curves(name: str, runs: Path) -> list[Curves]:
    """The curves of what `name` names: a path, an s3:// URI, a folder in `runs`, or a SageMaker job.

    A folder with no curves of its own gives those of the folders in it, as a pipeline's run does. Raises
    UsageError for what cannot be any of them, TraplineError where there are no curves or AWS refuses.
    """
    if is_s3(name):
        return [_in_s3(name)]
    path = path_of(name, runs)
    if path is None:
        return [_of_job(name, runs)]
    return _of_folder(path) if path.is_dir() else [_of_file(path, path.name)]


def _of_folder(folder: Path) -> list[Curves]:
    name = folder.resolve().name
    if found := _own_curves(folder, name):
        return [found]
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    curves = [found for path in inner if (found := _own_curves(path, f"{name}/{path.name}"))]
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
        text = _text_in_archive(path, HISTORY_MEMBERS)
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
        raise TraplineError(
            f"{shown}: no line with metrics or a batch's loss and accuracy in it; "
            "trapline/reports/run_logs.py describes the lines that are understood"
        )
    return curves


def _in_s3(uri: str) -> Curves:
    bucket, key = split_uri(uri)
    if key.endswith((".tar.gz", ".csv", ".txt", ".log")):
        folder = key.rpartition("/")[0].removesuffix("/data").removesuffix("/output")
        name = folder.rpartition("/")[2] if key.endswith((OUTPUT, METRICS)) else key.rpartition("/")[2]
        return _of_file(uri, name or bucket)
    prefix = key.rstrip("/") + "/" if key else ""
    for place in IN_S3:
        if _is_object(f"s3://{bucket}/{prefix}{place}", uri):
            return _of_file(f"s3://{bucket}/{prefix}{place}", prefix.rstrip("/").rpartition("/")[2] or bucket)
    raise TraplineError(
        f"{uri}: neither {' nor '.join(IN_S3)} is there, or they may not be seen; give the URI of one, or of "
        "a log (.txt, .log)"
    )


def _is_object(uri: str, shown_as: str) -> bool:
    bucket, key = split_uri(uri)
    # Who may not list a bucket is told of a missing object that access is denied.
    with explained(shown_as, HINT), suppressed("403", "404", "NoSuchKey", "NotFound"):
        aws_client("s3").head_object(Bucket=bucket, Key=key)
        return True
    return False


def _of_job(name: str, runs: Path) -> Curves:
    """From the job's log in CloudWatch, also while it runs; else from what it left in S3."""
    job = describe_job(name, runs)
    with explained(f"{name} (no file, no run in {runs}; as a SageMaker job)", HINT):
        logged = parse_log("\n".join(log_lines(aws_client("logs"), name)), name)
    if logged:
        return logged
    left, status = run_of_job({"TrainingJobName": name, **job}).history, job["TrainingJobStatus"]
    if status in ("Completed", "Stopped", "Failed") and isinstance(left, str) and _is_object(left, name):
        return _of_file(left, name)  # CloudWatch forgets, S3 does not
    raise TraplineError(f"{name}: the job is {status}, and its log holds no metrics (yet)")


def log_lines(client: Any, name: str) -> Iterator[str]:
    """The lines of a training job's log that are there now, by time; none where there is no log."""
    log = JobLog(client, TRAINING.log_group or "", name)
    log.look()
    while lines := log.read():
        yield from (line.text for line in lines)
    yield from (line.text for line in log.rest())
