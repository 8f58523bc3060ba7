"""The process backend: a launch on this machine, by SageMaker's local mode with processes for containers.

`launch.local.containers` takes the same road with containers; `Kind` is all in which the two differ.

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
from typing import TYPE_CHECKING, Any

from common.errors import TraplineError, UsageError
from common.s3 import is_s3
from common.storage import folder_digest
from launch.flags import Plan
from launch.jobs import PSEUDO, WEIGHTS, Image, Machines, PrepareJob, TrainingJob, prepare_job_name
from launch.local.records import Record
from launch.local.sources import KEY_LENGTH, check_sources, local_path, prepared_identity, prepared_key
from launch.local.stopping import stop_on_signals
from launch.local.trial_s3 import trial_s3
from launch.local.workspace import Workspace, end_processes, locked_folder, open_workspace
from launch.staging import COMMON, ENTRY_POINTS, stage_code
from launch.terminal import JobOutput

if TYPE_CHECKING:
    from launch.dry_run import LocalRecorder
    from launch.local.docker_engine import Engine
    from launch.sdk.internals import JobSession

RESULTS = ("model.tar.gz", "metrics.csv", "curves.png", "classification_report.txt", "log.txt")
STOP_PATIENCE = 15.0  # seconds for the supervisor to end its processes
INSTANCE = "local"  # what local mode calls this machine
IMAGE = Image(uri="processes", framework_version="", py_version="")  # there is none; local mode wants a name
ROLE = "role/processes"  # a name without a slash would be looked up in the account


@dataclass(frozen=True)
class Kind:
    """What jobs run in: processes, or containers where there is an engine."""

    image: Image
    instance: str = INSTANCE  # what local mode calls the machine
    engine: "Engine | None" = None
    mounts: tuple[tuple[str, str], ...] = ()  # as in `launch.sdk.internals.Job`

    @property
    def key(self) -> list[str]:
        """What makes results differ beside code, data and options: the image's content."""
        return [self.engine.image_id] if self.engine else []


PROCESSES = Kind(IMAGE)


@dataclass(frozen=True)
class Run:
    """A launch in progress."""

    plan: Plan
    output: Path  # of all runs
    folder: Path  # of this one
    workspace: Workspace
    code: Path  # the staged sources
    kind: Kind = PROCESSES
    recorder: "LocalRecorder | None" = None  # of a dry run

    @property
    def name(self) -> str:
        """The training job's name."""
        return self.plan.job_name


def launch(plan: Plan) -> None:
    """Run the plan's jobs here. Raises TraplineError where one fails, KeyboardInterrupt on Ctrl-C."""
    check_sources(plan)
    if plan.dry_run:
        print_requests(plan, PROCESSES)
    else:
        run_jobs(plan, PROCESSES)


def run_jobs(plan: Plan, kind: Kind) -> None:
    """Prepare where needed, train, and say where the results lie. Raises as `launch` does."""
    output = Path(plan.output or "runs")
    folder = _make_run_folder(output, plan.job_name)
    with Record(folder / "job.json", plan).kept() as record, stop_on_signals() as signals:
        served = trial_s3(plan.trial_s3, follow_links=plan.follows_links)
        with open_workspace(folder / ".work") as workspace, served:
            run = Run(plan, output, folder, workspace, stage_code(workspace.entry / "code"), kind)
            prepared = plan.prepared or str(_prepared_set(run))
            record.note(prepared=prepared)
            _train(run, prepared)
        signals.check()
    _say_results(folder)


def print_requests(plan: Plan, kind: Kind) -> None:
    """The dry run."""
    from launch.dry_run import show

    show(requests_of(plan, kind), [])


def requests_of(plan: Plan, kind: Kind) -> list[dict[str, Any]]:
    """The requests of a launch: everything is done but the jobs, in a temporary folder."""
    from launch.dry_run import LocalRecorder, chatter_to_stderr

    recorder = LocalRecorder()
    with open_workspace(None) as workspace, chatter_to_stderr():
        folder = workspace.root
        run = Run(plan, folder, folder, workspace, stage_code(workspace.entry / "code"), kind, recorder)
        _train(run, plan.prepared or str(_prepared_set(run)))
    return recorder.requests


def _make_run_folder(output: Path, name: str) -> Path:
    folder = output / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"--job-name {name}: {folder} exists; choose another name") from None
    except OSError as error:
        raise TraplineError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from None
    return folder


def _prepared_set(run: Run) -> Path:
    """The prepared set of the plan's data: an earlier one where nothing has changed, else a new one."""
    target = run.output / "prepared" / prepared_key(run.plan, run.kind.key)
    if (target / "dataset.json").is_file():
        print(f"prepared data: {target} (same data, options and code as then)", flush=True)
        return target
    made = run.workspace.root / "prepared"
    made.mkdir()
    job = PrepareJob(
        name=prepare_job_name(run.name),
        code=f"file://{run.code}",
        installs=False,
        arguments=run.plan.prepare_arguments(),
        source_name=run.plan.data or "",
        input=_source_uri(run, run.plan.data),
        reads=_own_archive(run, run.plan.data),
        site_csv=_copied(run, "sites", run.plan.prepare_options.get("site-csv"), "sites.csv"),
        label_names=_copied(run, "labels", run.plan.label_names, "labels.csv"),
        output=f"file://{made}",
        machines=Machines(run.kind.instance),
        image=run.kind.image,
        role=ROLE,
    )
    _run_processing(run, job)
    if run.recorder:
        return made
    target.parent.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):  # another launch was quicker: its set is the same
        made.resolve().rename(target)
    print(f"prepared data: {target}", flush=True)
    return target


def _source_uri(run: Run, source: str | None) -> str | None:
    """The URI of a folder with the data; None for what prepare.py finds by itself."""
    if source is None or source == "demo" or is_s3(source) or _own_archive(run, source):
        return None
    path = Path(local_path(source))
    return f"file://{run.workspace.link('data', path if path.is_dir() else _folder_with(run, path))}"


def _own_archive(run: Run, source: str | None) -> str | None:
    """The path of an archive that a process opens where it lies; None where it cannot, or there is none."""
    if run.plan.backend != "process" or not source or is_s3(source):
        return None
    path = Path(local_path(source))
    return str(path.resolve()) if path.is_file() else None


def _folder_with(run: Run, archive: Path) -> Path:
    """A folder that holds a copy of `archive` alone: containers see folders, and no link leads out of one."""
    folder = run.workspace.root / "archive"
    folder.mkdir()
    if run.recorder is None:
        shutil.copyfile(archive, folder / archive.name)
    return folder


def _copied(run: Run, folder: str, file: str | Path | None, name: str) -> str | None:
    """The URI of a copy of `file` by itself, for jobs are given folders; None where there is no such file."""
    if file is None:
        return None
    place = run.workspace.root / folder
    place.mkdir()
    shutil.copy(file, place / name)
    return f"file://{place}/{name}"


def _run_processing(run: Run, job: PrepareJob) -> None:
    from launch.sdk import objects as sdk

    sdk.import_sdk()
    from launch.sdk.internals import local_jobs, node_class

    output = JobOutput(run.folder / "prepare-log.txt")
    with contextlib.closing(output), local_jobs(node_class(run.kind.engine)):
        sdk.start_processing(sdk.make_processor(job, _session(run, output)), job)


def _train(run: Run, prepared: str) -> None:
    from launch.sdk import objects as sdk

    sdk.import_sdk()
    from launch.sdk.internals import local_jobs, node_class

    plan = run.plan
    output = JobOutput(run.folder / "log.txt", plan.config.epochs)
    with _checkpoint_folder(run, prepared) as checkpoints, contextlib.closing(output):
        job = TrainingJob(
            name=run.name,
            code=run.code,
            hyperparameters=plan.config.record(),
            prepared=_channel_uri(run, prepared),
            channels={name: _further_uri(run, name, source) for name, source in plan.channels.items()},
            output=f"file://{run.workspace.link('results', run.folder)}",
            machines=Machines(run.kind.instance, plan.instance_count),
            image=run.kind.image,
            role=ROLE,
        )
        with local_jobs(node_class(run.kind.engine)):
            session = _session(run, output, checkpoints)
            sdk.make_estimator(job, session).fit(sdk.training_inputs(job), wait=False, job_name=job.name)


def _channel_uri(run: Run, prepared: str) -> str:
    if is_s3(prepared):
        from common.data.prepared import PARTS, fetch_prepared

        folder = run.workspace.root / "set"
        if not run.recorder:
            fetch_prepared(prepared, folder, PARTS if PSEUDO in run.plan.channels else ("train", "val"))
        return f"file://{folder}"
    return f"file://{run.workspace.link('set', Path(local_path(prepared)))}"


def _further_uri(run: Run, name: str, source: str) -> str:
    """The URI of a channel beside the prepared set: a folder, for a single archive too, as on SageMaker."""
    path, folder = Path(local_path(source)), run.workspace.root / name
    if path.is_dir():
        return f"file://{run.workspace.link(name, path)}"
    folder.mkdir()
    if not is_s3(source):
        (folder / "model.tar.gz").symlink_to(path.resolve())
    elif not run.recorder:
        _fetch_further(name, source, folder, run.plan.config.arch)
    return f"file://{folder}"


def _fetch_further(name: str, source: str, folder: Path, arch: str) -> None:
    from common.data.pseudo import fetch_pseudo_labels
    from common.models.phase1 import fetch_artefact
    from common.models.staged import fetch_staged

    if name == WEIGHTS:
        fetch_staged(source, folder, arch)
    else:
        (fetch_pseudo_labels if name == PSEUDO else fetch_artefact)(source, folder)


@contextlib.contextmanager
def _checkpoint_folder(run: Run, prepared: str) -> Iterator[Path]:
    """The folder that the same command would use again, or one of its own where that is in use."""
    code = folder_digest([ENTRY_POINTS, COMMON])
    settings = [code, run.plan.config.digest(), prepared_identity(prepared), run.plan.instance_count]
    settings += [run.plan.channels] if run.plan.channels else []
    settings += run.kind.key
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
            for path in folder.iterdir():
                shutil.rmtree(path)
        yield run.workspace.link("checkpoints", folder)
    with contextlib.suppress(OSError):  # not empty: other jobs have some
        shared.parent.rmdir()


def _session(run: Run, output: JobOutput, checkpoints: Path | None = None) -> "JobSession":
    from launch.sdk.internals import OPT_ML, Job, JobSession

    def stream(process: "subprocess.Popen[bytes]", bases: list[Path]) -> int:
        output.folders = {str(base).encode(): OPT_ML.encode() for base in bases}
        return follow(process, output, run.workspace.identity, run.kind)

    session = JobSession(
        Job(run.workspace, checkpoints, run.folder, stream, run.kind.engine, run.kind.mounts)
    )
    if run.recorder:
        session.sagemaker_client = run.recorder
    return session


def follow(process: "subprocess.Popen[bytes]", output: JobOutput, identity: str, kind: Kind) -> int:
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
            if kind.engine is None or line.strip():
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


def _say_results(folder: Path) -> None:
    names = [name for name in RESULTS if (folder / name).exists()]
    print(f"results: {folder}/ ({', '.join(names)})", flush=True)
