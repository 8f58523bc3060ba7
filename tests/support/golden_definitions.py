"""The golden files of pipeline definitions: a command line each, and the definition that comes of it.

A word stands in the place of the metrics, which change elsewhere and would be in each of them.
"""

import json
from pathlib import Path

from trapline.launching.checking.pipeline_steps import all_steps
from trapline.metrics import definitions

GOLDEN = Path(__file__).parents[1] / "pipeline" / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))
METRICS = "METRICS"


def said(case):
    """Command and definition as the file has them."""
    return json.loads((GOLDEN / f"{case}.json").read_text())


def whole(case):
    """The definition that a pipeline would have."""
    definition = said(case)["definition"]
    for algorithm in _algorithms(definition):
        assert algorithm["MetricDefinitions"] == METRICS
        algorithm["MetricDefinitions"] = definitions()
    return definition


def shortened(definition):
    """The definition as a file has it."""
    for algorithm in _algorithms(definition):
        assert algorithm["MetricDefinitions"] == definitions()
        algorithm["MetricDefinitions"] = METRICS
    return definition


def _algorithms(definition):
    return [
        step.arguments["AlgorithmSpecification"]
        for step in all_steps(definition["Steps"])
        if step.kind == "Training"
    ]
