"""A job leaves a report of its classes, and on request a log of its batches."""

import csv

import pytest

from tests.support.entry_jobs import QUICK, history
from trapline.metrics import read_values
from trapline.reports.run_logs import parse_log


def test_a_job_leaves_the_report_of_its_best_epoch_and_its_log_is_read_back_as_curves(
    small_demo, tmp_path, call_script
):
    flags = [*QUICK, "--arch", "squeezenet1_1", "--epochs", "2", "--batch-size", "16", "--log-every", "3"]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    rows = history(tmp_path)
    best = min(rows, key=lambda row: row["val_loss"])
    with (tmp_path / "output" / "data" / "classification_report.csv").open() as file:
        report = {row["class"]: row for row in csv.DictReader(file)}
    macro, weighted = report["macro average"], report["weighted average"]
    assert float(macro["accuracy"]) == pytest.approx(best["val_acc"], rel=1e-5)
    assert float(macro["f1"]) == pytest.approx(best["val_macro_f1"], rel=1e-5)
    assert float(weighted["f1"]) == pytest.approx(best["val_weighted_f1"], rel=1e-5)
    images = sum(int(row["images"]) for name, row in report.items() if "average" not in name)
    assert images == int(macro["images"])
    assert (tmp_path / "output" / "data" / "classification_report.txt").read_text() in done.stdout
    curves = parse_log(done.stdout, "job")
    assert list(curves.epochs) == rows
    assert curves.batches[0].batch == 3
    assert {point.epoch for point in curves.batches} == {1, 2}
    assert all(point.lr == pytest.approx(1e-3) for point in curves.batches)
    batch_lines = [line for line in done.stdout.splitlines() if line.startswith("[BATCH]")]
    assert len(batch_lines) == len(curves.batches)
    assert all(read_values(line) == {} for line in batch_lines)
