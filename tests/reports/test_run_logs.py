"""Curves are read from logs however they were saved, and never a value that no line has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.metrics import BatchPoint, format_batch, format_line, read_batch, read_values
from trapline.reports.run_logs import parse_log

ROWS = [{"epoch": n, "train_loss": 2.0 / n, "val_loss": 2.5 / n, "val_acc": n / 8} for n in (1, 2, 4)]
LINES = [format_line(row) for row in ROWS]
PREFIXES = ["", "algo-1-x7  | ", "2026-11-22T10:00:00.123Z ", "\x1b[36m[1,mpirank:0,algo-1]<stdout>:\x1b[0m"]


def point(epoch, batch, **values):
    return BatchPoint(epoch, batch, **{"loss": 2.125, "accuracy": 0.25, "of": 98, "lr": 1e-3} | values)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_epochs_are_read_behind_any_prefix_and_between_any_line_ends(prefix, end):
    text = end.join(f"{prefix}{line}" for line in ["starting", *LINES, "done"])
    assert parse_log(text, "night").epochs == tuple(ROWS)


def test_a_line_torn_in_two_is_put_together():
    line = LINES[1]
    for cut in (len("[METRICS]"), 30, len(line) - 3):
        assert parse_log(f"{line[:cut]}\n{line[cut:]}", "night").epochs == (ROWS[1],)


def test_an_epoch_that_comes_twice_counts_as_it_came_last_and_epochs_are_in_order():
    again = format_line(ROWS[1] | {"val_loss": 0.5})
    epochs = parse_log("\n".join([LINES[0], LINES[2], LINES[1], again]), "night").epochs
    assert [row["epoch"] for row in epochs] == [1, 2, 4]
    assert epochs[1]["val_loss"] == 0.5


def test_the_line_of_the_test_part_is_no_epoch():
    tested = format_line({"test_loss": 1.5, "test_acc": 0.25})
    assert parse_log("\n".join([*LINES, tested]), "night").epochs == tuple(ROWS)
    assert read_values(tested) == {"test_loss": 1.5, "test_acc": 0.25}


@given(st.integers(1, 9999), st.integers(1, 99999), st.floats(0, 1e6), st.floats(0, 1), st.floats(1e-9, 10))
def test_a_batch_line_is_read_as_printed_and_no_metric_matches_it(epoch, batch, loss, accuracy, lr):
    line = format_batch(BatchPoint(epoch, batch, loss, accuracy, 100000, lr))
    read = read_batch(f"algo-1 | {line}\r")
    assert (read.epoch, read.batch, read.of) == (epoch, batch, 100000)
    assert (read.loss, read.accuracy, read.lr) == pytest.approx((loss, accuracy, lr), rel=1e-5)
    assert read_values(line) == {}
    assert read_batch(line[:-1]) is None


def test_batches_and_epochs_of_one_log_are_told_apart():
    text = "\n".join([format_batch(point(1, 20)), LINES[0], format_batch(point(2, 20, loss=1.5))])
    curves = parse_log(text, "night")
    assert curves.epochs == (ROWS[0],)
    assert curves.batches == (point(1, 20), point(2, 20, loss=1.5))


FOREIGN = """EPOCH: 0
Loss=4.5 Batch_id=0 Accuracy=1.00:   0%|          | 0/3 [00:00<?, ?it/s]\rLoss=4.0 Batch_id=1 Accuracy=2.00:  33%|### | 1/3 [00:01<00:02, 1it/s]\rLoss=3.5 Batch_id=2 Accuracy=3.00: 100%|###| 3/3 [00:03<00:00]
Test set: Average loss: 3.1000, Accuracy: 12/200 (6.00%)
EPOCH: 1
Loss=3.0 Batch_id=0 Accuracy=10.00:   0%| | 0/3 [00:00<?]\rLoss=2.0 Batch_id=1 Accuracy=20.00
Test set: Average loss: 2.9000, Accuracy: 30/200 (15.00%)
"""  # noqa: E501


def test_the_batch_lines_of_another_trainer_become_batches_and_epochs():
    curves = parse_log(FOREIGN, "imagenet.log")
    assert [(one.epoch, one.batch, one.loss) for one in curves.batches] == [
        (1, 1, 4.5), (1, 2, 4.0), (1, 3, 3.5), (2, 1, 3.0), (2, 2, 2.0),
    ]  # fmt: skip
    assert list(curves.epochs) == [
        {"epoch": 1, "val_loss": 3.1, "val_acc": 0.06, "train_loss": 4.0, "train_acc": 0.03},
        {"epoch": 2, "val_loss": 2.9, "val_acc": 0.15, "train_loss": 2.5, "train_acc": 0.2},
    ]


@pytest.mark.parametrize(
    ("line", "loss", "accuracy"),
    [
        ("Loss=2.5, Accuracy=21.88", 2.5, 0.2188),
        ("Loss=2.5, Accuracy=21.88%", 2.5, 0.2188),
        ("Loss=2.5, Accuracy=0.88%", 2.5, 0.0088),
        ("Loss=2.5, Accuracy=0.25", 2.5, 0.25),
        ("INFO train: loss: 1.5e-03, accuracy: 99.5 %", 0.0015, 0.995),
        ("Train: Loss=0.5, Batch_id=97, Accuracy=45.5", 0.5, 0.455),
        ("Train: Loss=0.5000 Batch_id=97 Accuracy=45.50", 0.5, 0.455),
        ("Epoch 1: 10%|# | 3/30 [00:01<00:09, loss=0.75, acc=50.0]", 0.75, 0.5),
    ],
)
def test_a_batch_line_may_be_written_in_several_ways(line, loss, accuracy):
    (batch,) = parse_log(line, "x").batches
    assert (batch.loss, batch.accuracy) == pytest.approx((loss, accuracy))


def test_one_value_above_1_makes_all_accuracies_percent():
    batches = parse_log("Loss=4.6, Accuracy=0.50\nLoss=4.5, Accuracy=1.50", "x").batches
    assert [batch.accuracy for batch in batches] == pytest.approx([0.005, 0.015])


def test_without_marks_an_epoch_begins_where_the_batches_begin_again_or_after_validation():
    again = parse_log("\n".join(f"Loss=1.0 Batch_id={n} Accuracy=50" for n in (0, 1, 2, 0, 1)), "x")
    assert [(one.epoch, one.batch) for one in again.batches] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    lines = [
        "Loss=1.0, Accuracy=50",
        "Loss=0.9, Accuracy=51",
        "Val Loss=0.8, Accuracy=52",
        "Loss=0.7, Accuracy=60",
    ]
    validated = parse_log("\n".join(lines), "x")
    assert [(one.epoch, one.batch) for one in validated.batches] == [(1, 1), (1, 2), (2, 1)]
    assert validated.epochs[0]["val_loss"] == 0.8


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_no_text_breaks_the_reader(text):
    curves = parse_log(text, "x")
    assert all(row["epoch"] >= 0 for row in curves.epochs)


def test_text_without_metrics_has_no_curves():
    assert not parse_log("pip install ...\nLoss of connection, accuracy unknown\n", "x")
