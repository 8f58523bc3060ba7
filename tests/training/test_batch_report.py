"""Loss and accuracy of the latest images are told in an epoch, without asking the device each time."""

import pytest
import torch
from torch import Tensor

from trapline.metrics import read_batch
from trapline.training.loop import BatchReport, Tally


def tally():
    return Tally(torch.zeros(()), learning_rate=0.001)


def add(tally, losses, right, labelled=None):
    """Count a batch with these losses, of whose images the first `right` are told rightly."""
    labels = torch.zeros(len(losses), dtype=torch.int64)
    logits = torch.zeros(len(losses), 2)
    logits[right:, 1] = 1.0
    tally.add(torch.tensor(losses), logits, labels, None if labelled is None else torch.tensor(labelled))


def test_a_line_is_printed_after_every_so_many_batches_and_at_the_end(capsys):
    report, seen = BatchReport(epoch=2, batches=5, every=2), tally()
    for number in range(1, 6):
        add(seen, [float(number)] * 4, right=number - 1)
        report.watch(number, seen)
    points = [read_batch(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one.epoch, one.batch, one.of, one.lr) for one in points] == [
        (2, 2, 5, 0.001), (2, 4, 5, 0.001), (2, 5, 5, 0.001),
    ]  # fmt: skip
    assert [one.loss for one in points] == [1.5, 3.5, 5.0]
    assert [one.accuracy for one in points] == [0.125, 0.625, 1.0]


def test_nothing_is_printed_or_asked_of_the_device_where_no_line_is_due(capsys, monkeypatch):
    asked = []
    for name in ("item", "tolist", "__float__", "cpu"):
        monkeypatch.setattr(Tensor, name, lambda *_, name=name: asked.append(name))
    report, seen = BatchReport(epoch=1, batches=9), tally()
    for number in range(1, 10):
        add(seen, [1.0], right=1)
        report.watch(number, seen)
    assert asked == []
    assert capsys.readouterr().out == ""


def test_the_status_is_that_of_the_images_since_the_last_look():
    report, seen = BatchReport(epoch=1, batches=3), tally()
    assert report.status() == ""
    add(seen, [2.0, 4.0], right=1)
    report.watch(1, seen)
    assert report.status() == "loss 3.0000, accuracy 0.500, lr 0.001"
    add(seen, [1.0, 1.0], right=2)
    report.watch(2, seen)
    assert report.status() == "loss 1.0000, accuracy 1.000, lr 0.001"
    assert report.status() == "loss 1.0000, accuracy 1.000, lr 0.001"


def test_guessed_labels_are_not_counted():
    report, seen = BatchReport(epoch=1, batches=1), tally()
    add(seen, [2.0, 4.0, 9.0], right=1, labelled=[True, True, False])
    report.watch(1, seen)
    assert report.status().startswith("loss 3.0000, accuracy 0.500")


@pytest.mark.parametrize("every", [0, 3])
def test_the_log_and_the_bar_do_not_disturb_each_other(every, capsys):
    report, seen = BatchReport(epoch=1, batches=3, every=every), tally()
    for number in range(1, 4):
        add(seen, [float(number)], right=1)
        report.watch(number, seen)
        report.status()
    printed = capsys.readouterr().out
    assert ("loss=2 " in printed) == bool(every)
