"""Whether data are those that an execution has completed with: Prepare says it, Collect records it."""

import functools
import json
import shutil

import pytest

from tests.conftest import write_jpeg
from trapline.errors import TraplineError
from trapline.preparation.completion import data_digest, write_record, write_state
from trapline.storage import write_json

NEW = {"data": "", "settings": ""}


def draw(folder):
    """Images of two classes at six sites, and two unlabelled ones, one of them damaged."""
    for number in range(24):
        write_jpeg(folder / "ab"[number % 2] / f"cam{number % 6}_{number}.jpg", number)
    write_jpeg(folder / "unlabeled" / "cam0_90.jpg", 90)
    (folder / "unlabeled" / "cam0_91.jpg").write_bytes(b"no picture")
    return folder


def prepared(call_script, source, place, *flags):
    """Prepare as the pipeline does, into a new folder of `place`: the folder, version.json, the log."""
    output = place / f"out{len(list(place.iterdir()))}"
    (place / "completed").mkdir(exist_ok=True)
    done = call_script(
        "prepare.py", "--input", source, "--output", output, "--processes", "1", "--split", "random",
        "--max-quarantine", "0.5", "--source-name", "s3://traps/raw/", "--shares", "0.5,0.25,0.25",
        "--completed", place / "completed", *flags,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output, json.loads((output / "version.json").read_text()), done.stdout


@pytest.fixture
def raw(tmp_path):
    return draw(tmp_path / "raw")


@pytest.fixture
def prepare(raw, tmp_path, call_script):
    """Prepare the images: (*flags) -> as `prepared`."""
    return functools.partial(prepared, call_script, raw, tmp_path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, call_script):
    """The folder of the images as they were drawn, prepared without further flags. Read it only."""
    place = tmp_path_factory.mktemp("plain")
    return prepared(call_script, draw(place / "raw"), place)[0]


@pytest.fixture
def copied(plain, tmp_path):
    """A copy of it, beside the empty folder for a record."""
    (tmp_path / "completed").mkdir()
    return shutil.copytree(plain, tmp_path / "copied")


def test_the_first_execution_finds_no_record_and_the_next_the_settings_of_the_first(prepare, tmp_path):
    output, state, log = prepare("--data-version", "monday")
    assert state["completed_with"] == ""
    assert "new; no execution has completed yet" in log
    write_record(output, ["code=1", "s3://traps/raw/", "0.001"], tmp_path / "completed")
    _, again, log = prepare("--data-version", "tuesday")  # the time of a start changes no result
    assert again == {"data": state["data"], "completed_with": "code=1 s3://traps/raw/ 0.001"}
    assert "those of the last completed execution" in log


def rewrite(raw):
    write_jpeg(raw / "a" / "cam0_0.jpg", 77)


def add_damaged(raw):
    (raw / "unlabeled" / "cam1_92.jpg").write_bytes(b"none either")


def add_class(raw):
    for number in range(80, 86):
        write_jpeg(raw / "c" / f"cam{number % 6}_{number}.jpg", number)


CHANGES = {
    "another image": lambda raw: write_jpeg(raw / "a" / "cam0_70.jpg", 70),
    "one less": lambda raw: (raw / "b" / "cam1_1.jpg").unlink(),
    "another content": rewrite,
    "another class": lambda raw: (raw / "a" / "cam0_0.jpg").rename(raw / "b" / "cam0_0.jpg"),
    "another name": lambda raw: (raw / "a" / "cam0_0.jpg").rename(raw / "a" / "cam0_00.jpg"),
    "one more to predict": lambda raw: write_jpeg(raw / "unlabeled" / "cam0_93.jpg", 93),
    "a damaged one more to predict": add_damaged,
    "a folder of one more class": lambda raw: [
        write_jpeg(raw / "c" / f"cam{n}_8{n}.jpg", 80 + n) for n in range(6)
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_data_is_something_new(plain, prepare, raw, tmp_path, change):
    write_record(plain, ["code=1"], tmp_path / "completed")
    CHANGES[change](raw)
    _, state, log = prepare()
    assert state["completed_with"] == ""
    assert "not those of the last completed execution" in log


@pytest.mark.slow
def test_the_same_images_in_another_folder_are_nothing_new(plain, prepare):
    assert data_digest(prepare()[0]) == data_digest(plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [["--crop-bottom", "0.1"], ["--seed", "7"], ["--short-side", "64"], ["--quality", "50"],
     ["--site-regex", "(?P<site>cam[0-9])_"], ["--site-regex", "(?P<site>cam[0-9])(?P<sequence>_[0-9])"]],
    ids=lambda flags: flags[-1],
)  # fmt: skip
def test_every_option_of_the_preparation_is_something_new(plain, prepare, flags):
    other, _, _ = prepare(*flags)
    assert data_digest(plain) != data_digest(other)


def test_sequences_alone_are_something_new(prepare):
    sets = [
        prepare("--site-regex", f"(?P<site>cam[0-9])_{sequence}")[0]
        for sequence in ("", "(?P<sequence>[0-9])")
    ]
    assert data_digest(sets[0]) != data_digest(sets[1])


def test_other_weights_at_the_same_place_are_something_new(prepare, tmp_path):
    weights = tmp_path / "weights"
    write_json(weights / "weights.json", {"files": [{"sha256": "1"}]})
    output, state, _ = prepare("--weights", weights)
    write_record(output, ["code=1"], tmp_path / "completed")
    assert prepare("--weights", weights)[1] == {**state, "completed_with": "code=1"}
    write_json(weights / "weights.json", {"files": [{"sha256": "2"}]})
    assert prepare("--weights", weights)[1]["completed_with"] == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(NEW), "no execution has completed yet"),
        ("{half", "is damaged"), ("[]", "is damaged"), ('{"data": 1, "settings": ""}', "is damaged"),
        ("{}", "is damaged"),
    ],
)  # fmt: skip
def test_a_record_that_says_nothing_is_none_and_that_is_said(copied, tmp_path, content, said):
    (tmp_path / "completed" / "last.json").write_text(content)
    assert said in write_state(copied, tmp_path / "completed")
    assert json.loads((copied / "version.json").read_text())["completed_with"] == ""


def test_an_empty_record_is_not_taken_for_that_of_empty_settings(copied, tmp_path):
    data = json.loads((copied / "version.json").read_text())["data"]
    write_json(tmp_path / "completed" / "last.json", {"data": data, "settings": ""})
    write_state(copied, tmp_path / "completed")
    assert json.loads((copied / "version.json").read_text())["completed_with"] == ""


def test_outside_of_a_pipeline_nothing_is_said_or_recorded(raw, tmp_path, call_script):
    done = call_script("prepare.py", "--input", raw, "--output", tmp_path / "out", "--split", "random",
                       "--processes", "1", "--max-quarantine", "0.5")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "execution" not in done.stdout
    assert not (tmp_path / "out" / "version.json").exists()
    with pytest.raises(TraplineError, match=r"version\.json: no such file"):
        write_record(tmp_path / "out", [], tmp_path / "record")
