"""A pipeline on this machine, as processes or in containers: the SDK's own executor runs its steps in turn.

A run lies in a folder of its own: what each step left, logs/<step>.txt, and pipeline.json, which says how far
it came. `local.step_cache` keeps a step that is done from being run again when the run is continued.
"""

import contextlib
import copy
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline.console import table, words_of
from trapline.errors import TraplineError, UsageError
from trapline.launching.local.progress import FAILED, STOPPED, PipelineProgress
from trapline.launching.local.running import follow
from trapline.launching.local.runtime import PROCESSES, ROLE, Runtime
from trapline.launching.local.step_cache import SCHEME, StepCache
from trapline.launching.local.stopping import Signals, stop_on_signals
from trapline.launching.local.workspace import Workspace, locked_folder, open_workspace
from trapline.launching.pairs import as_words
from trapline.launching.prefixed import Prefixed
from trapline.launching.sdk.internals import OPT_ML, LocalJob
from trapline.launching.sdk.pipeline_internals import LocalSagemakerClient, PipelineJobSession, local_steps
from trapline.launching.staging import stage_code
from trapline.launching.terminal import JobOutput, duration
from trapline.locking import remove_empty

if TYPE_CHECKING:
    from trapline.launching.sdk.workflow import Pipeline

LOGS, CACHE, WORK, LOCK, CHECKPOINTS = "logs", ".steps", ".work", ".lock", "checkpoints"
SUBMIT_DIRECTORY = "sagemaker_submit_directory"  # the training toolkit's hyperparameter: where the code lies
CLEANER = "end-what-is-left"  # the name of such a thread of trapline.launching.local.running.follow
INSTANCE_TYPES = tuple(f"{job}InstanceType" for job in ("Prepare", "Scoring", "Training", "Transform"))


@dataclass(frozen=True)
class Inputs:
    """What a run reads of this machine.

    data: a folder of raw images; None where prepare.py knows itself where they are. data_name: what the set
    names as its source. files: parameters that are a file. code_path: where below OutputPrefix the steps look
    for the code. follow_links: of the data, where they lead out of their folder. empty: a folder below
    OutputPrefix in which executions on AWS find what earlier ones left; a run is always the first.
    """

    data: Path | None
    data_name: str
    files: dict[str, Path]
    code_path: str
    archive: str  # the code's name for training jobs, which lies beside code_path
    empty: str
    weights: Path | None = None  # a folder of staged weights
    follow_links: bool = False


@dataclass(frozen=True)
class PipelineRun:
    """A pipeline's run in progress."""

    folder: Path
    workspace: Workspace
    inputs: Inputs
    progress: PipelineProgress
    epochs: dict[str, int]  # of the training steps, for the line that says how far one is
    runtime: Runtime = PROCESSES

    @property
    def output(self) -> Path:
        """What OutputPrefix is: a path without special characters."""
        return self.workspace.entry / "out"

    @property
    def cache(self) -> StepCache:
        """The steps that are done."""
        return StepCache(
            self.folder / CACHE, self.workspace.entry, self.inputs.follow_links, self.runtime.key
        )

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
        for name, file in self.inputs.files.items():
            values[name] = f"{SCHEME}{self.workspace.link(name, file.parent)}/{file.name}"
        if self.inputs.weights:
            values["WeightsUri"] = f"{SCHEME}{self.workspace.link('weights', self.inputs.weights)}"
        return values

    def keeps(self, uri: str) -> bool:
        """Whether what lies at a `file://` URI stays when the run has ended."""
        return Path(uri.removeprefix(SCHEME)).is_relative_to(self.output / self.folder.name)

    def furnish(self) -> None:
        """Put code and run folder where the steps look for them."""
        (self.output / self.inputs.empty).mkdir(parents=True)
        (self.output / self.folder.name).symlink_to(self.folder.resolve(), target_is_directory=True)
        stage_code(self.output / self.inputs.code_path)
        (self.folder / LOGS).mkdir(exist_ok=True)


class StepClient(LocalSagemakerClient):
    """Local mode's client, that gives each step its log and its checkpoints, and skips what is done."""

    def __init__(self, session: PipelineJobSession, run: PipelineRun, signals: Signals) -> None:
        super().__init__(session)
        self.run, self.signals = run, signals
        self.described: dict[str, dict[str, Any]] = {}

    def create_processing_job(self, ProcessingJobName: str, **request: Any) -> None:
        """Run a processing step."""
        name = ProcessingJobName
        self._name_source(request)
        reads = [item["S3Input"]["S3Uri"] for item in request.get("ProcessingInputs", [])]
        targets = [item["S3Output"]["S3Uri"] for item in request["ProcessingOutputConfig"]["Outputs"]]
        writes = list(filter(self.run.keeps, targets))
        start = partial(super().create_processing_job, name, **request)
        self._once(name, request, reads, writes, start, super().describe_processing_job)

    def create_training_job(self, TrainingJobName: str, **request: Any) -> None:
        """Run a training step."""
        name = TrainingJobName
        settings = request["HyperParameters"]
        inputs = self.run.inputs
        code = settings[SUBMIT_DIRECTORY].removesuffix(inputs.archive) + Path(inputs.code_path).name
        settings[SUBMIT_DIRECTORY] = json.dumps(code)  # a folder here; an archive would have to be unpacked
        channels = [item["DataSource"]["S3DataSource"]["S3Uri"] for item in request["InputDataConfig"]]
        writes = [request["OutputDataConfig"]["S3OutputPath"]]
        start = partial(super().create_training_job, name, **request)
        reads = [code, *channels]
        self._once(name, request, reads, writes, start, super().describe_training_job, trains=True)

    def create_transform_job(self, TransformJobName: str, ModelName: str, **request: Any) -> None:
        """Run a transform step."""
        # Asked for is the model's content: its name is a new one each time.
        container = self.describe_model(ModelName)["PrimaryContainer"]
        reads = [container["ModelDataUrl"], request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]]
        writes = [request["TransformOutput"]["S3OutputPath"]]
        start = partial(super().create_transform_job, TransformJobName, ModelName, **request)
        self._once(
            TransformJobName, [container, request], reads, writes, start, super().describe_transform_job
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

    def _name_source(self, request: dict[str, Any]) -> None:
        """Give prepare.py the name of the data as the user wrote it, not that of a link."""
        words = request["AppSpecification"]["ContainerArguments"]
        if "--source-name" in words:
            place = words.index("--source-name")
            words[place : place + 2] = as_words("source-name", self.run.inputs.data_name)

    def _once(
        self,
        name: str,
        request: Any,
        reads: list[str],
        writes: list[str],
        start: Callable[[], object],
        describe: Callable[[str], Mapping[str, Any]],
        *,
        trains: bool = False,
    ) -> None:
        """Run a job, or remember what it answered when it was asked the same."""
        self.signals.check()
        cache, progress = self.run.cache, self.run.progress
        step = progress.step.name
        digest = cache.digest(request, reads)
        answer = cache.recall(step, digest)
        progress.kept = answer is not None
        if answer is None:
            cache.forget(step, writes)
            with self._job(step, digest if trains else None), self._own_words():
                start()
                answer = dict(describe(name))
            cache.keep(step, digest, answer, writes)
        self.described[name] = answer

    @contextlib.contextmanager
    def _job(self, step: str, checkpoint_key: str | None) -> Iterator[None]:
        """Log and folders of a job; checkpoints are kept until it has ended well."""
        folder = self.run.folder
        log = folder / LOGS / f"{step}.txt"
        output = JobOutput(
            log,
            self.run.epochs.get(step),
            Prefixed(step, self.run.progress.stream),  # type: ignore[arg-type]
        )

        def stream(process: "subprocess.Popen[bytes]", bases: list[Path]) -> int:
            output.folders = {str(base).encode(): OPT_ML.encode() for base in bases}
            try:
                return follow(process, output, self.run.workspace.identity, self.run.runtime)
            finally:
                _wait_for_cleaners()  # the next step's processes bear the same mark

        with contextlib.closing(output), _checkpoints(self.run, step, checkpoint_key) as checkpoints:
            results = folder / (step if checkpoint_key else LOGS)
            runtime = self.run.runtime
            job = LocalJob(
                self.run.workspace, checkpoints, results, stream, runtime.engine, runtime.mounts, log=log
            )
            self.sagemaker_session.job = job
            yield

    @contextlib.contextmanager
    def _own_words(self) -> Iterator[None]:
        """Keep what a job said of its failure; the executor puts the exception's name before it."""
        try:
            yield
        except Exception as error:
            progress = self.run.progress
            log = self.run.folder / LOGS / f"{progress.step.name}.txt"
            progress.error = _with_last_error(words_of(error), log)
            if not isinstance(error, TraplineError):
                progress.error = f"{type(error).__name__}: {progress.error}"
            raise


def _wait_for_cleaners() -> None:
    """Wait until `follow` has ended what a step left behind, which goes on after it returns."""
    for thread in threading.enumerate():
        if thread.name == CLEANER and thread is not threading.current_thread():
            thread.join()


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
    make: Callable[[Any], "Pipeline"],
    folder: Path,
    inputs: Inputs,
    values: dict[str, Any],
    *,
    epochs: dict[str, int],
    record: dict[str, Any],
    runtime: Runtime = PROCESSES,
    outcome_names: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Run the pipeline that `make` makes for a session, in `folder`, to its end or on from where it came to.

    values: the parameters that are not this machine's. record: what pipeline.json says beside the steps.
    outcome_names: what is said of a condition where it is met and where not. Raises TraplineError in the
    words of the step that failed; KeyboardInterrupt on Ctrl-C.
    """
    progress = PipelineProgress(folder, record, outcome_names=outcome_names or {})
    with locked_folder(folder / LOCK) as lock:
        if lock is None:
            raise UsageError(f"{folder}: this run is running already")
        try:
            with stop_on_signals() as signals, open_workspace(folder / WORK) as workspace:
                progress.signals = signals
                run = PipelineRun(folder, workspace, inputs, progress, epochs, runtime)
                run.furnish()
                reason = _execute(run, make, values, signals)
                signals.check()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            progress.write(STOPPED if stopped else FAILED, None if stopped else str(error))
            raise
        progress.write(FAILED if reason else "Succeeded", reason)
    _say_steps(progress)
    if reason:
        _say_what_is_older(progress)
        raise TraplineError(reason)


def _execute(
    run: PipelineRun, make: Callable[[Any], "Pipeline"], values: dict[str, Any], signals: Signals
) -> str | None:
    """Run the steps. Returns why the execution failed, or None."""
    session = PipelineJobSession(LocalJob(run.workspace, None, run.folder, lambda *_: 1))
    session.sagemaker_client = StepClient(session, run, signals)
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


def _say_steps(progress: PipelineProgress) -> None:
    rows = [[step.name, step.state, duration(step.seconds)] for step in progress.steps]
    progress.stream.write("\n" + table(["step", "state", "time"], rows) + "\n")
    progress.stream.flush()


def _say_what_is_older(progress: PipelineProgress) -> None:
    """Name the results of steps that this run did not come to: they answer what was asked before."""
    reached = {step.name for step in progress.steps}
    done = (path.stem for path in (progress.folder / CACHE).glob("*.json"))
    older = sorted(name for name in done if name not in reached and (progress.folder / name).is_dir())
    if older:
        progress.stream.write(f"note: what lies in {', '.join(older)} is of an earlier try of this run\n")
        progress.stream.flush()
