"""The whole definition that AWS gets, as files: a change in it is seen in review.

After a change that is meant, they are written anew, to be read before they are committed, by

    TRAPLINE_WRITE_GOLDEN=1 pytest -n 0 tests/pipeline/test_golden_definition.py
"""

import json
import os

import pytest

pytest.importorskip("sagemaker")

from tests.support.golden_definitions import CASES, GOLDEN, said, shortened
from trapline.launching.staging import model_code_digest
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "SAGEMAKER_ROLE", "SAGEMAKER_JOB_ROLE"):
        monkeypatch.delenv(name, raising=False)


def defined(command):
    """The definition, with words in the places of the sources' digests."""
    design = read_command(["definition", *command]).design
    text = definition_text(make_pipeline(design)).replace(model_code_digest(), "DIGEST")
    return shortened(json.loads(text.replace(design.code, "CODE")))


@pytest.mark.parametrize("case", CASES)
def test_the_definition_is_that_of_the_golden_file(case):
    command = said(case)["command"]
    definition = defined(command)
    if os.environ.get("TRAPLINE_WRITE_GOLDEN"):
        content = {"command": command, "definition": definition}
        (GOLDEN / f"{case}.json").write_text(json.dumps(content, indent=2) + "\n")
    assert definition == said(case)["definition"]


def test_there_is_one_of_each_kind():
    assert set(CASES) >= {"plain", "spot_in_a_vpc", "without_network"}
