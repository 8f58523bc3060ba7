"""Options of prepare.py on a launcher's command line reach prepare.py as they were written."""

import os
import re
from pathlib import Path

import pytest

from trapline.errors import UsageError
from trapline.job_options import PrepareOptions
from trapline.launching.checkout import Experiment
from trapline.launching.flags import read_plan
from trapline.launching.given_options import options_as_words, own_prepare_options
from trapline.launching.plan import Image, Machines, PrepareJob
from trapline.launching.sdk.objects import processing_arguments
from trapline.options import read_options
from trapline.pipeline.command_line import read_command

EXPERIMENT = Experiment("trial", "a trial", {"arch": "resnet18", "image_size": 96})
PROCESS = ["--backend", "process", "--data", "demo"]
AWS = ["--data", "s3://bucket/raw"]
VALUES = {
    "a dash in front": "-x",
    "two dashes in front": "--prepared",
    "a dash alone": "-",
    "a negative number": "-1",
    "an equals sign": "a=b=-c",
    "blanks": " two  words ",
    "a dash and blanks": "-a b",
    "quotes": '"it\'s"',
    "what shells read": "$HOME;`ls`|*",
    "a place of the job's": "/opt/ml/processing/x",
    "another script": "öäü \U0001f98a",
}


def plan(*words):
    return read_plan(EXPERIMENT, [str(word) for word in words])


def parsed(words):
    """What prepare.py reads from a command line."""
    return read_options(PrepareOptions, "prepare.py", words)


def job(source_name="demo", **changes):
    """A prepare job."""
    given = {"arguments": (), "input": None, **changes}
    return PrepareJob(
        name="p", code="file:///code", staged=Path("code"), installs=False, source_name=source_name, output="file:///out",
        machines=Machines("local"), image=Image("i"), role="role/r", **given,
    )  # fmt: skip


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_of_any_form_reaches_prepare_py_unharmed(value):
    words = plan(*PROCESS, "--prepare", f"source-name={value}", "seed=7").prepare_arguments()
    read = parsed(processing_arguments(job(arguments=words)))
    assert (read.source_name, read.seed) == (value, 7)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_the_name_of_the_data_may_be_any_of_them(value):
    assert parsed(processing_arguments(job(value, input="file:///raw"))).source_name == value


@pytest.mark.parametrize("regex", ["-(cam.)-", "-(?P<site>a=b) c", "--(x)"])
def test_a_pattern_may_begin_with_a_dash_in_launchers_and_in_the_pipeline(regex):
    given = ["--prepare", f"site_regex={regex}"]
    options = read_command(["run", *PROCESS, *given]).design.prepare
    for words in (plan(*PROCESS, *given).prepare_arguments(), options_as_words(options)):
        read = parsed(["--input", "x", "--output", "x", *words])
        assert read.site_regex == regex


def test_what_begins_with_no_dash_stays_two_words():
    assert options_as_words({"split": "random", "crop-bottom": "0.1"}) == [
        "--split", "random", "--crop-bottom", "0.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("crop-bottom=-1", "--prepare crop-bottom: input should be greater than or equal to 0 (got '-1')"),
        ("crop_bottom=0.6", "--prepare crop-bottom: input should be less than or equal to 0.5"),
        ("seed=-1", "--prepare seed: input should be greater than or equal to 0"),
        ("quality=-x", "--prepare quality: input should be a valid integer"),
        ("split=-x", "--prepare split: input should be 'site', 'random' or 'given' (got '-x')"),
        ("site-regex=-(", "--prepare site-regex: is not a regular expression"),
        ("follow-links=perhaps", "--prepare follow-links: input should be a valid boolean"),
        ("crop-botom=0.1", "--prepare crop-botom: unknown; did you mean crop-bottom?"),
        ("shares=1,2", "--prepare shares: is not three numbers, as in 0.65,0.20,0.15 (got '1,2')"),
    ],
)
def test_an_impossible_value_is_refused_before_anything_starts_as_it_was_typed(option, message):
    for read in (lambda: plan(*PROCESS, "--prepare", option),
                 lambda: read_command(["run", *PROCESS, "--prepare", option])):  # fmt: skip
        with pytest.raises(UsageError, match=re.escape(message)):
            read()


def test_options_that_exclude_each_other_are_named_as_they_were_typed():
    message = "^--prepare site-csv and --prepare site-regex: give one of them$"
    with pytest.raises(UsageError, match=message):
        plan(*PROCESS, "--prepare", "site-csv=sites.csv", "site-regex=(?P<site>.)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["site-csv="], "--prepare site-csv: is empty; give it a value, or leave it out"),
        (["source_name="], "--prepare source-name: is empty"),
        (["site-regex=--"], "--prepare site-regex=--: ends the options of a command line"),
        (["crop-bottom=0.1", "crop_bottom=0.2"], "--prepare crop-bottom: given twice"),
    ],
)
def test_what_no_command_line_can_hand_over_is_refused(options, message):
    for read in (plan, lambda *words: read_command(["run", *words])):
        with pytest.raises(UsageError) as refused:
            read(*PROCESS, "--prepare", *options)
        assert str(refused.value).startswith(message)


@pytest.mark.parametrize("value", ["-x.pth", "--epochs", "-1"])
def test_a_hyperparameter_that_the_job_would_take_for_a_flag_is_refused(value):
    """The toolkit writes `--weights -x.pth`."""
    for read in (plan, lambda *words: read_command(["run", *words])):
        with pytest.raises(UsageError, match=f"hyperparameter weights: {value} begins with a dash"):
            read(*PROCESS, "--set", f"weights={value}")


@pytest.mark.parametrize("flag", ["--data", "--prepared", "--phase1", "--output"])
def test_an_empty_place_is_not_the_folder_one_stands_in(flag):
    data = [] if flag in ("--data", "--prepared") else ["--data", "demo"]
    with pytest.raises(UsageError, match=f"{flag}: is empty"):
        plan("--backend", "process", *data, f"{flag}=")


def test_a_word_that_is_no_text_is_refused_by_its_bytes():
    word = os.fsdecode(b"caf\xe9")
    for read in (plan, lambda *words: read_command(["run", *words])):
        with pytest.raises(UsageError, match=r"caf\\xe9: is not UTF-8"):
            read("--backend", "process", "--data", word)


@pytest.mark.parametrize(
    ("words", "follows"),
    [([], False), (["--follow-links"], True), (["--follow-links", "true"], True),
     (["--follow-links", "false"], False), (["--follow-links=TRUE"], True), (["--follow_links"], True)],
)  # fmt: skip
def test_prepare_py_follows_links_out_of_the_folder_where_it_is_told_to(words, follows):
    assert parsed(["--input", "x", "--output", "x", *words]).follow_links is follows


@pytest.mark.parametrize("value", ["true", "false", "True"])
def test_launchers_hand_on_whether_links_are_followed(value):
    made = plan(*PROCESS, "--prepare", f"follow_links={value}")
    read = parsed(["--input", "x", "--output", "x", *made.prepare_arguments()])
    assert made.follows_links is read.follow_links is (value != "false")


def test_an_experiments_own_true_is_prepare_pys():
    words = options_as_words(own_prepare_options({"follow_links": True}))
    assert parsed(["--input", "x", "--output", "x", *words]).follow_links


@pytest.mark.parametrize("read", [plan, lambda *words: read_command(["definition", *words])])
def test_in_s3_there_are_no_links_to_follow(read):
    with pytest.raises(UsageError, match="follow-links=true: jobs on AWS read S3, where there are no links"):
        read(*AWS, "--prepare", "follow-links=true")
    read(*AWS, "--prepare", "follow-links=false")


@pytest.mark.parametrize("read", [plan, lambda *words: read_command(["definition", *words])])
def test_a_job_on_aws_reads_no_file_of_this_machine(read, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("Label,Name\n")
    with pytest.raises(UsageError, match=r"label-names=.*names.csv: must be an s3:// URI or a file of the"):
        read(*AWS, "--prepare", f"label-names={names}")
    read(*AWS, "--prepare", "label-names=names.csv")  # of the data


def test_an_archive_in_s3_that_is_not_read_is_refused_by_its_kind():
    with pytest.raises(UsageError, match=r"--data s3://b/traps.7z: is a 7-Zip archive, which is not read"):
        plan("--data", "s3://b/traps.7z")
    plan("--data", "s3://b/traps.tar.xz")
    plan("--data", "s3://b/traps.7z/")  # a prefix
