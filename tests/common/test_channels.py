from pathlib import Path

import pytest

from common.channels import ensure_writable, failure_file, training_paths
from common.errors import TraplineError, UsageError


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
