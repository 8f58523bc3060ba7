"""What the process backend adds to each step of the pipeline, packing of the models apart.

Run: python benchmarks/steps.py [ROUNDS]
A small pipeline runs; then each step's entry point runs by itself on what the pipeline's step had to read. A
step's seconds are those of pipeline.json. Beside Transform stands a server that is asked for the same images.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from figures import Figure, emit
from launching import ONE_THREAD, call, in_words, pack
from serving import post, server

from trapline.pipeline.design import SMALL, read_recipe, with_schedule

PREPARE = {
    "short-side": 64,
    "demo-images": 160,
    "demo-unlabeled": 104,
    "demo-sites": 12,
    "max-quarantine": 0.2,
}
SETTINGS = ["image_size=32", "num_workers=0"]
EPOCHS, RATES = (1, 1), (2e-3, 4e-4)
TRAININGS = ("TrainPhase1", "TrainPhase2")


def main() -> None:
    """Run the pipeline and the entry points, in turn."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    os.environ.update(ONE_THREAD)  # for the server, too
    added = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            run = Path(folder) / f"run-{number}"
            pipeline(run)
            steps = json.loads((run / "pipeline.json").read_text())["steps"]
            taken = {step["name"]: step["seconds"] for step in steps}
            for name, bare in alone(run, Path(folder) / f"alone-{number}").items():
                added[name].append(taken[name] - bare)
    for name, seconds in added.items():
        print(f"{name:<12} {in_words(seconds)} more")
    medians = [statistics.median(seconds) for seconds in added.values()]
    more = (
        f"{statistics.mean(medians):.2f} s more on average; by step {min(medians):.2f} to {max(medians):.2f}"
    )
    emit(Figure("a step of the pipeline, packing apart", "its bare entry point", more))


def pipeline(run: Path) -> None:
    """One run, whose gate any model passes."""
    options = [f"{name}={value}" for name, value in PREPARE.items()]
    values = [f"EpochsPhase{phase}={EPOCHS[phase - 1]}" for phase in (1, 2)]
    call("pipelines/camera_trap.py", "run", "--backend", "process", "--data", "demo", "--output", run.parent,
         "--name", run.name, "--prepare", *options, "--set", *SETTINGS,
         "--param", *values, "QualityGate=9", "ConfidenceThreshold=0.2")  # fmt: skip


def alone(run: Path, output: Path) -> dict[str, float]:
    """Seconds of each step's entry point by itself; of a training, with the packing of its model."""
    recipe = with_schedule(read_recipe(SMALL, SETTINGS, []), EPOCHS, RATES)
    models = {name: model_of(run, name) for name in TRAININGS}
    prepared, model = ["--prepared", run / "Prepare"], models["TrainPhase1"]
    pseudo = ["--pseudo", run / "PseudoLabel", "--phase1", model]
    histories = [word for name in TRAININGS for word in ("--history", run / name)]
    options = [word for name, value in PREPARE.items() for word in (f"--{name}", value)]
    crop = [word for name, value in recipe.prepare.items() for word in (f"--{name}", value)]
    commands = {
        "Prepare": ["prepare.py", "--input", "demo", *crop, *options],
        "TrainPhase1": ["train.py", *prepared, *words(recipe.phase1.record())],
        "PseudoLabel": ["pseudo_label.py", *prepared, "--model", model, "--threshold", 0.2],
        "TrainPhase2": ["train.py", *prepared, *pseudo, *words(recipe.phase2.record())],
        "Evaluate": ["evaluate.py", *prepared, "--phase1", model, "--phase2", models["TrainPhase2"]],
        "Collect": ["collect.py", *prepared, "--predictions", run / "Transform",
                    "--evaluation", run / "Evaluate", *histories],
    }  # fmt: skip
    seconds = {}
    for name, (script, *arguments) in commands.items():
        seconds[name] = call(f"entry_points/{script}", *arguments, "--output", output / name)
        if name in TRAININGS:
            seconds[name] += pack(output / name)
    seconds["Transform"] = serve_and_ask(run)
    return seconds


def model_of(run: Path, step: str) -> Path:
    """The archive of a training step."""
    return next((run / step).rglob("model.tar.gz"))


def words(record: dict[str, object]) -> list[str]:
    """Hyperparameters as flags."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in record.items()]


def serve_and_ask(run: Path) -> float:
    """Seconds of a server's start, its answers for the images in turn, and its end."""
    started = time.perf_counter()
    with server(run / "Evaluate" / "champion" / "model.tar.gz", "auto") as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for path in sorted((run / "Prepare" / "transform" / "images").iterdir()):
            post(connection, path.read_bytes())
    return time.perf_counter() - started


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error}\n{error.stdout.decode()}\n{error.stderr.decode()}") from None
