"""A Phase 2 that was made worse on purpose, by pseudo-labels that are all wrong, is not chosen."""

import json

import pandas as pd
import pytest

from trapline.storage import file_digest, read_json, write_json

pytestmark = pytest.mark.long
PREPARE = [
    "--input", "demo", "--demo-images", 480, "--demo-sites", 40, "--demo-unlabeled", 240, "--short-side", 48,
    "--max-quarantine", 0.3, "--crop-bottom", 0.07,
]  # fmt: skip
TRAIN = [
    "--arch", "resnet18", "--weights", "none", "--image-size", 48, "--batch-size", 32, "--num-workers", 0,
    "--schedule", "onecycle", "--best-metric", "val_loss",
]  # fmt: skip
PHASE2 = ["--weights", "phase1", "--lr", 1e-3, "--epochs", 3, "--pseudo-share", 0.75, "--pseudo-weight", 1.0]


@pytest.fixture
def run(call_script):
    def finished(name, *arguments):
        done = call_script(name, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return finished


def shuffle(folder, classes):
    """Give each accepted row a label of another class, with a file that is sound in itself."""
    path = folder / "pseudo_labels.csv"
    table = pd.read_csv(path, dtype={"encoded_label": "Int64"})
    accepted = table["accepted"]
    table.loc[accepted, "encoded_label"] = (table.loc[accepted, "encoded_label"] + 3) % len(classes)
    table.loc[accepted, "label"] = [classes[code] for code in table.loc[accepted, "encoded_label"]]
    table["accepted"] = accepted.map({True: "true", False: "false"})
    table.to_csv(path, index=False)
    summary = read_json(folder / "pseudo_labels.json")
    write_json(folder / "pseudo_labels.json", {**summary, "labels_sha256": file_digest(path)})
    return int(accepted.sum())


def test_phase_1_stays_the_champion(tmp_path, run):
    prepared, first, second = tmp_path / "prepared", tmp_path / "phase1", tmp_path / "phase2"
    labels, evaluation = tmp_path / "labels", tmp_path / "evaluation"
    run("prepare.py", "--output", prepared, *PREPARE)
    run("train.py", "--prepared", prepared, "--output", first, *TRAIN, "--lr", 2e-3, "--epochs", 6)
    model = first / "model"
    run("pseudo_label.py", "--prepared", prepared, "--model", model, "--output", labels, "--threshold", 0.2)
    accepted = shuffle(labels, read_json(model / "model.json")["classes"])
    assert accepted > 100
    inputs = ["--pseudo", labels, "--phase1", model]
    run("train.py", "--prepared", prepared, "--output", second, *inputs, *TRAIN, *PHASE2)
    models = ["--phase1", model, "--phase2", second / "model"]
    said = run("evaluate.py", "--prepared", prepared, *models, "--output", evaluation)
    result = json.loads((evaluation / "evaluation.json").read_text())
    assert result["comparison"]["clusters"] >= 5  # Phase 2 could have been chosen
    assert result["comparison"]["log_loss_difference"] > 0
    assert result["champion"]["phase"] == "phase1"
    assert "champion: phase1" in said
