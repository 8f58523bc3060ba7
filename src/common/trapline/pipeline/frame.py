"""What all steps of a pipeline share: places, options of AWS, retries, and how a job becomes a step.

Where a pipeline runs here there are no options of AWS, and nothing is said of them. A machine's disk has the
given key where the instance type that the definition has by default can have one.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapline.config import TrainingConfig
from trapline.launching.aws.options import AwsOptions
from trapline.launching.plan import WEIGHTS
from trapline.launching.sdk.objects import (
    CODE,
    PROCESSING,
    CacheConfig,
    ExecutionVariables,
    Join,
    PipelineSession,
    ProcessingInput,
    ProcessingOutput,
    ProcessingStep,
    Processor,
    PropertyFile,
    PyTorch,
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
    TrainingInput,
    TrainingStep,
    isolated_by_default,
    processing_options,
    training_options,
)
from trapline.metrics import definitions
from trapline.pipeline.design import ABOUT_REUSE, COMPLETED, WEIGHTS_URI, Design

CHECKPOINTS, KEY_LENGTH = "checkpoints", 16
INPUT, OUTPUT = f"{PROCESSING}/input", f"{PROCESSING}/output"
SOURCE, ARCHIVE = "files", "sourcedir.tar.gz"  # of the code, for processing and for training
CACHE = CacheConfig(enable_caching=True, expire_after="P30D")


@dataclass(frozen=True)
class Frame:
    """What all steps share. values: the pipeline's parameters by name."""

    session: PipelineSession
    values: dict[str, Any]
    design: Design
    trusted: str  # the digest of the code that models bring

    def code_uri(self, name: str) -> Join:
        """Where the sources lie: the same place for the same sources."""
        options = self.design.options
        given = options.code_output if options else None
        return join(given or self.values["OutputPrefix"], "code", self.design.code, name)

    def checkpoint_uri(self, step: str, config: TrainingConfig) -> Join:
        """Where a training keeps its checkpoints: no place of one execution, or the step were never cached.

        Epochs and rates that an execution chooses are no part of it: train.py keys what it finds there.
        """
        return join(
            self.values["OutputPrefix"],
            CHECKPOINTS,
            self.design.code,
            f"{step}-{config.digest()[:KEY_LENGTH]}",
        )

    def completed_uri(self, *more: str) -> Join:
        """Where the last completed execution says what it used: the same place for all."""
        return join(self.values["OutputPrefix"], COMPLETED, self.design.name, *more)

    def settings(self) -> list[Any]:
        """What an execution is run with, beside its data: code, definition, and the parameters' values."""
        return [
            f"code={self.design.code}",
            f"definition={self.design.fixed}",
            *(value for name, value in self.values.items() if name not in ABOUT_REUSE),
        ]

    def output_uri(self, step: str) -> Join:
        """Where a step's results go: a place of this execution."""
        return join(self.values["OutputPrefix"], ExecutionVariables.PIPELINE_EXECUTION_ID, step)


def join(*parts: Any) -> Join:
    """A path of parts that are known when the pipeline runs."""
    return Join(on="/", values=list(parts))


def model_retries() -> list[Any]:
    """Retries of a step that is no job: throttling, and faults of the service."""
    return [
        StepRetryPolicy(
            exception_types=[StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING],
            interval_seconds=10,
            backoff_rate=2.0,
            max_attempts=6,
        )
    ]


def job_retries() -> list[Any]:
    """Retries of a job: throttling, no instance to be had for a while, the account's limits."""
    kinds = SageMakerJobExceptionTypeEnum
    wait: dict[str, Any] = {"interval_seconds": 120, "backoff_rate": 1.5}
    return [
        *model_retries(),
        SageMakerJobStepRetryPolicy(
            exception_types=[kinds.CAPACITY_ERROR, kinds.RESOURCE_LIMIT], expire_after_mins=240, **wait
        ),
        SageMakerJobStepRetryPolicy(failure_reason_types=[kinds.INTERNAL_ERROR], max_attempts=3, **wait),
    ]


@dataclass(frozen=True)
class Label:
    """A step's name, and what a person reads in the console."""

    name: str
    display: str
    description: str


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
    shared: Mapping[str, Any] | None = None,
    cache: CacheConfig | None = CACHE,
    after: Sequence[Any] = (),
) -> ProcessingStep:
    """A processing job that runs `script` with `arguments`; `inputs` are folders by name.

    `shared`: outputs beside `output` that have a place of all executions, by name. `after`: steps that must
    have ended well.
    """
    options, machine = frame.design.options, frame.values[instance]
    processor = Processor(
        role=frame.values["RoleArn"],
        image_uri=frame.values["ImageUri"],
        entrypoint=["python3", f"{CODE}/{script}"],
        instance_type=machine,
        instance_count=1,  # a script does the whole work by itself
        volume_size_in_gb=(options or AwsOptions()).volume_gb,
        tags=frame.design.tags,
        sagemaker_session=frame.session,
        **(processing_options(options, machine.default_value) if options else {}),
    )
    sources = {"code": frame.code_uri(SOURCE), **inputs}
    targets = {output: frame.output_uri(label.name), **(shared or {})}
    return ProcessingStep(
        name=label.name,
        display_name=label.display,
        description=label.description,
        step_args=processor.run(
            inputs=[
                ProcessingInput(source=source, destination=f"{INPUT}/{name}", input_name=name)
                for name, source in sources.items()
            ],
            outputs=[
                ProcessingOutput(source=f"{OUTPUT}/{name}", destination=target, output_name=name)
                for name, target in targets.items()
            ],
            arguments=[*arguments, "--output", f"{OUTPUT}/{output}"],
        ),
        property_files=list(files),
        cache_config=cache,
        depends_on=list(after) or None,
        retry_policies=job_retries(),
    )


class IsolatedPyTorch(PyTorch):
    """Without network, where the SDK's own argument refuses a place of the code that is a parameter.

    The code comes as a channel, which the platform copies.
    """

    def enable_network_isolation(self) -> bool:
        """Whether jobs reach no network."""
        return True


def training_step(frame: Frame, label: Label, phase: int, channels: dict[str, Any]) -> TrainingStep:
    """A training job that runs train.py; epochs and learning rate are the pipeline's parameters.

    Staged ImageNet weights are one more channel, where the pipeline has them and the training wants them.
    """
    config = frame.design.recipe.phases[phase - 1]
    if config.weights == "imagenet" and WEIGHTS_URI in frame.values:
        channels = {**channels, WEIGHTS: frame.values[WEIGHTS_URI]}
    options, machine = frame.design.options, frame.values["TrainingInstanceType"]
    estimator_class: type[PyTorch] = PyTorch
    of_aws: dict[str, Any] = {}
    if options:
        if options.network_isolation or isolated_by_default(frame.session.sagemaker_config):
            estimator_class = IsolatedPyTorch
        of_aws = training_options(options, machine.default_value)
        del of_aws["tags"]  # the pipeline's own hold them
        of_aws |= {
            "enable_network_isolation": False,  # the class says it
            "checkpoint_s3_uri": frame.checkpoint_uri(label.name, config),
        }
    estimator = estimator_class(
        entry_point="train.py",
        source_dir=frame.code_uri(ARCHIVE),
        role=frame.values["RoleArn"],
        image_uri=Join(on="", values=[frame.values["ImageUri"]]),  # a bare parameter becomes its default
        instance_type=machine,
        instance_count=frame.values["TrainingInstanceCount"],
        volume_size=(options or AwsOptions()).volume_gb,
        hyperparameters={
            **config.record(),
            "epochs": frame.values[f"EpochsPhase{phase}"],
            "lr": frame.values[f"LearningRatePhase{phase}"],
        },
        metric_definitions=definitions(),
        base_job_name=label.name,  # without one the SDK would look into source_dir
        output_path=frame.output_uri(label.name),
        distribution={"torch_distributed": {"enabled": True}},  # the count is known at the start
        container_log_level=logging.WARNING,
        disable_profiler=True,
        debugger_hook_config=False,
        tags=frame.design.tags,
        sagemaker_session=frame.session,
        **of_aws,
    )
    return TrainingStep(
        name=label.name,
        display_name=label.display,
        description=label.description,
        step_args=estimator.fit({name: TrainingInput(uri) for name, uri in channels.items()}),
        cache_config=CACHE,
        retry_policies=job_retries(),
    )


def output_of(step: ProcessingStep, name: str) -> Any:
    """Where the output `name` of a processing step lies, known when the pipeline runs."""
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri


def model_of(step: TrainingStep) -> Any:
    """The model.tar.gz of a training step."""
    return step.properties.ModelArtifacts.S3ModelArtifacts


def history_of(step: TrainingStep) -> Join:
    """The output.tar.gz of a training step, which holds its metrics.csv.

    Both parts of its place are the step's own: from the cache they are those of an earlier execution.
    """
    place, name = step.properties.OutputDataConfig.S3OutputPath, step.properties.TrainingJobName
    return join(place, name, "output", "output.tar.gz")
