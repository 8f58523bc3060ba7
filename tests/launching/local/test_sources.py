"""What a launch here reads: what is missing is named before anything starts, and a change is another set."""

import os
import shutil
import zipfile
from dataclasses import replace
from importlib import metadata

import pytest

from trapline import job_contract
from trapline.errors import UsageError
from trapline.launching.checkout import Experiment
from trapline.launching.flags import parser, read_plan
from trapline.launching.local.backend import requests_of
from trapline.launching.local.sources import check_sources, prepared_key
from trapline.pipeline.command_line import read_command
from trapline.pipeline.running import run

EXPERIMENT = Experiment("trial", "a trial", {"arch": "resnet18"})


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """raw/a/1.jpg, raw/b/2.jpg, other/3.jpg; the tests' own folder is the one to stand in."""
    for name in ("raw/a/1.jpg", "raw/b/2.jpg", "other/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "raw"


def plan(data, *options, backend="process"):
    words = ["--backend", backend, "--data", str(data), *(["--prepare", *options] if options else [])]
    return read_plan(EXPERIMENT, words)


def start(data, *options, backend="process"):
    """Start a pipeline here, as far as it comes."""
    words = ["run", "--backend", backend, "--data", str(data)]
    run(read_command([*words, *(["--prepare", *options] if options else [])]))


def key(*words, backend="process"):
    return prepared_key(replace(plan(*words, backend=backend), job_name="always-the-same"), [])


def refused(call):
    with pytest.raises(UsageError) as error:
        call()
    assert error.value.exit_code == 2
    return str(error.value)


# --- archives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("traps.7z", b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive, which is not read; unpack it and give"),
        ("traps.rar", b"Rar!\x1a\x07\x01\0", "is a RAR archive, which is not read"),
        ("traps.zip", b"Rar!\x1a\x07\x01\0", "is a RAR archive, which is not read"),
        ("traps.zip.001", b"PK\x03\x04", "is one part of several, which are not read"),
        ("traps.txt", b"x", "a file; give a folder, .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz"),
    ],
)
def test_an_archive_that_is_not_read_is_refused_by_its_kind_and_another_file_too(
    tmp_path, name, content, message
):
    (tmp_path / name).write_bytes(content)
    said = refused(lambda: check_sources(plan(tmp_path / name)))
    assert said.startswith(f"--data {tmp_path / name}: {message}")


@pytest.mark.parametrize(
    "name", ["t.zip", "t.tar", "t.tar.gz", "t.tgz", "t.tar.bz2", "t.tbz2", "t.tar.xz", "t.txz"]
)
def test_the_archives_that_prepare_py_reads_are_taken(raw, name):
    kind = {"zip": "zip", "tar": "tar", "gz": "gztar", "tgz": "gztar", "bz2": "bztar", "tbz2": "bztar"}
    made = shutil.make_archive("made", kind.get(name.rpartition(".")[2], "xztar"), raw)
    os.rename(made, name)  # noqa: PTH104
    check_sources(plan(name))


@pytest.mark.parametrize("backend", ["process", "local"])
def test_a_process_opens_an_archive_where_it_lies_and_a_container_a_copy(raw, backend):
    """prepare.py follows no link out of the folder that it is given."""
    archive = shutil.make_archive("made", "xztar", raw)
    request = requests_of(plan(archive, "split=random", backend=backend))[0]["CreateProcessingJob"]
    words = request["AppSpecification"]["ContainerArguments"]
    given = words[words.index("--input") + 1], words[words.index("--source-name") + 1]
    inputs = {item["InputName"] for item in request["ProcessingInputs"]}
    if backend == "process":
        assert (given, inputs) == ((archive, archive), {"code"})
    else:
        assert (given, inputs) == (("/opt/ml/processing/input/data", archive), {"code", "data"})


def test_help_says_which_archives_are_read():
    assert ".tar.bz2 or .tar.xz" in " ".join(parser(EXPERIMENT).format_help().split())


def test_a_file_is_no_prepared_set(raw):
    words = ["--backend", "process", "--prepared", str(raw / "a" / "1.jpg")]
    said = refused(lambda: check_sources(read_plan(EXPERIMENT, words)))
    assert said.endswith("1.jpg: a file; give a folder")


# --- files that options name --------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["raw", "demo", "traps.zip"])
def test_a_csv_of_sites_that_is_not_there_is_refused(raw, data):
    with zipfile.ZipFile("traps.zip", "w") as archive:
        archive.writestr("a/1.jpg", "x")
    message = "--prepare site-csv=none.csv: no such file"
    assert refused(lambda: check_sources(plan(data, "site-csv=none.csv"))) == message
    if data != "traps.zip":
        assert refused(lambda: start(data, "site-csv=none.csv")) == message


def test_names_of_labels_that_are_neither_here_nor_in_the_data_are_refused(raw):
    message = "--prepare label-names=names.csv: no such file, here or in raw"
    assert refused(lambda: check_sources(plan("raw", "label-names=names.csv"))) == message
    assert refused(lambda: check_sources(plan("raw", "label-names=names.csv", backend="local"))) == message
    assert refused(lambda: start("raw", "label-names=names.csv")) == message
    trial = ["--backend", "process", "--data", "raw", "--trial-s3", "--prepare", "label-names=names.csv"]
    assert refused(lambda: check_sources(read_plan(EXPERIMENT, trial))) == message


@pytest.mark.parametrize("place", ["names.csv", "raw/names.csv"])
def test_they_may_lie_in_either(raw, place):
    (raw.parent / place).write_text("Label,Name\n")
    check_sources(plan("raw", "label-names=names.csv"))


def test_a_file_here_is_given_to_the_job_and_one_of_the_data_named(raw):
    (raw / "inside.csv").write_text("Label,Name\n")
    (raw.parent / "here.csv").write_text("Label,Name\n")
    asked = {}
    for name in ("here.csv", "inside.csv"):
        (request,) = [
            request["CreateProcessingJob"]
            for request in requests_of(plan("raw", f"label-names={name}", "split=random"))
            if "CreateProcessingJob" in request
        ]
        words = request["AppSpecification"]["ContainerArguments"]
        inputs = {item["InputName"] for item in request["ProcessingInputs"]}
        asked[name] = words[words.index("--label-names") + 1], inputs
    assert asked == {
        "here.csv": ("/opt/ml/processing/input/label-names/here.csv", {"code", "data", "label-names"}),
        "inside.csv": ("inside.csv", {"code", "data"}),
    }


# --- links --------------------------------------------------------------------------------------------------


def test_containers_cannot_follow_links_out_of_the_folder(raw):
    following = ("raw", "follow-links=true")
    check_sources(plan(*following, backend="local"))
    (raw / "a" / "3.jpg").symlink_to(raw.parent / "other" / "3.jpg")
    message = (
        "--prepare follow-links=true: a container sees nothing but the folder raw, out of which links lead"
    )
    for call in (lambda: check_sources(plan(*following, backend="local")),
                 lambda: start(*following, backend="local")):  # fmt: skip
        said = refused(call)
        assert said.startswith(f"{message} (1, the first a/3.jpg); use --backend process")
    check_sources(plan("raw", backend="local"))
    check_sources(plan(*following))


@pytest.mark.parametrize("flag", ["prepared", "phase1", "pseudo"])
def test_containers_cannot_follow_links_out_of_any_folder_that_they_are_given(raw, flag):
    """A process can."""
    given = raw.parent / "given"
    given.mkdir()
    (given / "dataset.json").symlink_to(raw / "a" / "1.jpg")
    words = {"prepared": str(raw.parent / "whole"), flag: str(given)}
    (raw.parent / "whole").mkdir()
    (raw.parent / "whole" / "dataset.json").touch()
    more = ["--set", "weights=phase1"] if flag == "phase1" else []
    given_words = [word for name, text in words.items() for word in (f"--{name}", text)] + more
    check_sources(read_plan(EXPERIMENT, ["--backend", "process", *given_words]))
    asked = read_plan(EXPERIMENT, ["--backend", "local", *given_words])
    said = refused(lambda: check_sources(asked))
    assert said.startswith(f"--{flag} {given}: a container sees nothing but the folder {given}, out of which")


# --- what tells prepared sets apart -------------------------------------------------------------------------


def test_the_same_data_have_the_same_key(raw):
    assert key("raw") == key("raw")


@pytest.mark.parametrize("change", ["content", "time", "added", "removed", "renamed"])
def test_a_changed_file_makes_another_key(raw, change):
    before, file = key("raw"), raw / "a" / "1.jpg"
    {"content": lambda: file.write_text("longer than before"), "time": lambda: os.utime(file, (1, 1)),
     "added": file.with_name("2.jpg").touch, "removed": file.unlink,
     "renamed": lambda: file.rename(file.with_name("9.jpg"))}[change]()  # fmt: skip
    assert key("raw") != before


def test_a_link_that_leads_elsewhere_makes_another_key_though_all_it_leads_to_is_alike(raw):
    link, other = raw / "b" / "link.jpg", raw / "a" / "4.jpg"
    shutil.copy2(raw / "a" / "1.jpg", other)
    link.symlink_to("../a/1.jpg")
    before = key("raw")
    link.unlink()
    link.symlink_to("../a/4.jpg")
    assert key("raw") != before


def test_what_a_followed_link_leads_to_counts(raw):
    (raw / "b" / "whole").symlink_to(raw.parent / "other")
    before, following = key("raw"), key("raw", "follow-links=true")
    (raw.parent / "other" / "3.jpg").write_text("changed")
    assert key("raw") == before
    assert key("raw", "follow-links=true") != following


@pytest.mark.parametrize("name", ["pillow", "numpy", "opencv-python-headless", "simplejpeg", "pyarrow"])
def test_another_version_of_what_prepares_makes_another_key(raw, monkeypatch, name):
    before, original = key("raw"), metadata.version
    monkeypatch.setattr(metadata, "version", lambda asked: "0" if asked == name else original(asked))
    assert key("raw") != before


@pytest.mark.parametrize("name", ["unpacking.py", "s3_copies.py", "preparation/archives.py"])
def test_other_code_of_the_jobs_makes_another_key_wherever_it_lies(raw, monkeypatch, name):
    copy = shutil.copytree(job_contract.LIBRARY, raw.parent / "trapline")
    monkeypatch.setattr(job_contract, "LIBRARY", copy)
    before = key("raw")
    with (copy / name).open("a") as file:
        file.write("\n")
    assert key("raw") != before


def test_a_set_that_was_made_in_another_image_has_another_key(raw):
    plans = [replace(plan("raw"), job_name="always-the-same")] * 2
    assert prepared_key(plans[0], ["sha256:1"]) != prepared_key(plans[1], ["sha256:2"])


@pytest.mark.parametrize("option", ["label-names", "site-csv"])
def test_a_changed_file_of_an_option_makes_another_key(raw, option):
    (raw.parent / "given.csv").write_text("one")
    before = key("raw", f"{option}=given.csv")
    (raw.parent / "given.csv").write_text("another")
    assert key("raw", f"{option}=given.csv") != before


def test_what_systems_leave_beside_the_images_makes_no_difference(raw):
    before = key("raw")
    (raw / "a" / "@eaDir").mkdir()
    (raw / "a" / "@eaDir" / "1.jpg").touch()
    assert key("raw") == before


def test_names_in_another_encoding_and_links_to_nowhere_are_no_trouble(raw):
    (raw / "a" / os.fsdecode(b"caf\xe9.jpg")).touch()
    (raw / "a" / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(raw / "a" / "pipe")
    assert key("raw") == key("raw")
