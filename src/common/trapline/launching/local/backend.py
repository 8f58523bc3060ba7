"""The backends of this machine: a plan as jobs of SageMaker's local mode, still as plain data.

What a job reads lies in its workspace under the name of its input: `local.inputs` puts it there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trapline.launching.job_requests import PREPARED, Machines, PrepareJob, TrainingJob, prepare_job_name
from trapline.launching.local.runtime import PROCESSES, ROLE, Runtime
from trapline.launching.local.sources import local_path
from trapline.launching.local.workspace import Workspace
from trapline.launching.plan import Plan
from trapline.s3 import is_s3

DATA, SITES, LABELS, MADE, RESULTS = "data", "sites", "labels", "made", "results"  # folders of a workspace


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
        source = self.plan.data
        if self.runtime != PROCESSES or not source or is_s3(source):
            return None
        path = Path(local_path(source))
        return str(path.resolve()) if path.is_file() else None

    @property
    def raw_source(self) -> Path | None:
        """The folder or archive that a prepare job is given; None for what prepare.py finds by itself."""
        source = self.plan.data
        if source is None or source == "demo" or is_s3(source) or self.own_archive:
            return None
        return Path(local_path(source))


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
        site_csv=f"{run.uri(SITES)}/sites.csv" if plan.prepare_options.get("site-csv") else None,
        label_names=f"{run.uri(LABELS)}/labels.csv" if plan.label_names else None,
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


def planned_jobs(run: PlannedRun) -> Iterator[PrepareJob | TrainingJob]:
    """The jobs of a plan in their order."""
    if not run.plan.prepared:
        yield prepare_job(run)
    yield training_job(run)
