"""The quality gate: what the evaluation must show for a model to be used, and what is said else."""

from dataclasses import dataclass
from typing import Any, Literal

from trapline.launching.sdk.workflow import (
    ConditionGreaterThanOrEqualTo,
    ConditionLessThanOrEqualTo,
    ConditionStep,
    FailStep,
    Join,
    JsonGet,
    PropertyFile,
)
from trapline.pipeline.frame import Frame
from trapline.pipeline.steps import EVALUATION, EVALUATION_FILE

Part = Literal["test", "validation"]
NAME = "QualityGate"


@dataclass(frozen=True)
class Measures:
    """The two numbers that the gate reads, known when the pipeline runs."""

    part: Part
    log_loss: JsonGet
    accuracy: JsonGet


def evaluation_file() -> PropertyFile:
    """What the pipeline reads of the evaluation."""
    return PropertyFile(name="Evaluation", output_name=EVALUATION, path=EVALUATION_FILE)


def read_measures(file: PropertyFile, step: str, part: Part) -> Measures:
    """The champion's log loss and accuracy on `part`, as the evaluation step `step` wrote them."""
    log_loss, accuracy = (
        JsonGet(step_name=step, property_file=file, json_path=f"{part}.{name}")
        for name in ("log_loss", "accuracy")
    )
    return Measures(part, log_loss, accuracy)


def gate_step(frame: Frame, measures: Measures, passed: list[Any]) -> ConditionStep:
    """`passed` where both bounds are met, else a failure that names metrics, values and bounds."""
    return ConditionStep(
        name=NAME,
        display_name="Quality gate",
        description=f"Go on only if the champion is good enough on the {measures.part} part",
        conditions=[
            ConditionLessThanOrEqualTo(left=measures.log_loss, right=frame.values["QualityGate"]),
            ConditionGreaterThanOrEqualTo(left=measures.accuracy, right=frame.values["QualityGateAccuracy"]),
        ],
        if_steps=passed,
        else_steps=[_fail_step(frame, measures)],
    )


def _fail_step(frame: Frame, measures: Measures) -> FailStep:
    message = [
        f"the quality gate is not met on the {measures.part} part: log loss ", measures.log_loss,
        ", at most ", frame.values["QualityGate"], " (QualityGate); accuracy ", measures.accuracy,
        ", at least ", frame.values["QualityGateAccuracy"], " (QualityGateAccuracy)",
    ]  # fmt: skip
    return FailStep(
        name="GateNotMet",
        display_name="Gate not met",
        description="The champion is not good enough",
        error_message=Join(on="", values=message),
    )
