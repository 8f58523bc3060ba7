"""The registry: the champion as a model package, which waits for somebody's approval."""

from sagemaker.model import Model
from sagemaker.model_metrics import MetricsSource, ModelMetrics
from sagemaker.workflow.model_step import ModelStep
from sagemaker.workflow.steps import ProcessingStep

from pipelines.steps import EVALUATION, EVALUATION_FILE, Frame, join, model_retries, output_of


def register_step(frame: Frame, model: Model, evaluate: ProcessingStep, group: str) -> ModelStep:
    """The step Registry-RegisterModel: the champion in the model group `group`, with its evaluation."""
    report = MetricsSource(
        s3_uri=join(output_of(evaluate, EVALUATION), EVALUATION_FILE), content_type="application/json"
    )
    return ModelStep(
        name="Registry",
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
            description="The champion of a camera-trap pipeline; evaluation.json says what to expect of it",
        ),
        retry_policies=model_retries(),
    )
