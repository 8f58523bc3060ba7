"""Models are averaged by one command, whole or not at all."""

import json
from functools import partial

import pytest

from tests.support.account import call_here
from tests.support.runs import history, pack, write_model
from trapline.launching.commands import artifacts, ensemble
from trapline.models.artefact import load_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A run's archive, a model's folder of another architecture, and one of other classes."""
    folder = tmp_path_factory.mktemp("models")
    one = write_model(folder / "one" / "model", history([0.9]))
    other = write_model(folder / "other" / "model", history([0.8]), arch="squeezenet1_1")
    strange = write_model(folder / "strange" / "model", history([0.8]), classes=("cat", "dog"))
    return {"one": pack(folder / "one.tar.gz", one), "other": other, "strange": strange}


@pytest.fixture
def average(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    return partial(call_here, monkeypatch, capsys, ensemble)


def test_two_models_become_one_that_can_be_served_and_fetched(average, models, tmp_path, monkeypatch, capsys):
    code, output, _ = average(models["one"], models["other"], "--to", "both")
    assert code == 0
    assert "model: both (2 members: shufflenet_v2_x0_5, squeezenet1_1; 1,068,902 parameters)" in output
    assert {path.name for path in (tmp_path / "both").iterdir()} == {
        "model.json",
        "model.safetensors",
        "code",
    }
    assert (tmp_path / "both" / "code" / "trapline" / "models" / "build.py").is_file()
    assert len(load_model(tmp_path / "both")[1].members) == 2
    fetched = call_here(monkeypatch, capsys, artifacts, "both", "--to", "copy")
    assert (fetched.code, (tmp_path / "copy" / "model.json").is_file()) == (0, True)
    assert json.loads((tmp_path / "both" / "model.json").read_text())["metrics"] == {}


WRONG = {
    "other classes": (["one", "strange"], "its classes is ['cat', 'dog'], that of"),
    "one alone": (["one"], "an ensemble needs two models or more"),
    "one twice": (["one", "one"], "a model is named twice"),
}


@pytest.mark.parametrize(("names", "message"), WRONG.values(), ids=WRONG)
def test_models_that_do_not_go_together_leave_nothing(average, models, tmp_path, names, message):
    code, _, errors = average(*(models[name] for name in names), "--to", "both")
    assert (code, message in errors) == (2, True), errors
    assert list(tmp_path.iterdir()) == []
