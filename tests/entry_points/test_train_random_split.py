"""From raw images to the line that a training on a random split prints."""

import json

import pytest

from tests.support.entry_jobs import QUICK

DEMO = [
    "--input", "demo", "--short-side", "64", "--demo-images", "300", "--demo-unlabeled", "0",
    "--demo-sites", "15", "--processes", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def random_demo(tmp_path_factory, call_script):
    """A prepared demo set that is divided at random. Read it only."""
    folder = tmp_path_factory.mktemp("random") / "prepared"
    done = call_script("prepare.py", *DEMO, "--split", "random", "--output", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_prepared_set_holds_the_three_predictors_for_jobs_and_for_people(random_demo):
    summary = json.loads((random_demo / "summary.json").read_text())
    description = json.loads((random_demo / "dataset.json").read_text())
    assert list(summary["leakage_gap"]["predictors"]) == ["class_prior", "site", "image"]
    assert description["leakage"] == summary["leakage_gap"]
    assert summary["leakage_gap_reason"] is None


@pytest.mark.slow
def test_a_training_on_a_random_split_says_what_it_flatters(random_demo, tmp_path, call_script):
    flags = ["--prepared", random_demo, "--output", tmp_path, *QUICK, "--epochs", "1"]
    done = call_script("train.py", *flags)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("note: the split is random")]
    assert "at cameras it has not seen" in line
    assert line.endswith("--split site")
