"""Messages name options as the person typed them, in a job's own command or in a launcher's."""

from pathlib import Path

import pytest

from trapline.errors import TraplineError, UsageError
from trapline.job_contract import (
    copy_folder,
    ensure_writable,
    failure_file,
    hyperparameter,
    prepare_option,
    training_paths,
)


def test_the_output_folder_has_the_layout_of_opt_ml(tmp_path):
    paths = training_paths(str(tmp_path), str(tmp_path / "job"), {})
    assert paths.model == tmp_path / "job" / "model"
    assert paths.output == tmp_path / "job" / "output" / "data"
    assert paths.checkpoints == tmp_path / "job" / "checkpoints"


def test_the_toolkits_variables_say_where_without_flags(tmp_path):
    environment = {
        "SM_CHANNEL_PREPARED": str(tmp_path),
        "SM_MODEL_DIR": "/m",
        "SM_OUTPUT_DATA_DIR": "/o",
        "SAGEMAKER_BASE_DIR": "/base",
    }
    paths = training_paths(None, None, environment)
    assert (paths.prepared, paths.model, paths.output) == (tmp_path, Path("/m"), Path("/o"))
    assert paths.checkpoints == Path("/base/checkpoints")
    assert failure_file(environment) == Path("/base/output/failure")


def test_outside_sagemaker_there_is_no_failure_file():
    assert failure_file({}) is None


def test_flags_win_over_variables(tmp_path):
    environment = {"SM_CHANNEL_PREPARED": "/other", "SM_MODEL_DIR": "/m", "SM_OUTPUT_DATA_DIR": "/o"}
    paths = training_paths(str(tmp_path), str(tmp_path), environment)
    assert (paths.prepared, paths.model) == (tmp_path, tmp_path / "model")


@pytest.mark.parametrize(
    ("prepared", "output", "named"),
    [(None, "out", "--prepared"), ("/no/such/folder", "out", "/no/such/folder"), (".", None, "--output")],
)
def test_a_missing_place_is_named(prepared, output, named):
    with pytest.raises(UsageError, match=named):
        training_paths(prepared, output, {})


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TraplineError, match="cannot be written"):
        ensure_writable(tmp_path / "file" / "below")


@pytest.mark.parametrize("variables", [False, True])
def test_a_data_set_in_s3_gets_a_folder_of_its_own_below_the_jobs(tmp_path, variables):
    uri = "s3://bucket/sets/2026 prepared/"
    environment = {
        "SM_CHANNEL_PREPARED": uri,
        "SM_MODEL_DIR": "/m",
        "SM_OUTPUT_DATA_DIR": "/o",
        "SAGEMAKER_BASE_DIR": str(tmp_path),
    }
    paths = training_paths(None, None, environment) if variables else training_paths(uri, str(tmp_path), {})
    assert paths.prepared_uri == uri
    assert paths.prepared.parent == tmp_path / "input" / "s3"
    assert paths.prepared.name.startswith("2026-prepared-")
    assert not paths.prepared.exists()


def test_folders_for_copies_differ_as_their_uris_do():
    uris = ["s3://a/x/set", "s3://a/y/set", "s3://b/x/set", "s3://a", "s3://a/.."]
    folders = [copy_folder(uri, Path("job")) for uri in uris]
    assert len(set(folders)) == len(uris)
    assert {folder.parent for folder in folders} == {Path("job/input/s3")}
    assert copy_folder("s3://a/x/set/", Path("job")) == folders[0]


def test_a_local_set_needs_no_copy(tmp_path):
    assert training_paths(str(tmp_path), str(tmp_path), {}).prepared_uri is None


def test_results_cannot_go_to_s3(tmp_path):
    with pytest.raises(UsageError, match="--output s3://bucket/run: results are written to a local folder"):
        training_paths(str(tmp_path), "s3://bucket/run", {})


@pytest.fixture
def by_hand(monkeypatch, tmp_path):
    monkeypatch.delenv("SM_HPS", raising=False)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return tmp_path


def test_in_an_entry_point_they_are_its_own_flags(by_hand):
    assert hyperparameter("weights", "none") == "--weights none"
    assert prepare_option("val-share", 0.1) == "--val-share 0.1"
    assert prepare_option("site_regex") == "--site-regex"


def test_in_a_training_job_they_are_the_launchers(by_hand, monkeypatch):
    monkeypatch.setenv("SM_HPS", "{}")
    assert hyperparameter("weights", "none") == "--set weights=none"
    assert prepare_option("shares") == "--prepare shares"


def test_in_a_processing_job_they_are_the_launchers(by_hand):
    (by_hand / "config").mkdir()
    (by_hand / "config" / "processingjobconfig.json").write_text("{}")
    assert prepare_option("split", "random") == "--prepare split=random"
