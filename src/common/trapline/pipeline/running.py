"""`run --backend process` and `--backend local`: the pipeline on this machine."""

import time
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError, UsageError
from trapline.launching.local.docker_engine import IMAGE
from trapline.launching.local.runtime import PROCESSES, Runtime
from trapline.launching.local.sources import local_path, refuse_links_for_containers, refuse_links_out_of
from trapline.launching.local.trial_s3 import trial_s3
from trapline.launching.prepare_options import check_files, follows_links
from trapline.pipeline.command_line import Command
from trapline.pipeline.definition import make_pipeline, quiet_sdk
from trapline.pipeline.parameters import DEMO, LABEL_NAMES, SITE_CSV, settled
from trapline.s3 import is_s3

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


def run(command: Command) -> None:
    """Run the pipeline to its end. Raises TraplineError in the words of the step that failed."""
    started = time.monotonic()
    data, files, weights = _data(command), _files(command), _weights(command)
    runtime = _runtime(command)
    folder = command.resume or _new_folder(command)
    from trapline.launching.local.pipeline_runs import Inputs, run_pipeline
    from trapline.pipeline import reuse
    from trapline.pipeline.record import COMPLETED
    from trapline.pipeline.steps import ARCHIVE, SOURCE

    design = command.design
    values = settled(design.parameters, command.values)
    if command.data:
        values.setdefault("InputData", command.data)
    inputs = Inputs(
        data=data,
        data_name=command.data or "",
        files=files,
        weights=weights,
        follow_links=follows_links(design.prepare),
        code_path=f"code/{design.code}/{SOURCE}",
        archive=ARCHIVE,
        empty=f"{COMPLETED}/{design.name}",
    )
    epochs = {f"TrainPhase{number}": int(values[f"EpochsPhase{number}"]) for number in (1, 2)}
    record = {"commands": command.said, "run": folder.name, "data": command.data,
              "recipe": design.recipe.name, "parameters": values}  # fmt: skip

    def make(session: Any) -> Any:
        return make_pipeline(design, session)

    print(f"run: {folder}/ (interrupted or failed, it goes on with: run --resume {folder})", flush=True)
    try:
        with quiet_sdk(), trial_s3(command.trial_s3, follow_links=inputs.follow_links):
            run_pipeline(
                make,
                folder,
                inputs,
                values,
                epochs=epochs,
                record=record,
                runtime=runtime,
                outcome_names=reuse.OUTCOME_NAMES,
            )
    except TraplineError as error:
        raise type(error)(_explained(str(error), folder)) from None
    _say_results(folder, time.monotonic() - started)


def _runtime(command: Command) -> Runtime:
    """What the steps run in. Raises TraplineError where containers cannot be had."""
    if command.backend == "process":
        return PROCESSES
    from trapline.launching.local.containers import containers

    design = command.design
    count = int(settled(design.parameters, command.values)["TrainingInstanceCount"])
    return containers(command.image or IMAGE, [config.weights for config in design.phases], count)


def _data(command: Command) -> Path | None:
    """The folder of raw images; None for what prepare.py finds by itself. Raises as `check_sources` does."""
    text = command.data
    if text is None or text == DEMO or is_s3(text):
        check_files(command.design.prepare, command.trial_s3)
        return None
    path = Path(local_path(text))
    if not path.is_dir():
        what = "a file; unpack it, a pipeline reads folders" if path.is_file() else "no such folder"
        raise UsageError(f"--data {text}: {what}")
    check_files(command.design.prepare, path)
    if command.backend == "local":
        refuse_links_for_containers(command.design.prepare, path)
    return path


def _files(command: Command) -> dict[str, Path]:
    """The files of this machine that parameters stand for."""
    files = {}
    if command.labels is not None:
        files[LABEL_NAMES] = command.labels.absolute()
    if command.sites is not None and not is_s3(command.sites):
        if not Path(command.sites).is_file():
            raise UsageError(f"--prepare site-csv={command.sites}: no such file")
        files[SITE_CSV] = Path(command.sites).absolute()
    return files


def _weights(command: Command) -> Path | None:
    """The folder of staged weights. The manifest's name: of `trapline.models.staged`, which loads torch."""
    text = command.weights
    if text is None:
        return None
    folder = Path(local_path(text))
    if is_s3(text) or not (folder / "weights.json").is_file():
        raise UsageError(
            f"--weights {text}: give a folder with a weights.json; launch/stage_weights.py --to DIR makes one"
        )
    if command.backend == "local":
        refuse_links_out_of(f"--weights {text}", folder)
    return folder.absolute()


def _new_folder(command: Command) -> Path:
    folder = Path(command.output or "runs") / command.run_name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        said = f"--name {folder.name}: {folder} exists; run --resume {folder} goes on with it"
        raise UsageError(said) from None
    except OSError as error:
        raise TraplineError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from None
    return folder


def _explained(message: str, folder: Path) -> str:
    """A number that the evaluation does not have is the one failure in the words of the SDK's executor."""
    if "JsonGet" in message and "undefined" in message:
        return (
            "step QualityGate: the data set has no test part, and evaluation.json no number of it; "
            f"run --resume {folder} --gate-part validation goes on from there"
        )
    return f"{message}\nrun --resume {folder} goes on from there"


def _say_results(folder: Path, seconds: float) -> None:
    print(f"done in {seconds:.0f} s; in {folder}/:")
    for name, place in RESULTS.items():
        if (folder / place).exists():
            print(f"  {name:<14}{place}")
    print(end="", flush=True)
