"""Which checkpoint a job goes on from: one of the same code, versions, data, configuration and weights."""

from importlib import metadata
from types import SimpleNamespace

import pytest

from trapline.config import make_config
from trapline.job_contract import TrainingPaths
from trapline.models.weights import WeightsReport
from trapline.training.distributed import ALONE, Ranks
from trapline.training.setup import setup_checkpoints


@pytest.fixture
def key(tmp_path):
    """The key of a job's checkpoints: (settings of the job, **of its surroundings) -> str."""
    code = tmp_path / "entry_points"
    code.mkdir()
    (code / "train.py").write_text("1")

    def make(fingerprint="f", identity="i", ranks=ALONE, **settings):
        paths = TrainingPaths(prepared=tmp_path, model=tmp_path, output=tmp_path, checkpoints=tmp_path)
        data = SimpleNamespace(
            prepared=SimpleNamespace(description=SimpleNamespace(fingerprint=fingerprint)), pseudo=None
        )
        report = WeightsReport("x.pth", identity, 0, (), ())
        return setup_checkpoints(make_config(settings), paths, data, code, report, ranks).key

    make.code = code / "train.py"
    return make


def test_the_same_job_has_the_same_key(key):
    assert key() == key()


@pytest.mark.parametrize("name", ["torch", "numpy", "albumentations", "pillow", "simplejpeg"])
def test_another_version_of_what_trains_has_another_key(key, monkeypatch, name):
    """Its epochs would not be those of a job that runs through."""
    before, original = key(), metadata.version
    monkeypatch.setattr(metadata, "version", lambda asked: "0" if asked == name else original(asked))
    assert key() != before


@pytest.mark.parametrize(
    "changed", [{"fingerprint": "g"}, {"identity": "j"}, {"lr": 0.5}, {"ranks": Ranks(0, 2)}]
)
def test_other_data_weights_settings_and_ranks_have_another_key(key, changed):
    assert key(**changed) != key()


def test_other_code_has_another_key(key):
    before = key()
    key.code.write_text("2")
    assert key() != before
