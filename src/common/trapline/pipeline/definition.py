"""The pipeline: its steps in their order, the conditions between them, and the JSON that SageMaker gets.

AWS takes no condition behind another one, so the quality gate stands beside the question whether anything is
new: it waits for Evaluate, and comes to nothing where that does not run.
"""

import json
import warnings
from typing import Any

from trapline.launching.aws.options import DEFAULTS_FILE, check_isolation
from trapline.launching.checkout import model_code_digest
from trapline.launching.plan import PREPARED
from trapline.launching.sdk.objects import (
    ConditionEquals,
    ConditionGreaterThanOrEqualTo,
    ConditionLessThanOrEqualTo,
    ConditionStep,
    FailStep,
    Join,
    JsonGet,
    ParameterFloat,
    ParameterInteger,
    ParameterString,
    Pipeline,
    PropertyFile,
    isolated_by_default,
    read_defaults,
)
from trapline.launching.sdk.pipeline_internals import DefinitionSession
from trapline.pipeline.design import NOTHING_NEW, SCHEDULED, WEIGHTS_URI, YES, Design, Parameter
from trapline.pipeline.frame import Frame
from trapline.pipeline.steps import (
    EVALUATION,
    EVALUATION_FILE,
    champion_model,
    collect_step,
    create_model_step,
    evaluate_step,
    phase1_step,
    phase2_step,
    prepare_step,
    pseudo_label_step,
    register_step,
    transform_step,
)
from trapline.preparation.completion import COMPLETED_WITH, SEPARATOR, STATE


def make_pipeline(design: Design, session: Any = None) -> Pipeline:
    """The pipeline of a design. `session`: what it will be sent or run by; None where it is only printed.

    The steps know a session of their own that asks nobody, so that the definition does not depend on it.
    """
    defaults = read_defaults() if design.options else {}
    values = {item.name: _sdk_parameter(item) for item in design.parameters}
    if isolated_by_default(defaults):
        for config in design.recipe.phases:
            check_isolation(config.weights, staged=WEIGHTS_URI in values, flag=DEFAULTS_FILE)
    own = DefinitionSession(design.region, defaults=defaults)
    with quiet_sdk():
        return Pipeline(
            name=design.name,
            parameters=list(values.values()),
            steps=_steps(Frame(own, values, design, model_code_digest())),
            sagemaker_session=session or own,
        )


def _sdk_parameter(item: Parameter) -> Any:
    if item.kind == "String":
        return ParameterString(item.name, default_value=item.default, enum_values=list(item.choices) or None)
    kind = ParameterInteger if item.kind == "Integer" else ParameterFloat
    return kind(item.name, default_value=item.default)


def _steps(frame: Frame) -> list[Any]:
    """All steps; of those behind the quality gate, Collect is the last."""
    state = PropertyFile(name="Version", output_name=PREPARED, path=STATE)
    prepare = prepare_step(frame, state)
    phase1 = phase1_step(frame, prepare)
    labels = pseudo_label_step(frame, prepare, phase1)
    phase2 = phase2_step(frame, prepare, phase1, labels)
    numbers = PropertyFile(name="Evaluation", output_name=EVALUATION, path=EVALUATION_FILE)
    evaluate = evaluate_step(frame, prepare, (phase1, phase2), numbers)
    model = champion_model(frame, evaluate)
    champion = create_model_step(frame, model)
    transform = transform_step(frame, prepare, champion)
    phases = phase1, phase2
    registered = [register_step(frame, model, evaluate, phases)] if frame.design.registers else []
    collect = collect_step(frame, prepare, phases, evaluate, transform, registered)
    return [
        prepare,
        _nothing_new_step(frame, state, prepare.name, [phase1, labels, phase2, evaluate]),
        _gate_step(frame, numbers, evaluate.name, [champion, transform, *registered, collect]),
    ]


def _nothing_new_step(frame: Frame, state: PropertyFile, prepare: str, steps: list[Any]) -> ConditionStep:
    """The end of a scheduled execution whose data have been completed with its settings; else `steps`.

    `prepare`: the name of the step that leaves `state`. An end here is a success.
    """
    return ConditionStep(
        name=NOTHING_NEW,
        display_name="Nothing new?",
        description="Yes, and the end, if a schedule started this and data, code, image and settings are "
        "those of the last completed execution",
        conditions=[
            ConditionEquals(left=frame.values[SCHEDULED], right=YES),
            ConditionEquals(
                left=JsonGet(step_name=prepare, property_file=state, json_path=COMPLETED_WITH),
                right=Join(on=SEPARATOR, values=frame.settings()),
            ),
        ],
        if_steps=[],
        else_steps=steps,
    )


def _gate_step(frame: Frame, numbers: PropertyFile, evaluate: str, passed: list[Any]) -> ConditionStep:
    """`passed` where both bounds are met, else a failure that names metrics, values and bounds.

    `evaluate`: the name of the step that leaves `numbers`, of which those on the design's part count.
    """
    part = frame.design.part
    most, least = frame.values["QualityGate"], frame.values["QualityGateAccuracy"]
    log_loss, accuracy = (
        JsonGet(step_name=evaluate, property_file=numbers, json_path=f"{part}.{name}")
        for name in ("log_loss", "accuracy")
    )
    message = [
        f"the quality gate is not met on the {part} part: log loss ", log_loss, ", at most ", most,
        " (QualityGate); accuracy ", accuracy, ", at least ", least, " (QualityGateAccuracy)",
    ]  # fmt: skip
    return ConditionStep(
        name="QualityGate",
        display_name="Quality gate",
        description=f"Go on only if the champion is good enough on the {part} part",
        conditions=[
            ConditionLessThanOrEqualTo(left=log_loss, right=most),
            ConditionGreaterThanOrEqualTo(left=accuracy, right=least),
        ],
        if_steps=passed,
        else_steps=[
            FailStep(
                name="GateNotMet",
                display_name="Gate not met",
                description="The champion is not good enough",
                error_message=Join(on="", values=message),
            )
        ],
    )


def quiet_sdk() -> "warnings.catch_warnings[None]":
    """Keep back the SDK's warnings about pipelines, which come with every step."""
    return warnings.catch_warnings(action="ignore")


def definition_text(pipeline: Pipeline) -> str:
    """The definition as JSON text, the same for the same pipeline."""
    with quiet_sdk():
        return json.dumps(json.loads(pipeline.definition()), indent=2) + "\n"
