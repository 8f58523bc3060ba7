"""An ensemble answers with the mean of its members, and says what cannot be averaged."""

import pytest
import torch
from scipy.special import expit, logit

from tests.support.small_models import CLASSES, described, picture
from trapline.errors import TraplineError, UsageError
from trapline.inference.predictor import load_predictor
from trapline.models.artefact import load_model, read_description, write_artefact
from trapline.models.build import build_model
from trapline.models.ensemble import check_alike, ensemble_of, write_ensemble

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models of different architectures, `a` and `b`, for one label and for several."""
    folder = tmp_path_factory.mktemp("members")
    for task in ("multiclass", "multilabel"):
        for name, arch, temperature in (("a", "shufflenet_v2_x0_5", 2.0), ("b", "squeezenet1_1", 0.5)):
            torch.manual_seed(len(arch))
            state = build_model(arch, len(CLASSES)).state_dict()
            changes = {"architecture": arch, "temperature": temperature, "training_job": f"job-{name}"}
            changes |= {
                "image_size": 32,
                "task": task,
                "metrics": {"best": {"val_loss": 0.5}},
                "parameters": 7,
            }
            if task == "multilabel" and name == "a":
                changes["thresholds"] = [0.2, 0.5, 0.9]
            write_artefact(folder / task / name, described(**changes), state, state, [], pth=False)
    return folder


def averaged(folder, target):
    write_ensemble({name: folder / name for name in "ab"}, target, [], {"torch": "x"})
    return load_model(target)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@torch.inference_mode()
def test_its_outputs_are_the_mean_of_the_members_at_their_temperatures(folder, tmp_path, task):
    model, description = averaged(folder / task, tmp_path)
    first, second = (load_model(folder / task / name)[0](IMAGES) for name in "ab")
    scaled = torch.stack([first / 2.0, second / 0.5])
    expected = scaled.log_softmax(dim=2).mean(dim=0) if task == "multiclass" else scaled.mean(dim=0)
    assert torch.allclose(model(IMAGES), expected, atol=1e-5)
    assert (description.temperature, description.metrics, description.parameters) == (1.0, {}, 14)
    assert [(member.architecture, member.training_job) for member in description.members] == [
        ("shufflenet_v2_x0_5", "job-a"),
        ("squeezenet1_1", "job-b"),
    ]
    assert description.members[0].metrics == {"best": {"val_loss": 0.5}}


def test_its_thresholds_are_the_mean_of_the_members_as_logits(folder, tmp_path):
    description = averaged(folder / "multilabel", tmp_path)[1]
    assert description.thresholds == pytest.approx(expit(logit([0.2, 0.5, 0.9]) / 2))
    assert averaged(folder / "multiclass", tmp_path / "other")[1].thresholds is None


def test_it_is_served_like_any_other_model_and_in_int8_too(folder, tmp_path):
    averaged(folder / "multilabel", tmp_path)
    for precision in ("fp32", "int8"):
        predictor = load_predictor(tmp_path, precision=precision)
        logits = predictor.logits([predictor.decode(picture(1))])
        assert predictor.probabilities(logits).shape == (1, 3)
        assert predictor.views == ("plain",)


DIFFERENT = {
    "classes": ["bird", "blank"],
    "image_size": 48,
    "eval_crop": "centre",
    "pixels": {"short_side": 64},
    "data_fingerprint": "xyz",
}


@pytest.mark.parametrize("field", DIFFERENT)
def test_members_that_differ_are_refused_and_it_is_named_in_what(field):
    changed = {"thresholds": None, field: DIFFERENT[field]}
    with pytest.raises(UsageError, match=f"second: its {field} is .*, that of first "):
        check_alike({"first": described(), "second": described(**changed)})


def test_views_are_kept_only_where_all_members_have_the_same():
    same = ensemble_of([described(views=["plain", "horizontal_flip"])] * 2, {})
    assert same.views == ["plain", "horizontal_flip"]
    mixed = ensemble_of([described(views=["plain", "horizontal_flip"]), described()], {})
    assert mixed.views == ["plain"]


def test_one_model_alone_and_an_ensemble_of_ensembles_are_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="needs two models or more"):
        write_ensemble({"a": folder / "multiclass" / "a"}, tmp_path, [], {})
    averaged(folder / "multiclass", tmp_path / "both")
    members = {"both": tmp_path / "both", "a": folder / "multiclass" / "a"}
    with pytest.raises(UsageError, match="both: is an ensemble itself; name its 2 members"):
        write_ensemble(members, tmp_path / "more", [], {})


def test_tensors_that_are_not_those_of_the_members_are_refused(folder, tmp_path):
    averaged(folder / "multiclass", tmp_path)
    text = (tmp_path / "model.json").read_text().replace("squeezenet1_1", "squeezenet1_0")
    (tmp_path / "model.json").write_text(text)
    assert read_description(tmp_path).members[1].architecture == "squeezenet1_0"
    with pytest.raises(TraplineError, match=r"does not agree with model\.json.*members\.1\."):
        load_model(tmp_path)
