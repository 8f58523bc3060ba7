"""`import trapline`, as a program of somebody else uses it."""

import ast
import json
import subprocess
import sys
import textwrap

import pytest

import trapline
from tests.conftest import ROOT
from trapline.front import jobs

PACKAGE = ROOT / "src" / "common" / "trapline"
QUICK = {"arch": "shufflenet_v2_x0_5", "weights": "none", "image_size": 32, "epochs": 1, "num_workers": 0}
DEMO = {"demo_images": 60, "demo_unlabeled": 12, "demo_sites": 12, "max_quarantine": 0.3, "processes": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public") / "prepared"
    return trapline.prepare("demo", str(folder), short_side=64, **DEMO)


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    config = trapline.TrainingConfig(**QUICK, precision="fp32")
    return trapline.train(config, str(data.folder), tmp_path_factory.mktemp("run"))


def test_a_program_prepares_trains_evaluates_and_predicts(data, model, tmp_path):
    report = trapline.evaluate(data.folder, model, str(tmp_path), views="none", resamples=100)
    champion = trapline.load_predictor(str(tmp_path / "champion" / "model.tar.gz"), precision="fp32")
    images = sorted((data.folder / "transform" / "images").iterdir())
    answers = trapline.predict(champion, [*images, images[0].read_bytes()])
    assert report["test"]["images"] == data.description.parts["test"].images > 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["test"] == report["test"]
    assert [answer.id for answer in answers] == [*map(str, images), None]
    assert all(answer.status == "ok" and answer.label in data.description.classes for answer in answers)
    assert answers[-1].probabilities == pytest.approx(answers[0].probabilities)


def test_training_leaves_a_model_with_its_code_and_curves(model):
    assert (model / "code" / "inference.py").is_file()
    assert (model.parent / "output" / "data" / "curves.png").is_file()


def test_outside_a_checkout_a_model_has_no_code_and_that_is_said(data, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "entry_points_here", lambda: None)
    config = trapline.TrainingConfig(**QUICK, precision="fp32")
    bare = trapline.train(config, data.folder, tmp_path)
    assert "no code/" in capsys.readouterr().out
    assert not (bare / "code").exists()
    assert (bare / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert trapline.load_predictor(bare, precision="fp32").classes == data.description.classes


def test_entry_points_are_those_of_the_checkout_that_the_package_lies_in(tmp_path, monkeypatch):
    assert jobs.entry_points_here() == ROOT / "entry_points"
    monkeypatch.setattr(jobs, "LIBRARY", tmp_path / "site-packages" / "trapline")
    assert jobs.entry_points_here() is None


def test_a_configuration_that_cannot_be_is_a_value_error_that_names_the_field():
    with pytest.raises(ValueError, match="epochs"):
        trapline.TrainingConfig(epochs=0)


def test_an_image_that_is_missing_or_damaged_costs_only_itself(data, model):
    image = next((data.folder / "transform" / "images").iterdir())
    predictor = trapline.load_predictor(model, precision="fp32")
    answers = trapline.predict(predictor, ["nowhere.jpg", b"text", data.folder, image])
    assert [answer.reason for answer in answers] == ["missing", "not_an_image", "unreadable", None]


def test_a_prepared_set_is_opened_by_its_folders_name(data):
    assert len(trapline.open_prepared(str(data.folder)).part("train")) == len(data.part("train")) > 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"site_csv": "sites.csv", "site_regex": "(?P<site>x)"}, "site_csv and site_regex"),
        ({"site_regex": "("}, "site_regex"),
        ({"shares": (1.0, 1.0, 1.0)}, "share"),
        ({"short_side": 0}, "short_side"),
        ({"shortside": 64}, "shortside: unknown; did you mean short_side"),
    ],
)
def test_options_that_cannot_be_are_a_usage_error(options, named, tmp_path):
    with pytest.raises(trapline.UsageError, match=named):
        trapline.prepare("demo", tmp_path, **options)


def test_several_inputs_and_paths_of_any_kind_are_taken(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("trapline.preparation.preparing.prepare", seen.append)
    monkeypatch.setattr(jobs, "open_prepared", lambda folder: folder)
    for given in ([tmp_path / "a", "b"], tmp_path / "a"):
        trapline.prepare(given, tmp_path, classes=tmp_path / "classes.csv", columns=["path=file name"])
    assert [options.input for options in seen] == [(str(tmp_path / "a"), "b"), (str(tmp_path / "a"),)]
    assert {options.classes for options in seen} == {str(tmp_path / "classes.csv")}
    assert seen[0].columns == ("path=file name",)
    with pytest.raises(trapline.UsageError, match="input"):
        trapline.prepare([], tmp_path)


def test_what_cannot_be_read_is_an_error_of_trapline(tmp_path):
    for wrong in (
        lambda: trapline.open_prepared(tmp_path),
        lambda: trapline.load_predictor(tmp_path),
        lambda: trapline.prepare(tmp_path / "nowhere", tmp_path / "out"),
        lambda: trapline.train(trapline.TrainingConfig(), tmp_path / "nowhere", tmp_path),
    ):
        with pytest.raises(trapline.TraplineError, match=str(tmp_path)):
            wrong()


def test_every_export_is_there_typed_and_named_like_no_module():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    typed = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    modules = {path.stem for path in PACKAGE.rglob("*.py")} | {path.name for path in PACKAGE.iterdir()}
    assert typed == set(trapline.__all__) <= set(dir(trapline))
    assert not modules & set(trapline.__all__)
    assert all(getattr(trapline, name).__doc__ for name in trapline.__all__)
    with pytest.raises(AttributeError, match="pretrain"):
        _ = trapline.pretrain


def test_the_example_in_docstring_and_readme_uses_what_is_exported():
    start = trapline.__doc__.index("    import trapline")
    example = textwrap.dedent(trapline.__doc__[start : trapline.__doc__.index("\n\nWhat goes wrong")])
    assert f"```python\n{example}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")
    tree = ast.parse(example)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "trapline"
    }
    assert len(used) >= 6
    assert used <= set(trapline.__all__)


def test_importing_takes_a_tenth_of_a_second_at_most_and_loads_nothing_installed():
    program = (
        "import sys, time; before = set(sys.modules); start = time.perf_counter(); import trapline; "
        "print(time.perf_counter() - start, *sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-c", program]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)]
    seconds, *modules = min(runs, key=lambda run: float(run.split()[0])).split()
    assert float(seconds) <= 0.1
    assert {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names} == {"trapline"}
