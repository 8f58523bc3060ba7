"""Every architecture is built, measured and grouped by the same few functions."""

import warnings
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from trapline.errors import UsageError
from trapline.models.build import (
    IMAGENET_NORMALISATION,
    DropoutLinear,
    Normalisation,
    architectures,
    build_model,
    build_on_meta,
    check_image_size,
    count_parameters,
    head_parameters,
    in_auxiliary_head,
    normalisation_for,
)
from trapline.models.own import OWN
from trapline.training.optimisation import parameter_groups

ALL = architectures()
# One of each family for the quick tests.
FIRST = {
    torchvision.models.get_model_builder(arch).__module__: arch for arch in reversed(ALL) if arch not in OWN
}
QUICK = {*FIRST.values(), *OWN}
SMALL = ["resnet18", "squeezenet1_0", "mobilenet_v3_small", "shufflenet_v2_x0_5"]


@pytest.fixture(
    scope="module",
    params=[pytest.param(arch, marks=[] if arch in QUICK else pytest.mark.slow) for arch in ALL],
)
def built(request):
    """An architecture's name and model; with this scope pytest builds one, runs its tests, and goes on."""
    return request.param, build_on_meta(request.param, 3).eval()


@pytest.fixture
def one_thread():
    """Small layers gain nothing from a second thread, and wait for it when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drop_rates(model: nn.Module) -> list[float]:
    return [module.p for module in model.modules() if isinstance(module, StochasticDepth)]


def test_the_list_holds_classification_architectures_only():
    for kind in ("segmentation", "detection", "optical_flow", "video", "quantization"):
        others = torchvision.models.list_models(module=getattr(torchvision.models, kind))
        assert not set(ALL) & set(others)
    assert {"resnet18", "swin_t", "vit_b_16", "maxvit_t", *OWN} <= set(ALL)


def test_every_architecture_answers_with_one_logit_for_each_class(built):
    arch, model = built
    side = (OWN[arch].image_size if arch in OWN else None) or 224
    with torch.no_grad():
        logits = model(torch.empty(2, 3, side, side, device="meta"))
    assert logits.shape == (2, 3)


def test_the_head_is_the_last_layer_or_the_one_that_the_architecture_names(built):
    arch, model = built
    if arch in OWN and OWN[arch].head:
        assert head_parameters(arch) == {name for name in model.state_dict() if name.startswith("fc.")}
        return
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert head_parameters(arch) == {
        name for name in model.state_dict() if name.rpartition(".")[0] == layers[-1]
    }


def test_every_trainable_parameter_is_in_exactly_one_group(built):
    arch, model = built
    groups = parameter_groups(model, 0.05, 1e-3, 10.0, head_parameters(arch))
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(grouped) == sorted(trainable)
    assert all(group["params"] for group in groups)


def test_norms_biases_tokens_and_position_tables_are_not_decayed(built):
    arch, model = built
    groups = parameter_groups(model, 0.05, 1e-3, 1.0, head_parameters(arch))
    decayed = {
        id(parameter) for group in groups if group["weight_decay"] > 0 for parameter in group["params"]
    }
    layers = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)
    kernels = {
        id(parameter)
        for name, module in model.named_modules()
        if isinstance(module, layers) and "cpb_mlp" not in name
        for parameter in module.parameters(recurse=False)
        if parameter.ndim > 1 and parameter.requires_grad
    }
    assert decayed == kernels


def test_every_tensor_of_a_model_is_in_its_state_dict(built):
    _, model = built
    tensors = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    assert tensors == set(model.state_dict())


@pytest.mark.parametrize("arch", SMALL)
def test_the_model_on_meta_has_the_tensors_of_the_real_one(arch):
    real = {name: tensor.shape for name, tensor in build_model(arch, 3).state_dict().items()}
    assert real == {name: tensor.shape for name, tensor in build_on_meta(arch, 3).state_dict().items()}


def test_finding_the_head_leaves_the_random_numbers_alone():
    head_parameters.cache_clear()
    before = torch.get_rng_state()
    assert head_parameters("swin_t") == {"head.weight", "head.bias"}
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_name_is_answered_with_those_that_come_close():
    with pytest.raises(UsageError, match=r"'resnet81'.*resnet18"):
        build_model("resnet81", 3)


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out_quickly_and_silently(arch):
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("error")
        model = build_model(arch, 3).train()
    assert model.transform_input
    assert not any("aux" in name.lower() for name in model.state_dict())
    assert model(torch.empty(2, 3, 96, 96, device="meta")).shape == (2, 3)


@pytest.mark.parametrize(("arch", "heads"), [("googlenet", 2), ("inception_v3", 1)])
def test_auxiliary_heads_are_there_for_training_where_they_are_asked_for(arch, heads):
    model = build_on_meta(arch, 3, image_size=299, auxiliary=True)
    images = torch.empty(2, 3, 299, 299, device="meta")
    assert [tuple(outputs.shape) for outputs in model.train()(images)] == [(2, 3)] * (heads + 1)
    assert model.eval()(images).shape == (2, 3)
    plain = build_on_meta(arch, 3)
    added = model.state_dict().keys() - plain.state_dict().keys()
    assert added == {name for name in model.state_dict() if in_auxiliary_head(arch, name)}
    assert head_parameters(arch, auxiliary=True) - head_parameters(arch) <= added
    assert len(head_parameters(arch, auxiliary=True)) == 2 * (heads + 1)
    assert count_parameters(model, arch) == count_parameters(plain) < count_parameters(model)


def test_auxiliary_heads_have_sizes_of_their_own_and_few_architectures():
    assert check_image_size("googlenet", 64, 3, auxiliary=True) is None
    check_image_size("inception_v3", 128, 3)
    with pytest.raises(UsageError, match=r"inception_v3 with its auxiliary heads cannot .* try 299"):
        check_image_size("inception_v3", 128, 3, auxiliary=True)
    with pytest.raises(UsageError, match=r"aux_weight: resnet18 has no auxiliary heads"):
        build_model("resnet18", 3, auxiliary=True)


@pytest.mark.parametrize(
    ("arch", "size"),
    [("vit_b_16", 64), ("maxvit_t", 448), ("inception_v3", 299), ("resnet18", 32), ("swin_t", 100)],
)
def test_an_image_size_that_fits_is_accepted(arch, size):
    assert check_image_size(arch, size, 3) is None


@pytest.mark.parametrize(
    ("arch", "size"),
    [("inception_v3", 32), ("vit_b_16", 100), ("maxvit_t", 100), ("alexnet", 32), ("resnet18", 0)],
)
def test_an_image_size_that_does_not_fit_is_refused_by_name(arch, size):
    with pytest.raises(UsageError, match=rf"^image_size: .*{size}"):
        check_image_size(arch, size, 3)


@pytest.mark.parametrize("arch", SMALL)
def test_dropout_changes_no_name_and_no_weight(arch):
    torch.manual_seed(0)
    plain = build_model(arch, 3).state_dict()
    torch.manual_seed(0)
    dropped = build_model(arch, 3, dropout=0.5).state_dict()
    assert list(plain) == list(dropped)
    assert all(torch.equal(plain[name], dropped[name]) for name in plain)


@pytest.mark.parametrize("arch", ["convnext_tiny", "maxvit_t", "vit_b_16", "densenet121"])
def test_a_head_without_dropout_gets_it_under_the_same_names(arch):
    with torch.device("meta"):
        model = build_model(arch, 3, dropout=0.5)
    added = [name for name, module in model.named_modules() if isinstance(module, DropoutLinear)]
    assert added == [next(iter(head_parameters(arch))).rpartition(".")[0]]
    assert list(model.state_dict()) == list(build_on_meta(arch, 3).state_dict())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("arch", SMALL)
def test_dropout_acts_in_training_and_not_in_evaluation(arch):
    torch.manual_seed(0)
    model = build_model(arch, 3, image_size=32, dropout=0.9).eval().requires_grad_(False)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(images), model(images))
    for module in model.modules():
        module.training = "Dropout" in type(module).__name__
    assert not torch.equal(model(images), model(images))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("arch", SMALL)
def test_no_dropout_makes_training_deterministic(arch):
    torch.manual_seed(0)
    model = build_model(arch, 3, image_size=32, dropout=0.0).train()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("arch", ["googlenet", "mobilenet_v3_small", "squeezenet1_0"])
def test_dropout_that_the_architecture_has_is_set_and_not_doubled(arch):
    modules = list(build_model(arch, 3, dropout=0.35).modules())
    assert 0.35 in [module.p for module in modules if isinstance(module, nn.Dropout)]
    assert not any(isinstance(module, DropoutLinear) for module in modules)


def test_swin_with_its_own_rate_is_torchvisions_swin():
    with torch.device("meta"):
        own = torchvision.models.swin_t(weights=None, num_classes=3)
        asked = build_model("swin_t", 3, stochastic_depth=0.2)
    assert drop_rates(asked) == drop_rates(own)


@pytest.mark.parametrize("arch", ["convnext_tiny", "efficientnet_b0", "maxvit_t"])
def test_stochastic_depth_rises_linearly_over_the_blocks(arch):
    with torch.device("meta"):
        rates = drop_rates(build_model(arch, 3, stochastic_depth=0.4))
    steps = sorted(set(rates))
    assert rates == sorted(rates)
    assert (steps[0], steps[-1]) == (0.0, 0.4)
    gaps = [upper - lower for lower, upper in pairwise(steps)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps))


def test_stochastic_depth_is_refused_where_there_is_none():
    with pytest.raises(UsageError, match="stochastic_depth: resnet18"):
        build_model("resnet18", 3, stochastic_depth=0.1)


@pytest.mark.parametrize("setting", [{"dropout": 1.0}, {"stochastic_depth": -0.1}])
def test_a_rate_out_of_range_is_refused_by_name(setting):
    with pytest.raises(UsageError, match=next(iter(setting))):
        build_model("swin_t", 3, **setting)


def test_a_model_needs_a_class():
    with pytest.raises(UsageError, match="classes"):
        build_model("resnet18", 0)


def test_the_head_learns_at_its_own_rate():
    groups = parameter_groups(build_on_meta("resnet18", 3), 0.05, 1e-3, 10.0, head_parameters("resnet18"))
    assert {
        group["name"]: (group["lr"], group["weight_decay"], len(group["params"])) for group in groups
    } == {
        "body_decayed": (1e-3, 0.05, 20),
        "body_not_decayed": (1e-3, 0.0, 40),
        "head_decayed": (1e-2, 0.05, 1),
        "head_not_decayed": (1e-2, 0.0, 1),
    }


def test_frozen_parameters_are_in_no_group_and_not_counted():
    model = build_model("squeezenet1_0", 3)
    head = head_parameters("squeezenet1_0")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in head
    assert [g["name"] for g in parameter_groups(model, 0.1, 1.0, 1.0, head)] == [
        "head_decayed",
        "head_not_decayed",
    ]
    assert count_parameters(model) == 512 * 3 + 3


def test_a_head_of_one_class_is_decayed_like_any_other():
    model = build_on_meta("resnet18", 1)
    groups = parameter_groups(model, 0.1, 1.0, 1.0, head_parameters("resnet18"))
    assert "head_decayed" in [group["name"] for group in groups]


def test_the_normalisation_is_that_of_the_weights():
    half = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert normalisation_for("efficientnet_v2_l", "imagenet") == half
    assert normalisation_for("efficientnet_v2_l", "none") == IMAGENET_NORMALISATION
    assert normalisation_for("resnet18", "imagenet") == IMAGENET_NORMALISATION
