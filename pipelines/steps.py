"""The pipeline's jobs as steps: preparation, two trainings, pseudo-labels, evaluation, transform, collection.

Nothing here depends on where the pipeline runs: places are parameters, or what an earlier step wrote.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.transformer import Transformer
from sagemaker.workflow.execution_variables import ExecutionVariables
from sagemaker.workflow.functions import Join
from sagemaker.workflow.model_step import ModelStep
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.properties import PropertyFile
from sagemaker.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.workflow.steps import CacheConfig, ProcessingStep, TrainingStep, TransformStep

from common.config import TrainingConfig
from common.metrics import definitions
from launch.aws.options import AwsOptions
from launch.jobs import PHASE1, PREPARED, PSEUDO, WEIGHTS
from launch.pairs import options_as_words
from launch.sdk.objects import CODE, PROCESSING
from pipelines import step_options
from pipelines.parameters import LABEL_NAMES, SITE_CSV, WEIGHTS_URI

INPUT, OUTPUT = f"{PROCESSING}/input", f"{PROCESSING}/output"
SOURCE, ARCHIVE = "files", "sourcedir.tar.gz"  # of the code, for processing and for training
MODEL = "model.tar.gz"
EVALUATION, EVALUATION_FILE = "evaluation", "evaluation.json"
TRANSFORM_IMAGES = ("transform", "images")
# Parameters that are files which prepare.py reads: its flag, and the folder in which the job finds them.
PREPARE_FILES = {SITE_CSV: ("--site-csv", "sites"), LABEL_NAMES: ("--label-names", "labels")}
CACHE = CacheConfig(enable_caching=True, expire_after="P30D")
PAYLOAD_MB, CONCURRENT = 20, 4  # of batch transform; their product is at most 100 on AWS
CHECKPOINTS, KEY_LENGTH = "checkpoints", 16


@dataclass(frozen=True)
class Frame:
    """What all steps share. values: the pipeline's parameters by name. code: a digest of the sources.

    options: of jobs on AWS; None where they run here.
    """

    session: PipelineSession
    values: dict[str, Any]
    code: str
    tags: list[dict[str, str]]
    options: AwsOptions | None = None

    def code_uri(self, name: str) -> Join:
        """Where the sources lie: the same place for the same sources."""
        given = self.options.code_output if self.options else None
        return join(given or self.values["OutputPrefix"], "code", self.code, name)

    def checkpoint_uri(self, step: str, config: TrainingConfig) -> Join:
        """Where a training keeps its checkpoints: no place of one execution, or the step were never cached.

        Epochs and rates that an execution chooses are no part of it: train.py keys what it finds there.
        """
        name = f"{step}-{config.digest()[:KEY_LENGTH]}"
        return join(self.values["OutputPrefix"], CHECKPOINTS, self.code, name)

    def staged_weights(self, config: TrainingConfig) -> dict[str, Any]:
        """The channel of staged ImageNet weights, where the pipeline has them and the training wants them."""
        wanted = config.weights == "imagenet" and WEIGHTS_URI in self.values
        return {WEIGHTS: self.values[WEIGHTS_URI]} if wanted else {}

    def output_uri(self, step: str) -> Join:
        """Where a step's results go: a place of this execution."""
        return join(self.values["OutputPrefix"], ExecutionVariables.PIPELINE_EXECUTION_ID, step)


@dataclass(frozen=True)
class Label:
    """A step's name, and what a person reads in the console."""

    name: str
    display: str
    description: str


def join(*parts: Any) -> Join:
    """A path of parts that are known when the pipeline runs."""
    return Join(on="/", values=list(parts))


def model_retries() -> list[Any]:
    """Retries of a step that is no job: throttling, and faults of the service."""
    faults = [StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING]
    return [StepRetryPolicy(exception_types=faults, interval_seconds=10, backoff_rate=2.0, max_attempts=6)]


def job_retries() -> list[Any]:
    """Retries of a job: throttling, no instance to be had for a while, the account's limits."""
    lacking = [SageMakerJobExceptionTypeEnum.CAPACITY_ERROR, SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT]
    broken = [SageMakerJobExceptionTypeEnum.INTERNAL_ERROR]
    wait: dict[str, Any] = {"interval_seconds": 120, "backoff_rate": 1.5}
    return [
        *model_retries(),
        SageMakerJobStepRetryPolicy(exception_types=lacking, expire_after_mins=240, **wait),
        SageMakerJobStepRetryPolicy(failure_reason_types=broken, max_attempts=3, **wait),
    ]


def output_of(step: ProcessingStep, name: str) -> Any:
    """Where the output `name` of a processing step lies, known when the pipeline runs."""
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri


def model_of(step: TrainingStep) -> Any:
    """The model.tar.gz of a training step."""
    return step.properties.ModelArtifacts.S3ModelArtifacts


def history_of(frame: Frame, step: TrainingStep) -> Join:
    """The output.tar.gz of a training step, which holds its metrics.csv."""
    name = step.properties.TrainingJobName
    return join(frame.output_uri(step.name), name, "output", "output.tar.gz")


def processing_step(
    frame: Frame,
    label: Label,
    script: str,
    arguments: Sequence[Any],
    *,
    inputs: dict[str, Any],
    output: str,
    instance: str,
    files: Sequence[PropertyFile] = (),
) -> ProcessingStep:
    """A processing job that runs `script` with `arguments`; `inputs` are folders by name."""
    processor = Processor(
        role=frame.values["RoleArn"],
        image_uri=frame.values["ImageUri"],
        entrypoint=["python3", f"{CODE}/{script}"],
        instance_type=frame.values[instance],
        instance_count=1,  # a script does the whole work by itself
        volume_size_in_gb=_volume_gb(frame),
        tags=frame.tags,
        sagemaker_session=frame.session,
        **step_options.of_processing(frame.options, frame.values[instance]),
    )
    sources = {"code": frame.code_uri(SOURCE), **inputs}
    step_args = processor.run(
        inputs=[
            ProcessingInput(source=source, destination=f"{INPUT}/{name}", input_name=name)
            for name, source in sources.items()
        ],
        outputs=[
            ProcessingOutput(
                source=f"{OUTPUT}/{output}",
                destination=frame.output_uri(label.name),
                output_name=output,
            )
        ],
        arguments=[*arguments, "--output", f"{OUTPUT}/{output}"],
    )
    return ProcessingStep(
        name=label.name,
        display_name=label.display,
        description=label.description,
        step_args=step_args,
        property_files=list(files),
        cache_config=CACHE,
        retry_policies=job_retries(),
    )


def _volume_gb(frame: Frame) -> int:
    return (frame.options or AwsOptions()).volume_gb


def training_step(
    frame: Frame, label: Label, config: TrainingConfig, phase: int, channels: dict[str, Any]
) -> TrainingStep:
    """A training job that runs train.py; epochs and learning rate are the pipeline's parameters."""
    own = {
        "epochs": frame.values[f"EpochsPhase{phase}"],
        "lr": frame.values[f"LearningRatePhase{phase}"],
    }
    instance = frame.values["TrainingInstanceType"]
    checkpoints = frame.checkpoint_uri(label.name, config)
    estimator = step_options.estimator_class(frame.options, frame.session.sagemaker_config)(
        entry_point="train.py",
        source_dir=frame.code_uri(ARCHIVE),
        role=frame.values["RoleArn"],
        image_uri=Join(on="", values=[frame.values["ImageUri"]]),  # a bare parameter becomes its default
        instance_type=instance,
        instance_count=frame.values["TrainingInstanceCount"],
        volume_size=_volume_gb(frame),
        hyperparameters={**config.record(), **own},
        metric_definitions=definitions(),
        base_job_name=label.name,  # without one the SDK would look into source_dir
        output_path=frame.output_uri(label.name),
        distribution={"torch_distributed": {"enabled": True}},  # the count is known at the start
        container_log_level=logging.WARNING,
        disable_profiler=True,
        debugger_hook_config=False,
        tags=frame.tags,
        sagemaker_session=frame.session,
        **step_options.of_training(frame.options, instance, checkpoints),
    )
    return TrainingStep(
        name=label.name,
        display_name=label.display,
        description=label.description,
        step_args=estimator.fit({name: TrainingInput(uri) for name, uri in channels.items()}),
        cache_config=CACHE,
        retry_policies=job_retries(),
    )


def prepare_step(
    frame: Frame, options: dict[str, str], *, drawn: bool, files: Mapping[str, str | None]
) -> ProcessingStep:
    """Raw images become the prepared set.

    `drawn`: prepare.py makes the demo's images itself. `files`: the names of the files that the parameters
    of PREPARE_FILES stand for; None where a pipeline has none.
    """
    label = Label("Prepare", "Prepare images", "Decode, check and split raw images; split by site if known")
    data = frame.values["InputData"]
    words = options_as_words(dict(sorted(options.items())))
    inputs: dict[str, Any] = {} if drawn else {"data": data}
    source: list[Any] = ["--input", data if drawn else f"{INPUT}/data", "--source-name", data]
    for parameter, (flag, folder) in PREPARE_FILES.items():
        if name := files.get(parameter):
            inputs[folder] = frame.values[parameter]
            words += [flag, f"{INPUT}/{folder}/{name}"]
    return processing_step(
        frame, label, "prepare.py", [*source, *words],
        inputs=inputs, output=PREPARED, instance="PrepareInstanceType",
    )  # fmt: skip


def phase1_step(frame: Frame, config: TrainingConfig, prepare: ProcessingStep) -> TrainingStep:
    """The training on labelled images."""
    label = Label("TrainPhase1", "Train, phase 1", "Train on the labelled images")
    channels = {PREPARED: output_of(prepare, PREPARED), **frame.staged_weights(config)}
    return training_step(frame, label, config, 1, channels)


def pseudo_label_step(frame: Frame, prepare: ProcessingStep, phase1: TrainingStep) -> ProcessingStep:
    """Phase 1's sure guesses about the unlabelled images."""
    label = Label("PseudoLabel", "Pseudo-label", "Label the unlabelled images that phase 1 is sure of")
    arguments = ["--prepared", f"{INPUT}/{PREPARED}", "--model", f"{INPUT}/model/{MODEL}"]
    threshold = ["--threshold", frame.values["ConfidenceThreshold"].to_string()]
    return processing_step(
        frame, label, "pseudo_label.py", [*arguments, *threshold],
        inputs={PREPARED: output_of(prepare, PREPARED), "model": model_of(phase1)},
        output=PSEUDO, instance="ScoringInstanceType",
    )  # fmt: skip


def phase2_step(
    frame: Frame,
    config: TrainingConfig,
    prepare: ProcessingStep,
    phase1: TrainingStep,
    labels: ProcessingStep,
) -> TrainingStep:
    """The training on labelled and pseudo-labelled images."""
    label = Label("TrainPhase2", "Train, phase 2", "Train on labelled and pseudo-labelled images")
    channels = {PREPARED: output_of(prepare, PREPARED), PSEUDO: output_of(labels, PSEUDO)}
    start = {PHASE1: model_of(phase1)} if config.weights == PHASE1 else {}
    return training_step(frame, label, config, 2, {**channels, **start, **frame.staged_weights(config)})


def evaluate_step(
    frame: Frame, prepare: ProcessingStep, phases: tuple[TrainingStep, TrainingStep], file: PropertyFile
) -> ProcessingStep:
    """The choice of a champion on validation, and its measure on the locked test part."""
    label = Label("Evaluate", "Evaluate", "Choose the champion on validation and measure it on the test part")
    models = [word for name in ("phase1", "phase2") for word in (f"--{name}", f"{INPUT}/{name}/{MODEL}")]
    return processing_step(
        frame, label, "evaluate.py",
        ["--prepared", f"{INPUT}/{PREPARED}", *models, "--views", frame.values["Views"]],
        inputs={
            PREPARED: output_of(prepare, PREPARED),
            "phase1": model_of(phases[0]),
            "phase2": model_of(phases[1]),
        },
        output=EVALUATION, instance="ScoringInstanceType", files=[file],
    )  # fmt: skip


def champion_model(frame: Frame, evaluate: ProcessingStep) -> Model:
    """The champion as a SageMaker model. Its archive holds its code: nothing is repacked."""
    return Model(
        image_uri=frame.values["ImageUri"],
        model_data=join(output_of(evaluate, EVALUATION), "champion", MODEL),
        role=frame.values["RoleArn"],
        sagemaker_session=frame.session,
        **step_options.of_model(frame.options),
    )


def create_model_step(frame: Frame, model: Model) -> ModelStep:
    """The step Champion-CreateModel."""
    return ModelStep(
        name="Champion",
        display_name="Create model",
        description="Make a SageMaker model of the champion",
        step_args=model.create(tags=frame.tags),
        retry_policies=model_retries(),
    )


def transform_step(frame: Frame, prepare: ProcessingStep, champion: ModelStep) -> TransformStep:
    """The champion's answer for each unlabelled image, one request an image."""
    transformer = Transformer(
        model_name=champion.properties.ModelName,
        instance_type=frame.values["TransformInstanceType"],
        instance_count=frame.values["TransformInstanceCount"],
        strategy="SingleRecord",
        max_payload=PAYLOAD_MB,
        max_concurrent_transforms=CONCURRENT,
        output_path=frame.output_uri("Transform"),
        accept="application/json",
        tags=frame.tags,
        sagemaker_session=frame.session,
        **step_options.of_transform(frame.options, frame.values["TransformInstanceType"]),
    )
    images = join(output_of(prepare, PREPARED), *TRANSFORM_IMAGES, "")
    return TransformStep(
        name="Transform",
        display_name="Batch transform",
        description="Predict every unlabelled image with test-time views",
        step_args=transformer.transform(data=images, content_type="application/x-image"),
        cache_config=CACHE,
        retry_policies=job_retries(),
    )


def collect_step(
    frame: Frame,
    prepare: ProcessingStep,
    phases: tuple[TrainingStep, TrainingStep],
    evaluate: ProcessingStep,
    transform: TransformStep,
) -> ProcessingStep:
    """The answers as predictions.csv and submission.csv, and the report."""
    label = Label("Collect", "Collect", "Write predictions.csv, submission.csv and report.html")
    histories = {step.name: history_of(frame, step) for step in phases}
    shown = [word for name in histories for word in ("--history", f"{INPUT}/{name}/output.tar.gz")]
    return processing_step(
        frame, label, "collect.py",
        [
            "--prepared", f"{INPUT}/{PREPARED}", "--predictions", f"{INPUT}/predictions",
            "--evaluation", f"{INPUT}/{EVALUATION}", *shown,
        ],
        inputs={
            PREPARED: output_of(prepare, PREPARED),
            "predictions": transform.properties.TransformOutput.S3OutputPath,
            EVALUATION: output_of(evaluate, EVALUATION),
            **histories,
        },
        output="results", instance="PrepareInstanceType",
    )  # fmt: skip
