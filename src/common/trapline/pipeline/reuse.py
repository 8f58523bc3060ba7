"""A scheduled execution ends where nothing is new: a condition on what Prepare says of the data.

AWS takes no condition behind another one, so the quality gate stands beside this one: it waits for Evaluate,
and comes to nothing where that does not run.
"""

from typing import Any

from trapline.launching.job_requests import PREPARED
from trapline.launching.sdk.workflow import ConditionEquals, ConditionStep, Join, JsonGet, PropertyFile
from trapline.pipeline.frame import Frame
from trapline.pipeline.parameters import NOTHING_NEW, SCHEDULED, YES
from trapline.preparation.completion import COMPLETED_WITH, SEPARATOR, STATE

OUTCOME_NAMES = {NOTHING_NEW: ("Yes", "No")}  # what a run on this machine says of it


def state_file() -> PropertyFile:
    """What the pipeline reads of the prepared set."""
    return PropertyFile(name="Version", output_name=PREPARED, path=STATE)


def nothing_new_step(frame: Frame, state: PropertyFile, prepare: str, steps: list[Any]) -> ConditionStep:
    """The end of a scheduled execution whose data have been completed with its settings; else `steps`.

    `prepare`: the name of the step that leaves `state`. An end here is a success.
    """
    settings = Join(on=SEPARATOR, values=frame.settings())
    completed_with = JsonGet(step_name=prepare, property_file=state, json_path=COMPLETED_WITH)
    return ConditionStep(
        name=NOTHING_NEW,
        display_name="Nothing new?",
        description="Yes, and the end, if a schedule started this and data, code, image and settings are "
        "those of the last completed execution",
        conditions=[
            ConditionEquals(left=frame.values[SCHEDULED], right=YES),
            ConditionEquals(left=completed_with, right=settings),
        ],
        if_steps=[],
        else_steps=steps,
    )
