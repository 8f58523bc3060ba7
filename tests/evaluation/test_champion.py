import json
import tarfile

import pytest
from pydantic import ValidationError

from trapline.errors import TraplineError
from trapline.evaluation.choices import described, with_choices, write_champion
from trapline.models.artefact import opened_artefact, read_description
from trapline.models.build import IMAGENET_NORMALISATION

DESCRIPTION = {
    "architecture": "resnet18",
    "classes": ["cat", "dog"],
    "image_size": 32,
    "normalisation": {"mean": IMAGENET_NORMALISATION.mean, "std": IMAGENET_NORMALISATION.std},
    "pixels": {"short_side": 64},
    "task": "multiclass",
    "training_job": "phase-2-job",
    "configuration": {},
    "data_fingerprint": "abc",
    "versions": {},
    "metrics": {"best": {"val_loss": 0.5}},
    "best_epoch": 1,
    "epochs": 2,
    "parameters": 10,
    "weights": {},
}


@pytest.fixture
def artefact(tmp_path):
    folder = tmp_path / "model"
    (folder / "code" / "trapline").mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(DESCRIPTION))
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 700)
    (folder / "last.safetensors").write_bytes(b"last")
    (folder / "code" / "inference.py").write_text("run()\n")
    (folder / "code" / "trapline" / "é.py").write_text("")
    return folder


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def champion(artefact, tmp_path):
    final = with_choices(read_description(artefact), temperature=1.7, views=["plain", "horizontal_flip"])
    write_champion(artefact, final, tmp_path / "champion" / "model.tar.gz")
    return tmp_path / "champion" / "model.tar.gz"


def test_the_champion_is_its_phases_artefact_bit_for_bit_but_for_the_choices(artefact, champion):
    with opened_artefact(champion) as folder:
        found, before = contents(folder), contents(artefact)
        description = read_description(folder)
    assert found.keys() == before.keys()
    assert {name for name in found if found[name] != before[name]} == {"model.json"}
    changed = {"temperature": 1.7, "views": ["plain", "horizontal_flip"]}
    assert description.model_dump() == {**read_description(artefact).model_dump(), **changed}
    assert description.training_job == "phase-2-job"


def test_the_description_is_the_first_file_and_modes_are_plain(champion):
    with tarfile.open(champion) as archive:
        members = archive.getmembers()
    assert members[0].name == "model.json"
    assert {(member.mode, member.uid, member.mtime) for member in members} == {(0o644, 0, 0)}


def test_the_same_content_is_the_same_archive(artefact, champion, tmp_path):
    with opened_artefact(champion) as folder:
        again = tmp_path / "again.tar.gz"
        write_champion(folder, read_description(folder), again)
    assert again.read_bytes() == champion.read_bytes()


def test_that_predictions_are_pooled_is_told_where_they_are_and_else_nothing_is_said(artefact, tmp_path):
    pooling, target = {"pool_sequences": True}, tmp_path / "pooling" / "model.tar.gz"
    before = read_description(artefact)
    assert before.pool_sequences is False  # as model.json of before it says nothing of it
    for pooled, said in (({}, False), (pooling, True)):
        write_champion(artefact, with_choices(before, temperature=1.7, views=["plain"], **pooled), target)
        with opened_artefact(target) as folder:
            assert ("pool_sequences" in json.loads((folder / "model.json").read_text())) is said
            assert read_description(folder).pool_sequences is said


def test_an_impossible_temperature_is_refused(artefact):
    with pytest.raises(ValidationError, match="temperature"):
        with_choices(read_description(artefact), temperature=float("inf"), views=["plain"])


def test_a_model_of_other_data_or_classes_is_refused(artefact):
    assert described(artefact, artefact, ["cat", "dog"], "abc").classes == ["cat", "dog"]
    with pytest.raises(TraplineError, match="may have seen what it is to be measured on"):
        described(artefact, artefact, ["cat", "dog"], "abd")
    with pytest.raises(TraplineError, match=r"given\.tar\.gz: holds no model\.json"):
        described(artefact / "code", artefact / "given.tar.gz", ["cat", "dog"], "abc")
    with pytest.raises(TraplineError, match=r"its classes \(cat, dog\) are not those of the data set"):
        described(artefact, artefact, ["dog", "cat"], "abc")
