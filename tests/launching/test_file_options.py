"""Options of prepare.py that name a file or folder take one road: each is an input of the job."""

import json
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from launch.resnet18_baseline import EXPERIMENT
from tests.support.account import BUCKET, RAW, refused
from trapline.errors import UsageError
from trapline.job_options import PrepareOptions
from trapline.launching.flags import read_plan
from trapline.launching.given_options import FILE_OPTIONS, options_as_words, own_prepare_options
from trapline.launching.local.backend import PROCESSES, PlannedRun, prepare_job, put_raw_images, requests_of
from trapline.launching.local.sources import check_sources, prepared_key
from trapline.launching.local.workspace import open_workspace
from trapline.launching.sdk.objects import processing_arguments
from trapline.options import read_options
from trapline.pipeline.command_line import read_command
from trapline.pipeline.running import run

KINDS = {
    "media": "folder", "classes": "file", "corrections": "file", "site-csv": "file",
    "division": "folder or file", "label-names": "file",
}  # fmt: skip
HERE = {
    "media": "photos", "classes": "classes.csv", "corrections": "-right = wrong.csv",
    "site-csv": "my sites #1.csv", "division": "earlier", "label-names": "names.csv",
}  # fmt: skip
IN_S3 = {
    "media": f"s3://{BUCKET}/photos", "classes": f"s3://{BUCKET}/classes.csv",
    "corrections": f"s3://{BUCKET}/right", "site-csv": f"s3://{BUCKET}/sites.csv",
    "division": f"s3://{BUCKET}/sets/v1", "label-names": f"s3://{BUCKET}/names.csv",
}  # fmt: skip
INPUTS = {name: "sites" if name == "site-csv" else name for name in KINDS}
INSIDE = "/opt/ml/processing/input"
FOLDERS = ("media", "division")
OTHERS = [name for name in KINDS if name != "label-names"]  # which may lie in the data
MOST_INPUTS = 10  # of a processing job on AWS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder to stand in, with raw images and all that HERE names."""
    for place in ("raw/a/1.jpg", "raw/b/2.jpg", "photos/3.jpg", "earlier/dataset.json"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(place)
    for name in set(HERE) - set(FOLDERS):
        (tmp_path / HERE[name]).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(given):
    return [word for name, value in given.items() for word in ("--prepare", f"{name}={value}")]


def plan(*more, backend="process", data="raw"):
    return read_plan(EXPERIMENT, ["--backend", backend, "--data", data, *more])


def asked(request):
    """What a prepare job is asked: {option: value}, {input: URI}."""
    job = request["CreateProcessingJob"]
    line = job["AppSpecification"]["ContainerArguments"]
    uris = {item["InputName"]: item["S3Input"]["S3Uri"] for item in job["ProcessingInputs"]}
    places = {item["InputName"]: item["S3Input"]["LocalPath"] for item in job["ProcessingInputs"]}
    assert places == {name: f"{INSIDE}/{name}" for name in uris}
    return {name: line[line.index(f"--{name}") + 1] for name in KINDS if f"--{name}" in line}, uris


def test_the_table_holds_what_prepare_py_reads_for_itself_but_the_raw_images():
    assert {option.name: option.kind for option in FILE_OPTIONS.values()} == KINDS
    assert {option.name: option.input for option in FILE_OPTIONS.values()} == INPUTS
    names = {"classes": "Classes", "site-csv": "SiteCsv", "label-names": "LabelNames"}
    assert {name: FILE_OPTIONS[name].parameter for name in names} == names


# --- the requests of each backend ---------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["process", "local"])
def test_a_job_here_has_an_input_for_each_and_no_name_of_this_machine(here, backend):
    request = requests_of(plan(*words(HERE), backend=backend))[0]
    values, uris = asked(request)
    assert values == {
        name: f"{INSIDE}/{INPUTS[name]}" + ("" if name in FOLDERS else f"/{HERE[name]}") for name in KINDS
    }
    assert uris.keys() == {"code", "data", *INPUTS.values()}
    assert len(uris) <= MOST_INPUTS
    assert str(here) not in json.dumps(request)


def test_a_job_on_aws_has_an_input_for_each_which_is_what_the_uri_names(account):
    ended = account.launch(*RAW, *words(IN_S3), "--dry-run")
    assert ended.code == 0, ended.err
    values, uris = asked(json.loads(ended.out)["requests"][0])
    assert {name: uris[INPUTS[name]] for name in KINDS} == {
        name: f"{uri}/" if name in FOLDERS else uri for name, uri in IN_S3.items()
    }
    assert values == {
        name: f"{INSIDE}/{INPUTS[name]}" + ("" if name in FOLDERS else f"/{uri.rpartition('/')[2]}")
        for name, uri in IN_S3.items()
    }
    assert uris.keys() == {"code", "data", *INPUTS.values()}
    assert len(uris) <= MOST_INPUTS


def test_a_division_may_be_one_file(here, account):
    (here / "division.csv").write_text("site,part\n")
    values, _ = asked(requests_of(plan(*words({"division": "division.csv"})))[0])
    assert values == {"division": f"{INSIDE}/division/division.csv"}
    ended = account.launch(*RAW, *words({"division": f"s3://{BUCKET}/division.csv"}), "--dry-run")
    values, uris = asked(json.loads(ended.out)["requests"][0])
    assert values == {"division": f"{INSIDE}/division/division.csv"}
    assert uris["division"] == f"s3://{BUCKET}/division.csv"


@pytest.mark.parametrize("option", KINDS)
def test_what_lies_in_s3_prepare_py_reads_itself_where_no_platform_copies_it(here, option):
    values, uris = asked(requests_of(plan(*words({option: IN_S3[option]})))[0])
    assert values == {option: IN_S3[option]}
    assert uris.keys() == {"code", "data"}


def test_the_job_finds_there_what_was_given(here):
    made = plan(*words(HERE))
    with open_workspace(here / "work") as workspace:
        planned = PlannedRun(made, workspace, here / "code", PROCESSES)
        put_raw_images(planned)
        for file in prepare_job(planned).files:
            source, given = Path(HERE[file.option]), Path(file.uri.removeprefix("file://"))
            if file.option in FOLDERS:
                assert (given.resolve(), file.name) == (source.resolve(), "")
            else:
                assert [path.name for path in given.iterdir()] == [file.name] == [source.name]
                assert (given / file.name).read_bytes() == source.read_bytes()
                assert not (given / file.name).is_symlink()  # no container could follow it


@pytest.mark.parametrize("backend", ["process", "local"])
def test_a_job_has_one_input_of_raw_images(here, backend):
    request = requests_of(plan(backend=backend))[0]["CreateProcessingJob"]
    line = request["AppSpecification"]["ContainerArguments"]
    assert line.count("--input") == 1
    assert read_options(PrepareOptions, "prepare.py", line).input == (f"{INSIDE}/data",)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", KINDS)
@pytest.mark.parametrize(
    "read",
    [lambda *more: read_plan(EXPERIMENT, more), lambda *more: read_command(["definition", *more])],
    ids=["launcher", "pipeline"],
)
def test_a_job_on_aws_reads_nothing_of_this_machine(here, read, option):
    place = str(here / HERE[option])
    with pytest.raises(UsageError) as error:
        read("--data", f"s3://{BUCKET}/raw", *words({option: place}))
    assert str(error.value).startswith(f"--prepare {option}={place}: must be an s3:// URI ")
    assert str(error.value).endswith("for a job on AWS")


@pytest.mark.parametrize("option", OTHERS)
def test_nor_what_is_named_as_the_data_name_it(here, option):
    with pytest.raises(UsageError, match="must be an s3:// URI for a job on AWS"):
        read_plan(EXPERIMENT, ["--data", f"s3://{BUCKET}/raw", *words({option: HERE[option]})])


@pytest.mark.parametrize("option", OTHERS)
def test_what_is_not_here_or_of_another_kind_is_refused_by_its_option(here, option):
    for value, said in {
        "nowhere": f"no such {KINDS[option]}",
        **({"photos": "a folder; give a file"} if KINDS[option] == "file" else {}),
        **({"classes.csv": "a file; give a folder"} if KINDS[option] == "folder" else {}),
    }.items():
        for start in (
            lambda given: check_sources(plan(*words(given))),
            lambda given: run(read_command(["run", "--backend", "process", "--data", "raw", *words(given)])),
        ):
            with pytest.raises(UsageError) as error:
                start({option: value})
            assert str(error.value) == f"--prepare {option}={value}: {said}"
    assert not (here / "runs").exists()


@pytest.mark.parametrize("option", ["media", "classes", "corrections", "division"])
def test_what_is_not_in_s3_is_named_before_anything_is_sent(account, option):
    uri = IN_S3[option].replace("sets/v1", "sets/v2")
    ended = account.launch(*RAW, *words({option: uri}))
    missing = "no such file" if KINDS[option] == "file" else "nothing there"
    shown = f"{uri}/" if option in FOLDERS else uri
    refused(ended, f"--prepare {option} {shown}: {missing}", code=2)
    assert account.jobs() == []


def test_what_is_in_s3_is_found(account):
    for key in ("photos/3.jpg", "classes.csv", "right", "names.csv"):
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"x")
    ended = account.launch(*RAW, *words(IN_S3))
    assert (ended.code, ended.err) == (0, "")
    assert asked(account.jobs()[0])[1]["media"] == f"s3://{BUCKET}/photos/"


@pytest.mark.parametrize("option", [name for name, kind in KINDS.items() if kind == "file"])
def test_a_folder_in_s3_is_no_file(option):
    with pytest.raises(UsageError, match=f"--prepare {option} s3://b/x/: names a folder; give one file"):
        plan(*words({option: "s3://b/x/"}))


def test_containers_cannot_follow_links_out_of_a_folder_of_images(here):
    (here / "photos" / "link.jpg").symlink_to(here / "raw" / "a" / "1.jpg")
    given = [*words({"media": "photos"}), "follow-links=true"]
    check_sources(plan(*given))
    check_sources(plan(*given[:-1], backend="local"))
    for start in (
        lambda: check_sources(plan(*given, backend="local")),
        lambda: run(read_command(["run", "--backend", "local", "--data", "raw", *given])),
    ):
        with pytest.raises(UsageError, match="a container sees nothing but the folder photos"):
            start()


# --- what tells prepared sets apart -------------------------------------------------------------------------


def key(given, name="always-the-same"):
    return prepared_key(replace(plan(*words(given)), job_name=name), [])


@pytest.mark.parametrize("option", KINDS)
def test_what_has_changed_is_prepared_anew(here, option):
    given = {option: HERE[option]}
    before, file = key(given), here / HERE[option]
    assert key(given) == before
    (next(file.iterdir()) if file.is_dir() else file).write_text("other than before")
    assert key(given) != before


@pytest.mark.parametrize("option", KINDS)
def test_what_lies_in_s3_may_have_changed(here, option):
    given = {option: IN_S3[option]}
    assert key(given, "one") != key(given, "another")
    assert key({}, "one") == key({}, "another")


# --- an option of several words -----------------------------------------------------------------------------

COLUMNS = "path=filename 'label=species name'"


def test_several_words_are_quoted_as_for_a_shell(here):
    made = plan("--prepare", f"columns={COLUMNS}", "seed=7")
    with open_workspace(None) as workspace:
        job = prepare_job(PlannedRun(made, workspace, here / "code", PROCESSES))
    read = read_options(PrepareOptions, "prepare.py", processing_arguments(job))
    assert (read.columns, read.seed) == (("path=filename", "label=species name"), 7)
    started = ["run", "--backend", "process", "--data", "raw", "--prepare", f"columns={COLUMNS}"]
    assert options_as_words(read_command(started).design.prepare) == [
        "--columns", "path=filename", "--columns", "label=species name",
    ]  # fmt: skip


def test_an_experiment_may_have_a_list_of_its_own():
    options = own_prepare_options({"columns": ["path=file name", "label=species"]})
    assert options_as_words(options) == ["--columns", "path=file name", "--columns", "label=species"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("path='file", "--prepare columns=path='file: cannot be read as a shell reads words (No closing"),
        (" ", "--prepare columns: is empty"),
        ("path=x species", "--prepare columns: is no pair as in path=filename"),
    ],
)
def test_what_is_no_list_of_columns_is_refused(value, message):
    with pytest.raises(UsageError) as error:
        plan("--prepare", f"columns={value}")
    assert str(error.value).startswith(message)
