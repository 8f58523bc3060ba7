"""What a pipeline can cost, and the staged weights that its jobs read, are seen without an account."""

import json
import sys

import pytest

pytest.importorskip("sagemaker")

from trapline.errors import UsageError
from trapline.launching.checking.pipeline_steps import all_steps
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline
from trapline.pipeline.running import main, run

pytestmark = pytest.mark.usefixtures("without_account")
AWS = ["--data", "s3://traps/raw", "--recipe", "swin_stage1"]


def costs(capsys, *words):
    """What `cost` prints: the JSON, and the line for a person."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["camera_trap.py", "cost", *AWS, *words])
        main()
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_every_job_is_reckoned_and_says_what_bounds_it(capsys):
    cost, line = costs(capsys, "--max-run", "2h", "--param", "TrainingInstanceCount=2")
    jobs = {job["job"]: job for job in cost["jobs"]}
    assert list(jobs) == [
        "Prepare", "TrainPhase1", "PseudoLabel", "TrainPhase2", "Evaluate", "Transform", "Collect"
    ]  # fmt: skip
    assert jobs["TrainPhase1"]["instances_usd"] == pytest.approx(2 * 2 * 0.7364, abs=0.005)
    assert jobs["TrainPhase1"]["bounded_by"] == "MaxRuntimeInSeconds 7200 (--max-run); 4 attempts"
    assert jobs["Transform"]["hours_at_most"] == 120
    assert line.startswith("estimate: at most ")
    assert "for Transform, which its request does not limit" in line
    assert cost["ceiling_usd"] == pytest.approx(4 * cost["each_job_once_usd"], abs=0.05)


def test_each_kind_of_execution_has_its_own_ceiling_in_the_json_and_in_the_line(capsys):
    cost, line = costs(capsys, "--max-run", "2h")
    cases, jobs = cost["cases"], {job["job"]: job for job in cost["jobs"]}
    assert cases["everything_new"]["ceiling_usd"] == cost["ceiling_usd"]
    assert cases["scheduled_nothing_new"]["jobs"] == ["Prepare"]
    assert cases["started_nothing_new"]["jobs"] == ["Transform", "Collect"]
    prepare = jobs["Prepare"]["instances_usd"] + jobs["Prepare"]["storage_usd"]
    assert cases["scheduled_nothing_new"]["each_job_once_usd"] == pytest.approx(prepare, abs=0.02)
    assert "when a schedule starts it (Prepare)" in line
    assert "when you do (Transform, Collect; the rest is taken from the last 30 days)" in line


def test_another_machine_has_another_price(capsys):
    plain, _ = costs(capsys)
    changed, line = costs(capsys, "--param", "ScoringInstanceType=ml.unknown.large")
    assert changed["without_price"] == ["ml.unknown.large"]
    assert changed["ceiling_usd"] < plain["ceiling_usd"]
    assert "no price known for ml.unknown.large" in line


def channels(*words):
    """The channels of both trainings."""
    definition = json.loads(definition_text(make_pipeline(read_command(["definition", *words]).design)))
    names = [parameter["Name"] for parameter in definition["Parameters"]]
    steps = [step for step in all_steps(definition["Steps"]) if step.kind == "Training"]
    return names, [
        {
            item["ChannelName"]: item["DataSource"]["S3DataSource"]["S3Uri"]
            for item in step.arguments["InputDataConfig"]
        }
        for step in steps
    ]


def test_staged_weights_are_a_channel_of_the_phases_that_begin_with_them():
    names, (first, second) = channels(*AWS, "--weights", "s3://traps/weights")
    assert "WeightsUri" in names
    assert first["weights"] == {"Get": "Parameters.WeightsUri"}
    assert "weights" not in second  # goes on from the first
    _, (first, second) = channels(*AWS, "--weights", "s3://traps/weights", "--set-phase2", "weights=imagenet")
    assert "weights" in first
    assert "weights" in second


def test_without_staged_weights_the_definition_has_no_word_of_them():
    names, (first, _) = channels(*AWS)
    assert "WeightsUri" not in names
    assert set(first) == {"prepared"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "weights"], "--weights weights: jobs on AWS read and write S3 alone"),
        (["--weights", "s3://b/w", "--set", "weights=none"], "--weights: has no effect with weights=none"),
    ],
)
def test_weights_that_no_job_could_read_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        read_command(["definition", *AWS, *words])


def test_here_weights_are_a_staged_folder(tmp_path):
    words = ["run", "--backend", "process", "--data", "demo", "--set", "weights=imagenet", "--weights"]
    with pytest.raises(UsageError, match=r"give a folder with a weights\.json"):
        run(read_command([*words, str(tmp_path)]))
