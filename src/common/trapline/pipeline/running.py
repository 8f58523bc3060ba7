"""From the command line of the pipeline to what does what it says; `run` on this machine is here.

That is `run --backend process` and `--backend local`.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from trapline.errors import TraplineError, UsageError
from trapline.launching.given_options import COLLECT, PIPELINE_FILES, check_files, follows_links
from trapline.launching.local.backend import find_runtime
from trapline.launching.local.docker_engine import IMAGE
from trapline.launching.local.sources import data_here, here, refuse_followed_links, refuse_links_out_of
from trapline.launching.local.trial_s3 import trial_s3
from trapline.launching.local.workspace import new_folder
from trapline.pipeline.command_line import Command, read_command
from trapline.pipeline.design import COMPLETED, NOTHING_NEW, settled
from trapline.preparation.completion import DIVISION, leave_division
from trapline.storage import read_json

LAST = ".completed"  # in a run's folder: what the run before it has left
STATE, PREPARE = "pipeline.json", "Prepare"  # of a run; its first step's folder
RESULTS = {  # what a person looks for, by its place in the run's folder
    "predictions": "Collect/predictions.csv",
    "submission": "Collect/submission.csv",
    "report": "Collect/report.html",
    "evaluation": "Evaluate/evaluation.json",
    "champion": "Evaluate/champion/model.tar.gz",
    "pseudo-labels": "PseudoLabel/pseudo_labels.csv",
    "quarantine": "Prepare/quarantine.csv",
    "logs": "logs",
}


def main() -> None:
    """Parse, check, do."""
    command = read_command(sys.argv[1:])
    if command.verb in ("definition", "cost"):
        from trapline.launching.pricing.cost import estimate_pipeline, say
        from trapline.pipeline.definition import definition_text, make_pipeline

        text = definition_text(make_pipeline(command.design))
        if command.verb == "definition":
            print(text, end="")
        else:
            cost = estimate_pipeline(json.loads(text), command.values)
            print(json.dumps(cost.record(), indent=2), flush=True)
            say(cost)
    elif command.backend != "aws":
        run(command)
    else:
        from trapline.pipeline.account import act

        act(command)


def run(command: Command) -> None:
    """Run the pipeline to its end. Raises TraplineError in the words of the step that failed."""
    started = time.monotonic()
    data, weights = _data(command), _weights(command)
    design = command.design
    values = settled(design.parameters, command.values)
    first_weights = [config.weights for config in design.recipe.phases]
    instances = int(values["TrainingInstanceCount"])
    runtime = find_runtime(command.backend, command.image or IMAGE, first_weights, instances)
    folder = command.resume
    if folder is None:
        folder = Path(command.output or "runs") / command.run_name
        # A run that was killed before it wrote down anything leaves hidden entries at most.
        if not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir()):
            new_folder(
                folder, f"--name {folder.name}: {folder} exists; run --resume {folder} goes on with it"
            )
    from trapline.launching.local.pipeline_runs import Inputs, run_pipeline
    from trapline.pipeline.definition import make_pipeline, quiet_sdk
    from trapline.pipeline.frame import ARCHIVE, SOURCE

    if command.data:
        values.setdefault("InputData", command.data)
    inputs = Inputs(
        data=data,
        data_name=command.data or "",
        files={PIPELINE_FILES[name].parameter: Path(path) for name, path in command.files.items()},
        weights=weights,
        follow_links=follows_links(design.prepare),
        code_path=f"code/{design.code}/{SOURCE}",
        archive=ARCHIVE,
        empty=f"{COMPLETED}/{design.name}",
        completed=_last_completed(folder, command),
    )
    print(f"run: {folder}/ (interrupted or failed, it goes on with: run --resume {folder})", flush=True)
    try:
        with quiet_sdk(), trial_s3(command.trial_s3, follow_links=inputs.follow_links):
            run_pipeline(
                lambda session: make_pipeline(design, session),
                folder,
                inputs,
                values,
                epochs={f"TrainPhase{number}": int(values[f"EpochsPhase{number}"]) for number in (1, 2)},
                record={"commands": command.said, "run": folder.name, "data": command.data,
                        "recipe": design.recipe.name, "parameters": values},
                runtime=runtime,
                outcome_names={NOTHING_NEW: ("Yes", "No")},
            )  # fmt: skip
    except TraplineError as error:
        raise type(error)(_explained(str(error), folder)) from None
    print(f"done in {time.monotonic() - started:.0f} s; in {folder}/:")
    found = [f"  {name:<14}{place}" for name, place in RESULTS.items() if (folder / place).exists()]
    print(*found, sep="\n", flush=True)


def _last_completed(folder: Path, command: Command) -> Path | None:
    """A folder with the division of the last run beside `folder` that succeeded on the same data, if any.

    It is chosen when a run begins, and stays with it: a run that is resumed asks the same of its steps.
    """
    kept = folder / LAST
    if (folder / STATE).exists() or kept.is_dir() or not command.data or command.design.drawn:
        return kept if kept.is_dir() else None
    runs = [path for path in folder.parent.glob(f"*/{STATE}") if _has_division(path, command.data)]
    if not runs:
        return None
    last = max(runs, key=lambda path: path.stat().st_mtime).parent
    partial = folder / f"{LAST}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    leave_division(last / PREPARE, partial, command.data)
    partial.rename(kept)
    print(f"division: cameras stay in their parts of {last}; --prepare division=new begins a new one")
    return kept


def _has_division(state: Path, data: str) -> bool:
    """Whether the run of a pipeline.json has succeeded on `data`, and divided its cameras."""
    try:
        found = read_json(state)
    except TraplineError:
        return False
    done = isinstance(found, dict) and found.get("status") == "Succeeded" and found.get("data") == data
    return done and (state.parent / PREPARE / DIVISION).is_file()


def _data(command: Command) -> Path | None:
    """The folder of raw images; None for what prepare.py finds by itself. Raises as `check_sources` does."""
    path = data_here(command.data)
    if path and not path.is_dir():
        what = "a file; unpack it, a pipeline reads folders" if path.is_file() else "no such folder"
        raise UsageError(f"--data {command.data}: {what}")
    options = command.design.prepare | command.files
    check_files(options, path or command.trial_s3)
    check_files(command.files, None, COLLECT)
    if command.backend == "local":
        refuse_followed_links(options, path)
    return path


def _weights(command: Command) -> Path | None:
    """The folder of staged weights. The manifest's name: of `trapline.models.staged`, which loads torch."""
    if command.weights is None:
        return None
    folder = here(command.weights)
    if folder is None or not (folder / "weights.json").is_file():
        raise UsageError(
            f"--weights {command.weights}: give a folder with a weights.json; launch/stage_weights.py "
            "--to DIR makes one"
        )
    if command.backend == "local":
        refuse_links_out_of(f"--weights {command.weights}", folder)
    return folder.absolute()


def _explained(message: str, folder: Path) -> str:
    """A number that the evaluation does not have is the one failure in the words of the SDK's executor."""
    if "JsonGet" in message and "undefined" in message:
        return (
            "step QualityGate: the data set has no test part, and evaluation.json no number of it; "
            f"run --resume {folder} --gate-part validation goes on from there"
        )
    return f"{message}\nrun --resume {folder} goes on from there"
