"""A plan's jobs run on this machine, by SageMaker's local mode, as processes or in containers.

A run's results stay in <output>/<job name>/: model.tar.gz, metrics.csv, curves.png,
classification_report.csv and .txt, log.txt, job.json.
Prepared sets stay in <output>/prepared/, where the next launch with the same data and options finds them, and
checkpoints in <output>/checkpoints/ until the run is complete: the same command goes on after a kill.
"""

import contextlib
import datetime
import hashlib
import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trapline import interruption
from trapline.console import FAILURE_LENGTH, words_of
from trapline.errors import TraplineError
from trapline.launching.checkout import jobs_digest, stage_code
from trapline.launching.given_options import prepare_record
from trapline.launching.local.backend import (
    MADE,
    RESULTS,
    PlannedRun,
    Runtime,
    find_runtime,
    prepare_job,
    put_channels,
    put_raw_images,
    training_job,
)
from trapline.launching.local.sources import (
    KEY_LENGTH,
    check_sources,
    is_whole,
    keep_prepared,
    prepared_identity,
    prepared_key,
)
from trapline.launching.local.trial_s3 import trial_s3
from trapline.launching.local.workspace import end_processes, locked_folder, new_folder, open_workspace
from trapline.launching.plan import Job, Plan
from trapline.launching.terminal import JobOutput
from trapline.storage import remove_empty, write_json

RESULT_FILES = ("model.tar.gz", "metrics.csv", "curves.png", "classification_report.txt", "log.txt")
STOP_PATIENCE = 15.0  # seconds for the supervisor to end its processes


@dataclass(frozen=True)
class LocalRun(PlannedRun):
    """A plan whose jobs run."""

    output: Path  # of all runs
    folder: Path  # of this one


def launch(plan: Plan) -> None:
    """Prepare where needed, train, and say where the results lie.

    Raises TraplineError where a job fails or containers cannot be had, KeyboardInterrupt on Ctrl-C.
    """
    check_sources(plan)
    runtime = find_runtime(plan.backend, str(plan.image.uri), [plan.config.weights], plan.instance_count)
    runs = Path(plan.output or "runs")
    folder = runs / plan.job_name
    new_folder(folder, f"--job-name {plan.job_name}: {folder} exists; choose another name")
    with RunRecord(folder / "job.json", plan).kept() as record, stop_on_signals() as signals:
        with (
            open_workspace(folder / ".work") as workspace,
            trial_s3(plan.trial_s3, follow_links=plan.follows_links),
        ):
            run = LocalRun(plan, workspace, stage_code(workspace.entry / "code"), runtime, runs, folder)
            prepared = plan.prepared or str(_prepared_set(run))
            record.note(prepared=prepared)
            put_channels(run, prepared)
            workspace.link(RESULTS, folder)
            with _checkpoint_folder(run, prepared) as checkpoints:
                _start(run, training_job(run), JobOutput(folder / "log.txt", plan.config.epochs), checkpoints)
        signals.check()
    names = [name for name in RESULT_FILES if (folder / name).exists()]
    print(f"results: {folder}/ ({', '.join(names)})", flush=True)


def _prepared_set(run: LocalRun) -> Path:
    """The prepared set of the plan's data: an earlier one where nothing has changed, else a new one."""
    target = run.output / "prepared" / prepared_key(run.plan, run.runtime.key)
    if is_whole(target):
        print(f"prepared data: {target} (same data, options and code as then)", flush=True)
        return target
    put_raw_images(run)
    _start(run, prepare_job(run), JobOutput(run.folder / "prepare-log.txt"))
    keep_prepared((run.workspace.entry / MADE).resolve(), target, run.folder / "prepared")
    print(f"prepared data: {target}", flush=True)
    return target


def _start(run: LocalRun, job: Job, output: JobOutput, checkpoints: Path | None = None) -> None:
    """Run a job to its end."""
    from trapline.launching.sdk.docker_internals import node_class
    from trapline.launching.sdk.internals import JobSession, LocalJob, local_jobs
    from trapline.launching.sdk.objects import start_job

    runtime = run.runtime
    stream = partial(follow, output=output, identity=run.workspace.identity, runtime=runtime)
    local = LocalJob(
        run.workspace, checkpoints, run.folder, stream, runtime.engine, runtime.mounts, Path(output.log.name)
    )
    with contextlib.closing(output), local_jobs(node_class(runtime.engine)):
        start_job(job, JobSession(local))


@contextlib.contextmanager
def _checkpoint_folder(run: LocalRun, prepared: str) -> Iterator[Path]:
    """The folder that the same command would use again, or one of its own where that is in use."""
    plan, made_by = run.plan, jobs_digest(run.runtime.key)
    settings = [made_by, plan.config.digest(), prepared_identity(prepared), plan.instance_count]
    settings += [plan.channels] if plan.channels else []
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:KEY_LENGTH]
    shared = run.output / "checkpoints" / key
    with locked_folder(shared) as folder:
        if folder is None:
            print(
                "checkpoints: the same job is running already; this one starts from the beginning", flush=True
            )
            folder = run.workspace.root / "checkpoints"
            folder.mkdir()
            yield folder
            return
        if plan.fresh:
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        yield run.workspace.link("checkpoints", folder)
    remove_empty(shared.parent)  # where no other job has any


def follow(
    process: "subprocess.Popen[bytes]", bases: list[Path], output: JobOutput, identity: str, runtime: Runtime
) -> int:
    """Show the output of the supervisor to its end and return its exit code; on Ctrl-C stop it first.
    The toolkit of an image that may start torchrun puts an empty line after each line: they are left out.

    `bases`: folders that are shown as /opt/ml. Where the supervisor is killed, its job's processes (marked
    with `identity`) live on and hold the output open: they are ended too, before this returns, as the next
    job's processes bear the same mark.
    """
    output.folders = {str(base).encode(): b"/opt/ml" for base in bases}
    assert process.stdout is not None

    def end_what_is_left() -> None:
        process.wait()
        end_processes(identity)

    cleaner = threading.Thread(target=end_what_is_left, name="end-what-is-left", daemon=True)
    cleaner.start()
    try:
        for line in process.stdout:
            interruption.check()
            if runtime.engine is None or line.strip():
                output.line(line)
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_PATIENCE)
        process.kill()
        process.wait()
        raise TraplineError("interrupted") from None  # the SDK would swallow a KeyboardInterrupt
    finally:
        process.stdout.close()
        cleaner.join()


class RunRecord:
    """The record of one run, rewritten whole at each change."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "job_name": plan.job_name,
            "experiment": plan.experiment.name,
            "status": "InProgress",
            "failure_reason": None,
            "started": _now(),
            "ended": None,
            "backend": plan.backend,
            "data": plan.data,
            "prepare_options": {} if plan.prepared else prepare_record(plan.prepare_options),
            "prepared": plan.prepared,
            "channels": dict(plan.channels),
            "instance_count": plan.instance_count,
            "hyperparameters": plan.config.record(),
        }

    def note(self, **changes: Any) -> None:
        """Change keys and write the record."""
        self.content |= changes
        write_json(self.path, self.content)

    @contextlib.contextmanager
    def kept(self) -> Iterator["RunRecord"]:
        """Write the record now, and at the end with how the block ended."""
        self.note()
        try:
            yield self
        except KeyboardInterrupt:
            self.note(status="Stopped", ended=_now())
            raise
        except BaseException as error:
            self.note(status="Failed", ended=_now(), failure_reason=words_of(error)[:FAILURE_LENGTH])
            raise
        self.note(status="Completed", ended=_now())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class Signals:
    """Remembers a signal."""

    def __init__(self) -> None:
        self.caught = False

    def handle(self, *_: Any) -> None:
        """The first signal interrupts; later ones leave the cleaning up alone."""
        if not self.caught:
            self.caught = True
            interruption.remember()

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a signal."""
        if self.caught:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Signals]:
    """Turn the first Ctrl-C or SIGTERM into KeyboardInterrupt, whatever the SDK makes of it.

    A signal that is ignored stays so: it is by the wish of who started this process, as a shell's for `&`.
    """
    signals, numbers = Signals(), (signal.SIGINT, signal.SIGTERM)
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = [signal.signal(number, signals.handle) for number in heeded]
    try:
        yield signals
    except TraplineError:
        signals.check()
        raise
    finally:
        for number, handler in zip(heeded, before, strict=True):
            signal.signal(number, handler)
        interruption.forget()
