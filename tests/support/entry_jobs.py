"""Small training jobs for tests, and what they leave behind."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from trapline import metrics

QUICK = [
    "--arch",
    "shufflenet_v2_x0_5",
    "--weights",
    "none",
    "--image-size",
    "32",
    "--batch-size",
    "32",
    "--num-workers",
    "0",
    "--lr",
    "1e-3",
]
THREE_EPOCHS = [
    *QUICK,
    "--batch-size",
    "8",
    "--epochs",
    "3",
    "--dropout",
    "0.3",
    "--augment",
    "heavy",
    "--schedule",
    "cosine",
    "--lr",
    "2e-2",  # so that the best epoch is not the last
]


def stop_in_epoch(number, call_script, *words):
    """Run train.py in this process to the end of epoch `number`, whose checkpoint is not written any more.

    What is left is what a job leaves that is killed in that epoch; tests/entry_points/test_train_resumed.py
    kills one.
    """
    emit = metrics.emit

    def stop(row):
        if row["epoch"] == number:
            raise RuntimeError("stopped by the test")
        emit(row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "emit", stop)
        done = call_script("train.py", *words)
    assert (done.returncode, "stopped by the test" in done.stderr) == (1, True), done.stderr


def history(folder):
    """The rows of a job's metrics.csv."""
    with (folder / "output" / "data" / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def deterministic(rows):
    """Rows without the columns that a clock or the machine decides."""
    names = [metric.name for metric in metrics.REGISTRY if metric.deterministic and metric.name in rows[0]]
    return [{name: row[name] for name in names} for row in rows]


def tensors(folder, name="model"):
    """The `model` or the `last` weights of a job."""
    return load_file(folder / "model" / f"{name}.safetensors")


def same_trained(one, other):
    """Whether what is trained is equal, but for a job without learning rate; batch statistics apart."""
    names = [name for name in one if "running" not in name and "num_batches" not in name]
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], atol=1e-6) for name in names
    )


def same(one, other):
    """Whether two state dicts are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
