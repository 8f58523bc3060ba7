"""Learning curves are drawn from any history, and the picture is small, whole and the same each time."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from trapline.errors import TraplineError
from trapline.reports.curves import BEST, TRAIN, VALIDATION, write_curves
from trapline.reports.run_logs import best_row, kept_row, parse_history, read_history


def rows(epochs, **changes):
    return [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "train_acc": 1 - 0.8 / epoch,
            "train_macro_f1": 1 - 0.9 / epoch,
            "val_loss": 1.5 + abs(epoch - 3) / 10,
            "val_acc": 0.6 - 0.3 / epoch,
            "val_macro_f1": 0.5 - 0.3 / epoch,
        }
        | changes
        for epoch in range(1, epochs + 1)
    ]


def pixels(path):
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def inked(image, colour):
    """How many pixels have nearly this colour."""
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((np.abs(image - wanted).sum(axis=2) < 24).sum())


@pytest.mark.parametrize("epochs", [1, 2, 7, 200])
def test_any_number_of_epochs_is_drawn_in_all_colours_and_in_few_bytes(tmp_path, epochs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_curves(rows(epochs), tmp_path / "curves.png", title="night-run (swin_t)")
    image = pixels(tmp_path / "curves.png")
    assert image.shape[1] >= 1000
    assert all(inked(image, colour) > 50 for colour in (TRAIN, VALIDATION, BEST))
    assert (tmp_path / "curves.png").stat().st_size < 100_000


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_leaves_a_gap(tmp_path, value):
    history = rows(6)
    write_curves(history, tmp_path / "whole.png")
    history[3]["val_loss"] = value
    write_curves(history, tmp_path / "gap.png")
    assert inked(pixels(tmp_path / "gap.png"), VALIDATION) < inked(pixels(tmp_path / "whole.png"), VALIDATION)


def test_a_history_without_any_finite_value_still_gives_a_picture(tmp_path):
    names = ["train_loss", "train_acc", "train_macro_f1", "val_loss", "val_acc", "val_macro_f1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_curves(rows(3, **dict.fromkeys(names, math.nan)), tmp_path / "curves.png")
    assert pixels(tmp_path / "curves.png").size


def test_missing_columns_and_a_loss_of_many_magnitudes_are_drawn(tmp_path):
    history = [{"epoch": 1, "val_loss": 1e6}, {"epoch": 2, "val_loss": 0.5}]
    write_curves(history, tmp_path / "curves.png")
    assert inked(pixels(tmp_path / "curves.png"), VALIDATION) > 50


def test_validations_that_are_epochs_apart_are_joined_by_a_line(tmp_path):
    sparse, gaps = rows(9), rows(9)
    for number in (1, 2, 3, 5, 6, 7):
        for name in [name for name in sparse[number] if name.startswith("val_")]:
            del sparse[number][name]
            gaps[number][name] = math.nan
    write_curves(sparse, tmp_path / "sparse.png")
    write_curves(gaps, tmp_path / "gaps.png")
    joined, apart = (inked(pixels(tmp_path / name), VALIDATION) for name in ("sparse.png", "gaps.png"))
    assert joined > 1.5 * apart


def test_empty_cells_are_epochs_without_validation_and_of_other_columns_damage():
    text = "epoch,train_loss,val_loss\n1,2.5,\n2,2.0,1.5\n"
    assert parse_history(text, "m") == [
        {"epoch": 1, "train_loss": 2.5}, {"epoch": 2, "train_loss": 2, "val_loss": 1.5},
    ]  # fmt: skip
    with pytest.raises(TraplineError, match=r"^m: line 2: train_loss is '', not a number$"):
        parse_history("epoch,train_loss,val_loss\n1,,1.5\n", "m")


def test_a_title_is_text_however_long_and_whatever_signs_are_in_it(tmp_path):
    write_curves(rows(3), tmp_path / "curves.png", title=r"$\frac{ run_$x " + "long " * 60)
    write_curves(rows(3), tmp_path / "plain.png")
    assert not np.array_equal(pixels(tmp_path / "curves.png"), pixels(tmp_path / "plain.png"))


def test_the_same_history_gives_the_same_file_also_from_metrics_csv(tmp_path):
    history = rows(4)
    names = list(history[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in history)]
    (tmp_path / "metrics.csv").write_text("\n".join(lines))
    write_curves(history, tmp_path / "one.png")
    write_curves(tmp_path / "metrics.csv", tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_marked_epoch_is_the_best_by_the_chosen_metric(tmp_path):
    write_curves(rows(7), tmp_path / "loss.png")
    write_curves(rows(7), tmp_path / "accuracy.png", best_metric="val_acc")
    assert not np.array_equal(pixels(tmp_path / "loss.png"), pixels(tmp_path / "accuracy.png"))


def test_the_best_row_is_the_first_of_equals_and_never_nan():
    history = [{"val_loss": value, "val_acc": -value} for value in (math.nan, 0.7, 0.5, 0.5)]
    assert best_row(history) == 2
    assert best_row(history, "val_acc") == 2
    assert best_row(history[:1]) is None
    assert best_row([{"epoch": 1.0}]) is None


def test_the_kept_row_is_what_training_said_last_and_else_the_best(tmp_path):
    history = [{"epoch": float(n), "val_loss": loss} for n, loss in enumerate((math.nan, 0.5, 0.7), 1)]
    assert kept_row(history) == 1
    said = [{**row, "best_epoch": best} for row, best in zip(history, (0.0, 2.0, 3.0), strict=True)]
    assert kept_row(said) == 2
    assert kept_row(said, "val_acc") == 2
    assert kept_row(said[:1]) is None
    assert kept_row([{**said[2], "best_epoch": 2.0}, said[0] | {"epoch": 4.0, "best_epoch": 2.0}]) == 0
    assert kept_row([]) is None


def test_the_marked_epoch_is_the_one_that_training_has_kept(tmp_path):
    write_curves(rows(7), tmp_path / "chosen.png")
    write_curves([{**row, "best_epoch": 2.0} for row in rows(7)], tmp_path / "said.png")
    assert not np.array_equal(pixels(tmp_path / "chosen.png"), pixels(tmp_path / "said.png"))


def test_no_epoch_is_refused_and_leaves_the_earlier_picture(tmp_path):
    (tmp_path / "curves.png").write_text("earlier")
    with pytest.raises(TraplineError, match=r"curves.png: no epoch to draw"):
        write_curves([], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_text() == "earlier"


def test_an_unwritable_place_leaves_no_temporary_file(tmp_path):
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_curves(rows(2), tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "metrics.csv: no epoch in it"),
        ("epoch,val_loss\n", "metrics.csv: no epoch in it"),
        ("epoch,val_loss\n1,0.5\n2,abc\n", "metrics.csv: line 3: val_loss is 'abc', not a number"),
        ("epoch,val_loss\n1\n", "metrics.csv: line 2: val_loss is None, not a number"),
        ("a,b\n1,2\n", "metrics.csv: none of its columns is a known metric"),
    ],
)
def test_a_damaged_history_names_the_file_and_the_line(text, message):
    with pytest.raises(TraplineError) as error:
        parse_history(text, "metrics.csv")
    assert str(error.value).startswith(message)


def test_a_history_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(TraplineError, match=r"metrics.csv: no such file"):
        read_history(tmp_path / "metrics.csv")
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraplineError, match=r"metrics.csv: not text"):
        read_history(tmp_path / "metrics.csv")


def test_numbers_come_back_with_nan_and_infinity_and_without_unknown_columns():
    (row,) = parse_history("epoch,val_loss,train_loss,mood\n1,nan,inf,fine\n", "metrics.csv")
    assert row.keys() == {"epoch", "val_loss", "train_loss"}
    assert math.isnan(row["val_loss"])
    assert row["train_loss"] == math.inf


def test_the_module_itself_loads_no_matplotlib_and_drawing_no_pyplot(tmp_path):
    probe = (
        "import sys; from pathlib import Path; from trapline.reports.curves import write_curves\n"
        "assert not {'matplotlib', 'numpy', 'PIL'} & set(sys.modules)\n"
        "write_curves([{'epoch': 1, 'val_loss': 0.5}], Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", probe, tmp_path / "c.png"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
