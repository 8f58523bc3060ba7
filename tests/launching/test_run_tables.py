"""The tables of runs, searches and folds open in spreadsheets: what is called like a formula is text."""

import csv

from trapline.launching.commands.compare import write_csv
from trapline.launching.commands.multilabel_sweep import Limits, Row, write_table
from trapline.launching.many.jobs import Outcome
from trapline.launching.many.studies import write_folds
from trapline.launching.results import Result
from trapline.reports.run_logs import Curves, write_long_csv

KNOWN = {"model": "resnet18", "parameters": 1, "best_epoch": 1, "epochs": 1, "split": "site"}
UNKNOWN = ("train_acc", "val_acc", "log_loss", "macro_f1", "s_per_epoch", "rss_mb", "gpu_mb")


def column(path, name):
    with path.open(newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def test_compared_runs(tmp_path):
    values = {**KNOWN, **dict.fromkeys(UNKNOWN)} | {"train_acc": 0.25, "val_acc": 0.5}
    write_csv([Result(run="=cmd|x", **values)], tmp_path / "c.csv")
    assert column(tmp_path / "c.csv", "run") == ["'=cmd|x"]
    assert column(tmp_path / "c.csv", "gap") == ["-0.25"]


def test_curves(tmp_path):
    write_long_csv([Curves("-night", ({"epoch": 1.0, "val_loss": -1.5},))], tmp_path / "c.csv")
    assert column(tmp_path / "c.csv", "run") == ["'-night"]
    assert column(tmp_path / "c.csv", "value") == ["-1.5"]


def test_folds(tmp_path):
    outcome = Outcome("+fold", "Completed", best={"epoch": 1.0, "val_loss": -0.5})
    write_folds(tmp_path / "f.csv", [outcome])
    assert column(tmp_path / "f.csv", "fold") == ["'+fold", "mean", "std"]
    assert column(tmp_path / "f.csv", "val_loss") == ["-0.5", "-0.5", ""]
    assert (tmp_path / "f.csv").read_bytes().startswith(b"fold,val_loss,best_epoch,status\n")


def test_sweep(tmp_path):
    limits = Limits(max_size_mb=1, min_val_f1=0.5, max_gpu_hours=1)
    write_table([Row("@arch", "adam", 1e-3, "Failed")], limits, tmp_path / "s.csv")
    assert column(tmp_path / "s.csv", "arch") == ["'@arch"]
    assert column(tmp_path / "s.csv", "lr") == ["0.001"]
