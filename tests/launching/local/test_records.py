"""The record of a run says how it ended; a failure always has a reason."""

import json
from types import SimpleNamespace

import pytest

from trapline.config import make_config
from trapline.errors import TraplineError
from trapline.launching.local.running import RunRecord

PLAN = SimpleNamespace(
    job_name="job", experiment=SimpleNamespace(name="trial"), backend="process", data="raw", prepared=None,
    prepare_options={}, channels={}, instance_count=1, config=make_config({}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (TraplineError("no val part"), "Failed", "no val part"),
        (TraplineError(), "Failed", "TraplineError without a message"),
        (AssertionError(), "Failed", "AssertionError without a message"),
        (TraplineError(" \n"), "Failed", "TraplineError without a message"),
        (KeyboardInterrupt(), "Stopped", None),
    ],
)
def test_how_a_run_ended_is_written_down(tmp_path, error, status, reason):
    with pytest.raises(type(error)), RunRecord(tmp_path / "job.json", PLAN).kept():
        raise error
    written = json.loads((tmp_path / "job.json").read_text())
    assert (written["status"], written["failure_reason"]) == (status, reason)
