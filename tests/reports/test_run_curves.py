"""Runs are drawn together, summed up and written value by value."""

import csv
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from trapline.errors import TraplineError
from trapline.metrics import BatchPoint
from trapline.reports.curves import COLOURS, batch_epochs, draw_runs
from trapline.reports.run_logs import (
    MAX_EPOCHS,
    Curves,
    epoch_table,
    summarise,
    summary_table,
    write_long_csv,
)

pytestmark = pytest.mark.slow


def run(name="night", losses=(1.5, 0.5, 0.75), batches=0, **changes):
    rows = tuple(
        {"epoch": float(n), "train_loss": loss, "train_acc": 0.5, "val_loss": loss, "val_acc": 1 - loss / 4,
         "lr": 0.001, "epoch_s": 30.0} | changes
        for n, loss in enumerate(losses, 1)
    )  # fmt: skip
    points = tuple(BatchPoint(n, b, 2.0 / b, 0.25, 10, 0.001) for n in (1, 2) for b in range(1, batches + 1))
    return Curves(name, rows, points)


def inked(path, colour):
    """How many pixels have nearly this colour."""
    with Image.open(path) as picture:
        image = np.asarray(picture.convert("RGB")).astype(int)
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((np.abs(image - wanted).sum(axis=2) < 24).sum())


def test_every_run_has_a_colour_of_its_own(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_runs([run("one"), run("$x_y$", losses=(3.0, 1.0)), run("long" * 30)], tmp_path / "c.png")
    assert all(inked(tmp_path / "c.png", colour) > 100 for colour in COLOURS[:3])
    assert inked(tmp_path / "c.png", COLOURS[3]) == 0


@pytest.mark.parametrize(
    "curves",
    [
        Curves("batches", (), (BatchPoint(1, 1, 2.0, 0.5), BatchPoint(1, 2, 1.0, 0.75))),
        run(losses=(1.0,)),
        run(val_loss=math.nan),
        run(losses=(1e6, 0.5)),
        run(batches=5),
        run(losses=[1.0] * 300),
    ],
)
def test_little_much_and_undefined_values_are_drawn_without_a_warning(tmp_path, curves):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_runs([curves], tmp_path / "c.png")
    assert inked(tmp_path / "c.png", COLOURS[0]) > 50


def test_nothing_to_draw_is_an_error_that_names_the_picture(tmp_path):
    with pytest.raises(TraplineError, match=r"c\.png: no epoch and no batch"):
        draw_runs([Curves("empty")], tmp_path / "c.png")


def test_batches_lie_between_the_epochs():
    points = [BatchPoint(1, 49, 1, 0.5, of=98), BatchPoint(3, 98, 1, 0.5, of=98), BatchPoint(2, 49, 1, 0.5)]
    assert batch_epochs(points) == [0.5, 3.0, 1.5]


def test_a_run_is_summed_up_at_its_lowest_validation_loss_and_at_its_end():
    summary = summarise(run(batches=3))
    assert (summary.best_epoch, summary.best_val_loss, summary.acc_at_best) == (2, 0.5, 0.875)
    assert (summary.last_val_loss, summary.last_val_acc, summary.seconds) == (0.75, 0.8125, 90)
    unfinished = replace(run(), epochs=(*run().epochs, {"epoch": 4.0, "train_loss": 0.5}))
    assert (summarise(unfinished).last_val_loss, summarise(unfinished).last_train_loss) == (0.75, 0.5)
    lines = summary_table([run(), run("other", losses=(2.0,))]).splitlines()
    assert lines[2].split() == ["night", "3", "2", "0.5000", "0.8750", "0.7500", "0.8125", "0.7500", "1.5"]
    assert lines[3].split()[:3] == ["other", "1", "1"]


def with_best(curves, *best):
    """The curves with what training said after each epoch: whose weights it keeps."""
    rows = zip(curves.epochs, best, strict=True)
    return replace(curves, epochs=tuple({**row, "best_epoch": float(said)} for row, said in rows))


def test_the_best_epoch_is_the_one_that_training_says_it_has_kept(tmp_path):
    kept = with_best(run(), 1, 1, 3)
    assert (summarise(kept).best_epoch, summarise(kept).best_val_loss) == (3, 0.75)
    assert [line[:2] for line in epoch_table(kept).splitlines()[2:]] == ["  ", "  ", "* "]
    draw_runs([run()], tmp_path / "lowest.png")
    draw_runs([kept], tmp_path / "kept.png")
    assert (tmp_path / "lowest.png").read_bytes() != (tmp_path / "kept.png").read_bytes()


def test_where_training_has_kept_no_epoch_none_is_the_best():
    none = with_best(run(val_loss=math.nan), 0, 0, 0)
    assert (summarise(none).best_epoch, summarise(none).best_val_loss) == (None, None)
    assert not any(line.startswith("*") for line in epoch_table(none).splitlines())


@pytest.mark.parametrize("first", [math.nan, math.inf, -math.inf])
def test_a_first_epoch_that_is_no_number_is_not_the_best(first):
    assert summarise(run(losses=(first, 1.0, 0.5))).best_epoch == 3


def test_what_is_not_known_is_a_dash():
    summary = summary_table([Curves("batches", ({"epoch": 1.0, "train_loss": 2.0},))]).splitlines()[2]
    assert summary.split() == ["batches", "1", "1", "-", "-", "-", "-", "2.0000", "-"]


def test_the_table_marks_the_best_epoch_and_thins_out_a_long_run():
    assert [line[:2] for line in epoch_table(run()).splitlines()[2:]] == ["  ", "* ", "  "]
    losses = [abs(n - 123) / 100 + 1 for n in range(1, 301)]
    lines = epoch_table(run(losses=losses)).splitlines()
    assert len(lines) <= MAX_EPOCHS + 3
    assert any(line.startswith("* 123 ") for line in lines)
    assert lines[2].split()[0] == "1"
    assert lines[-2].split()[0] == "300"
    assert "are in the CSV file" in lines[-1]


def test_the_csv_file_has_one_value_a_line(tmp_path):
    write_long_csv([run(losses=(1.5,), batches=1)], tmp_path / "c.csv")
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"run": "night", "epoch": "1", "step": "", "metric": "val_loss", "value": "1.5"} in rows
    assert {"run": "night", "epoch": "2", "step": "1", "metric": "batch_loss", "value": "2"} in rows
    assert len(rows) == 6 + 2 * 3
