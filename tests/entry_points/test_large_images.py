"""An unlabelled file that batch transform would not send has its answer before: nothing is paid for it."""

import json

import pandas as pd
import pytest

from tests.conftest import write_jpeg
from trapline.data.prepared import open_prepared
from trapline.inference.limits import settings_from
from trapline.job_contract import MAX_FILE_BYTES, PAYLOAD_MB
from trapline.reports.answer_tables import read_answers, read_index

pytestmark = pytest.mark.slow

LARGE, LARGEST = MAX_FILE_BYTES + 1, MAX_FILE_BYTES
CODE = "payload_too_large"


def grow(path, size, seed, damaged=False):
    """A picture in a file of so many bytes."""
    write_jpeg(path, seed, side=48)
    data = path.read_bytes()
    data = data[: len(data) // 2] if damaged else data
    path.write_bytes(data + bytes(size - len(data)))


@pytest.fixture
def raw(tmp_path):
    """24 labelled images and 5 unlabelled ones, of which some are large."""
    folder = tmp_path / "raw"
    for number in range(24):
        write_jpeg(folder / ("cat", "dog")[number % 2] / f"{number}.jpg", number, side=48)
    grow(folder / "cat" / "0.jpg", LARGE, 0)
    for number, (name, size) in enumerate([("at_limit", LARGEST), ("large", LARGE), ("damaged", LARGE)]):
        grow(folder / "unlabeled" / f"{name}.jpg", size, 100 + number, damaged=name == "damaged")
    write_jpeg(folder / "unlabeled" / "small.jpg", 200, side=48)
    (folder / "unlabeled" / "text.jpg").write_bytes(b"no picture" + bytes(LARGE))
    return folder


@pytest.fixture
def prepared(raw, tmp_path, call_script):
    words = ["--processes", "1", "--max-quarantine", "0.07"]  # of 29 inputs two, the damaged ones
    done = call_script("prepare.py", "--input", raw, "--output", tmp_path / "set", *words)
    assert done.returncode == 0, done.stderr
    return tmp_path / "set"


def test_what_is_too_large_to_be_sent_is_kept_from_the_transform_and_says_why(prepared):
    index = pd.read_csv(prepared / "transform" / "index.csv", keep_default_na=False).set_index("id")
    reasons = {
        "unlabeled/at_limit.jpg": "", "unlabeled/large.jpg": CODE, "unlabeled/damaged.jpg": "truncated",
        "unlabeled/small.jpg": "", "unlabeled/text.jpg": "not_an_image",
    }  # fmt: skip
    assert index["reason"].to_dict() == reasons
    assert {name for name, reason in reasons.items() if not reason} == set(index[index["name"] != ""].index)
    sizes = {path.name: path.stat().st_size for path in (prepared / "transform" / "images").iterdir()}
    assert set(sizes) == set(index["name"]) - {""}
    assert max(sizes.values()) == LARGEST
    assert (
        f"{LARGE} bytes, and batch transform sends at most {LARGEST}"
        in index["detail"].loc["unlabeled/large.jpg"]
    )


def test_every_input_is_in_a_part_or_in_quarantine_and_labelled_ones_may_be_large(prepared):
    quarantined = pd.read_csv(prepared / "quarantine.csv").set_index("id")["reason"].to_dict()
    kept = [
        name
        for part in ("train", "val", "test", "unlabeled")
        for name in open_prepared(prepared).part(part).table["id"].to_pylist()
    ]
    assert quarantined.pop("unlabeled/large.jpg") == CODE
    assert set(quarantined) == {"unlabeled/damaged.jpg", "unlabeled/text.jpg"}
    assert len(kept) == 29 - 3
    assert "cat/0.jpg" in kept
    assert json.loads((prepared / "summary.json").read_text())["inputs"] == 29


def test_each_input_has_one_row_of_answers_whatever_was_sent(prepared, tmp_path):
    answer = {"status": "ok", "label": "cat", "probabilities": {"cat": 0.75, "dog": 0.25}}
    (tmp_path / "answers").mkdir()
    for path in (prepared / "transform" / "images").iterdir():
        (tmp_path / "answers" / f"{path.name}.out").write_text(json.dumps(answer))
    answers = read_answers(tmp_path / "answers", read_index(prepared), ["cat", "dog"])
    assert {item.id: (item.status, item.reason) for item in answers} == {
        "unlabeled/at_limit.jpg": ("ok", ""),
        "unlabeled/damaged.jpg": ("failed", "truncated"),
        "unlabeled/large.jpg": ("failed", CODE),
        "unlabeled/small.jpg": ("ok", ""),
        "unlabeled/text.jpg": ("failed", "not_an_image"),
    }
    assert len(answers) == 5


def test_large_images_are_no_sign_of_a_damaged_source(raw, tmp_path, call_script):
    words = ["--processes", "1", "--max-quarantine", "0.06"]
    done = call_script("prepare.py", "--input", raw, "--output", tmp_path / "set", *words)
    assert done.returncode == 1
    assert "2 of 29 inputs cannot be used (" in done.stderr
    assert CODE not in done.stderr


def test_what_is_handed_over_is_taken_by_the_server_and_by_the_job():
    settings = settings_from({"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(PAYLOAD_MB)})
    assert settings.max_payload >= MAX_FILE_BYTES
    assert PAYLOAD_MB * 10**6 >= MAX_FILE_BYTES  # where a MB of AWS's is the smaller one


def test_the_pipelines_transform_has_the_one_limit():
    pytest.importorskip("sagemaker")
    from trapline.pipeline.command_line import read_command
    from trapline.pipeline.definition import definition_text, make_pipeline

    command = read_command(["definition", "--data", "s3://b/raw", "--output", "s3://b/out"])
    text = definition_text(make_pipeline(command.design))
    assert f'"MaxPayloadInMB": {PAYLOAD_MB}' in text
