"""A pipeline on this machine, as processes or in containers: the SDK's own executor runs its steps in turn.

A run lies in a folder of its own: what each step left, logs/<step>.txt, and pipeline.json, which says how far
it came. `local.sources` keeps a step that is done from being run again when the run is continued.
"""

import contextlib
import copy
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from trapline.console import table, words_of
from trapline.errors import TraplineError, UsageError
from trapline.launching.checkout import stage_code
from trapline.launching.given_options import as_words
from trapline.launching.local.backend import ROLE, Runtime
from trapline.launching.local.running import Signals, follow, stop_on_signals
from trapline.launching.local.sources import SCHEME, StepCache
from trapline.launching.local.workspace import Workspace, locked_folder, open_workspace
from trapline.launching.sdk.internals import JobSession, LocalJob
from trapline.launching.sdk.objects import Pipeline
from trapline.launching.sdk.pipeline_internals import LocalSagemakerClient, Watcher, local_steps
from trapline.launching.terminal import JobOutput, Prefixed, duration
from trapline.storage import remove_empty, write_json

LOGS, CACHE, WORK, LOCK, CHECKPOINTS = "logs", ".steps", ".work", ".lock", "checkpoints"
SUBMIT_DIRECTORY = "sagemaker_submit_directory"  # the training toolkit's hyperparameter: where the code lies
STATE = "pipeline.json"
COMPLETED, KEPT, FAILED, STOPPED = "Completed", "Completed before", "Failed", "Stopped"
INSTANCE_TYPES = tuple(f"{job}InstanceType" for job in ("Prepare", "Scoring", "Training", "Transform"))


@dataclass(frozen=True)
class Inputs:
    """What a run reads of this machine.

    data: a folder of raw images; None where prepare.py knows itself where they are. data_name: what the set
    names as its source. files: parameters that are a file or folder. code_path: where below OutputPrefix
    the steps look for the code. follow_links: of the data, where they lead out of their folder. empty: a
    folder below OutputPrefix in which executions on AWS find what earlier ones left. completed: what an
    earlier run has left there; None for the first.
    """

    data: Path | None
    data_name: str
    files: dict[str, Path]
    code_path: str
    archive: str  # the code's name for training jobs, which lies beside code_path
    empty: str
    completed: Path | None = None
    weights: Path | None = None  # a folder of staged weights
    follow_links: bool = False


@dataclass
class StepRecord:
    """One step of a run, as it is shown and written down. seconds: of this run."""

    name: str
    state: str = "Running"
    seconds: float = 0.0
    reason: str | None = None


@dataclass
class PipelineProgress(Watcher):
    """Hears of each step, says a line about it, and keeps pipeline.json."""

    folder: Path
    record: dict[str, Any]
    outcome_names: Mapping[str, tuple[str, str]]  # of conditions: if met, if not
    steps: list[StepRecord] = field(default_factory=list)
    started: float = 0.0
    error: str | None = None  # of the job that failed, in its own words
    kept: bool = False  # the step was done before
    signals: Signals = field(default_factory=Signals)

    @property
    def step(self) -> StepRecord:
        """The step that is running, or ran last."""
        return self.steps[-1]

    def began(self, step: str) -> None:
        """A step begins."""
        self.steps.append(StepRecord(step))
        self.started, self.error, self.kept = time.monotonic(), None, False
        self.write("Executing")

    def ended(self, step: str, answer: dict[str, Any]) -> None:
        """A step ended well."""
        state = KEPT if self.kept else COMPLETED
        if "Outcome" in answer:
            met, not_met = self.outcome_names.get(step, ("Passed", "Not met"))
            state = met if answer["Outcome"] else not_met
        self._close(state)

    def failed(self, step: str, reason: str) -> None:
        """A step failed."""
        self.step.reason = self.error or reason
        self._close(STOPPED if self.signals.caught else FAILED)

    def _close(self, state: str) -> None:
        self.step.state, self.step.seconds = state, round(time.monotonic() - self.started, 2)
        print(f"== {self.step.name}: {state}, {self.step.seconds:.1f} s", flush=True)
        self.write("Executing")

    def write(self, status: str, reason: str | None = None) -> None:
        """Write pipeline.json."""
        state = {"status": status, "failure_reason": reason, "steps": [asdict(step) for step in self.steps]}
        write_json(self.folder / STATE, self.record | state)


@dataclass(frozen=True)
class PipelineRun:
    """A pipeline's run in progress."""

    folder: Path
    workspace: Workspace
    inputs: Inputs
    progress: PipelineProgress
    epochs: dict[str, int]  # of the training steps, for the line that says how far one is
    runtime: Runtime

    @property
    def output(self) -> Path:
        """What OutputPrefix is: a path without special characters."""
        return self.workspace.entry / "out"

    def local_values(self) -> dict[str, str | None]:
        """The parameters that have the same meaning everywhere and a place on this machine."""
        values: dict[str, str | None] = {
            "OutputPrefix": f"{SCHEME}{self.output}",
            "RoleArn": ROLE,
            "ImageUri": self.runtime.image.uri,
        }
        if self.runtime.engine:
            values |= dict.fromkeys(INSTANCE_TYPES, self.runtime.instance)
        if self.inputs.data:
            values["InputData"] = f"{SCHEME}{self.workspace.link('data', self.inputs.data)}"
        for name, path in self.inputs.files.items():
            values[name] = f"{SCHEME}{self.workspace.give(name, path)}"
        if self.inputs.weights:
            values["WeightsUri"] = f"{SCHEME}{self.workspace.link('weights', self.inputs.weights)}"
        return values

    def furnish(self) -> None:
        """Put code and run folder where the steps look for them."""
        left = self.output / self.inputs.empty
        left.mkdir(parents=True)
        if self.inputs.completed:
            shutil.copytree(self.inputs.completed, left, dirs_exist_ok=True)
        (self.output / self.folder.name).symlink_to(self.folder.resolve(), target_is_directory=True)
        stage_code(self.output / self.inputs.code_path)
        (self.folder / LOGS).mkdir(exist_ok=True)


class StepClient(LocalSagemakerClient):
    """Local mode's client, that gives each step its log and its checkpoints, and skips what is done."""

    def __init__(self, session: JobSession, run: PipelineRun) -> None:
        super().__init__(session)
        self.run = run
        self.described: dict[str, dict[str, Any]] = {}

    def create_processing_job(self, ProcessingJobName: str, **request: Any) -> None:
        """Run a processing step. prepare.py gets the name of the data as the user wrote it, not of a link."""
        words = request["AppSpecification"]["ContainerArguments"]
        if "--source-name" in words:
            place = words.index("--source-name")
            words[place : place + 2] = as_words("source-name", self.run.inputs.data_name)
        kept = self.run.output / self.run.folder.name  # what stays when the run has ended
        outputs = [item["S3Output"]["S3Uri"] for item in request["ProcessingOutputConfig"]["Outputs"]]
        self._once(
            ProcessingJobName,
            request,
            reads=[item["S3Input"]["S3Uri"] for item in request.get("ProcessingInputs", [])],
            writes=[uri for uri in outputs if Path(uri.removeprefix(SCHEME)).is_relative_to(kept)],
            start=partial(super().create_processing_job, ProcessingJobName, **request),
            describe=super().describe_processing_job,
        )

    def create_training_job(self, TrainingJobName: str, **request: Any) -> None:
        """Run a training step."""
        settings, inputs = request["HyperParameters"], self.run.inputs
        code = settings[SUBMIT_DIRECTORY].removesuffix(inputs.archive) + Path(inputs.code_path).name
        settings[SUBMIT_DIRECTORY] = json.dumps(code)  # a folder here; an archive would have to be unpacked
        self._once(
            TrainingJobName,
            request,
            reads=[
                code,
                *(item["DataSource"]["S3DataSource"]["S3Uri"] for item in request["InputDataConfig"]),
            ],
            writes=[request["OutputDataConfig"]["S3OutputPath"]],
            start=partial(super().create_training_job, TrainingJobName, **request),
            describe=super().describe_training_job,
            trains=True,
        )

    def create_transform_job(self, TransformJobName: str, ModelName: str, **request: Any) -> None:
        """Run a transform step."""
        # Asked for is the model's content: its name is a new one each time.
        container = self.describe_model(ModelName)["PrimaryContainer"]
        self._once(
            TransformJobName,
            [container, request],
            reads=[
                container["ModelDataUrl"],
                request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"],
            ],
            writes=[request["TransformOutput"]["S3OutputPath"]],
            start=partial(super().create_transform_job, TransformJobName, ModelName, **request),
            describe=super().describe_transform_job,
        )

    def describe_processing_job(self, ProcessingJobName: str) -> dict[str, Any]:
        """What is known of a processing step, which may have been done before."""
        return copy.deepcopy(self.described[ProcessingJobName])

    def describe_training_job(self, TrainingJobName: str) -> dict[str, Any]:
        """What is known of a training step, which may have been done before."""
        return copy.deepcopy(self.described[TrainingJobName])

    def describe_transform_job(self, TransformJobName: str) -> dict[str, Any]:
        """What is known of a transform step, which may have been done before."""
        return copy.deepcopy(self.described[TransformJobName])

    def _once(
        self,
        name: str,
        request: Any,
        *,
        reads: list[str],
        writes: list[str],
        start: Callable[[], object],
        describe: Callable[[str], Mapping[str, Any]],
        trains: bool = False,
    ) -> None:
        """Run a job, or remember what it answered when it was asked the same."""
        run, progress = self.run, self.run.progress
        progress.signals.check()
        cache = StepCache(run.folder / CACHE, run.workspace.entry, run.inputs.follow_links, run.runtime.key)
        step = progress.step.name
        digest = cache.digest(request, reads)
        answer = cache.recall(step, digest)
        progress.kept = answer is not None
        if answer is None:
            cache.forget(step, writes)
            with self._job(step, digest if trains else None):
                start()
                answer = dict(describe(name))
            cache.keep(step, digest, answer, writes)
        self.described[name] = answer

    @contextlib.contextmanager
    def _job(self, step: str, checkpoint_key: str | None) -> Iterator[None]:
        """Log and folders of a job; checkpoints are kept until it has ended well.

        What it said of its failure is kept; the executor puts the exception's name before it.
        """
        run, runtime, workspace = self.run, self.run.runtime, self.run.workspace
        log = run.folder / LOGS / f"{step}.txt"
        output = JobOutput(log, run.epochs.get(step), Prefixed(step, sys.stdout))  # type: ignore[arg-type]
        stream = partial(follow, output=output, identity=workspace.identity, runtime=runtime)
        results = run.folder / (step if checkpoint_key else LOGS)
        with contextlib.closing(output), _checkpoints(run, step, checkpoint_key) as checkpoints:
            self.sagemaker_session.job = LocalJob(
                workspace, checkpoints, results, stream, runtime.engine, runtime.mounts, log
            )
            try:
                yield
            except Exception as error:
                said = _with_last_error(words_of(error), log)
                own = isinstance(error, TraplineError)
                run.progress.error = said if own else f"{type(error).__name__}: {said}"
                raise


def _with_last_error(message: str, log: Path) -> str:
    """`message`, with the log's last line that begins with `error:` where it says something else."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.startswith("error: ")), "").removeprefix("error: ")
    return message if not last or last in message or message in last else f"{message}: {last}"


@contextlib.contextmanager
def _checkpoints(run: PipelineRun, step: str, key: str | None) -> Iterator[Path | None]:
    if key is None:
        yield None
        return
    own = run.folder / CHECKPOINTS / step  # what it had for other settings lies there, too
    folder = own / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    yield run.workspace.link(f"checkpoints-{step}", folder)
    shutil.rmtree(own)
    remove_empty(own.parent)


def run_pipeline(
    make: Callable[[Any], Pipeline],
    folder: Path,
    inputs: Inputs,
    values: dict[str, Any],
    *,
    epochs: dict[str, int],
    record: dict[str, Any],
    runtime: Runtime,
    outcome_names: Mapping[str, tuple[str, str]],
) -> None:
    """Run the pipeline that `make` makes for a session, in `folder`, to its end or on from where it came to.

    values: the parameters that are not this machine's. record: what pipeline.json says beside the steps.
    outcome_names: what is said of a condition where it is met and where not. Raises TraplineError in the
    words of the step that failed; KeyboardInterrupt on Ctrl-C.
    """
    progress = PipelineProgress(folder, record, outcome_names)
    with locked_folder(folder / LOCK) as lock:
        if lock is None:
            raise UsageError(f"{folder}: this run is running already")
        try:
            with stop_on_signals() as signals, open_workspace(folder / WORK) as workspace:
                progress.signals = signals
                run = PipelineRun(folder, workspace, inputs, progress, epochs, runtime)
                run.furnish()
                reason = _execute(run, make, values)
                signals.check()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            progress.write(STOPPED if stopped else FAILED, None if stopped else str(error))
            raise
        progress.write(FAILED if reason else "Succeeded", reason)
    rows = [[step.name, step.state, duration(step.seconds)] for step in progress.steps]
    print("\n" + table(["step", "state", "time"], rows), flush=True)
    if reason:
        reached = {step.name for step in progress.steps}
        known = sorted(path.stem for path in (folder / CACHE).glob("*.json"))
        # Results of steps that this run did not come to answer what was asked before.
        if older := [name for name in known if name not in reached and (folder / name).is_dir()]:
            print(f"note: what lies in {', '.join(older)} is of an earlier try of this run", flush=True)
        raise TraplineError(reason)


def _execute(run: PipelineRun, make: Callable[[Any], Pipeline], values: dict[str, Any]) -> str | None:
    """Run the steps. Returns why the execution failed, or None."""
    session = JobSession(LocalJob(run.workspace, None, run.folder, lambda *_: 1))
    session.sagemaker_client = StepClient(session, run)
    pipeline = make(session)
    with local_steps(run.runtime.engine, run.progress, run.folder.name):
        pipeline.create(ROLE, "")
        execution = pipeline.start(parameters={**values, **run.local_values()})
    described = execution.describe()
    if described["PipelineExecutionStatus"] == "Succeeded":
        return None
    step = run.progress.step
    log = run.folder / LOGS / f"{step.name}.txt"
    where = f" (log: {log})" if log.exists() else ""
    return f"step {step.name}: {step.reason or described.get('FailureReason')}{where}"
