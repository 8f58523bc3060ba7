"""Options of prepare.py that name a file or folder are parameters and inputs, in S3 and on this machine."""

import json
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from tests.support.account import BUCKET, furnish, sign_in
from tests.support.pipeline_runs import PipelinePlace, run_words
from trapline.errors import TraplineError, UsageError
from trapline.launching.checking.pipeline_definition import check_definition
from trapline.launching.given_options import FILE_OPTIONS
from trapline.pipeline.account import _given
from trapline.pipeline.command_line import read_command
from trapline.pipeline.definition import definition_text, make_pipeline
from trapline.pipeline.design import settled
from trapline.pipeline.starting import check_places, read_from_outside, require_same_names

pytest.importorskip("sagemaker")

AWS = ["--data", f"s3://{BUCKET}/raw", "--output", f"s3://{BUCKET}/out"]
IN_S3 = {
    "media": f"s3://{BUCKET}/photos/", "classes": f"s3://{BUCKET}/classes.csv",
    "corrections": f"s3://{BUCKET}/right.csv", "site-csv": f"s3://{BUCKET}/sites.csv",
    "division": f"s3://{BUCKET}/sets/v1/", "label-names": f"s3://{BUCKET}/names.csv",
}  # fmt: skip
PARAMETERS = {
    "media": "Media", "classes": "Classes", "corrections": "Corrections", "site-csv": "SiteCsv",
    "division": "Division", "label-names": "LabelNames",
}  # fmt: skip
INSIDE = "/opt/ml/processing/input"

pytestmark = pytest.mark.usefixtures("without_account")


def words(given):
    return ["--prepare", *(f"{name}={value}" for name, value in given.items())]


def define(*more):
    return json.loads(definition_text(make_pipeline(read_command(["definition", *more]).design)))


def asked(definition):
    """The words and the inputs of Prepare."""
    (job,) = [step["Arguments"] for step in definition["Steps"] if step["Name"] == "Prepare"]
    inputs = {item["InputName"]: item["S3Input"]["S3Uri"] for item in job["ProcessingInputs"]}
    return job["AppSpecification"]["ContainerArguments"], inputs


def test_on_aws_each_is_a_parameter_with_its_uri_and_an_input_of_prepare():
    given = {name: uri.rstrip("/") for name, uri in IN_S3.items()}
    definition = define(*AWS, *words(given), "--recipe", "swin_stage1", "--weights", f"s3://{BUCKET}/weights")
    defaults = {item["Name"]: item.get("DefaultValue") for item in definition["Parameters"]}
    said, inputs = asked(definition)
    assert PARAMETERS.keys() == FILE_OPTIONS.keys()
    for name, parameter in PARAMETERS.items():
        option = FILE_OPTIONS[name]
        assert defaults[parameter] == IN_S3[name]
        assert inputs[option.input] == {"Get": f"Parameters.{parameter}"}
        file = IN_S3[name].rpartition("/")[2]
        assert said[said.index(f"--{name}") + 1] == f"{INSIDE}/{option.input}" + (f"/{file}" if file else "")
    assert len(inputs) == 10  # as many as a processing job takes
    assert check_definition(json.dumps(definition))[0] == []


def test_the_version_of_the_data_is_of_all_that_they_name():
    definition = define(*AWS, *words(IN_S3))
    values = {item["Name"]: item.get("DefaultValue") for item in definition["Parameters"]}
    assert set(read_from_outside(definition, values)) == {f"s3://{BUCKET}/raw/", *IN_S3.values()}


def test_another_file_of_an_option_is_another_definition():
    given = [[], *(words({"classes": f"s3://b/{name}.csv"}) for name in "ab")]
    assert len({read_command(["definition", *AWS, *more]).design.fixed for more in given}) == 3


@pytest.mark.parametrize("name", IN_S3)
def test_a_start_names_others(name):
    command = read_command(["start", *words({name: IN_S3[name]})])
    assert _given(command)[PARAMETERS[name]] == IN_S3[name]
    chosen = ["--param", f"{PARAMETERS[name]}=s3://b/x.csv"]
    command = read_command(["definition", *AWS, *words({name: IN_S3[name]}), *chosen])
    uri = "s3://b/x.csv/" if name == "media" else "s3://b/x.csv"
    assert settled(command.design.parameters, command.values)[PARAMETERS[name]] == uri


def test_here_each_is_a_parameter_without_a_default_and_no_name_of_this_machine(tmp_path):
    given = {name: str(tmp_path / f"{name}.csv") for name in IN_S3}
    (tmp_path / "media.csv").mkdir()
    for name in ("division", "label-names"):
        (tmp_path / f"{name}.csv").touch()
    definition = define("--backend", "process", "--data", str(tmp_path), *words(given))
    declared = {item["Name"]: item for item in definition["Parameters"]}
    assert all("DefaultValue" not in declared[name] for name in PARAMETERS.values())
    assert str(tmp_path) not in json.dumps(definition)
    said, _ = asked(definition)
    assert said[said.index("--division") + 1] == f"{INSIDE}/division/division.csv"
    assert said[said.index("--media") + 1] == f"{INSIDE}/media"


def test_what_lies_in_s3_prepare_reads_itself_in_a_run_here():
    said, inputs = asked(define("--backend", "process", "--data", "s3://b/raw", *words(IN_S3)))
    assert {name: said[said.index(f"--{name}") + 1] for name in IN_S3} == IN_S3
    assert inputs.keys() == {"code", "completed"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_start_looks_for_what_they_name(monkeypatch, name):
    sign_in(monkeypatch)
    missing = IN_S3[name].replace("/sites", "/others").replace("sets/v1", "sets/v2")
    said = "nothing there" if name in ("media", "division") else "no such file"
    with mock_aws():
        furnish()
        with pytest.raises(TraplineError, match=f"--prepare {name} {missing}: {said}"):
            check_places(boto3.Session(), {"InputData": "demo", PARAMETERS[name]: missing})


@pytest.mark.parametrize(("name", "given", "said"), [
    ("SiteCsv", "s3://b/other.csv", "has its job look for a file called sites.csv"),
    ("Classes", "s3://b/classes.tsv", "a file called classes.csv"),
    ("Division", "s3://b/sets/division.csv", "look for a folder"),
])  # fmt: skip
def test_a_start_refuses_a_file_that_its_job_would_look_for_by_another_name(name, given, said):
    stored = {parameter: IN_S3[option] for option, parameter in PARAMETERS.items()}
    with pytest.raises(UsageError, match=rf"{given}: .*{said}; give one, or `upsert` with this first"):
        require_same_names(stored | {name: given}, stored)


def test_a_start_takes_other_places_of_the_same_names():
    stored = {parameter: IN_S3[option] for option, parameter in PARAMETERS.items()}
    moved = {name: uri.replace(f"s3://{BUCKET}", "s3://b/later") for name, uri in stored.items()}
    require_same_names(moved | {"Division": "s3://b/v9/"}, stored)
    require_same_names({"SiteCsv": "s3://b/x.csv"}, {"SiteCsv": None})
    assert [FILE_OPTIONS[option].file_name(moved[name]) for option, name in PARAMETERS.items()] == [
        FILE_OPTIONS[option].file_name(uri) for option, uri in IN_S3.items()
    ]


@pytest.mark.slow
def test_a_run_here_gives_them_to_its_job_and_prepares_anew_where_one_has_changed(tmp_path):
    pytest.importorskip("sagemaker_training")
    place = PipelinePlace(tmp_path)
    files = {
        "media": "photos/1.jpg", "classes": "classes.csv", "corrections": "- right #1.csv",
        "site-csv": "sites.csv", "division": "earlier/dataset.json", "label-names": "names.csv",
    }  # fmt: skip
    for file in files.values():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(file)
    given = {name: file.partition("/")[0] for name, file in files.items()}
    done = place.pipeline(*run_words(place.data(), "files", *words(given)))
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads((tmp_path / "runs" / "files" / "Prepare" / "given.json").read_text())
    assert seen == {name: {Path(file).name: file} for name, file in files.items()}
    for changed in (None, "classes.csv", "photos/1.jpg"):
        if changed:
            (tmp_path / changed).write_text("other than before")
        again = place.pipeline("run", "--backend", "process", "--resume", "runs/files")
        assert again.returncode == 0, again.stdout + again.stderr
        state = "Completed" if changed else "Completed before"
        assert place.states("files")["Prepare"] == state, changed
