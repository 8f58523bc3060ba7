"""A running execution of a pipeline on AWS: its steps until it ends, and why it failed."""

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from trapline.errors import TraplineError
from trapline.launching.aws.contact import Clients, Contact
from trapline.launching.aws.errors import explain, is_signed_out
from trapline.launching.aws.job_kinds import JobKind, job_of, one_line
from trapline.launching.aws.waiting import (
    Interrupted,
    JobDisplay,
    follow_command,
    make_display,
    taken_up_again,
)
from trapline.launching.prefixed import Prefixed
from trapline.launching.terminal import Screen, duration

POLL = 10.0  # seconds between looks at an execution
RUNNING = ("Executing", "Stopping")
NOT_ENDED = ("Starting", *RUNNING)  # of a step


def wait_for_execution(clients: Clients, arn: str, tail: int | None = None) -> None:
    """Show the steps of an execution and the logs of their jobs, until it ends.

    tail: how many lines of each stream of the logs that are there come first; None: all of them.

    Raises TraplineError in the words of the step that failed, where Stopped is a failure; Interrupted at
    Ctrl-C, which leaves the execution running.
    """
    try:
        with taken_up_again("execution", arn), contextlib.closing(Screen()) as screen:
            status, steps, reason = _watch(clients, arn, tail, screen)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; the execution goes on; take it up again with: {follow_command(arn)}; "
            f"stop it with: aws sagemaker stop-pipeline-execution --pipeline-execution-arn {arn}"
        ) from None
    if status != "Succeeded":
        reasons = [
            f"step {step['StepName']}: {step_row(step)[3]}" for step in steps if step.get("FailureReason")
        ]
        said = "; ".join(reasons) or reason or ("on request, before its end" if status == "Stopped" else "")
        raise TraplineError(f"execution {arn}: {status} ({said or 'no reason given'})")


def _watch(
    clients: Clients, arn: str, tail: int | None, screen: Screen
) -> tuple[str, list[dict[str, Any]], str]:
    """Show the steps until the execution ends. Returns its status, steps, and what AWS says of the end."""
    client = clients.sagemaker
    contact = Contact(f"execution {arn.rpartition('/')[2]}", screen.line)
    logs = StepLogs(clients, contact, tail)
    said: set[str] = set()
    while True:
        described = contact.ask(lambda: client.describe_pipeline_execution(PipelineExecutionArn=arn))
        steps = contact.ask(lambda: list_steps(client, arn))
        for step in (step for step in steps if step["StepName"] not in said):
            logs.show(step)
            if step["StepStatus"] not in NOT_ENDED:
                said.add(step["StepName"])
                screen.line(f"== {' '.join(part for part in step_row(step) if part)}")
        status = described["PipelineExecutionStatus"]
        if status not in RUNNING:
            return status, steps, one_line(described.get("FailureReason", ""))
        time.sleep(POLL)


class StepLogs:
    """The logs of an execution's jobs; each line bears its step's name."""

    def __init__(self, clients: Clients, contact: Contact, tail: int | None) -> None:
        self.clients, self.contact, self.tail = clients, contact, tail
        self.displays: dict[str, JobDisplay] = {}  # by job: a step that is tried again has another
        self.refused: set[str] = set()  # names of jobs that may not be looked at

    def show(self, step: Mapping[str, Any]) -> None:
        """Show what is new in the log of a step's job; the rest of it once the step has ended."""
        job = _job_of(step)
        if job is None or job[1] in self.refused:
            return
        kind, name = job
        begun = name in self.displays
        display = self._display(step["StepName"], kind, name)
        described = self._described(kind, name)
        if described is None:
            return
        display.show(described)
        if step["StepStatus"] not in NOT_ENDED:
            display.end(described, seen_running=begun)

    def _described(self, kind: JobKind, name: str) -> dict[str, Any] | None:
        """The step's job; None where AWS refuses to show it, which is said."""
        try:
            return self.contact.ask(lambda: kind.describe(self.clients.sagemaker, name))
        except Exception as error:
            understood = explain(error, f"{kind.name} job {name}")
            if understood is None or is_signed_out(error):
                raise
            self.refused.add(name)
            self.contact.say(f"{understood}; waiting without its log")
            return None

    def _display(self, step: str, kind: JobKind, name: str) -> JobDisplay:
        if name not in self.displays:
            # No status line: lines of several steps follow one another.
            screen = Screen(Prefixed(step, sys.stdout))  # type: ignore[arg-type]
            screen.line(f"== {kind.name} job {name}")
            contact = Contact(f"{kind.name} job {name}", screen.line)
            self.displays[name] = make_display(self.clients, kind, name, screen, contact, self.tail)
        return self.displays[name]


def _job_of(step: Mapping[str, Any]) -> tuple[JobKind, str] | None:
    """The job that a step runs; None for a step without one, and one whose result comes from the cache."""
    if step.get("CacheHitResult"):
        return None
    arns = (made.get("Arn", "") for made in step.get("Metadata", {}).values() if isinstance(made, dict))
    return next((job for arn in arns if (job := job_of(arn))), None)


def list_steps(client: Any, arn: str) -> list[dict[str, Any]]:
    """The steps of an execution that have begun, in that order."""
    pages = client.get_paginator("list_pipeline_execution_steps")
    found = pages.paginate(PipelineExecutionArn=arn, SortOrder="Ascending")
    return [step for page in found for step in page["PipelineExecutionSteps"]]


def step_row(step: dict[str, Any]) -> list[str]:
    """A step's name, state, time and reason of failure; empty where it has none."""
    start, end = step.get("StartTime"), step.get("EndTime")
    seconds = duration((end - start).total_seconds()) if start and end else ""
    return [step["StepName"], step["StepStatus"], seconds, one_line(step.get("FailureReason", ""))]


def outcome_of(step: Mapping[str, Any]) -> str:
    """What a condition has come to, True or False; empty for a step that is none, or has not ended."""
    return str(step.get("Metadata", {}).get("Condition", {}).get("Outcome", ""))
