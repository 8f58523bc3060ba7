"""The conditions of the definition in the executor of local mode, by which it runs here."""

import json

import pytest

pytest.importorskip("sagemaker")

from sagemaker.local.entities import _LocalPipelineExecution
from sagemaker.local.pipeline import LocalPipelineExecutor

from trapline.launching.sdk.pipeline_internals import DefinitionSession
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import make_pipeline, quiet_sdk

WORDS = ["definition", "--backend", "process", "--data", "/data/mine", "--recipe", "small"]
PLACES = {"InputData": "file:///data", "OutputPrefix": "s3://b/out", "RoleArn": "role", "ImageUri": "image"}
JOBS = ["Prepare", "TrainPhase1", "PseudoLabel", "TrainPhase2", "Evaluate"]


class Client:
    """Local mode's client, whose jobs are done at once; `asked` are the requests by job."""

    def __init__(self):
        self.asked = {}

    def __getattr__(self, name):
        if name.startswith("create_"):
            return lambda job, *_, **request: self.asked.__setitem__(job.rsplit("-", 2)[0], request)
        return self.described

    def described(self, job):
        request = self.asked[job.rsplit("-", 2)[0]]
        artefacts = {"S3ModelArtifacts": "s3://b/m"}
        return {**request, "TrainingJobName": job, "ModelName": job, "ModelArtifacts": artefacts}


class Session(DefinitionSession):
    """A session of local mode. state: what Prepare says of the data."""

    def __init__(self, state):
        super().__init__("us-east-1", Client())
        self.state = state

    def read_s3_file(self, bucket, key):
        numbers = {"log_loss": 1.0, "accuracy": 0.5}
        return json.dumps(self.state if key.endswith("version.json") else {"test": numbers})


def execute(completed_with, **values):
    """Run the pipeline to its end. Returns the states of its steps and what its jobs were asked."""
    session = Session({"data": "d", "completed_with": completed_with})
    design = read_command(WORDS).design
    pipeline = make_pipeline(design, session)
    with quiet_sdk():
        execution = _LocalPipelineExecution(
            "run", pipeline, PipelineParameters={**PLACES, **values}, local_session=session
        )
        LocalPipelineExecutor(execution, session).execute()
    assert execution.status == "Succeeded", execution.failure_reason
    states = {name: step.status for name, step in execution.step_execution.items() if step.status}
    return states, session.sagemaker_client.asked


@pytest.fixture(scope="module")
def settings():
    """With what an execution says that it has completed."""
    _, asked = execute("")
    words = asked["Collect"]["AppSpecification"]["ContainerArguments"]
    return " ".join(words[words.index("--settings") + 1 : words.index("--output")])


def test_what_nobody_has_scheduled_runs_to_its_end_though_all_is_as_it_was(settings):
    states, _ = execute(settings)
    assert set(states) >= {*JOBS, "NothingNew", "QualityGate", "Transform", "Collect"}


def test_what_is_scheduled_ends_after_prepare_as_a_success_where_nothing_is_new(settings):
    states, asked = execute(settings, Scheduled="yes")
    assert states == {"Prepare": "Succeeded", "NothingNew": "Succeeded"}
    assert list(asked) == ["Prepare"]


@pytest.mark.parametrize("completed_with", ["", "code=older", "{settings} "])
def test_what_is_scheduled_runs_where_something_is_new(settings, completed_with):
    states, _ = execute(completed_with.replace("{settings}", settings), Scheduled="yes")
    assert "Collect" in states


def test_another_number_is_something_new(settings):
    assert "Collect" in execute(settings, Scheduled="yes", LearningRatePhase1=0.5)[0]


def test_the_history_is_looked_for_where_the_trainings_say_that_they_wrote(settings):
    _, asked = execute("")
    inputs = {item["InputName"]: item["S3Input"]["S3Uri"] for item in asked["Collect"]["ProcessingInputs"]}
    for name in ("TrainPhase1", "TrainPhase2"):
        place = asked[name]["OutputDataConfig"]["S3OutputPath"]
        assert inputs[name].startswith(f"{place}/{name}-")
        assert inputs[name].endswith("/output/output.tar.gz")
