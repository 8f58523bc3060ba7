import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trapline.config import make_config
from trapline.data.loader import Batch
from trapline.errors import TraplineError
from trapline.models.build import Normalisation
from trapline.training.execution import Execution
from trapline.training.loop import Learner, Tally, group_sizes, timed, train_epoch
from trapline.training.optimisation import make_loss, make_optimizer, make_schedule

CPU = Execution(torch.device("cpu"), "fp32", channels_last=False)


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))


def learner(model, **settings):
    config = make_config({"optimizer": "sgd", "momentum": 0, "lr": 0.05, "weight_decay": 0, **settings})
    optimizer = make_optimizer(config, model, frozenset())
    return Learner(
        model=model,
        optimizer=optimizer,
        schedule=make_schedule(config, optimizer, 10),
        scaler=CPU.scaler(),
        loss=make_loss(config, torch.arange(3).numpy(), "abc", CPU.device),
        config=config,
        execution=CPU,
        normalisation=Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    )


def images(count):
    generator = torch.Generator().manual_seed(1)
    return Batch(
        torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8, generator=generator),
        torch.randint(0, 3, (count,), generator=generator),
        torch.ones(count),
    )


def cut(batch, sizes):
    pieces = zip(
        batch.images.split(sizes), batch.labels.split(sizes), batch.weights.split(sizes), strict=True
    )
    return [Batch(*piece) for piece in pieces]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=12), st.integers(1, 5))
def test_each_micro_batch_knows_the_images_of_its_step(sizes, accumulation):
    totals = group_sizes(sizes, accumulation)
    for number, total in enumerate(totals):
        first = number // accumulation * accumulation
        assert total == sum(sizes[first : first + accumulation])


@pytest.mark.parametrize("sizes", [[4, 4, 4], [5, 4, 3], [11, 1]])
def test_accumulated_ragged_micro_batches_train_as_one_batch(sizes):
    whole, parts = small_model(), small_model()
    batch = images(12)
    one = train_epoch(learner(whole), [batch], [12], epoch=1)
    many = train_epoch(learner(parts, accumulation=len(sizes)), cut(batch, sizes), sizes, epoch=1)
    for expected, found in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert many.metrics() == pytest.approx(one.metrics())


def test_only_whole_batches_are_compiled():
    job, seen = learner(small_model(), batch_size=3), []

    def compiled(inputs):
        seen.append(len(inputs))
        return job.model(inputs)

    job.compiled = compiled
    train_epoch(job, cut(images(8), [3, 3, 2]), [3, 3, 2], epoch=1)
    assert seen == [3, 3]


def test_an_incomplete_last_step_is_taken_too():
    model = small_model()
    job = learner(model, accumulation=2)
    train_epoch(job, cut(images(9), [3, 3, 3]), [3, 3, 3], epoch=1)
    assert job.schedule.last_epoch == 2
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_image_of_weight_0_teaches_nothing():
    batch = images(6)
    weighted = Batch(batch.images, batch.labels, torch.tensor([1.0, 1, 1, 0, 0, 0]))
    altered = batch.images.clone()
    altered[3:] = 0
    models = [small_model(), small_model()]
    for model, pixels in zip(models, (batch.images, altered), strict=True):
        train_epoch(learner(model), [Batch(pixels, weighted.labels, weighted.weights)], [6], epoch=1)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_clipping_bounds_the_step():
    model = small_model()
    before = copy.deepcopy(model)
    train_epoch(learner(model, clip_norm=1e-3, lr=1.0), [images(6)], [6], epoch=1)
    pairs = zip(model.parameters(), before.parameters(), strict=True)
    moved = torch.cat([(after - start).detach().flatten() for after, start in pairs]).norm()
    assert 0 < float(moved) <= 1.001e-3


def test_a_loss_that_is_no_number_ends_the_epoch_with_advice():
    model = small_model()
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.raises(TraplineError, match=r"loss became nan in epoch 3, by batch 1: lower lr \(now 0.05\)"):
        train_epoch(learner(model), [images(6)], [6], epoch=3)


def test_metrics_of_a_pass_are_means_over_images():
    tally = Tally(torch.zeros(()))
    tally.add(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([0, 1]))
    tally.add(torch.tensor([6.0]), torch.tensor([[0.0, 1]]), torch.tensor([1]))
    metrics = tally.metrics()
    assert metrics["train_loss"] == pytest.approx(3.0)
    assert metrics["train_acc"] == pytest.approx(2 / 3)


def test_waiting_is_counted_and_nothing_is_lost(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr("trapline.training.loop.time.perf_counter", lambda: next(ticks))
    tally = Tally(torch.zeros(()))
    assert list(timed("abc", tally)) == ["a", "b", "c"]
    assert tally.waited == 3


def trained(**settings):
    """The weights after an epoch of two batches, and what the pass leaves."""
    model = small_model()
    tally = train_epoch(learner(model, **settings), cut(images(12), [6, 6]), [6, 6], epoch=1)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]), tally


def test_mixup_trains_otherwise_and_the_same_when_repeated():
    plain, mixed, again = (trained(mixup=alpha)[0] for alpha in (0.0, 0.4, 0.4))
    assert torch.equal(mixed, again)
    assert not torch.allclose(plain, mixed)
    assert torch.equal(plain, trained()[0])


def test_mixup_draws_anew_with_every_seed():
    assert not torch.equal(trained(mixup=0.4)[0], trained(mixup=0.4, seed=1)[0])


def test_mixup_counts_every_image_once():
    _, tally = trained(mixup=0.4)
    assert tally.images == 12
    assert sorted(torch.cat(tally.labels).tolist()) == sorted(images(12).labels.tolist())


def test_mixed_micro_batches_leave_dropouts_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    job = learner(small_model(), mixup=0.4)
    torch.manual_seed(5)
    train_epoch(job, [images(6)], [6], epoch=1)
    assert torch.equal(torch.rand(1), expected)


def test_metrics_are_those_of_the_images_with_true_labels():
    batch = images(6)
    labelled = torch.tensor([True, True, True, False, False, False])
    alone, mixed = (train_epoch(learner(small_model(), lr=1e-9), [given], [6], epoch=1) for given in (
        Batch(batch.images[:3], batch.labels[:3], batch.weights[:3]),
        Batch(batch.images, batch.labels, batch.weights, labelled),
    ))  # fmt: skip
    assert mixed.metrics() == pytest.approx(alone.metrics())
    assert (mixed.images, alone.images) == (6, 3)


def test_pseudo_labelled_images_teach_by_their_weight():
    batch = images(6)
    labelled = torch.tensor([True] * 3 + [False] * 3)

    def weights_after(weight):
        model = small_model()
        weights = torch.where(labelled, 1.0, weight)
        train_epoch(learner(model), [Batch(batch.images, batch.labels, weights, labelled)], [6], epoch=1)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    start = torch.cat([parameter.detach().flatten() for parameter in small_model().parameters()])
    nothing, half, whole = (weights_after(weight) - start for weight in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (nothing + whole) / 2, rtol=1e-3, atol=1e-7)
    assert not torch.allclose(nothing, whole)


def test_a_pseudo_labelled_image_that_breaks_the_loss_is_not_overlooked():
    tally = Tally(torch.zeros(()))
    losses = torch.tensor([1.0, float("inf")])
    tally.add(losses, torch.zeros(2, 3), torch.zeros(2), torch.tensor([True, False]))
    assert not torch.isfinite(tally.loss)


def test_mixup_and_guessed_labels_go_together():
    batch = images(8)
    labelled = torch.tensor([True] * 6 + [False] * 2)
    given = Batch(batch.images, batch.labels, batch.weights, labelled)
    tally = train_epoch(learner(small_model(), mixup=0.4), [given], [8], epoch=1)
    assert int(torch.cat(tally.labelled).sum()) == 6
    assert all(value == value for value in tally.metrics().values())


def test_who_watches_is_told_of_every_batch_after_its_step():
    model, seen = small_model(), []
    job = learner(model, accumulation=2)
    train_epoch(
        job, cut(images(9), [3, 3, 3]), [3, 3, 3], 1,
        lambda number, tally: seen.append((number, tally.images, job.schedule.last_epoch)),
    )  # fmt: skip
    assert seen == [(1, 3, 0), (2, 6, 1), (3, 9, 2)]


def several(count):
    """A batch of images with none, one or several of three labels."""
    labels = torch.tensor([[0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 1, 0]]).repeat(count // 4, 1).float()
    return Batch(images(count).images, labels, torch.ones(count))


def test_several_labels_an_image_are_counted_at_a_probability_of_one_half():
    tally, labels = Tally(torch.zeros(())), several(4).labels
    logits = torch.where(labels > 0, 1.0, -1.0)
    logits[1, 1] = 0.0  # one label too many: the image is wrong
    tally.add(torch.ones(4), logits, labels)
    found = tally.metrics()
    assert (found["train_loss"], found["train_acc"]) == (1, 0.75)
    assert found["train_macro_f1"] == pytest.approx((1 + 0.8 + 1) / 3)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_several_labels_an_image_are_learned_also_from_mixed_images(mixup):
    model = small_model()
    job = learner(model, loss="bce", mixup=mixup, lr=0.2)
    losses = [train_epoch(job, [several(8)], [8], epoch).metrics()["train_loss"] for epoch in range(1, 30)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


class WithAuxiliaryHead(nn.Module):
    """Two heads on one body; in training it returns what both say."""

    def __init__(self):
        super().__init__()
        self.main, self.auxiliary = small_model(), small_model()

    def forward(self, pixels):
        return (self.main(pixels), self.auxiliary(pixels)) if self.training else self.main(pixels)


def test_the_loss_of_an_auxiliary_head_is_added_with_its_weight():
    batch, plain, model = images(6), small_model(), WithAuxiliaryHead()
    alone = train_epoch(learner(plain), [batch], [6], epoch=1)
    tally = train_epoch(learner(model, aux_weight=0.25), [batch], [6], epoch=1)
    # Both heads begin alike, so that the loss and the auxiliary head's step are shares of the main one's.
    assert float(tally.loss) == pytest.approx(1.25 * float(alone.loss), rel=1e-5)
    start = small_model()
    for first, main, auxiliary, expected in zip(
        *(one.parameters() for one in (start, model.main, model.auxiliary, plain)), strict=True
    ):
        torch.testing.assert_close(main, expected)
        torch.testing.assert_close(auxiliary - first, 0.25 * (expected - first), atol=1e-6, rtol=1e-3)
    assert tally.metrics()["train_acc"] == alone.metrics()["train_acc"]
