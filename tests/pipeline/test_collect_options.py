"""What the pipeline's Collect step is told of formats, and the files that only people have."""

import json

import pytest

from tests.support.account import BUCKET
from trapline.errors import UsageError
from trapline.launching.checking.pipeline_definition import check_definition
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline
from trapline.pipeline.starting import read_from_outside

pytest.importorskip("sagemaker")

AWS = ["--data", f"s3://{BUCKET}/raw", "--output", f"s3://{BUCKET}/out"]
FILES = {name: f"s3://{BUCKET}/{name}.csv" for name in ("taxonomy", "deployments", "project")}
INSIDE = "/opt/ml/processing/input"

pytestmark = pytest.mark.usefixtures("without_account")


def define(*more):
    return json.loads(definition_text(make_pipeline(read_command(["definition", *more]).design)))


def collect(definition):
    """The words and the inputs of Collect."""
    (gate,) = [
        step for step in definition["Steps"] if step["Type"] == "Condition" and step["Arguments"]["IfSteps"]
    ]
    (job,) = [step["Arguments"] for step in gate["Arguments"]["IfSteps"] if step["Name"] == "Collect"]
    inputs = {item["InputName"]: item["S3Input"]["S3Uri"] for item in job["ProcessingInputs"]}
    return job["AppSpecification"]["ContainerArguments"], inputs


def given(options):
    return ["--collect", *(f"{name}={value}" for name, value in options.items())]


def test_formats_and_options_stand_in_the_command_of_collect():
    more = given({"drop_classes": "person 'red deer'", "timezone": "Europe/Oslo"})
    said, _ = collect(define(*AWS, "--formats", "coco", "megadetector", *more))
    formats = [said[at + 1] for at, word in enumerate(said) if word == "--formats"]
    assert formats == ["coco", "megadetector"]
    dropped = [said[at + 1] for at, word in enumerate(said) if word == "--drop-classes"]
    assert dropped == ["person", "red deer"]
    assert said[said.index("--timezone") + 1] == "Europe/Oslo"


def test_on_aws_their_files_are_parameters_and_inputs_of_collect_alone():
    definition = define(*AWS, *given(FILES))
    said, inputs = collect(definition)
    defaults = {item["Name"]: item.get("DefaultValue") for item in definition["Parameters"]}
    for name, uri in FILES.items():
        assert defaults[name.title()] == uri
        assert inputs[name] == {"Get": f"Parameters.{name.title()}"}
        assert said[said.index(f"--{name}") + 1] == f"{INSIDE}/{name}/{name}.csv"
    assert check_definition(json.dumps(definition))[0] == []
    values = {item["Name"]: item.get("DefaultValue") for item in definition["Parameters"]}
    assert not set(FILES.values()) & set(read_from_outside(definition, values))  # nothing is prepared anew


def test_here_their_files_are_given_without_a_name_of_this_machine(tmp_path):
    (tmp_path / "taxonomy.csv").touch()
    chosen = given({"taxonomy": tmp_path / "taxonomy.csv"})
    definition = define("--backend", "process", "--data", str(tmp_path), *chosen)
    said, inputs = collect(definition)
    assert inputs["taxonomy"] == {"Get": "Parameters.Taxonomy"}
    assert said[said.index("--taxonomy") + 1] == f"{INSIDE}/taxonomy/taxonomy.csv"
    assert str(tmp_path) not in json.dumps(definition)


def test_without_them_nothing_of_the_definition_changes():
    plain = collect(define(*AWS))[0]
    assert "--formats" not in plain
    assert read_command(["definition", *AWS]).design.collect == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--collect", "formats=xml"], "--collect formats: .*xml"),
        (["--formats", "coco", "--collect", "formats=csv"], "not with --formats"),
        (["--collect", "predictions=x"], "--collect predictions: the pipeline decides it"),
        (["--collect", "taxonomy=here.csv"], "--collect taxonomy=here.csv: must be an s3:// URI"),
        (["--collect", "taxonmy=here.csv"], "did you mean taxonomy"),
        (["--collect", "event_gap=soon"], "--collect event-gap: is no length of time"),
    ],
)
def test_what_collect_would_refuse_is_refused_before_anything_starts(words, said):
    with pytest.raises(UsageError, match=said):
        read_command(["definition", *AWS, *words])
