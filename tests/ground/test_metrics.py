import io
import math
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trapline import metrics

numbers = st.floats(allow_nan=True, allow_infinity=True)
rows = st.dictionaries(st.sampled_from([metric.name for metric in metrics.REGISTRY]), numbers, min_size=1)
PREFIXES = ["", "algo-1-x7 | ", "\x1b[36m[1,mpirank:0,algo-1]<stdout>:", "epoch 3: 10%|█ | [METRICS] epo"]


def as_printed(row):
    printed = {name: float(metrics.format_value(value)) for name, value in row.items()}
    return {name: value for name, value in printed.items() if math.isfinite(value)}


@given(rows, st.sampled_from(PREFIXES), st.sampled_from(["", "\r", "\r\n", " trailing words"]))
@example({"lr": 1e-5, "val_loss": -1e300, "val_acc": float("nan")}, "", "\r")
def test_the_regexes_read_the_printed_values_and_never_a_nan(row, prefix, suffix):
    assert metrics.read_values(prefix + metrics.format_line(row) + suffix) == as_printed(row)


@given(rows, st.data())
def test_a_torn_line_is_read_rightly_or_not_at_all(row, data):
    line = metrics.format_line(row)
    cut = data.draw(st.integers(0, len(line)))
    for piece in (line[:cut], line[cut:]):
        assert metrics.read_values(piece).items() <= as_printed(row).items()
    if 0 < cut < len(line):
        assert metrics.read_values(line[:cut]) == metrics.read_values(line[cut:]) == {}


@given(rows, rows, st.data())
def test_two_lines_written_into_one_another_give_no_mixture(first, second, data):
    one, two = metrics.format_line(first), metrics.format_line(second)
    cut = data.draw(st.integers(1, len(one) - 1))
    found = metrics.read_values(one[:cut] + two + one[cut:])
    assert found.items() <= as_printed(second).items()


def test_a_name_inside_another_name_is_not_mistaken_for_it():
    assert metrics.read_values(metrics.format_line({"train_acc": 0.25, "val_acc": 0.5}))["val_acc"] == 0.5
    assert "epoch" not in metrics.read_values(metrics.format_line({"epoch_s": 12.5}))


def test_a_line_is_one_write_on_its_own_line(monkeypatch):
    class Stream(io.StringIO):
        writes = 0

        def write(self, text):
            self.writes += 1
            return super().write(text)

    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    metrics.emit({"epoch": 4, "train_loss": 0.2881})
    assert stream.writes == 1
    assert stream.getvalue() == "[METRICS] epoch=4 train_loss=0.2881 [/METRICS]\n"


def test_only_rank_0_speaks(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    metrics.emit({"epoch": 1})
    assert capsys.readouterr().out == ""


def test_an_unregistered_metric_is_refused():
    with pytest.raises(KeyError, match="val_accuracy"):
        metrics.format_line({"val_accuracy": 0.9})


def test_the_definitions_keep_to_the_service_limits():
    definitions = metrics.definitions()
    assert len(definitions) <= 40
    assert all(len(item["Name"]) <= 255 and len(item["Regex"]) <= 500 for item in definitions)


@pytest.mark.parametrize(
    ("name", "value", "than", "min_delta", "better"),
    [
        ("val_loss", 0.5, None, 0.0, True),
        ("val_loss", 0.5, 0.6, 0.0, True),
        ("val_loss", 0.5, 0.55, 0.1, False),
        ("val_acc", 0.5, 0.6, 0.0, False),
        ("val_acc", 0.6, 0.6, 0.0, False),
        ("val_acc", float("nan"), None, 0.0, False),
        ("val_acc", float("inf"), None, 0.0, False),
        ("val_loss", float("-inf"), 0.5, 0.0, False),
        ("val_acc", 0.1, float("nan"), 0.0, True),
        ("val_loss", 9.0, float("-inf"), 0.1, True),
    ],
)
def test_better_follows_the_direction_of_the_metric(name, value, than, min_delta, better):
    assert metrics.is_better(name, value, than, min_delta) is better
