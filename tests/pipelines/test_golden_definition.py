"""The whole definition that AWS gets, as files: a change in it is seen in review.

After a change that is meant, they are written anew, to be read before they are committed, by

    TRAPLINE_WRITE_GOLDEN=1 pytest -n 0 tests/pipelines/test_golden_definition.py
"""

import json
import os
from pathlib import Path

import pytest

from common.metrics import definitions

pytest.importorskip("sagemaker")

from pipelines.command_line import read_command
from pipelines.definition import definition_text, make_pipeline

GOLDEN = Path(__file__).with_name("golden")
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "SAGEMAKER_ROLE"):
        monkeypatch.delenv(name, raising=False)


def content(case):
    return json.loads((GOLDEN / f"{case}.json").read_text())


def defined(command):
    """The definition, with words in the place of what changes elsewhere: the sources' digest, the metrics."""
    design = read_command(["definition", *command]).design
    definition = json.loads(definition_text(make_pipeline(design)).replace(design.code, "CODE"))
    for step in definition["Steps"]:
        if step["Type"] == "Training":
            algorithm = step["Arguments"]["AlgorithmSpecification"]
            assert algorithm["MetricDefinitions"] == definitions()
            algorithm["MetricDefinitions"] = "METRICS"
    return definition


@pytest.mark.parametrize("case", CASES)
def test_the_definition_is_that_of_the_golden_file(case):
    command = content(case)["command"]
    definition = defined(command)
    if os.environ.get("TRAPLINE_WRITE_GOLDEN"):
        said = {"command": command, "definition": definition}
        (GOLDEN / f"{case}.json").write_text(json.dumps(said, indent=2) + "\n")
    assert definition == content(case)["definition"]


def test_there_is_one_of_each_kind():
    assert set(CASES) >= {"plain", "spot_in_a_vpc", "without_network"}
