"""A running hyperparameter search on AWS: what becomes of each of its training jobs, and the best so far."""

from collections.abc import Mapping
from typing import Any

from trapline.launching.aws.contact import Contact
from trapline.launching.aws.job_kinds import one_line
from trapline.launching.terminal import Screen
from trapline.metrics import format_value

ENDED = ("Completed", "NonRetryableError", "Stopped")  # of the counters of a search


class TuningDisplay:
    """A line for each state of each training job, and after what is new how far the search is."""

    def __init__(self, client: Any, name: str, screen: Screen, contact: Contact) -> None:
        self.client, self.name, self.screen, self.contact = client, name, screen, contact
        self.said: dict[str, str] = {}
        self.status = ""

    def show(self, described: Mapping[str, Any]) -> None:
        """Show the states that are new, and how far the search is."""
        for child in self.contact.ask(self._children):
            name, state = child["TrainingJobName"], child["TrainingJobStatus"]
            if self.said.get(name) != state:
                self.said[name] = state
                self.screen.line(f"== {describe_child(child)}")
        status = _how_far(described)
        if status != self.status:
            self.status = status
            self.screen.progress(status)

    def end(self, described: Mapping[str, Any], *, seen_running: bool) -> None:
        """Say which training job was best."""
        best = described.get("BestTrainingJob")
        if best:
            self.screen.line(f"best: {describe_child(best)}")

    def _children(self) -> list[dict[str, Any]]:
        pages = self.client.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=self.name, SortBy="CreationTime", SortOrder="Ascending"
        )
        return [child for page in pages for child in page["TrainingJobSummaries"]]


def describe_child(child: Mapping[str, Any]) -> str:
    """A training job of a search: its name, state, hyperparameters, objective, or why it failed."""
    settings = ", ".join(f"{name} {value}" for name, value in child.get("TunedHyperParameters", {}).items())
    objective = child.get("FinalHyperParameterTuningJobObjectiveMetric")
    parts = [
        f"{child['TrainingJobName']} {child['TrainingJobStatus']}",
        f" ({settings})" if settings else "",
        f": {_objective(objective)}" if objective else "",
        f": {one_line(child['FailureReason'])}" if child.get("FailureReason") else "",
    ]
    return "".join(parts)


def _objective(metric: Mapping[str, Any]) -> str:
    return f"{metric['MetricName']} {format_value(float(metric['Value']))}"


def _how_far(described: Mapping[str, Any]) -> str:
    counters = described["TrainingJobStatusCounters"]
    ended = sum(counters.get(name, 0) for name in ENDED)
    limits = described["HyperParameterTuningJobConfig"].get("ResourceLimits", {})
    most = limits.get("MaxNumberOfTrainingJobs")
    best = described.get("BestTrainingJob", {})
    objective = best.get("FinalHyperParameterTuningJobObjectiveMetric")
    jobs = f"{ended} of {most}" if most else str(ended)
    said = f"progress: {jobs} jobs ended, {counters.get('InProgress', 0)} running"
    return f"{said}, best {_objective(objective)} ({best['TrainingJobName']})" if objective else said
