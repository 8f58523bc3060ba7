import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from trapline.config import make_config
from trapline.errors import UsageError
from trapline.training.optimisation import (
    add_l1,
    class_weights,
    make_loss,
    make_optimizer,
    make_schedule,
    positive_weights,
)


def rates(steps_per_epoch=10, **settings):
    """The learning rate at every optimizer step."""
    config = make_config({"lr": 0.5, "epochs": 4, **settings})
    optimizer = make_optimizer(config, torch.nn.Linear(2, 2), frozenset())
    schedule = make_schedule(config, optimizer, steps_per_epoch)
    seen = []
    for _ in range(config.epochs * steps_per_epoch):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return seen


def test_constant_stays_at_lr():
    assert set(rates()) == {0.5}


def test_cosine_falls_from_lr_to_nearly_0():
    seen = rates(schedule="cosine")
    assert seen[0] == 0.5
    assert seen == sorted(seen, reverse=True)
    assert seen[20] == pytest.approx(0.25)
    assert 0 < seen[-1] < 0.005


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_rises_to_lr_once(schedule):
    seen = rates(schedule=schedule, warmup_epochs=1)
    assert seen[:11] == sorted(seen[:11])
    assert 0 < seen[0] < 0.1
    assert max(seen) == seen[10] == 0.5


def test_onecycle_rises_to_lr_and_falls_far_below_the_start():
    seen = rates(schedule="onecycle")
    assert max(seen) == pytest.approx(0.5)
    assert seen[0] == pytest.approx(0.5 / 25)
    assert seen[-1] < seen[0] / 100


@pytest.mark.parametrize("name", ["adamw", "adam", "adadelta", "sgd"])
@pytest.mark.parametrize("schedule", ["onecycle", "plateau"])
def test_every_optimizer_learns_with_every_kind_of_schedule_and_is_fused_where_torch_has_it(name, schedule):
    config = make_config({"optimizer": name, "lr": 0.1, "schedule": schedule, "epochs": 2})
    model = torch.nn.Linear(3, 1)
    optimizer = make_optimizer(config, model, frozenset())
    advance, losses = make_schedule(config, optimizer, 10), []
    for _ in range(20):
        loss = (model(torch.ones(1, 3)) - 4).square().sum()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        advance.step()
    assert losses[-1] < losses[0]
    assert type(optimizer).__name__.lower() == name
    assert optimizer.defaults.get("fused", None) is (None if name == "adadelta" else True)


def test_positive_weights_make_both_sides_of_a_label_count_alike():
    labels = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], dtype=np.float32)
    assert positive_weights(labels, "ab").tolist() == pytest.approx([3, 1 / 3])
    config = make_config({"loss": "bce", "positive_weights": "balanced"})
    loss = make_loss(config, labels, "ab", torch.device("cpu"))
    logits = torch.zeros(4, 2, requires_grad=True)
    loss(logits, torch.from_numpy(labels)).sum().backward()
    assert logits.grad.sum(dim=0).tolist() == pytest.approx([0, 0], abs=1e-6)
    with pytest.raises(UsageError, match=r"^positive_weights balanced: no training image has b; use none$"):
        positive_weights(labels * [1, 0], "ab")


def test_triangle_rises_from_a_fifth_and_falls_to_a_fourteenth_along_straight_lines():
    seen = rates(steps_per_epoch=50, schedule="triangle")  # 200 steps
    assert seen[0] == pytest.approx(0.2 * 0.5)
    assert max(seen) == seen[46] == pytest.approx(0.5)
    assert seen[23] == pytest.approx(0.6 * 0.5)
    assert seen[123] == pytest.approx(0.5 * (1 + 0.07) / 2)
    assert 0.07 < seen[-1] / 0.5 < 0.08


def test_nesterov_and_the_rate_of_norm_biases_reach_the_optimizer():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    config = make_config(
        {"optimizer": "sgd", "lr": 0.1, "nesterov": True, "norm_bias_lr_multiplier": 64, "momentum": 0.85}
    )
    optimizer = make_optimizer(config, model, frozenset({"2.weight", "2.bias"}))
    apart = [group for group in optimizer.param_groups if group["lr"] > 0.1]
    assert [group["params"] for group in apart] == [[model[1].bias]]
    assert (apart[0]["lr"], apart[0]["weight_decay"]) == (pytest.approx(6.4), 0)
    assert all((group["nesterov"], group["momentum"]) == (True, 0.85) for group in optimizer.param_groups)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


def test_l1_adds_the_gradient_of_the_sum_of_absolute_weights_but_not_for_biases():
    torch.manual_seed(0)
    models = [torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)]
    models[1].load_state_dict(models[0].state_dict())
    ours, expected = (model(torch.ones(4, 3)).square().sum() for model in models)
    (expected + 0.1 * models[1].weight.abs().sum()).backward()
    ours.backward()
    add_l1(make_optimizer(make_config({"weight_decay": 0}), models[0], frozenset()), 0.1)
    torch.testing.assert_close(models[0].weight.grad, models[1].weight.grad)
    assert torch.equal(models[0].bias.grad, models[1].bias.grad)


def test_the_head_has_its_own_rate():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    config = make_config({"lr": 0.1, "head_lr_multiplier": 10})
    optimizer = make_optimizer(config, model, frozenset({"1.weight", "1.bias"}))
    by_size = {p.numel(): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert by_size[6] == pytest.approx(1.0) or by_size[2] == pytest.approx(1.0)
    assert min(group["lr"] for group in optimizer.param_groups) == pytest.approx(0.1)


@given(st.lists(st.integers(0, 3), min_size=1).map(lambda extra: [0, 1, 2, 3, *extra]))
def test_balanced_weights_are_those_of_scikit_learn(labels):
    expected = compute_class_weight("balanced", classes=np.arange(4), y=np.array(labels))
    assert class_weights("balanced", np.array(labels), "abcd") == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.integers(0, 3), min_size=1).map(lambda extra: [0, 1, 2, 3, *extra]))
def test_inverse_weights_sum_to_the_number_of_classes_and_balance_the_classes(labels):
    weights = class_weights("inverse", np.array(labels), "abcd")
    assert weights.dtype == np.float32
    assert weights.sum() == pytest.approx(4, rel=1e-5)
    assert weights * np.bincount(labels) == pytest.approx([weights[0] * labels.count(0)] * 4, rel=1e-5)


@pytest.mark.parametrize("setting", ["balanced", "inverse"])
def test_a_class_without_training_images_cannot_be_weighted(setting):
    labels, classes = np.array([0, 0, 2]), ["bird", "hog", "leopard"]
    with pytest.raises(UsageError, match=f"class_weights {setting}: no training image of hog"):
        make_loss(make_config({"class_weights": setting}), labels, classes, torch.device("cpu"))


def test_the_loss_is_one_value_per_image_and_its_mean_the_usual_one():
    logits, targets = torch.randn(6, 3, generator=torch.manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
    loss = make_loss(make_config({"label_smoothing": 0.1}), targets.numpy(), "abc", torch.device("cpu"))
    assert loss(logits, targets).shape == (6,)
    expected = functional.cross_entropy(logits, targets, label_smoothing=0.1)
    assert loss(logits, targets).mean() == pytest.approx(expected.item())


def test_the_loss_of_half_precision_logits_is_computed_in_full_precision():
    loss = make_loss(make_config({}), np.array([0, 1]), "ab", torch.device("cpu"))
    assert loss(torch.zeros(2, 2, dtype=torch.bfloat16), torch.tensor([0, 1])).dtype == torch.float32


def test_rare_classes_weigh_more_when_balanced():
    labels = np.array([0, 0, 0, 1])
    loss = make_loss(make_config({"class_weights": "balanced"}), labels, "ab", torch.device("cpu"))
    values = loss(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert values[1] / values[0] == pytest.approx(3.0)
