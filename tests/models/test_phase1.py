"""Phase 2 starts from the whole of Phase 1's model: every tensor, the head and the normalisation."""

import tarfile

import pytest
import torch

from trapline.errors import TraplineError, UsageError
from trapline.models.artefact import (
    ModelDescription,
    load_phase1,
    opened_artefact,
    read_phase1,
    write_artefact,
)
from trapline.models.build import Normalisation, build_model
from trapline.storage import file_digest

ARCH = "shufflenet_v2_x0_5"
CLASSES = ["ant", "bee", "cat"]


@pytest.fixture
def artefact(tmp_path):
    """A model folder, and the same in an archive in a folder of its own."""
    torch.manual_seed(1)
    tensors = build_model(ARCH, 3).state_dict()
    description = ModelDescription(
        architecture=ARCH,
        classes=CLASSES,
        image_size=32,
        normalisation=Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        pixels={},
        task="multiclass",
        configuration={},
        data_fingerprint="f",
        versions={},
        metrics={},
        best_epoch=1,
        epochs=1,
        parameters=1,
        weights={},
    )
    last = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    write_artefact(tmp_path / "model", description, best=tensors, last=last, code=[], pth=False)
    (tmp_path / "channel").mkdir()
    with tarfile.open(tmp_path / "channel" / "model.tar.gz", "w:gz") as archive:
        for path in (tmp_path / "model").iterdir():
            archive.add(path, path.name)
    return tmp_path, tensors


@pytest.mark.parametrize("place", ["model", "channel", "channel/model.tar.gz"])
def test_all_tensors_come_from_the_best_epoch_wherever_the_artefact_lies(artefact, place):
    folder, tensors = artefact
    model = build_model(ARCH, 3)
    with opened_artefact(folder / place) as opened:
        description = read_phase1(opened, ARCH, CLASSES)
        report = load_phase1(model, opened, description)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in tensors.items())
    assert description.normalisation == Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (report.loaded, report.new, report.unused) == (len(tensors), (), ())
    assert report.identity == file_digest(folder / "model" / "model.safetensors")
    assert opened.exists() is (place == "model")


@pytest.mark.parametrize("classes", [["bee", "ant", "cat"], ["ant", "bee"], ["ant", "bee", "dog"]])
def test_other_classes_or_another_order_are_refused(artefact, classes):
    with pytest.raises(TraplineError, match="names and order must be the same"):
        read_phase1(artefact[0] / "model", ARCH, classes)


def test_another_architecture_is_refused(artefact):
    with pytest.raises(UsageError, match=f"that model is a {ARCH}, and this one a resnet18; set arch={ARCH}"):
        read_phase1(artefact[0] / "model", "resnet18", CLASSES)


def test_a_tensor_that_does_not_fit_is_named(artefact):
    folder = artefact[0] / "model"
    description = read_phase1(folder, ARCH, CLASSES)
    with pytest.raises(TraplineError, match=r"do not fit: 2 tensors .*fc\.weight \[3, 1024\] instead of \[5"):
        load_phase1(build_model(ARCH, 5), folder, description)


def test_a_folder_without_an_artefact_and_a_damaged_archive_are_named(artefact, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in ("empty", "absent"):
        with (
            pytest.raises(TraplineError, match=f"{place}: holds neither model.json nor model.tar.gz"),
            opened_artefact(tmp_path / place),
        ):
            pass
    archive = tmp_path / "channel" / "model.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(TraplineError, match="truncated"), opened_artefact(archive):
        pass
