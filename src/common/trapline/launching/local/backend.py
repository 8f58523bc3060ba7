"""The backends of this machine: what jobs run in, and a plan as jobs of SageMaker's local mode.

Jobs are processes, or containers. What one reads is put into its workspace under the name of its input, as
a link, a copy, or what is fetched from S3. The requests of a plan can be recorded: then nothing runs, and
nothing is read.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trapline.launching.checkout import stage_code
from trapline.launching.given_options import FILE_OPTIONS
from trapline.launching.local.docker_engine import Engine, find_engine
from trapline.launching.local.sources import data_here, here
from trapline.launching.local.workspace import Workspace, open_workspace
from trapline.launching.plan import (
    PREPARED,
    PSEUDO,
    WEIGHTS,
    Image,
    InputFile,
    Machines,
    Plan,
    PrepareJob,
    TrainingJob,
    prepare_job_name,
)

DATA, MADE, RESULTS = "data", "made", "results"  # folders of a workspace
CPU_INSTANCE, GPU_INSTANCE = "local", "local_gpu"  # what local mode calls this machine, and one with GPUs
IMAGE = Image(uri="processes", framework_version="", py_version="")  # there is none; local mode wants a name
ROLE = "role/processes"  # a name without a slash would be looked up in the account


@dataclass(frozen=True)
class Runtime:
    """What jobs run in: processes, or containers where there is an engine."""

    image: Image
    instance: str = CPU_INSTANCE  # what local mode calls the machine
    engine: Engine | None = None
    mounts: tuple[tuple[str, str], ...] = ()  # as in `trapline.launching.sdk.internals.LocalJob`

    @property
    def key(self) -> list[str]:
        """What makes results differ beside code, data and options: the image's content."""
        return [self.engine.image_id] if self.engine else []


PROCESSES = Runtime(IMAGE)


def find_runtime(backend: str, image: str, weights: Sequence[str], instance_count: int) -> Runtime:
    """What jobs of a backend run in. Several instances share no GPU, which local mode refuses.

    image: of containers. weights: what the jobs begin with, of each that has its own.

    Raises TraplineError saying what containers lack, with the command to run.
    """
    if backend == "process":
        return PROCESSES
    engine = find_engine(image)
    shared = instance_count > 1
    if shared and engine.gpu:
        print("the GPU is not used: local mode gives it to one instance only", flush=True)
    return Runtime(
        image=Image(image, framework_version="", py_version=""),
        instance=GPU_INSTANCE if engine.gpu and not shared else CPU_INSTANCE,
        engine=engine,
        mounts=weights_mounts(*weights),
    )


def weights_mounts(*weights: str) -> tuple[tuple[str, str], ...]:
    """What containers must see for first weights: files of this machine, and the cache of downloads."""
    mounts = {}
    for named in weights:
        path = Path(named)
        if named == "imagenet":
            from trapline.launching.sdk.docker_internals import TORCH_CACHE

            own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            cache = Path(os.environ.get("TORCH_HOME") or Path(own, "torch"))  # of torchvision's downloads
            cache.mkdir(parents=True, exist_ok=True)
            mounts[str(cache)] = TORCH_CACHE
        elif path.is_absolute() and path.is_file():
            mounts[str(path)] = str(path)
    return tuple(mounts.items())


@dataclass(frozen=True)
class PlannedRun:
    """A plan, and where and in what its jobs run."""

    plan: Plan
    workspace: Workspace
    code: Path  # the staged sources
    runtime: Runtime

    def uri(self, name: str) -> str:
        """The URI of a folder of the workspace."""
        return f"file://{self.workspace.entry / name}"

    @property
    def own_archive(self) -> str | None:
        """The path of an archive that a process opens where it lies; None where there is none."""
        path = data_here(self.plan.data)
        return str(path.resolve()) if path and path.is_file() and self.runtime == PROCESSES else None

    @property
    def raw_source(self) -> Path | None:
        """The folder or archive that a prepare job is given; None for what prepare.py finds by itself."""
        return None if self.own_archive else data_here(self.plan.data)


def prepare_job(run: PlannedRun) -> PrepareJob:
    """The job that prepares the plan's data."""
    plan = run.plan
    return PrepareJob(
        name=prepare_job_name(plan.job_name),
        code=f"file://{run.code}",
        staged=run.code,
        installs=False,
        arguments=plan.prepare_arguments(),
        source_name=plan.data or "",
        input=run.uri(DATA) if run.raw_source else None,
        reads=run.own_archive,
        files=tuple(
            InputFile(name, run.uri(FILE_OPTIONS[name].input), FILE_OPTIONS[name].file_name(value))
            for name, value in plan.files.items()
        ),
        output=run.uri(MADE),
        machines=Machines(run.runtime.instance),
        image=run.runtime.image,
        role=ROLE,
    )


def training_job(run: PlannedRun) -> TrainingJob:
    """The job that trains on the plan's prepared set."""
    plan = run.plan
    return TrainingJob(
        name=plan.job_name,
        code=run.code,
        hyperparameters=plan.config.record(),
        prepared=run.uri(PREPARED),
        channels={name: run.uri(name) for name in plan.channels},
        output=run.uri(RESULTS),
        machines=Machines(run.runtime.instance, plan.instance_count),
        image=run.runtime.image,
        role=ROLE,
    )


def requests_of(plan: Plan) -> list[dict[str, Any]]:
    """The requests that the plan's jobs would be; containers need no engine for it."""
    from trapline.launching.sdk.internals import JobSession, LocalJob
    from trapline.launching.sdk.objects import start_job

    requests: list[dict[str, Any]] = []
    runtime = PROCESSES if plan.backend == "process" else Runtime(plan.image)
    with open_workspace(None) as workspace, contextlib.redirect_stdout(sys.stderr):
        session = JobSession(LocalJob(workspace, None, workspace.root, lambda *_: 1))
        session.sagemaker_client = SimpleNamespace(
            create_processing_job=lambda **request: requests.append({"CreateProcessingJob": request}),
            create_training_job=lambda **request: requests.append({"CreateTrainingJob": request}),
        )
        run = PlannedRun(plan, workspace, stage_code(workspace.entry / "code"), runtime)
        if not plan.prepared:
            start_job(prepare_job(run), session)
        start_job(training_job(run), session)
    return requests


def put_raw_images(run: PlannedRun) -> None:
    """Put the raw images, and what prepare.py's options name, into folders; make that of the set."""
    if source := run.raw_source:
        run.workspace.give(DATA, source)
    for name, value in run.plan.files.items():
        run.workspace.give(FILE_OPTIONS[name].input, Path(value))
    run.workspace.folder(MADE)


def put_channels(run: PlannedRun, prepared: str) -> None:
    """Put the prepared set and what else a training reads where it looks for them."""
    folder = here(prepared)
    if folder is None:
        from trapline.data.prepared import PARTS, fetch_prepared

        folder = run.workspace.root / PREPARED
        fetch_prepared(prepared, folder, PARTS if PSEUDO in run.plan.channels else ("train", "val"))
    run.workspace.link(PREPARED, folder)
    for name, source in run.plan.channels.items():
        put_channel(run, name, source)


def put_channel(run: PlannedRun, name: str, source: str) -> None:
    """A channel beside the prepared set: a folder, for a single archive too, as on SageMaker."""
    path = here(source)
    if path and path.is_dir():
        run.workspace.link(name, path)
        return
    folder = run.workspace.folder(name)
    if path is None:
        from trapline.data.parts import fetch_pseudo_labels
        from trapline.models.artefact import fetch_artefact
        from trapline.models.staged import fetch_staged

        if name == WEIGHTS:
            fetch_staged(source, folder, run.plan.config.arch)
        else:
            (fetch_pseudo_labels if name == PSEUDO else fetch_artefact)(source, folder)
    elif run.runtime.engine is None:
        (folder / "model.tar.gz").symlink_to(path.resolve())
    else:  # no link leads out of a container
        shutil.copyfile(path, folder / "model.tar.gz")
