"""Jobs started by the SDK: sent where its session is of an account, run where it is of local mode."""

import contextlib
from collections.abc import Iterator
from typing import Any

from sagemaker.session import Session

from trapline.errors import UsageError
from trapline.launching.job_requests import Job, PrepareJob, TrainingJob, TuningJob
from trapline.launching.sdk.objects import (
    make_estimator,
    make_processor,
    processing_arguments,
    processing_inputs,
    processing_outputs,
    training_inputs,
)
from trapline.launching.sdk.tuning import make_tuner

MACHINE_FLAGS = "--instance-type, --instance-count, --framework-version or --py-version"
PREPARE_FLAGS = "--prepare-instance-type, --framework-version or --py-version"


def start_job(job: Job, session: Session) -> None:
    """Start a job; on AWS nothing is waited for.

    Raises UsageError where the SDK refuses the job's image or machine, KeyboardInterrupt on Ctrl-C.
    """
    starters: dict[type, Any] = {PrepareJob: _process, TrainingJob: _train, TuningJob: _tune}
    if starters[type(job)](job, session) is None:
        raise KeyboardInterrupt  # the SDK's telemetry swallows it


@contextlib.contextmanager
def _refusals_of_the_sdk(flags: str) -> Iterator[None]:
    """The SDK checks image and machine itself, and raises errors of Python's."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{flags}: {said[:300]}{'...' if len(said) > 300 else ''}") from error


def _process(job: PrepareJob, session: Session) -> Any:
    with _refusals_of_the_sdk(PREPARE_FLAGS):
        processor = make_processor(job, session)
    processor.run(
        inputs=processing_inputs(job),
        outputs=processing_outputs(job),
        arguments=processing_arguments(job),
        wait=False,
        logs=False,
        job_name=job.name,
    )
    return processor.latest_job


def _train(job: TrainingJob, session: Session) -> Any:
    with _refusals_of_the_sdk(MACHINE_FLAGS):
        estimator = make_estimator(job, session)
        estimator.training_image_uri()
    estimator.fit(training_inputs(job), wait=False, job_name=job.name)
    return estimator.latest_training_job


def _tune(job: TuningJob, session: Session) -> Any:
    with _refusals_of_the_sdk(MACHINE_FLAGS):
        tuner = make_tuner(job, session)
        tuner.estimator.training_image_uri()
    tuner.fit(training_inputs(job.training), wait=False, job_name=job.name)
    return tuner.latest_tuning_job
