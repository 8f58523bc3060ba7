"""The requests of a plan to SageMaker's local mode, recorded: nothing runs, and nothing is read."""

from typing import Any

from trapline.launching.dry_run import chatter_to_stderr
from trapline.launching.local.backend import PlannedRun, planned_jobs
from trapline.launching.local.runtime import Runtime
from trapline.launching.local.workspace import open_workspace
from trapline.launching.plan import Plan
from trapline.launching.staging import stage_code


class LocalRecorder:
    """Takes the place of local mode's client."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def create_training_job(self, **request: Any) -> None:
        """Record the request."""
        self.requests.append({"CreateTrainingJob": request})

    def create_processing_job(self, **request: Any) -> None:
        """Record the request."""
        self.requests.append({"CreateProcessingJob": request})


def recorded_requests(plan: Plan, runtime: Runtime) -> list[dict[str, Any]]:
    """The requests that the plan's jobs would be."""
    from trapline.launching.sdk.internals import JobSession, LocalJob
    from trapline.launching.sdk.starting import start_job

    recorder = LocalRecorder()
    with open_workspace(None) as workspace, chatter_to_stderr():
        session = JobSession(LocalJob(workspace, None, workspace.root, lambda *_: 1))
        session.sagemaker_client = recorder
        for job in planned_jobs(PlannedRun(plan, workspace, stage_code(workspace.entry / "code"), runtime)):
            start_job(job, session)
    return recorder.requests
