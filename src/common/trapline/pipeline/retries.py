"""What AWS tries again by itself when a step fails, and how often."""

from typing import Any

from trapline.launching.sdk.workflow import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)


def model_retries() -> list[Any]:
    """Retries of a step that is no job: throttling, and faults of the service."""
    faults = [StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING]
    return [StepRetryPolicy(exception_types=faults, interval_seconds=10, backoff_rate=2.0, max_attempts=6)]


def job_retries() -> list[Any]:
    """Retries of a job: throttling, no instance to be had for a while, the account's limits."""
    lacking = [SageMakerJobExceptionTypeEnum.CAPACITY_ERROR, SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT]
    broken = [SageMakerJobExceptionTypeEnum.INTERNAL_ERROR]
    wait: dict[str, Any] = {"interval_seconds": 120, "backoff_rate": 1.5}
    return [
        *model_retries(),
        SageMakerJobStepRetryPolicy(exception_types=lacking, expire_after_mins=240, **wait),
        SageMakerJobStepRetryPolicy(failure_reason_types=broken, max_attempts=3, **wait),
    ]
