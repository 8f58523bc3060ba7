"""Settings in the place of flags: trapline.toml, then variables; and what is said where nothing is named."""

import io
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from trapline.console import run
from trapline.errors import UsageError
from trapline.launching.checkout import Experiment
from trapline.launching.commands import settings as command
from trapline.launching.commands.settings import write_settings
from trapline.launching.flags import read_plan
from trapline.launching.settings import Setting, no_data, read_settings
from trapline.pipeline.check import assumed
from trapline.pipeline.command_line import read_command

EXPERIMENT = Experiment("trial", "a trial", {"arch": "resnet18", "image_size": 96})
ROLE = "arn:aws:iam::123456789012:role/Trap"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder, and no settings from outside."""
    for name in ("DATA", "BUCKET", "OUTPUT", "ROLE", "REGION", "IMAGE", "BACKEND"):
        monkeypatch.delenv(f"TRAPLINE_{name}", raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, **values):
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder / "trapline.toml", values)


def plan(*words):
    return read_plan(EXPERIMENT, words)


def test_a_command_stands_as_it_is_where_the_file_says_the_rest(folder):
    write(folder, data="images", backend="process")
    made = plan()
    assert (made.backend, made.data, made.output) == ("process", str(folder / "images"), None)


def test_a_flag_goes_before_the_file_and_the_file_before_a_variable(folder, monkeypatch):
    write(folder, data="s3://bucket/filed", role="Filed")
    monkeypatch.setenv("TRAPLINE_ROLE", "Varied")
    monkeypatch.setenv("TRAPLINE_IMAGE", "own:2")
    made = plan("--data", "s3://bucket/typed")
    assert (made.data, made.role, made.image.uri) == ("s3://bucket/typed", "Filed", "own:2")


def test_the_file_is_found_upwards_and_the_nearest_counts(folder, monkeypatch):
    write(folder, data="far", role="Far")
    (folder / "project" / "deep").mkdir(parents=True)
    write(folder / "project", data="near")
    monkeypatch.chdir(folder / "project" / "deep")
    assert read_settings() == {
        "data": Setting(str(folder / "project" / "near"), str(folder / "project" / "trapline.toml"))
    }


def test_a_bucket_alone_says_where_images_lie_and_results_go(folder):
    write(folder, bucket="traps", role=ROLE)
    made = plan()
    assert (made.data, made.output) == ("s3://traps/images", "s3://traps/trapline")
    design = read_command(["definition"]).design
    defaults = {parameter.name: parameter.default for parameter in design.parameters}
    assert defaults["InputData"] == "s3://traps/images/"
    assert defaults["OutputPrefix"] == "s3://traps/trapline"
    assert defaults["RoleArn"] == ROLE


def test_what_is_for_aws_alone_is_left_out_here(folder):
    write(folder, bucket="traps", role=ROLE, region="eu-west-1", output="s3://traps/out", image="own:1")
    made = plan("--backend", "process", "--data", "demo")
    assert (made.role, made.output, made.image.uri) == (None, None, None)
    assert read_command(["run", "--backend", "process", "--data", "demo"]).role is None


def test_a_prepared_set_that_is_named_needs_no_data(folder):
    write(folder, data="images", backend="process")
    made = plan("--prepared", "set")
    assert (made.data, made.prepared) == (None, "set")


def test_the_region_reaches_the_libraries_of_aws(folder, monkeypatch):
    import os

    write(folder, bucket="traps", region="eu-west-1")
    plan()
    assert (os.environ["AWS_REGION"], os.environ["AWS_DEFAULT_REGION"]) == ("eu-west-1", "eu-west-1")
    plan("--region", "eu-north-1")
    assert os.environ["AWS_REGION"] == "eu-north-1"


def test_a_folder_of_the_file_is_nothing_for_jobs_on_aws_and_the_file_is_named(folder):
    write(folder, data="images")
    with pytest.raises(UsageError, match=r"trapline\.toml: data .*/images: jobs on AWS read and write S3"):
        plan()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('bukket = "x"', r"trapline\.toml: bukket: unknown; did you mean bucket\?"),
        ("epochs = 3", r"trapline\.toml: epochs: unknown; there are data, bucket, output, role"),
        ('backend = "gpu"', r"trapline\.toml: backend: input should be 'process', 'local' or 'aws'"),
        ('bucket = "s3://x"', r"trapline\.toml: bucket: must be a bucket's name, without s3://"),
        ('role = "arn:aws:iam::1:role/x"', r"trapline\.toml: role: must be a role's name or ARN"),
        ("data = 3", r"trapline\.toml: data: input should be a valid string"),
        ("data = ", r"trapline\.toml: not valid TOML"),
    ],
)
def test_a_wrong_setting_is_refused_by_file_and_name(folder, text, message):
    (folder / "trapline.toml").write_text(f"{text}\n")
    with pytest.raises(UsageError, match=message):
        plan("--backend", "process", "--data", "demo")


def test_a_wrong_variable_is_refused_by_its_name_and_an_empty_one_counts_for_nothing(monkeypatch):
    monkeypatch.setenv("TRAPLINE_DATA", "")
    assert read_settings() == {}
    monkeypatch.setenv("TRAPLINE_BACKEND", "gpu")
    with pytest.raises(UsageError, match=r"^TRAPLINE_BACKEND: input should be"):
        read_settings()


def test_hyperparameters_never_come_from_variables(monkeypatch):
    monkeypatch.setenv("TRAPLINE_EPOCHS", "99")
    assert plan("--data", "demo").config.epochs == 5


def test_where_nothing_names_data_four_lines_say_what_to_type(monkeypatch):
    words = ["launch/swin_stage1.py", "--backend", "process", "--set", "epochs=1"]
    monkeypatch.setattr("sys.argv", words)
    lines = no_data().splitlines()
    assert len(lines) == 4
    assert lines[1].endswith("python launch/swin_stage1.py --set epochs=1 --backend process --data demo")
    assert lines[2].endswith(
        "python launch/swin_stage1.py --set epochs=1 --data s3://BUCKET/PREFIX --role ROLE"
    )


@pytest.mark.parametrize(
    "script", ["launch/swin_stage1.py", "launch/multilabel_sweep.py", "pipelines/camera_trap.py"]
)
def test_a_script_as_it_stands_says_so_and_ends_with_exit_code_2(folder, script):
    done = subprocess.run(
        [sys.executable, str(ROOT / script)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 4
    assert done.stderr.startswith("error: no data: neither --data nor trapline.toml nor TRAPLINE_DATA")


def test_a_pipeline_keeps_what_the_settings_said_for_when_it_is_continued(folder):
    write(folder, data="demo", backend="process")
    made = read_command([])
    assert (made.verb, made.backend, made.data) == ("run", "process", "demo")
    assert made.said == [["--backend", "process", "--data", "demo"]]


def test_a_check_takes_the_settings_of_aws_and_assumes_the_rest(folder):
    write(folder, data="images", backend="process")
    assert assumed(EXPERIMENT, []) == [
        "--backend", "aws", "--output", "s3://assumed-bucket/trapline", "--data", "s3://assumed-bucket/images",
    ]  # fmt: skip
    write(folder, data="s3://traps/raw", bucket="traps")
    assert assumed(EXPERIMENT, []) == ["--backend", "aws"]


# --- the command --------------------------------------------------------------------------------------------


def call(monkeypatch, capsys, *words, typed=None):
    monkeypatch.setattr("sys.argv", ["launch/settings.py", *words])
    if typed is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        for stream in (sys.stdin, sys.stdout):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit) as end:
        run(command.main)
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_settings_are_written_shown_with_their_source_and_removed(folder, monkeypatch, capsys):
    monkeypatch.setenv("TRAPLINE_ROLE", "Varied")
    (folder / "trapline.toml").write_text('# mine\ndata = "old"\n')
    code, shown, _ = call(monkeypatch, capsys, "data=demo", "backend=process")
    assert code == 0
    assert (folder / "trapline.toml").read_text() == '# mine\ndata = "demo"\nbackend = "process"\n'
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line}
    assert rows["data"] == ["demo", str(folder / "trapline.toml")]
    assert rows["role"] == ["Varied", "TRAPLINE_ROLE"]
    assert rows["region"] == []
    call(monkeypatch, capsys, "data=")
    assert (folder / "trapline.toml").read_text() == '# mine\nbackend = "process"\n'


@pytest.mark.parametrize(
    ("word", "message"),
    [("bukket=x", "bukket: unknown; did you mean bucket?"), ("backend=gpu", "backend: input should be")],
)
def test_what_cannot_be_a_setting_is_not_written(folder, monkeypatch, capsys, word, message):
    code, _, said = call(monkeypatch, capsys, word)
    assert (code, (folder / "trapline.toml").exists()) == (2, False)
    assert said.startswith(f"error: {message}")


def test_a_terminal_is_asked_for_each_and_again_where_the_answer_cannot_be(folder, monkeypatch, capsys):
    write(folder, data="demo", role="Old")
    answers = ["", "Traps!", "traps", "", "-", "", "", "aws"]
    code, shown, _ = call(monkeypatch, capsys, typed="\n".join(answers) + "\n")
    assert code == 0
    assert "bucket: must be a bucket's name" in shown
    assert (folder / "trapline.toml").read_text() == 'data = "demo"\nbucket = "traps"\nbackend = "aws"\n'
