"""Messages name options as the person typed them, in a job's own command or in a launcher's."""

import pytest

from trapline.typed import hyperparameter, prepare_option


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
