"""The project's own architectures: their sizes, heads, first weights, and the log-softmax output."""

import math

import pytest
import torch
import torchvision
from torch import nn

from trapline.errors import UsageError
from trapline.models.artefact import ModelDescription, load_model, write_artefact
from trapline.models.build import (
    IMAGENET_NORMALISATION,
    build_model,
    build_on_meta,
    count_parameters,
    head_parameters,
    imagenet_source,
    normalisation_for,
)
from trapline.models.own import OWN, Architecture, HeadNorm
from trapline.models.staged import published
from trapline.models.weights import load_weights
from trapline.training.optimisation import parameter_groups

ENHANCED = "enhanced_resnet18"


@pytest.fixture(scope="module")
def enhanced():
    """A new enhanced ResNet-18 of 5 classes. Read it only."""
    torch.manual_seed(0)
    return build_model(ENHANCED, 5).eval()


@pytest.mark.parametrize(
    ("arch", "classes", "parameters"),
    [
        ("resnet50_imagenet", 1000, 25_557_032),
        ("resnet50_64px", 200, 23_910_152),
        ("resnet18_32px", 10, 11_173_962),
    ],
)
def test_a_resnet_has_the_published_number_of_parameters(arch, classes, parameters):
    assert count_parameters(build_on_meta(arch, classes)) == parameters


@pytest.mark.parametrize("arch", ["resnet50_64px", "resnet18_32px"])
def test_the_small_stem_keeps_the_pixels_until_the_second_stage(arch):
    model, sides = build_on_meta(arch, 200).eval(), []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        model.get_submodule(name).register_forward_hook(lambda *call: sides.append(call[2].shape[-1]))
    model(torch.empty(1, 3, 64, 64, device="meta"))
    assert sides == [64, 32, 16, 8]


def test_every_convolution_of_the_small_stem_resnet_begins_with_he_initialisation():
    torch.manual_seed(0)
    for name, layer in build_model("resnet50_64px", 3).named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] ** 2
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05), name


def test_the_enhanced_head_is_that_of_the_original(enhanced):
    kinds = [type(layer) for layer in enhanced.fc]
    assert kinds == [nn.Dropout, nn.Linear, nn.ReLU, HeadNorm, nn.Dropout, nn.Linear]
    first, hidden, _, norm, second, last = enhanced.fc
    assert (first.p, second.p) == (0.3, 0.15)
    assert (hidden.in_features, hidden.out_features, norm.num_features) == (512, 256, 256)
    assert (last.in_features, last.out_features) == (256, 5)
    assert isinstance(enhanced.avgpool, nn.AdaptiveAvgPool2d)


def test_its_linear_layers_begin_with_xavier_initialisation(enhanced):
    for layer in (enhanced.fc[1], enhanced.fc[5]):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert not layer.bias.any()


def test_torchvisions_imagenet_weights_fill_its_backbone(tmp_path, monkeypatch):
    torch.manual_seed(1)
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    best = torchvision.models.ResNet18_Weights.DEFAULT
    monkeypatch.setattr(type(best), "get_state_dict", lambda self, **options: theirs)
    model, head = build_model(ENHANCED, 5), head_parameters(ENHANCED)
    before = {name: model.state_dict()[name].clone() for name in head}
    report = load_weights(model, "imagenet", arch=ENHANCED, head=head, cache=tmp_path)
    own = model.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own if name not in head)
    assert all(torch.equal(own[name], before[name]) for name in head)
    assert report.loaded == len(own) - len(head)
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    assert report.identity == str(best)


def test_weights_are_staged_under_torchvisions_name():
    assert (imagenet_source(ENHANCED), imagenet_source("resnet50_imagenet")) == ("resnet18", "resnet50")
    assert published(ENHANCED) == published("resnet18")
    assert normalisation_for(ENHANCED, "imagenet") == IMAGENET_NORMALISATION


def test_without_published_weights_the_alternatives_are_named():
    assert imagenet_source("resnet50_64px") is None
    model, head = build_on_meta("resnet50_64px", 3), head_parameters("resnet50_64px")
    with pytest.raises(UsageError, match="no ImageNet weights of resnet50_64px; use `--weights"):
        load_weights(model, "imagenet", arch="resnet50_64px", head=head, cache=None)


def test_all_of_the_enhanced_head_learns_at_its_own_rate():
    model = build_on_meta(ENHANCED, 5)
    groups = parameter_groups(model, 1e-4, 1e-3, 10.0, head_parameters(ENHANCED))
    shapes = {group["name"]: [tuple(item.shape) for item in group["params"]] for group in groups}
    assert shapes["head_decayed"] == [(256, 512), (5, 256)]
    assert shapes["head_not_decayed"] == [(256,), (256,), (256,), (5,)]


@pytest.mark.parametrize(("asked", "rates"), [(0.6, [0.6, 0.3]), (0.0, [0.0, 0.0])])
def test_another_dropout_keeps_the_proportion_of_the_two(asked, rates):
    model = build_model(ENHANCED, 5, dropout=asked)
    assert [layer.p for layer in model.fc if isinstance(layer, nn.Dropout)] == pytest.approx(rates)


def test_a_last_batch_of_one_image_can_be_trained_on_and_leaves_the_statistics():
    torch.manual_seed(0)
    norm, plain = HeadNorm(4), nn.BatchNorm1d(4)
    for rows in (torch.randn(6, 4), torch.randn(3, 4)):
        assert torch.equal(norm(rows), plain(rows))
    one, before = torch.randn(1, 4), norm.running_mean.clone()
    assert torch.equal(norm(one), plain.eval()(one))
    assert torch.equal(norm.running_mean, before)


def test_an_architecture_is_added_by_one_entry(monkeypatch):
    def tiny(classes):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

    monkeypatch.setitem(OWN, "tiny_net", Architecture(tiny))
    assert build_model("tiny_net", 7)(torch.zeros(2, 3, 16, 16)).shape == (2, 7)
    assert head_parameters("tiny_net") == {"3.weight", "3.bias"}
    with pytest.raises(UsageError, match=r"'tiny_nett'; did you mean tiny_net"):
        build_model("tiny_nett", 7)


def test_a_log_softmax_output_has_the_same_tensors_and_probabilities(enhanced):
    model = build_model(ENHANCED, 5, output="log_softmax").eval()
    model.load_state_dict(enhanced.state_dict())
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        logits, outputs = enhanced(images), model(images)
    torch.testing.assert_close(outputs.exp().sum(dim=1), torch.ones(3))
    for temperature in (0.5, 1.0, 3.0):
        torch.testing.assert_close((outputs / temperature).softmax(1), (logits / temperature).softmax(1))


@pytest.mark.parametrize("arch", [ENHANCED, "resnet50_64px", "cifar_fast"])
def test_an_artefact_gives_the_model_back_with_its_output(arch, tmp_path):
    torch.manual_seed(0)
    model = build_model(arch, 3, image_size=32, output="log_softmax").eval()
    description = ModelDescription(
        architecture=arch, classes=list("abc"), image_size=32, normalisation=IMAGENET_NORMALISATION,
        pixels={}, task="multiclass", configuration={"model_output": "log_softmax"}, data_fingerprint="",
        versions={}, metrics={}, best_epoch=1, epochs=1, parameters=count_parameters(model), weights={},
    )  # fmt: skip
    write_artefact(tmp_path, description, model.state_dict(), model.state_dict(), code=[], pth=False)
    loaded, _ = load_model(tmp_path)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
