"""A job goes on from its checkpoint as it was, whatever architecture it trains."""

import re

import pytest
import torch

from trapline.config import make_config
from trapline.models.build import IMAGENET_NORMALISATION, architectures, build_model
from trapline.models.own import OWN
from trapline.models.weights import copied_state
from trapline.training.checkpoint import (
    Checkpoints,
    TrainingState,
    random_states,
    restore,
    snapshot,
)
from trapline.training.execution import Execution
from trapline.training.loop import Learner
from trapline.training.optimisation import make_loss, make_optimizer, make_schedule, start_lookahead

CPU = torch.device("cpu")
CLASSES = ["bird", "hog", "leopard"]
LIGHT = (
    "cifar_fast", "efficientnet_b0", "enhanced_resnet18", "googlenet", "mnasnet0_5", "mobilenet_v2",
    "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet18_32px",
    "shufflenet_v2_x0_5", "squeezenet1_1",
)  # fmt: skip
HEAVY = ("inception_v3", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3", "resnet50_64px", "swin_t")
HEAVIEST = (  # of the kinds of those before
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_v2_s", "maxvit_t", "resnet50_imagenet",
    "resnext50_32x4d", "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_32", "wide_resnet50_2",
)  # fmt: skip
EVERY = [*LIGHT, *(pytest.param(arch, marks=pytest.mark.slow) for arch in HEAVY),
         *(pytest.param(arch, marks=pytest.mark.long) for arch in HEAVIEST)]  # fmt: skip


def family(arch):
    """The word that an architecture's name begins with: mnasnet of mnasnet0_5."""
    return re.match("[a-z]+", arch)[0]


def learner_of(arch, seed, **settings):
    """What trains a new model of an architecture."""
    config = make_config({"arch": arch, "optimizer": "sgd", "lr": 0.1, "epochs": 4, **settings})
    torch.manual_seed(seed)
    size = OWN[arch].image_size or 64 if arch in OWN else 224
    model = build_model(arch, len(CLASSES), image_size=size, auxiliary=config.aux_weight > 0)
    optimizer = make_optimizer(config, model, frozenset())
    execution = Execution(CPU, "fp32", channels_last=False)
    return Learner(
        model=model,
        optimizer=optimizer,
        schedule=make_schedule(config, optimizer, 5),
        scaler=execution.scaler(),
        loss=make_loss(config, torch.tensor([0, 1, 2]).numpy(), CLASSES, CPU),
        config=config,
        execution=execution,
        normalisation=IMAGENET_NORMALISATION,
        lookahead=start_lookahead(model, 20) if config.lookahead else None,
    )


def trained(arch, **settings):
    """A learner after a step, with statistics that are not those of the beginning, and its progress."""
    learner = learner_of(arch, seed=1, **settings)
    for parameter in learner.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    learner.optimizer.step()
    learner.schedule.step()
    for buffer in learner.model.buffers():
        buffer.add_(1)
    progress = TrainingState()
    progress.add({"epoch": 1, "val_loss": 0.5}, learner.model, learner.config)
    return learner, progress


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("arch", EVERY)
def test_a_checkpoint_puts_a_new_model_where_the_old_one_was(arch, tmp_path):
    learner, progress = trained(arch)
    checkpoints = Checkpoints(tmp_path, "0" * 64)
    checkpoints.save(1, snapshot(learner, progress, random_states(learner)))
    fresh = learner_of(arch, seed=2)
    state = restore(fresh, checkpoints.load())
    assert_same(fresh.model.state_dict(), learner.model.state_dict())
    expected, found = learner.optimizer.state_dict(), fresh.optimizer.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for number, own in expected["state"].items():
        assert torch.equal(found["state"][number]["momentum_buffer"], own["momentum_buffer"])
    assert (state.epoch, state.best_epoch, state.best_value) == (1, 1, 0.5)
    assert_same(state.best_weights, progress.best_weights)
    learner_of(arch, seed=3).model.load_state_dict(state.best_weights)
    checkpoints.clear()  # some are of more than a gigabyte


def test_an_architecture_of_every_family_is_among_those_above():
    assert {family(arch) for arch in architectures()} == {
        family(arch) for arch in (*LIGHT, *HEAVY, *HEAVIEST)
    }


@pytest.mark.parametrize("arch", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.slow)])
def test_auxiliary_heads_and_slow_weights_come_back_too(arch, tmp_path):
    settings = {"aux_weight": 0.3, "lookahead": True}
    learner, progress = trained(arch, **settings)
    checkpoints = Checkpoints(tmp_path, "0" * 64)
    checkpoints.save(1, snapshot(learner, progress, random_states(learner)))
    fresh = learner_of(arch, seed=2, **settings)
    restore(fresh, checkpoints.load())
    assert_same(fresh.model.state_dict(), learner.model.state_dict())
    assert_same(fresh.lookahead.slow, learner.lookahead.slow)


def test_copied_weights_are_a_state_dict_of_the_same_versions():
    model = build_model("mnasnet0_75", 3)
    copied = copied_state(model.state_dict())
    assert copied._metadata == model.state_dict()._metadata
    build_model("mnasnet0_75", 3).load_state_dict(copied)
