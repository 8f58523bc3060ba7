"""The registry: the champion as a model package, which waits for somebody's approval.

What is known only when the pipeline has run (the data's fingerprint, the numbers, the champion's phase) is no
part of the request: SageMaker's documentation has property files read by conditions, and by nothing else.
`launch/model_card.py` adds it afterwards; `run` does so by itself.
"""

import hashlib
import json
from typing import Any

from trapline.launching.aws.card_content import first_card
from trapline.launching.sdk.workflow import (
    ExecutionVariables,
    MetricsSource,
    Model,
    ModelMetrics,
    ModelPackageModelCard,
    ModelStep,
    ProcessingStep,
    TrainingStep,
)
from trapline.pipeline.frame import Frame, join
from trapline.pipeline.recipes import Recipe
from trapline.pipeline.retries import model_retries
from trapline.pipeline.steps import EVALUATION, EVALUATION_FILE, output_of

DIGEST_LENGTH = 16
NAME = "Registry"  # of the step, to which the SDK adds -RegisterModel


def register_step(
    frame: Frame,
    model: Model,
    evaluate: ProcessingStep,
    phases: tuple[TrainingStep, TrainingStep],
    recipe: Recipe,
    group: str,
) -> ModelStep:
    """The step Registry-RegisterModel: the champion in the model group `group`, with its evaluation."""
    report = MetricsSource(
        s3_uri=join(output_of(evaluate, EVALUATION), EVALUATION_FILE), content_type="application/json"
    )
    return ModelStep(
        name=NAME,
        display_name="Register model",
        description="Register the champion with its evaluation",
        step_args=model.register(
            content_types=["application/x-image", "application/json"],
            response_types=["application/json", "text/csv"],
            inference_instances=[frame.values["TransformInstanceType"]],
            transform_instances=[frame.values["TransformInstanceType"]],
            model_package_group_name=group,
            approval_status=frame.values["ApprovalStatus"],
            model_metrics=ModelMetrics(model_statistics=report),
            customer_metadata_properties=_origin(frame, phases, recipe),
            model_card=ModelPackageModelCard(first_card(recipe.name, frame.code), "Draft"),
            description="The champion of a camera-trap pipeline; evaluation.json says what to expect of it",
        ),
        retry_policies=model_retries(),
    )


def configuration_digest(recipe: Recipe) -> str:
    """A digest of both phases' hyperparameters and of the preparation, as the definition has them."""
    settings = {
        "phase1": recipe.phase1.record(),
        "phase2": recipe.phase2.record(),
        "prepare": recipe.prepare,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]


def _origin(frame: Frame, phases: tuple[TrainingStep, TrainingStep], recipe: Recipe) -> dict[str, Any]:
    """Where the model comes from, for the registry to be searched by."""
    jobs = {
        f"training-job-phase{number}": step.properties.TrainingJobName
        for number, step in enumerate(phases, start=1)
    }
    return {
        "recipe": recipe.name,
        "code": frame.code,
        "configuration": configuration_digest(recipe),
        "execution": ExecutionVariables.PIPELINE_EXECUTION_ID,
        **jobs,
    }
