"""Pipeline definitions to test with: one stands whole in a file, others are made of their commands.

In the file a word stands in the place of the metrics, which change elsewhere and would be in each training.
"""

import functools
import json
from pathlib import Path

import pytest

from tests.support.account import name_no_account
from trapline.launching.checking.pipeline_steps import all_steps
from trapline.launching.checkout import model_code_digest
from trapline.metrics import definitions
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline

FILE = Path(__file__).parents[1] / "pipeline" / "golden" / "plain.json"
METRICS = "METRICS"
PLAIN = [
    "--data", "s3://traps/raw", "--output", "s3://traps/out",
    "--role", "arn:aws:iam::123456789012:role/service-role/Trapline",
    "--image-uri", "123456789012.dkr.ecr.us-east-1.amazonaws.com/trapline:latest",
]  # fmt: skip
COMMANDS = {
    "plain": PLAIN,
    "spot_in_a_vpc": [
        *PLAIN, "--recipe", "swin_stage1", "--prepare", "site-csv=s3://traps/sites.csv", "--spot",
        "--max-run", "12h", "--kms-key", "alias/traps", "--subnets", "subnet-0a1b2c3d", "subnet-1a1b2c3d",
        "--security-groups", "sg-0a1b2c3d", "--encrypt-inter-container", "--tags", "team=owls",
        "--volume-size", "250", "--input-mode", "FastFile",
    ],
    "without_network": [
        *PLAIN, "--recipe", "small", "--network-isolation", "--keep-alive", "30m",
        "--code-output", "s3://traps/code",
    ],
}  # fmt: skip


@functools.cache
def _made(case):
    with pytest.MonkeyPatch.context() as patch:
        name_no_account(patch)
        design = read_command(["definition", *COMMANDS[case]]).design
        text = definition_text(make_pipeline(design))
    return text.replace(model_code_digest(), "DIGEST").replace(design.code, "CODE")


def made(case):
    """The definition of a command as it is made now, with words in the places of the sources' digests."""
    return json.loads(_made(case))


def whole(case):
    """A definition as a pipeline would have it; the plain one is that of the file, which is faster."""
    return _with_metrics(json.loads(FILE.read_text())) if case == "plain" else made(case)


def shortened(definition):
    """The definition as the file has it."""
    for algorithm in _algorithms(definition):
        assert algorithm["MetricDefinitions"] == definitions()
        algorithm["MetricDefinitions"] = METRICS
    return definition


def _with_metrics(definition):
    for algorithm in _algorithms(definition):
        assert algorithm["MetricDefinitions"] == METRICS
        algorithm["MetricDefinitions"] = definitions()
    return definition


def _algorithms(definition):
    return [
        step.arguments["AlgorithmSpecification"]
        for step in all_steps(definition["Steps"])
        if step.kind == "Training"
    ]
