"""How the jobs of a sweep are ranked and which may win: by validation alone, and by finite numbers alone."""

import itertools
import math
from dataclasses import replace

import pytest

from trapline.config import make_config
from trapline.launching.commands.multilabel_sweep import Limits, Row, cells, ranked, row_of, winner
from trapline.launching.many.jobs import Outcome

LIMITS = Limits(max_size_mb=100, min_val_f1=0.85, max_gpu_hours=24)
GOOD = Row(
    "resnet50", "sgd", 0.01, "Completed", val_macro_f1=0.9, val_micro_f1=0.9, size_mb=50.0, gpu_hours=1.0
)


@pytest.mark.parametrize("test_f1", [None, 0.0, 0.5, 0.99, math.nan])
def test_the_test_part_neither_ranks_nor_keeps_a_model_from_winning(test_f1):
    other = replace(GOOD, optimizer="adam", val_macro_f1=0.8, test_micro_f1=0.999)
    rows = [other, replace(GOOD, test_micro_f1=test_f1)]
    assert ranked(rows)[0].optimizer == winner(rows, LIMITS).optimizer == "sgd"
    assert "test" not in " ".join(rows[1].missed(Limits(0.0, 1.0, 0.0)))


@pytest.mark.parametrize(("f1", "lacks"), [(0.85, []), (0.84, ["val_micro_f1 0.84, not at least 0.85"]),
                                           (None, ["val_micro_f1 unknown, not at least 0.85"])])  # fmt: skip
def test_a_model_must_keep_to_the_limit_on_validation(f1, lacks):
    row = replace(GOOD, val_micro_f1=f1, test_micro_f1=0.99)
    assert row.missed(LIMITS) == lacks
    assert (winner([row], LIMITS) is None) is bool(lacks)
    assert cells(row, LIMITS, ("val_micro_f1", "test_micro_f1"))[1] == "0.99"


def outcome(label, f1):
    row = {"epoch": 1.0, "val_macro_f1": f1, "val_micro_f1": f1, "epoch_s": 1.0}
    return Outcome(
        label, "Completed", description={"best_epoch": 1, "size": 10**6}, best=row, history=[row],
        test={"test_micro_f1": f1},
    )  # fmt: skip


@pytest.mark.parametrize("order", list(itertools.permutations([math.nan, 0.9, 0.5, math.inf])))
def test_what_is_not_finite_comes_last_wherever_it_stood(order):
    rows = [row_of(outcome(str(f1), f1), make_config({}), None) for f1 in order]
    assert [row.val_macro_f1 for row in ranked(rows)] == [0.9, 0.5, None, None]
    assert winner(rows, LIMITS).val_macro_f1 == 0.9
