"""A plan's jobs run on this machine, by SageMaker's local mode, as processes or in containers.

A run's results stay in <output>/<job name>/: model.tar.gz, metrics.csv, curves.png,
classification_report.csv and .txt, log.txt, job.json.
Prepared sets stay in <output>/prepared/, where the next launch with the same data and options finds them, and
checkpoints in <output>/checkpoints/ until the run is complete: the same command goes on after a kill.
"""

import contextlib
import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trapline.errors import TraplineError, UsageError
from trapline.launching.job_requests import Job
from trapline.launching.local.backend import MADE, RESULTS, PlannedRun, prepare_job, training_job
from trapline.launching.local.inputs import put_channels, put_raw_images
from trapline.launching.local.prepared_sets import is_whole, keep_prepared
from trapline.launching.local.records import RunRecord
from trapline.launching.local.runtime import Runtime
from trapline.launching.local.sources import KEY_LENGTH, prepared_identity, prepared_key
from trapline.launching.local.stopping import stop_on_signals
from trapline.launching.local.trial_s3 import trial_s3
from trapline.launching.local.workspace import end_processes, locked_folder, open_workspace
from trapline.launching.plan import Plan
from trapline.launching.staging import jobs_digest, stage_code
from trapline.launching.terminal import JobOutput
from trapline.locking import remove_empty

if TYPE_CHECKING:
    from trapline.launching.sdk.internals import JobSession

RESULT_FILES = ("model.tar.gz", "metrics.csv", "curves.png", "classification_report.txt", "log.txt")
STOP_PATIENCE = 15.0  # seconds for the supervisor to end its processes


@dataclass(frozen=True)
class LocalRun(PlannedRun):
    """A plan whose jobs run."""

    output: Path  # of all runs
    folder: Path  # of this one


def run_jobs(plan: Plan, runtime: Runtime) -> None:
    """Prepare where needed, train, and say where the results lie.

    Raises TraplineError where a job fails, KeyboardInterrupt on Ctrl-C.
    """
    output = Path(plan.output or "runs")
    folder = _make_run_folder(output, plan.job_name)
    with RunRecord(folder / "job.json", plan).kept() as record, stop_on_signals() as signals:
        served = trial_s3(plan.trial_s3, follow_links=plan.follows_links)
        with open_workspace(folder / ".work") as workspace, served:
            run = LocalRun(plan, workspace, stage_code(workspace.entry / "code"), runtime, output, folder)
            prepared = plan.prepared or str(_prepared_set(run))
            record.note(prepared=prepared)
            _train(run, prepared)
        signals.check()
    names = [name for name in RESULT_FILES if (folder / name).exists()]
    print(f"results: {folder}/ ({', '.join(names)})", flush=True)


def _make_run_folder(output: Path, name: str) -> Path:
    folder = output / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"--job-name {name}: {folder} exists; choose another name") from None
    except OSError as error:
        raise TraplineError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from None
    return folder


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


def _train(run: LocalRun, prepared: str) -> None:
    put_channels(run, prepared)
    run.workspace.link(RESULTS, run.folder)
    with _checkpoint_folder(run, prepared) as checkpoints:
        output = JobOutput(run.folder / "log.txt", run.plan.config.epochs)
        _start(run, training_job(run), output, checkpoints)


def _start(run: LocalRun, job: Job, output: JobOutput, checkpoints: Path | None = None) -> None:
    """Run a job to its end."""
    from trapline.launching.sdk.docker_internals import node_class
    from trapline.launching.sdk.internals import local_jobs
    from trapline.launching.sdk.starting import start_job

    with contextlib.closing(output), local_jobs(node_class(run.runtime.engine)):
        start_job(job, _session(run, output, checkpoints))


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
        if run.plan.fresh:
            _empty(folder)
        yield run.workspace.link("checkpoints", folder)
    remove_empty(shared.parent)  # where no other job has any


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _session(run: LocalRun, output: JobOutput, checkpoints: Path | None) -> "JobSession":
    from trapline.launching.sdk.internals import OPT_ML, JobSession, LocalJob

    def stream(process: "subprocess.Popen[bytes]", bases: list[Path]) -> int:
        output.folders = {str(base).encode(): OPT_ML.encode() for base in bases}
        return follow(process, output, run.workspace.identity, run.runtime)

    runtime, log = run.runtime, Path(output.log.name)
    return JobSession(
        LocalJob(run.workspace, checkpoints, run.folder, stream, runtime.engine, runtime.mounts, log=log)
    )


def follow(process: "subprocess.Popen[bytes]", output: JobOutput, identity: str, runtime: Runtime) -> int:
    """Show the output of the supervisor to its end and return its exit code; on Ctrl-C stop it first.
    The toolkit of an image that may start torchrun puts an empty line after each line: they are left out.

    Where the supervisor is killed, its job's processes (marked with `identity`) live on and hold the output
    open: they are ended too.
    """
    assert process.stdout is not None

    def end_what_is_left() -> None:
        process.wait()
        end_processes(identity)

    threading.Thread(target=end_what_is_left, name="end-what-is-left", daemon=True).start()
    try:
        for line in process.stdout:
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
