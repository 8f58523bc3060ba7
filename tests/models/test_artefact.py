"""An artefact is whole or not there, and gives back the model that was put in."""

import json
import math
from pathlib import Path

import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors.torch import load_file

from trapline.errors import TraplineError
from trapline.models import artefact
from trapline.models.artefact import (
    ModelDescription,
    load_model,
    load_phase1,
    read_description,
    read_phase1,
    write_artefact,
)
from trapline.models.build import IMAGENET_NORMALISATION, build_model
from trapline.models.weights import load_weights

ARCH = "squeezenet1_1"


def described(**changes):
    fields = {
        "architecture": ARCH,
        "classes": ["blank", "hog", "leopard"],
        "image_size": 64,
        "normalisation": IMAGENET_NORMALISATION,
        "pixels": {"short_side": 256},
        "task": "multiclass",
        "temperature": 1.5,
        "configuration": {"epochs": 2},
        "data_fingerprint": "abc",
        "versions": {"torch": torch.__version__},
        "metrics": {"val_log_loss": 0.7},
        "best_epoch": 1,
        "epochs": 2,
        "parameters": 724035,
        "weights": {"source": "none"},
    }
    return ModelDescription(**(fields | changes))


def state(seed):
    torch.manual_seed(seed)
    return build_model(ARCH, 3).state_dict()


@pytest.fixture(scope="module")
def best():
    return state(1)


@pytest.fixture(scope="module")
def last():
    return state(2)


@pytest.fixture
def code(tmp_path):
    """A folder of code as people leave it: caches, hidden files, read-only ones."""
    folder = tmp_path / "source"
    for name in ("inference.py", "inner/part.py", "__pycache__/inference.pyc", ".git/config", "old.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "inference.py").chmod(0o444)
    return folder


@pytest.fixture
def written(tmp_path, best, last, code):
    model_dir = tmp_path / "model"
    write_artefact(
        model_dir,
        described(),
        best,
        last,
        [("inference.py", code / "inference.py"), ("trapline/part.py", code / "inner" / "part.py")],
        pth=True,
    )
    return model_dir


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_artefact_holds_the_files_of_the_design_and_nothing_else(written):
    assert contents(written) == {
        "model.safetensors",
        "last.safetensors",
        "model.pth",
        "last.pth",
        "model.json",
        "code/inference.py",
        "code/trapline/part.py",
    }


@pytest.mark.parametrize("which", ["best", "last"])
def test_the_model_that_comes_back_is_the_one_that_went_in(written, best, last, which):
    model, description = load_model(written, which=which)
    expected = build_model(ARCH, 3)
    expected.load_state_dict(best if which == "best" else last)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(images), expected.eval()(images))
    assert not model.training
    size = (written / "model.safetensors").stat().st_size
    assert description == described().model_copy(update={"size": size})


def test_a_model_with_batch_counters_and_dropout_on_its_input_comes_back(tmp_path):
    torch.manual_seed(0)
    source = build_model("shufflenet_v2_x0_5", 3, dropout=0.5).state_dict()
    write_artefact(tmp_path, described(architecture="shufflenet_v2_x0_5"), source, source, [], pth=False)
    model, _ = load_model(tmp_path)
    assert all(torch.equal(source[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("stem", ["model", "last"])
def test_the_pth_files_hold_the_same_tensors_and_need_no_code(written, stem):
    pickled = torch.load(written / f"{stem}.pth", weights_only=True)
    tensors = load_file(written / f"{stem}.safetensors")
    assert pickled.keys() == tensors.keys()
    assert all(torch.equal(pickled[name], tensors[name]) for name in tensors)


def test_views_and_channels_last_tensors_are_written_plainly(tmp_path):
    flat = torch.arange(240.0)
    tensors = {
        "first": flat[:24].view(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "second": flat[12:36],
        "transposed": flat.view(16, 15).T,
    }
    write_artefact(tmp_path, described(), tensors, tensors, [], pth=True)
    read = torch.load(tmp_path / "model.pth", weights_only=True)
    assert all(torch.equal(read[name], tensors[name]) and read[name].is_contiguous() for name in tensors)
    assert read["second"].untyped_storage().nbytes() == 24 * 4


def test_a_second_artefact_replaces_the_first_entirely(written, best, last, tmp_path):
    (written / ".artefact-killed").mkdir()
    (tmp_path / "new.py").write_text("new")
    write_artefact(written, described(best_epoch=2), last, best, [("new.py", tmp_path / "new.py")], pth=False)
    assert contents(written) == {"model.safetensors", "last.safetensors", "model.json", "code/new.py"}
    assert not (written / ".artefact-killed").exists()
    assert read_description(written).best_epoch == 2
    assert torch.equal(
        load_file(written / "model.safetensors")["classifier.1.bias"], last["classifier.1.bias"]
    )


def test_model_json_arrives_last(tmp_path, best, last, monkeypatch):
    moved = []
    rename = Path.rename

    def record(self, target):
        moved.append(Path(target).name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", record)
    write_artefact(tmp_path / "model", described(), best, last, [], pth=False)
    assert moved[-1] == "model.json"
    assert set(moved) == {"model.safetensors", "last.safetensors", "model.json"}


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), RuntimeError("write failed")])
def test_a_full_disk_is_reported_and_leaves_the_earlier_artefact(written, best, last, monkeypatch, failure):
    before = contents(written)

    def fail(*_args, **_options):
        raise failure

    monkeypatch.setattr(artefact, "save_file", fail)
    with pytest.raises(TraplineError, match=rf"{written}: the model cannot be written .*free space"):
        write_artefact(written, described(best_epoch=2), best, last, [], pth=False)
    assert contents(written) == before
    assert read_description(written).best_epoch == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path, best, last):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TraplineError, match=r"file/model: the model cannot be written"):
        write_artefact(tmp_path / "file" / "model", described(), best, last, [], pth=False)


def test_missing_code_is_named(tmp_path, best, last):
    with pytest.raises(TraplineError, match="gone: no such file of code"):
        write_artefact(tmp_path, described(), best, last, [("gone", tmp_path / "gone")], pth=False)
    assert contents(tmp_path) == set()


def test_a_metric_that_is_undefined_does_not_cost_the_model(tmp_path, best, last):
    write_artefact(tmp_path, described(metrics={"recall": math.nan}), best, last, [], pth=False)
    assert load_model(tmp_path)[1].metrics == {"recall": None}


def test_a_metric_that_json_cannot_hold_is_refused(tmp_path, best, last):
    with pytest.raises(TraplineError, match=r"model.json: .*plain values"):
        write_artefact(tmp_path, described(metrics={"loss": object()}), best, last, [], pth=False)
    assert contents(tmp_path) == set()


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0.0}, {"temperature": math.inf}, {"classes": []}, {"task": "regression"}, {"extra": 1}],
)
def test_an_impossible_description_is_refused(changes):
    with pytest.raises(ValidationError):
        described(**changes)


def edit(model_dir: Path, **changes):
    path = model_dir / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_without_model_json_is_not_an_artefact(tmp_path):
    with pytest.raises(TraplineError, match=r"model.json: no such file; .*whole model artefact"):
        load_model(tmp_path)


def test_a_newer_format_asks_for_an_update(written):
    edit(written, format_version=2)
    with pytest.raises(TraplineError, match="format 2 by a newer Trapline"):
        read_description(written)


@pytest.mark.parametrize(("key", "value"), [("temperature", -1), ("image_size", "big"), ("unknown", 1)])
def test_a_wrong_value_in_model_json_is_named(written, key, value):
    edit(written, **{key: value})
    with pytest.raises(TraplineError, match=rf"model.json: not a model description \({key}: "):
        read_description(written)


def test_a_damaged_model_json_is_named(written):
    (written / "model.json").write_text("{")
    with pytest.raises(TraplineError, match=r"model.json: not valid JSON"):
        read_description(written)


def test_another_number_of_classes_than_the_weights_is_refused(written):
    edit(written, classes=["blank", "hog"])
    with pytest.raises(
        TraplineError, match=r"model.safetensors: does not agree .*2 tensors of another shape"
    ):
        load_model(written)


def test_another_architecture_than_the_weights_is_refused(written):
    edit(written, architecture="resnet18")
    with pytest.raises(TraplineError, match=r"tensors missing .*tensors unknown"):
        load_model(written)


def test_an_architecture_that_does_not_exist_is_named_with_the_file(written):
    edit(written, architecture="squeezenet")
    with pytest.raises(TraplineError, match=r"model.json: .*'squeezenet'"):
        load_model(written)


def test_missing_weights_are_named(written):
    (written / "last.safetensors").unlink()
    with pytest.raises(TraplineError, match=r"last.safetensors: no such file"):
        load_model(written, which="last")


@pytest.mark.parametrize("arch", ["mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"])
def test_a_mnasnet_comes_back_from_either_format_though_it_asks_for_torchs_versions(tmp_path, arch):
    torch.manual_seed(1)
    model = build_model(arch, 3).eval()
    description = described(architecture=arch)
    tensors = model.state_dict()
    write_artefact(tmp_path, description, tensors, tensors, [], pth=True)
    images = torch.rand(2, 3, 64, 64, generator=torch.manual_seed(2))
    loaded, _ = load_model(tmp_path)
    assert torch.equal(loaded(images), model(images))
    again = build_model(arch, 3)
    load_phase1(again, tmp_path, read_phase1(tmp_path, arch, description.classes))
    assert torch.equal(again.eval()(images), model(images))
    for stem in ("model", "last"):
        others = torchvision.models.get_model(arch, num_classes=3)
        others.load_state_dict(torch.load(tmp_path / f"{stem}.pth", weights_only=True))
        assert torch.equal(others.eval()(images), model(images))
    report = load_weights(
        build_model(arch, 3), str(tmp_path / "model.pth"), arch=arch, head=frozenset(), cache=None
    )
    assert (report.loaded, report.new) == (len(tensors), ())
